"""Which form of a network is meant: by its bundled weights, by a weights file that says so, or by options alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgecnn.errors import BadInput, Contradiction, UsageError
from edgecnn.zoo.network import Form, Network
from edgecnn.zoo.registry import bundled_form, find, make_form, networks


def choose_form(
    network: str | Network,
    weights: str | None,
    /,
    *,
    input_size: int | None = None,
    classes: int | None = None,
    channels: int | None = None,
    **options: object,
) -> tuple[Form, str]:
    """Return the form that was asked for and the source of its weights.

    Args:
        network: the network, its name or an alias.
        weights: "bundled" (also what None means), "random", "imagenet" or a file.
        input_size: height and width in pixels; None as the weights, or else the paper's form, have it.
        classes: length of the logits, likewise.
        channels: 3 or 1, likewise.
        **options: of the network, likewise.

    Raises:
        UsageError: nothing is said about weights and none are bundled, or there is no such network or option.
        Contradiction: the options are not those of the bundled weights.
        BadInput: the weights file is of another network.
    """
    entry = find(network) if isinstance(network, str) else network
    asked: dict[str, Any] = {"input_size": input_size, "classes": classes, "channels": channels, **options}
    asked = {name: value for name, value in asked.items() if value is not None}
    if weights in (None, "bundled"):
        return _bundled(entry, asked), "bundled"
    assert weights is not None
    if weights in ("random", "imagenet"):
        return make_form(entry, **asked), weights
    return _of_file(entry, weights, asked), weights


def _bundled(entry: Network, asked: dict[str, Any]) -> Form:
    bundled = bundled_form(entry)
    if bundled is None:
        make_form(entry, **asked)  # an impossible option is the first thing to say
        trained = [one for one in networks() if one.bundled]
        family = [one.name for one in trained if one.family == entry.family]
        near = f"; bundled in the {entry.family} family: {', '.join(family)}" if family else ""
        names = ", ".join(one.name for one in trained)
        raise UsageError(
            f"{entry.name} has no bundled weights",
            f"give --weights random or --weights FILE{near}; all bundled: {names}",
        )
    wanted = make_form(entry, **{**_options(bundled), **asked})
    if wanted != bundled:
        differing = ", ".join(f"{name} {value}" for name, value in asked.items())
        raise Contradiction(
            f"the bundled weights are those of {bundled.title}, not of {entry.name} with {differing}",
            "give --weights random or --weights FILE as well",
        )
    return bundled


def _of_file(entry: Network, weights: str, asked: dict[str, Any]) -> Form:
    from edgecnn.zoo.weights import read_origin  # noqa: PLC0415 (imports torch, which the choice itself does not need)

    origin = read_origin(Path(weights))
    if origin is None:
        return make_form(entry, **asked)
    if origin.form.network != entry.name:
        raise BadInput(f"weights file {weights}", expected=entry.name, got=origin.form.title)
    return make_form(entry, **{**_options(origin.form), **asked})


def _options(form: Form) -> dict[str, Any]:
    return {
        "input_size": form.input_size,
        "classes": form.classes,
        "channels": form.channels,
        **form.options,
    }
