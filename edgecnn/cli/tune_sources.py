"""The models of `edgecnn tune`: files as they are, networks of the zoo by the variants that are tried."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from edgecnn.artifacts import load_artifact
from edgecnn.cli.output import say
from edgecnn.errors import BadInput, Contradiction
from edgecnn.specs import Artifact
from edgecnn.tune.search import Deadline
from edgecnn.tune.variants import export_variants, spread, variant_forms


def without_quantized(models: tuple[str, ...]) -> list[str]:
    """Return the models to work on: of several, files of fewer bits are named and passed over."""
    if len(models) == 1:
        return list(models)
    remaining = []
    for name in models:
        precision = load_artifact(name, checksum=False).precision if _is_file(name) else "fp32"
        if precision == "fp32":
            remaining.append(name)
        else:
            say(f"{name} is {precision} already: passed over")
    if not remaining:
        raise BadInput(
            "models", "give the fp32 file, or one file alone", expected="an fp32 file", got="none among them"
        )
    return remaining


def check_models(
    models: Sequence[str],
    weights: str | None,
    widths: tuple[float, ...] | None = None,
    sizes: tuple[int, ...] | None = None,
) -> None:
    """Return if there are such models, as far as that can be told before anything is made.

    Raises:
        Contradiction: weights or variants for a file.
        BadInput: a file that is not there or is no model.
        EdgecnnError: what `edgecnn.tune.variants.variant_forms` raises.
    """
    for model in models:
        if not _is_file(model):
            variant_forms(model, weights, widths=widths, input_sizes=sizes)
        elif weights or widths or sizes:
            raise Contradiction(f"{model} has its weights and its form", "give the network's name to try variants")
        else:
            load_artifact(model, checksum=False)


@contextmanager
def sources_of(
    model: str,
    weights: str | None,
    widths: tuple[float, ...] | None,
    sizes: tuple[int, ...] | None,
    *,
    seed: int,
    deadline: Deadline,
) -> Iterator[dict[str, Artifact]]:
    """Yield title -> file of a model: the file that was given, or what a network is exported as for as long as this lasts.

    Raises:
        EdgecnnError: what `edgecnn.tune.variants` raises.
    """
    if _is_file(model):
        artifact = load_artifact(model)
        yield {Path(model).stem: artifact}
        return
    forms = variant_forms(model, weights, widths=widths, input_sizes=sizes)
    if not widths and not sizes:
        forms = spread(forms)
    with tempfile.TemporaryDirectory() as folder:
        limit = deadline.left_seconds / 2
        found = export_variants(
            forms,
            weights or "bundled",
            Path(folder),
            seed=seed,
            on_step=say,
            go_on=lambda: deadline.left_seconds > limit,
        )
        for title, reason in found.items():
            if isinstance(reason, str):
                say(f"{title}: {reason}")
        yield {title: one for title, one in found.items() if isinstance(one, Artifact)}


def _is_file(model: str) -> bool:
    return model.endswith(".onnx") or "/" in model
