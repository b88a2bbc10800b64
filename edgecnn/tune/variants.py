"""Width and resolution of a family: which variants of a network there are to try, and their files.

A variant has an accuracy only where trained weights of it exist. Bundled are those of one form of a network, so that with
them there is one variant. With random weights every width (alpha) and resolution (rho) that a source has published
figures of can be timed; accuracy then is not applicable, and no drop can be held.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from edgecnn.errors import Contradiction, EdgecnnError
from edgecnn.specs import Artifact
from edgecnn.zoo.choice import choose_form
from edgecnn.zoo.network import Form, Network
from edgecnn.zoo.registry import find, make_form

MOST_FORMS = 6
"""Variants that are exported and timed where none are named: exporting one takes as long as timing many."""


def variant_forms(
    network: str,
    weights: str | None,
    *,
    widths: Sequence[float] | None = None,
    input_sizes: Sequence[int] | None = None,
) -> tuple[Form, ...]:
    """Return the forms of a network that are tried, the largest first.

    Args:
        network: name or alias.
        weights: "bundled" (also what None means) for the one form that is trained, or "random".
        widths: the width multipliers to try; None takes those that figures are published of.
        input_sizes: the resolutions in pixels to try; None likewise.

    Raises:
        UsageError: no such network, or no bundled weights.
        Contradiction: widths or sizes with trained weights, weights of another kind, or a network without that option.
    """
    if weights in (None, "bundled"):
        if widths or input_sizes:
            raise Contradiction(
                "trained weights are of one width and resolution", "give --weights random to time other variants"
            )
        return (choose_form(network, weights)[0],)
    if weights != "random":
        raise Contradiction(
            f"--weights {weights}: variants are tried with random weights alone",
            "export the trained network and give its file",
        )
    entry = find(network)
    asked = bool(widths or input_sizes)
    forms = _product(entry, widths, input_sizes) if asked else _published(entry)
    return tuple(sorted(forms, key=lambda form: (-_width(form), -form.input_size, form.title)))


def export_variants(
    forms: Sequence[Form],
    weights: str,
    folder: Path,
    *,
    seed: int = 0,
    on_step: Callable[[str], None] = lambda step: None,
    go_on: Callable[[], bool] = lambda: True,
) -> dict[str, Artifact | str]:
    """Return title -> the file of each form, or the reason why there is none.

    Args:
        forms: what is written.
        weights: "bundled" or "random".
        folder: where to.
        seed: of random weights.
        on_step: called with what is being done.
        go_on: asked before each but the first; False leaves the rest out.
    """
    from edgecnn.exporters.network import ExportOptions, export_network

    found: dict[str, Artifact | str] = {}
    for form in forms:
        if found and not go_on():
            found[form.title] = "out of time before it was exported"
            continue
        on_step(f"exporting {form.title}")
        try:
            options = ExportOptions(weights=weights, seed=seed)
            found[form.title] = export_network(form, folder / f"{form.title}.onnx", options)
        except EdgecnnError as error:
            if len(forms) == 1:
                raise
            found[form.title] = error.message
    return found


def _published(entry: Network) -> list[Form]:
    """Return the plain form and the published forms that differ from it in width and resolution alone."""
    plain = make_form(entry)
    fixed = {name: value for name, value in plain.options.items() if name != "width"}
    forms = [plain]
    for row in entry.published:
        same = all(row.form.options.get(name) == value for name, value in fixed.items())
        if same and row.form.channels == plain.channels and row.form not in forms:
            forms.append(row.form)
    return forms


def _product(entry: Network, widths: Sequence[float] | None, sizes: Sequence[int] | None) -> list[Form]:
    return [
        make_form(entry, width=width, input_size=size) if width is not None else make_form(entry, input_size=size)
        for width in widths or (None,)
        for size in sizes or (None,)
    ]


def _width(form: Form) -> float:
    width = form.options.get("width", 1.0)
    return float(width) if isinstance(width, (int, float)) else 1.0


def spread(forms: Sequence[Form], most: int = MOST_FORMS) -> tuple[Form, ...]:
    """Return at most so many of these forms, evenly over their cost, the first and the last among them.

    A variant's multiply-adds go with the square of its width and the square of its resolution (Howard et al. 2017,
    equation 7).

    Args:
        forms: variants of one network.
        most: at least 2.
    """
    if len(forms) <= most:
        return tuple(forms)
    ordered = sorted(forms, key=lambda form: (-((_width(form) * form.input_size) ** 2), form.title))
    step = (len(ordered) - 1) / (most - 1)
    return tuple(ordered[round(place * step)] for place in range(most))
