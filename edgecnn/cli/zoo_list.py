"""The list of networks as a table that fits its terminal: in the papers' forms, or in those that come trained."""

from __future__ import annotations

from collections.abc import Sequence

from edgecnn.cli.output import fitting, hidden_note, print_table, shown_cells, table_width
from edgecnn.cli.zoo_tables import SUM_NOTE
from edgecnn.units import bytes_text, count_text, millions_text, percent_text
from edgecnn.zoo.pages.summary import Summary

_SUM = "activations,\nsum"

_SIZES = ("input", "params", "MACs (M)", _SUM)
_PUBLISHED = ("network", "family", "year", *_SIZES, "top-1 %", "top-5 %", "data set", "source", "bundled")
_TRAINED = ("network", "family", "year", "bundled", *_SIZES)
_LEFT = ("network", "family", "data set", "source", "bundled")

# What a narrow terminal goes without, in this order.
_DROPPED = ("source", "family", "year", "top-5 %", _SUM, "bundled", "input")
_DROPPED_TRAINED = ("family", "year", _SUM, "input", "bundled")

_DATA_SETS = {"imagenet-1k": "ImageNet", "cifar-10": "CIFAR-10", "mnist": "MNIST", "fashion-mnist": "Fashion-MNIST"}

_NOTES = {
    "input": "height x width x channels",
    _SUM: SUM_NOTE,
}


def print_list(rows: Sequence[Summary]) -> None:
    """Write the papers' forms to standard output; a terminal that is too narrow gets fewer columns and is told so."""
    sources = {row.accuracy_source: "" for row in rows if _has_accuracy(row) and row.accuracy_source}
    marks = {source: f"[{number}]" for number, source in enumerate(sources, 1)}
    measured = _measured(rows)
    columns = (*_PUBLISHED, measured)
    cells = [(*_published_cells(row, marks), _measured_text(row, rows)) for row in rows]
    shown = fitting(columns, cells, table_width(), dropped=_DROPPED)
    accuracy = "top-1, top-5" if "top-5 %" in shown else "top-1"
    about = {
        "top-1 %": f"{accuracy}: published, on the data set beside it",
        "bundled": "bundled: the form that comes with trained weights; edgecnn zoo --trained is about these",
        measured: f"{_heading(measured)}: top-1 of the bundled form, measured through the exported file",
    }
    notes = [*_notes(shown), *(text for name, text in about.items() if name in shown)]
    notes += [
        f"{accuracy} of {row.network}: of its form {row.accuracy_form}"
        for row in rows
        if _has_accuracy(row) and row.accuracy_form != row.network
    ]
    if "source" in shown:
        notes += [f"{mark} {source}" for source, mark in marks.items()]
    _print("zoo", columns, cells, shown, notes)


def print_trained(rows: Sequence[Summary]) -> None:
    """Write the forms that come with trained weights to standard output, with their own sizes and accuracy."""
    measured = _measured(rows)
    columns = (*_TRAINED, measured)
    cells = [(*_trained_cells(row), _measured_text(row, rows)) for row in rows]
    shown = fitting(columns, cells, table_width(), dropped=_DROPPED_TRAINED)
    notes = [
        "every figure, the order and the limits are those of the bundled form, which comes with trained weights;",
        "edgecnn zoo without --trained has the papers' forms",
        *_notes(shown),
        f"{_heading(measured)}: top-1 measured through the exported file",
    ]
    _print("zoo, bundled forms", columns, cells, shown, notes)


def _print(
    title: str, columns: Sequence[str], cells: Sequence[Sequence[str]], shown: Sequence[str], notes: Sequence[str]
) -> None:
    caption = "\n".join([*notes, *hidden_note(columns, shown)])
    print_table(title, shown, shown_cells(columns, cells, shown), left=_LEFT, caption=caption)


def _notes(shown: Sequence[str]) -> list[str]:
    return [f"{_heading(name)}: {text}" for name, text in _NOTES.items() if name in shown]


def _heading(name: str) -> str:
    return name.replace("-\n", "-").replace("\n", " ")


def _measured(rows: Sequence[Summary]) -> str:
    """Return the head of the column of measured accuracy: the data set, where all are measured on one."""
    found = {row.bundled_dataset for row in rows if row.bundled_dataset}
    name = _data_set(found.pop()) if len(found) == 1 else ""
    return f"{name} %".replace("-", "-\n") if name else "its top-1 %"


def _measured_text(row: Summary, rows: Sequence[Summary]) -> str:
    accuracy = percent_text(row.bundled_top1)
    several = len({other.bundled_dataset for other in rows if other.bundled_dataset}) > 1
    return f"{accuracy} ({_data_set(row.bundled_dataset)})" if several and row.bundled_dataset else accuracy


def _data_set(name: str) -> str:
    return _DATA_SETS.get(name, name)


def _has_accuracy(row: Summary) -> bool:
    return row.top1 is not None or row.top5 is not None


def _published_cells(row: Summary, marks: dict[str, str]) -> tuple[str, ...]:
    known = _has_accuracy(row)
    return (
        row.network,
        row.family,
        str(row.year),
        f"{row.input_size}x{row.input_size}x{row.channels}",
        count_text(row.params),
        millions_text(row.macs),
        bytes_text(row.activation_bytes),
        percent_text(row.top1),
        percent_text(row.top5),
        _data_set(row.dataset) if known else "-",
        (marks.get(row.accuracy_source) if known else None) or "-",
        row.bundled or "-",
    )


def _trained_cells(row: Summary) -> tuple[str, ...]:
    return (
        row.network,
        row.family,
        str(row.year),
        row.bundled or "-",
        f"{row.bundled_input_size}x{row.bundled_input_size}x{row.bundled_channels}",
        count_text(row.bundled_params),
        millions_text(row.bundled_macs),
        bytes_text(row.bundled_activation_bytes),
    )
