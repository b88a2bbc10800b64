"""A comparison as a table, as Markdown for a pull request and as JUnit XML for a build server."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from edgecnn.errors import UnknownName
from edgecnn.report.gates import Unjudged, Violation, change_text
from edgecnn.report.keys import check_fields
from edgecnn.report.rows import QUANTITIES, Row
from edgecnn.units import count_of

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


def across_hint(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the line that says how to compare across the fields in which records differ; none where none does."""
    named = dict.fromkeys(why.partition(": ")[0] for row in rows if row.whole for why in row.why)
    fields = [name for name in named if _may_differ(name)]
    return (f"if that is what the comparison is about: --across {','.join(fields)}",) if fields else ()


def markdown(rows: Sequence[Row], violations: Sequence[Violation], silent: Sequence[Unjudged] = ()) -> str:
    """Return the comparison as Markdown: the limits that were crossed first, the table, then what makes rows doubtful.

    Args:
        rows: of the comparison.
        violations: limits that were crossed.
        silent: subjects that limits could not judge.
    """
    lines = ["## edgecnn compare", ""]
    if violations:
        lines += [f"**{count_of(len({one.gate for one in violations}), 'limit')} crossed**", ""]
        lines += [f"- `{one.gate}`: {_escaped(_sentence(one))}" for one in violations]
        lines.append("")
    if silent:
        lines += [f"**{count_of(len(silent), 'subject')} skipped**", ""]
        lines += [f"- {_escaped(one.sentence)}" for one in silent]
        lines.append("")
    lines += ["| " + " | ".join(COLUMNS) + " |", "| " + " | ".join(_rule(name) for name in COLUMNS) + " |"]
    lines += ["| " + " | ".join(map(_escaped, cells)) + " |" for cells in table_rows(rows)]
    doubts = reasons(rows)
    if doubts:
        lines += ["", *(f"- {_escaped(line)}" for line in doubts)]
    return "\n".join(lines) + "\n"


def junit(rows: Sequence[Row], violations: Sequence[Violation], silent: Sequence[Unjudged] = ()) -> str:
    """Return the comparison as JUnit XML: a test case per row, failed where it crossed a limit by having got worse.

    What a limit could not be judged by is an error and no failure; limits that nothing at all could be judged by are test
    cases of their own. Other rows that cannot be compared are skipped. The form is the one that build servers read (the
    schema of Apache Ant's JUnit task).

    Args:
        rows: of the comparison.
        violations: limits that were crossed.
        silent: subjects that limits could not judge; a limit of a quantity that such a subject has no row of is a test case
            that was skipped.
    """
    crossed: dict[tuple[str, str], list[Violation]] = {}
    for one in violations:
        crossed.setdefault((one.title, one.quantity), []).append(one)
    passed_over = {(one.title, gate.quantity): one for one in silent for gate in one.gates}
    suite = ElementTree.Element("testsuite", name="edgecnn compare")
    for row in rows:
        case = ElementTree.SubElement(suite, "testcase", classname=_xml(row.title), name=row.quantity)
        found = crossed.pop((row.title, row.quantity), [])
        if found:
            _crossed(case, found)
        elif row.verdict == "not comparable":
            known = passed_over.pop((row.title, row.quantity), None)
            _skipped(case, known.sentence if known else "; ".join(row.why))
        else:
            ElementTree.SubElement(case, "system-out").text = _xml(f"{row.verdict}: {change_text(row)}")
    for (title, quantity), found in crossed.items():
        _crossed(ElementTree.SubElement(suite, "testcase", classname=_xml(title or "limits"), name=quantity), found)
    for (title, quantity), left in passed_over.items():
        _skipped(ElementTree.SubElement(suite, "testcase", classname=_xml(title), name=quantity), left.sentence)
    suite.set("tests", str(len(suite)))
    suite.set("failures", str(len(suite.findall("testcase/failure"))))
    suite.set("errors", str(len(suite.findall("testcase/error"))))
    suite.set("skipped", str(len(suite.findall("testcase/skipped"))))
    ElementTree.indent(suite)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suite, encoding="unicode") + "\n"


def _may_differ(name: str) -> bool:
    try:
        check_fields((name,))
    except UnknownName:
        return False
    return True


def _crossed(case: ElementTree.Element, found: Sequence[Violation]) -> None:
    text = "; ".join(f"{one.gate}: {one.message}" for one in found)
    kind, word = ("failure", "regression") if any(one.judged for one in found) else ("error", "not judged")
    ElementTree.SubElement(case, kind, message=_xml(text), type=word)


def _skipped(case: ElementTree.Element, text: str) -> None:
    ElementTree.SubElement(case, "skipped", message=_xml(text))


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
    plain = re.sub(r"\s+", " ", _xml(text))
    return re.sub(r"([\\`*_{}\[\]<>#|&~])", r"\\\1", plain)


def _xml(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
