from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

from edgecnn.report.compare import compare
from edgecnn.report.comparepages import COLUMNS, across_hint, junit, markdown, reasons, table_rows
from edgecnn.report.gates import check, parse_limits, unjudged
from edgecnn.testing.records import made_latencies, made_record

OLD = [made_record(made_latencies(1e6)), made_record(plan_batch=8), made_record(subject_network="gone")]
NEW = [made_record(made_latencies(1.1e6)), made_record(plan_batch=8, runtime_threads=1)]
ROWS = compare(OLD, NEW)
NOTHING = (
    "nothing to judge: no record says anything about energy of those that are compared; runtime.threads: 4 against 1; "
    "no new record of this"
)
VIOLATIONS = check(ROWS, parse_limits("latency>3%,memory>5%,energy>5%"))


def test_cells_stand_below_their_heads() -> None:
    cells = dict(zip(COLUMNS, table_rows(ROWS)[0], strict=True))
    assert cells["subject"] == "mobilenet_v1_0.25_32 int8 batch 4 on cpu, 4 threads"
    assert (cells["old"], cells["new"], cells["change"], cells["verdict"]) == ("1.00 ms", "1.10 ms", "+10.0%", "slower")
    assert all(len(row) == len(COLUMNS) for row in table_rows(ROWS))


def test_reasons_name_what_cannot_be_compared() -> None:
    assert [line.partition(": ")[2] for line in reasons(ROWS)] == [
        "runtime.threads: 4 against 1",
        "no new record of this",
    ]


def test_fields_that_differ_are_offered_to_compare_across() -> None:
    assert across_hint(ROWS) == ("if that is what the comparison is about: --across runtime.threads",)
    assert across_hint(compare(OLD[:1], NEW[:1])) == ()
    options = compare([made_record()], [made_record(runtime_options={"spinning": False})])
    assert across_hint(options)[0].endswith("--across runtime.options.arena,runtime.options.spinning")


def test_markdown_is_a_table_with_what_was_crossed_above_it() -> None:
    lines = markdown(ROWS, VIOLATIONS).splitlines()
    assert lines[:3] == ["## edgecnn compare", "", "**2 limits crossed**"]
    assert lines[4].startswith(
        "- `latency>3%`: mobilenet\\_v1\\_0.25\\_32 int8 batch 4 on cpu, 4 threads: 10.0% slower"
    )
    assert lines[5] == f"- `energy>5%`: {NOTHING}"
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 2 + len(ROWS)
    assert {line.count("|") - line.count("\\|") for line in table} == {len(COLUMNS) + 1}
    assert "limit" not in markdown(ROWS, ())


def test_junit_counts_and_names_what_failed() -> None:
    suite = ElementTree.fromstring(junit(ROWS, VIOLATIONS))
    counts = {name: int(suite.get(name, "-1")) for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": len(ROWS) + 1, "failures": 1, "errors": 1, "skipped": 2}
    assert len(suite.findall("testcase")) == counts["tests"]
    found = {
        tag: [(case.get("name"), case[0]) for case in suite if case.find(tag) is not None]
        for tag in ("failure", "error")
    }
    ((name, failure),), ((other, error),) = found["failure"], found["error"]
    assert (name, failure.get("type")) == ("latency", "regression")
    assert failure.get("message", "").startswith("latency>3%: 10.0% slower")
    assert (other, error.get("type")) == ("energy", "not judged")
    assert error.get("message") == f"energy>5%: {NOTHING}"
    skipped = [case[0].get("message") for case in suite if case.find("skipped") is not None]
    assert skipped == ["runtime.threads: 4 against 1", "no new record of this"]


def test_names_from_files_are_no_markup() -> None:
    odd = replace(made_record(), subject=replace(made_record().subject, network='a|b<c>&"\x00\ud800`', variant=""))
    rows = compare([odd], [odd])
    assert "a\\|b\\<c\\>" in markdown(rows, ())
    suite = ElementTree.fromstring(junit(rows, ()))
    assert suite[0].get("classname", "").startswith('a|b<c>&"\ufffd\ufffd`')


def test_a_failure_stands_at_its_own_test_case() -> None:
    """Two files of one network: what the second one lost is no failure of the first."""
    old = [made_record(subject_file="a.onnx"), made_record(subject_file="b.onnx")]
    new = [made_record(subject_file="a.onnx"), made_record(made_latencies(2e6), subject_file="b.onnx")]
    rows = compare(old, new)
    suite = ElementTree.fromstring(junit(rows, check(rows, parse_limits("latency>3%"))))
    failed = [case.get("classname", "") for case in suite if case.find("failure") is not None]
    assert len(failed) == 1
    assert failed[0].endswith("(b.onnx)")
    assert len({(case.get("classname"), case.get("name")) for case in suite}) == len(suite)


def test_markdown_can_be_written_whatever_a_file_is_called() -> None:
    odd = replace(made_record(), subject=replace(made_record().subject, network="a&amp;~\udcff", variant=""))
    text = markdown(compare([odd], [odd]), ())
    assert "a\\&amp;\\~\ufffd" in text
    assert text.encode()


def test_what_limits_could_not_judge_is_skipped_in_both_pages() -> None:
    gates = parse_limits("latency>30%,memory>5%")
    silent = unjudged(ROWS, gates)
    assert [one.message for one in silent] == ["runtime.threads: 4 against 1", "no new record of this"]
    lines = markdown(ROWS, check(ROWS, gates), silent).splitlines()
    net = "mobilenet\\_v1\\_0.25\\_32 int8 batch 8 on cpu, 1 thread"
    told = "- not judged by latency\\>30%, memory\\>5%:"
    assert lines[2:6] == [
        "**2 subjects skipped**",
        "",
        f"{told} {net}: runtime.threads: 4 against 1",
        f"{told} gone\\_0.25\\_32 int8 batch 4 on cpu, 4 threads: no new record of this",
    ]
    suite = ElementTree.fromstring(junit(ROWS, check(ROWS, gates), silent))
    skipped = [(case.get("classname"), case.get("name")) for case in suite if case.find("skipped") is not None]
    assert sorted(skipped) == sorted((one.title, gate.quantity) for one in silent for gate in gates)
    assert {suite.get("skipped"), suite.get("tests")} == {"4", str(len(ROWS) + 2)}
