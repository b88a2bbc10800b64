"""A foreign network as a classifier: one tensor of scores, the same for an image whatever comes with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from edgecnn.errors import BadInput
from edgecnn.exporters.finite import layer_not_finite, weight_not_finite
from edgecnn.exporters.foreign.finish import require_scores
from edgecnn.exporters.foreign.usercode import told

_KEYS = ("logits", "out", "output")

# Rows of one batch beside the same images alone: other kernels, other order of sums.
_TOLERANCE = 1e-3

_TRIED = 3


class Classifying(nn.Module):
    """Passes on one tensor of what a network returns, as [N, classes].

    Args:
        network: the user's.
        part: index or key of the tensor, None where the network returns just one.
        flat: whether it has further dimensions of size 1.
    """

    def __init__(self, network: nn.Module, part: int | str | None, flat: bool) -> None:
        super().__init__()
        self.network = network
        self.part = part
        self.flat = flat

    def forward(self, image: Tensor) -> Tensor:
        """Return scores [N, classes] of images [N, channels, height, width]."""
        answer: Any = self.network(image)
        scores: Tensor = answer if self.part is None else answer[self.part]
        return scores.flatten(1) if self.flat else scores


def as_classifier(
    network: nn.Module, shape: tuple[int, int, int], reference: str, *, batch: int | None
) -> tuple[nn.Module, str]:
    """Return the network as one that gives scores [N, classes], and a line about what is left out of its answer.

    Of a tuple or list the first is taken, of a dict the only one, or the one called logits, out or output. The network is run
    on a few random images.

    Args:
        network: in eval mode.
        shape: (channels, height, width).
        reference: what it is called in messages.
        batch: number of images that it can take, None for any.

    Raises:
        BadInput: what it gives is not float32 [N, classes], not finite, different each time, or of an image different by
            what is in the batch with it.
        ExportError: it failed.
    """
    images = torch.randn(batch or _TRIED, *shape)
    part, note, scores = _choose(_answer(network, images, reference), reference)
    if scores.dtype != torch.float32:
        raise BadInput(f"output of {reference}", expected="float32", got=str(scores.dtype).removeprefix("torch."))
    require_scores(("N", *scores.shape[1:]), reference)
    if scores.ndim < 1 or len(scores) != len(images):
        raise BadInput(
            f"output of {reference}", expected=f"{len(images)} rows for as many images", got=str(len(scores))
        )
    flat = scores.ndim > 2
    adapted = Classifying(network, part, flat).eval() if part is not None or flat else network
    _check_answers(adapted, images, scores.flatten(1), reference, alone=batch is None)
    return adapted, note


def _answer(network: nn.Module, images: Tensor, reference: str) -> Any:
    with told(f"running {reference} on {list(images.shape)}"), torch.inference_mode():
        return network(images)


def _choose(answer: Any, reference: str) -> tuple[int | str | None, str, Tensor]:
    """Return which part of an answer has the scores, what to say about it, and the scores."""
    if isinstance(answer, Tensor):
        return None, "", answer
    part: int | str | None = None
    if isinstance(answer, Mapping) and answer:
        part = next((key for key in _KEYS if key in answer), next(iter(answer)) if len(answer) == 1 else None)
    elif isinstance(answer, (tuple, list)) and answer:
        part = 0
    chosen = None if part is None else answer[part]
    if not isinstance(chosen, Tensor):
        got = f"a {type(answer).__name__}"
        if isinstance(answer, Mapping):
            got += f" of {', '.join(map(str, answer))}"
        raise BadInput(f"output of {reference}", "return the scores alone", expected="one tensor [N, classes]", got=got)
    if len(answer) == 1:
        return part, "", chosen
    which = "the first" if part == 0 else repr(part)
    return part, f"of the {len(answer)} values that it returns, {which} is taken for the scores", chosen


def _check_answers(network: nn.Module, images: Tensor, scores: Tensor, reference: str, *, alone: bool) -> None:
    if not torch.isfinite(scores).all():
        # The names are those of the user's own network.
        own = network.network if isinstance(network, Classifying) else network
        where = weight_not_finite(own) or layer_not_finite(own, images) or "NaN or infinity on random images"
        raise BadInput(f"output of {reference}", "check the weights", expected="finite scores", got=where)
    again = _answer(network, images, reference)
    if not torch.equal(again, scores):
        raise BadInput(
            f"{reference} gives another answer each time",
            "functional dropout needs training=self.training",
            expected="the same scores for the same images",
            got=f"a difference of {float((again - scores).abs().max()):.3g}",
        )
    if not alone:
        return
    rows = torch.cat([_answer(network, image[None], reference) for image in images])
    apart = float((rows - scores).abs().max()) if rows.shape == scores.shape else float("inf")
    if apart > _TOLERANCE * float(scores.abs().max()):
        raise BadInput(
            f"{reference} gives an image other scores when other images are in the batch",
            "batch norm must keep running statistics, and no mean may be over the batch; or give --batch 1",
            expected="the same scores for an image alone",
            got=f"a difference of {apart:.3g}",
        )
