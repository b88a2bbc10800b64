"""Which form of a network is meant: by its bundled weights, by a weights file that says so, or by options alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgecnn.errors import BadInput, Contradiction, UsageError
from edgecnn.zoo.network import Form, Network
from edgecnn.zoo.published import published_files, published_form
from edgecnn.zoo.registry import bundled_form, bundled_names, find, make_form


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

    Bundled weights of a network without its own are those of its small form: the form returned says which network it is.

    Args:
        network: the network, its name or an alias.
        weights: "bundled" (also what None means), "random", "imagenet" or a file.
        input_size: height and width in pixels; None as the weights, or else the paper's form, have it.
        classes: length of the logits, likewise.
        channels: 3 or 1, likewise.
        **options: of the network, likewise.

    Raises:
        UsageError: nothing is said about weights and none are bundled, or there is no such network or option.
        Contradiction: the options are not those of the bundled or published weights.
        BadInput: the weights file is damaged or of another network.
    """
    entry = find(network) if isinstance(network, str) else network
    asked: dict[str, Any] = {"input_size": input_size, "classes": classes, "channels": channels, **options}
    asked = {name: value for name, value in asked.items() if value is not None}
    if weights in (None, "bundled"):
        return _bundled(entry, asked), "bundled"
    assert weights is not None
    if weights == "random":
        return make_form(entry, **asked), weights
    if weights == "imagenet":
        return published_form(entry, asked), weights
    return _of_file(entry, weights, asked), weights


def _bundled(entry: Network, asked: dict[str, Any]) -> Form:
    bundled = bundled_form(entry)
    if bundled is None and entry.small and bundled_form(entry.small):
        return _bundled(find(entry.small), asked)
    if bundled is None:
        make_form(entry, **asked)  # an impossible option is the first thing to say
        family = bundled_names(entry.family)
        near = f"; bundled in the {entry.family} family: {', '.join(family)}" if family else ""
        published = "imagenet, --weights " if published_files(entry) else ""
        raise UsageError(
            f"{entry.name} has no bundled weights",
            f"give --weights {published}random or --weights FILE{near}; all bundled: {', '.join(bundled_names())}",
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
        return _of_foreign_file(entry, Path(weights), asked)
    if origin.form.network != entry.name:
        raise BadInput(f"weights file {weights}", expected=entry.name, got=origin.form.title)
    return make_form(entry, **{**_options(origin.form), **asked})


def _of_foreign_file(entry: Network, weights: Path, asked: dict[str, Any]) -> Form:
    """Return the form whose keys and shapes a file has: with the plain options, or else with published ones."""
    from edgecnn.zoo.checkpoints import choose_among  # noqa: PLC0415 (imports torch)
    from edgecnn.zoo.statedict import read_shapes  # noqa: PLC0415 (imports torch)

    forms = [make_form(entry, **asked)]
    for options in (*(rule.options for rule in entry.checkpoints), *(row.form.options for row in entry.published)):
        form = make_form(entry, **{**options, **asked})
        if form not in forms:
            forms.append(form)
    if len(forms) == 1 and not any(rule.input_size for rule in entry.checkpoints):
        return forms[0]
    form, rule = choose_among(forms, read_shapes(weights))
    if rule and rule.input_size and "input_size" not in asked:
        return make_form(entry, **{**_options(form), "input_size": rule.input_size})
    return form


def _options(form: Form) -> dict[str, Any]:
    return {
        "input_size": form.input_size,
        "classes": form.classes,
        "channels": form.channels,
        **form.options,
    }
