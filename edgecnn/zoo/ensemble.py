"""Ensembles: several networks in one graph, whose probabilities are averaged.

Shao et al. (team Trimps-Soushen), "Good Practices for Deep Feature Fusion", 2016, ILSVRC and COCO workshop at ECCV.
Networks of different families make different mistakes; the mean of their probabilities is right more often than the best
of them. The team won ILSVRC 2016 classification with Inception, Inception-ResNet, ResNet and Wide ResNet members.

Parameterised: the members ("ensemble:a+b+c"), in their bundled or plain forms, input size, classes, input channels.
Differs from the winner's fusion: every member has the same weight, and one crop is seen. The output is the logarithm of
the mean probability, so that a softmax of it gives the mean, as of any network's logits. Members may normalise their input
differently: the image comes normalised for the first, and the difference is a scale and a shift in front of the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from edgecnn.errors import UsageError
from edgecnn.specs import Preprocess
from edgecnn.zoo.members import BUNDLED, ensemble_network, members_of, resized
from edgecnn.zoo.network import Bundled, Form
from edgecnn.zoo.registry import build, find

if TYPE_CHECKING:
    from edgecnn.zoo.weights import Loaded


class Renormalise(nn.Module):
    """Makes an image that is normalised for one network that of another: x * scale + shift per channel.

    The values are those of two preprocessings and no part of the state dict.

    Args:
        given: how the image was normalised.
        wanted: how it shall be.
    """

    def __init__(self, given: Preprocess, wanted: Preprocess) -> None:
        super().__init__()
        values = zip(given.mean, given.std, wanted.mean, wanted.std, strict=True)
        pairs = [(std / to_std, (mean - to_mean) / to_std) for mean, std, to_mean, to_std in values]
        scale, shift = torch.tensor(pairs, device="cpu").T.reshape(2, 1, -1, 1, 1)
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("shift", shift, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 of the same shape, [N, C, H, W]."""
        return x * cast("Tensor", self.scale) + cast("Tensor", self.shift)


class Ensemble(nn.Module):
    """float32 [N, channels, S, S], normalised for the first member -> logarithm of the mean probability [N, classes].

    Args:
        networks: the members.
        preprocesses: how each one's input is normalised.
    """

    def __init__(self, networks: Sequence[nn.Module], preprocesses: Sequence[Preprocess]) -> None:
        super().__init__()
        self.members = nn.ModuleList(networks)
        first = preprocesses[0]
        self.inputs = nn.ModuleList(
            nn.Identity() if (one.mean, one.std) == (first.mean, first.std) else Renormalise(first, one)
            for one in preprocesses
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return log(mean over the members of softmax(logits)), computed without leaving the logarithm."""
        logits = [member(renormalise(x)) for member, renormalise in zip(self.members, self.inputs, strict=True)]
        logs = torch.stack([torch.log_softmax(one, 1) for one in logits])
        return torch.logsumexp(logs, 0) - math.log(len(self.members))


def ensemble(*, members: str, forms: str, classes: int, in_channels: int, input_size: int) -> Ensemble:
    """Build an ensemble.

    Args:
        members: names of networks, "a+b+c".
        forms: "bundled" or "plain", which form of each; input, channels and classes are then as given here.
        classes: length of the logits.
        in_channels: 3 for RGB, 1 for grayscale.
        input_size: height and width of the image.

    Raises:
        UsageError: there is no such member, or one has no such form.
    """
    network = ensemble_network(f"ensemble:{members}", find)
    chosen = [
        resized(member, find, input_size=input_size, channels=in_channels, classes=classes)
        for member in members_of(network, forms, find)
    ]
    return Ensemble([build(member.form) for member in chosen], [member.preprocess for member in chosen])


def load_members(model: nn.Module, form: Form, load: Callable[[nn.Module, Form, Bundled], Loaded]) -> Loaded:
    """Set the bundled weights of every member of an ensemble and return what is known about them.

    Args:
        model: as `build(form)` gives it.
        form: of the ensemble.
        load: sets the bundled weights of one network, `edgecnn.zoo.weights.load_bundled`.

    Raises:
        UsageError: the form does not take its members as they were trained.
        BadInput: a file is damaged.
    """
    assert isinstance(model, Ensemble)
    if form.options["forms"] != BUNDLED:
        raise UsageError(f"{form.title} takes its members' plain forms", "give -O forms=bundled, or --weights random")
    known = []
    for network, member in zip(model.members, members_of(find(form.network), BUNDLED, find), strict=True):
        assert member.bundled is not None
        # A form that was not trained is refused by the loader.
        shared = replace(member.form, input_size=form.input_size, channels=form.channels, classes=form.classes)
        known.append(load(network, shared, member.bundled))
    licences = dict.fromkeys(one.licence for one in known)
    return replace(known[0], licence=" and ".join(filter(None, licences)))


__all__ = ["Ensemble", "Renormalise", "ensemble", "load_members"]
