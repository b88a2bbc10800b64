"""A comparison as a table, as Markdown for a pull request and as JUnit XML for a build server."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from edgecnn.report.gates import Violation, change_text
from edgecnn.report.rows import QUANTITIES, Row

COLUMNS = ("subject", "quantity", "old", "new", "change", "95% interval", "verdict")
"""Heads of the columns; the first two and the last hold words."""

LEFT = ("subject", "quantity", "verdict")
"""Columns that hold words."""

# What XML 1.0 cannot hold, not even escaped (W3C recommendation, production 2 "Char").
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def table_rows(rows: Sequence[Row]) -> tuple[tuple[str, ...], ...]:
    """Return the cells of `COLUMNS`."""
    return tuple(_cells(row) for row in rows)


def reasons(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return a line for every row that is not comparable or doubtful."""
    return tuple(f"{row.title}, {row.quantity}: {'; '.join(row.why)}" for row in rows if row.why)


def markdown(rows: Sequence[Row], violations: Sequence[Violation]) -> str:
    """Return the comparison as Markdown: the limits that were crossed first, the table, then what makes rows doubtful."""
    lines = ["## edgecnn compare", ""]
    if violations:
        lines += [f"**{len(violations)} limit{'s' * (len(violations) != 1)} crossed**", ""]
        lines += [f"- `{one.gate}`: {_escaped(_sentence(one))}" for one in violations]
        lines.append("")
    lines += ["| " + " | ".join(COLUMNS) + " |", "| " + " | ".join(_rule(name) for name in COLUMNS) + " |"]
    lines += ["| " + " | ".join(map(_escaped, cells)) + " |" for cells in table_rows(rows)]
    doubts = reasons(rows)
    if doubts:
        lines += ["", *(f"- {_escaped(line)}" for line in doubts)]
    return "\n".join(lines) + "\n"


def junit(rows: Sequence[Row], violations: Sequence[Violation]) -> str:
    """Return the comparison as JUnit XML: a test case per row, failed where it crossed a limit.

    Rows that cannot be compared are skipped; limits that nothing could be judged by are test cases of their own. The
    form is the one that build servers read (the schema of Apache Ant's JUnit task).
    """
    crossed: dict[tuple[str, str], list[Violation]] = {}
    for one in violations:
        crossed.setdefault((one.title, one.quantity), []).append(one)
    suite = ElementTree.Element("testsuite", name="edgecnn compare")
    failures = skipped = 0
    for row in rows:
        case = ElementTree.SubElement(suite, "testcase", classname=_xml(row.title), name=row.quantity)
        found = crossed.pop((row.title, row.quantity), [])
        if found:
            failures += 1
            _failure(case, found)
        elif row.verdict == "not comparable":
            skipped += 1
            ElementTree.SubElement(case, "skipped", message=_xml("; ".join(row.why)))
        else:
            ElementTree.SubElement(case, "system-out").text = _xml(f"{row.verdict}: {change_text(row)}")
    for (title, quantity), found in crossed.items():
        failures += 1
        _failure(ElementTree.SubElement(suite, "testcase", classname=_xml(title or "limits"), name=quantity), found)
    suite.set("tests", str(len(suite)))
    suite.set("failures", str(failures))
    suite.set("errors", "0")
    suite.set("skipped", str(skipped))
    ElementTree.indent(suite)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suite, encoding="unicode") + "\n"


def _failure(case: ElementTree.Element, found: Sequence[Violation]) -> None:
    text = "; ".join(f"{one.gate}: {one.message}" for one in found)
    ElementTree.SubElement(case, "failure", message=_xml(text), type="regression")


def _cells(row: Row) -> tuple[str, ...]:
    text = QUANTITIES[row.quantity].text
    change = interval = "-"
    if row.points is not None:
        change = f"{row.points:+.2f} points"
    elif row.ratio is not None:
        change = f"{100 * (row.ratio - 1):+.1f}%"
    if row.interval is not None:
        interval = " to ".join(f"{100 * (end - 1):+.1f}%" for end in row.interval)
    return row.title, row.quantity, text(row.old), text(row.new), change, interval, row.verdict


def _sentence(violation: Violation) -> str:
    return ": ".join(filter(None, (violation.title, violation.message)))


def _rule(name: str) -> str:
    return "---" if name in LEFT else "---:"


def _escaped(text: str) -> str:
    """Return text that is no markup, on one line: names and messages come from files."""
    plain = re.sub(r"\s+", " ", text)
    return re.sub(r"([\\`*_{}\[\]<>#|])", r"\\\1", plain)


def _xml(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
