"""Tables that fit their width, and the width that there is."""

from __future__ import annotations

import pytest

from edgecnn.cli.output import fitting, folded, hidden_note, print_table, shown_cells, table_width

COLUMNS = ("name", "two\nlines", "last")
ROWS = (("a", "b", "c"), ("longer", "", "x"))


def test_columns_go_in_their_order_until_the_rest_fits() -> None:
    # 6 + 5 + 4 characters and two gaps of 3.
    assert fitting(COLUMNS, ROWS, 21, dropped=("last", "two\nlines")) == COLUMNS
    assert fitting(COLUMNS, ROWS, 20, dropped=("last", "two\nlines")) == ("name", "two\nlines")
    assert fitting(COLUMNS, ROWS, 1, dropped=("last", "two\nlines")) == ("name",)
    assert fitting(COLUMNS, ROWS, None, dropped=("last",)) == COLUMNS
    assert fitting(COLUMNS, (), 3, dropped=("last",)) == ("name", "two\nlines")


def test_a_line_is_broken_between_words() -> None:
    assert folded("one two three", 8) == ["one two", "  three"]
    assert folded("--a-long-option", 8) == ["--a-long-option"]
    assert folded("one two three", None) == ["one two three"]
    assert folded("", 8) == [""]


def test_a_very_wide_table_keeps_its_cells(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("wide", [f"column{place}" for place in range(300)], [[f"value{place}" for place in range(300)]])
    out = capsys.readouterr().out
    assert all(f"value{place}" in out for place in range(300))


def test_what_is_hidden_is_said() -> None:
    assert shown_cells(COLUMNS, ROWS, ("name", "last")) == (("a", "c"), ("longer", "x"))
    assert hidden_note(COLUMNS, ("name", "last")) == ["not shown for lack of width: two lines"]
    assert hidden_note(COLUMNS, COLUMNS) == []


@pytest.mark.parametrize(("value", "width"), [("72", 72), ("", None), ("0", None), ("-3", None), ("wide", None)])
def test_without_a_terminal_columns_of_the_environment_are_the_width(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], value: str, width: int | None
) -> None:
    monkeypatch.setenv("COLUMNS", value)
    assert table_width() == width
    monkeypatch.delenv("COLUMNS")
    assert table_width() is None
