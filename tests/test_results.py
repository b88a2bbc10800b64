from __future__ import annotations

import copy
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from edgecnn import recordpage
from edgecnn.errors import BadInput, ResultsError
from edgecnn.jsonform import to_json
from edgecnn.resultlines import append, dumps, loads, read, schema
from edgecnn.results import SCHEMA, Record

GOLDEN = Path(__file__).parent / "golden" / "record.jsonl"
DOCS = Path(__file__).parents[1] / "docs"
FULL, FAILED = read(GOLDEN)
PLAIN: dict[str, Any] = to_json(FULL)
VALIDATOR = Draft202012Validator(schema())

Place = tuple[str | int, ...]


def _places(value: Any, place: Place = ()) -> Iterator[Place]:
    """Yield where every value inside a JSON value is."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield (*place, key)
        yield from _places(inner, (*place, key))


def _at(value: Any, place: Place) -> Any:
    for key in place:
        value = value[key]
    return value


def _key_path(place: Place) -> str:
    return "record" + "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in place)


def _refused(data: Any) -> BadInput | None:
    try:
        loads(json.dumps(data))
    except BadInput as error:
        return error
    return None


PLACES = list(_places(PLAIN))


# --- the format


def test_the_golden_record_stays_readable() -> None:
    assert (FULL.schema, FULL.status, FULL.reason) == ("edgecnn.result/1", "ok", None)
    assert (FULL.subject.network, FULL.subject.input_shape) == ("mobilenet_v1", (4, 1, 32, 32))
    assert FULL.subject.accuracy[0].value == 0.9258
    assert FULL.subject.lineage[0].options == {
        "opset": 18,
        "width": 0.25,
        "fold": True,
        "batch": None,
        "weights": "bundled",
    }
    assert FULL.runtime is not None
    assert FULL.runtime.nodes == {"CPUExecutionProvider": 31}
    assert (FULL.device.cgroup_quota, FULL.device.hypervisor) == (2.5, False)
    assert FULL.plan.clock_resolution_ns == 56
    # Written before there was another load generator than our own.
    assert (FULL.plan.load_generator, FULL.plan.load_generator_version) == ("own", None)
    latency = FULL.metric("latency")
    assert latency is not None
    assert (latency.n, latency.samples[-1], latency.p99, latency.ci95) == (10, 2000.5, None, (1020.0, 1070.0))
    assert FULL.metric("power") is None
    assert FULL.quality.reasons[0].severity == "suspect"
    assert FULL.quality.temperature_c == (48.2, None)
    assert FULL.provenance.argv[-1] == "Größe 鞋"
    assert (FAILED.status, FAILED.reason) == ("failed", "InferenceError: onnxruntime failed")
    assert (FAILED.runtime, FAILED.device.cpu, FAILED.quality.verdict) == (None, None, None)


def test_what_the_golden_record_says_is_written_again() -> None:
    for line, record in zip(GOLDEN.read_text().splitlines(), (FULL, FAILED), strict=True):
        written = json.loads(dumps(record))
        for place in _places(json.loads(line)):
            value = _at(json.loads(line), place)
            # Objects may have got new keys since, each with a default.
            assert isinstance(value, (dict, list)) or _at(written, place) == value, place
        assert next(iter(written)) == "schema"


def test_a_line_is_one_line_of_plain_json() -> None:
    odd = replace(FULL, reason='a\nb\u2028c\x85d\0 "quoted" \\ \U0001f4f7')
    text = dumps(odd)
    assert "\n" not in text
    assert loads(text) == odd


def test_bytes_of_a_name_that_are_no_text_survive() -> None:
    odd = replace(FULL, provenance=replace(FULL.provenance, argv=(os.fsdecode(b"photo\xff.jpg"),)))
    text = dumps(odd)
    text.encode("utf-8")
    assert os.fsencode(loads(text).provenance.argv[0]) == b"photo\xff.jpg"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_json_has_no_word_for_is_not_written(tmp_path: Path, value: float) -> None:
    odd = replace(FULL, quality=replace(FULL.quality, load_average=value))
    with pytest.raises(ValueError, match="JSON"):
        dumps(odd)
    with pytest.raises(ResultsError, match=r"cannot be written: .*JSON"):
        append(tmp_path / "r.jsonl", [FULL, odd])
    assert list(read(tmp_path / "r.jsonl")) == [FULL]


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_that_is_none_is_not_read(word: str) -> None:
    text = dumps(FULL).replace('"load_average":0.25', f'"load_average":{word}')
    with pytest.raises(BadInput, match=r"record\.quality\.load_average: expected a finite float"):
        loads(text)


@pytest.mark.parametrize("text", ["", "{", "nothing", "[" * 100_000, '{"schema":"edgecnn.result/1"'])
def test_what_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match=r"^not JSON: "):
        loads(text)


@pytest.mark.parametrize("data", [{}, [], None, 3, {"schema": None}, {"schema": "edgecnn.result/2"}, {"schema": ["x"]}])
def test_another_schema_is_refused(data: Any) -> None:
    error = _refused(data)
    assert error is not None
    assert error.message.startswith("schema: expected edgecnn.result/1, got ")
    assert "upgrade" in error.hint


# --- strictness: the reader and the JSON schema agree


@pytest.mark.parametrize("place", PLACES, ids=_key_path)
def test_a_value_of_the_wrong_type_is_refused_by_reader_and_schema(place: Place) -> None:
    data = copy.deepcopy(PLAIN)
    old = _at(data, place)
    _at(data, place[:-1])[place[-1]] = ["wrong"] if isinstance(old, dict) else {"wrong": ["wrong"]}
    error = _refused(data)
    assert error is not None
    assert error.message.startswith("schema" if place == ("schema",) else _key_path(place))
    assert not VALIDATOR.is_valid(data)


def test_a_missing_key_is_refused_by_reader_and_schema_alike() -> None:
    outcomes = {}
    for place in PLACES:
        data = copy.deepcopy(PLAIN)
        if not isinstance(_at(data, place[:-1]), dict):
            continue
        del _at(data, place[:-1])[place[-1]]
        error = _refused(data)
        assert (error is None) == VALIDATOR.is_valid(data), place
        outcomes[place] = error
    for place in [
        ("status",),
        ("subject", "sha256"),
        ("plan", "seed"),
        ("metrics", 0, "samples"),
        ("provenance", "host"),
    ]:
        error = outcomes[place]
        assert error is not None
        assert error.message == f"{_key_path(place)} is missing"
    for place in [("reason",), ("subject", "params"), ("device", "cpu"), ("plan", "clock"), ("quality", "verdict")]:
        assert outcomes[place] is None
    assert outcomes["schema",] is not None


def test_null_is_refused_where_it_is_refused_by_the_schema() -> None:
    for place in PLACES:
        data = copy.deepcopy(PLAIN)
        _at(data, place[:-1])[place[-1]] = None
        assert (_refused(data) is None) == VALIDATOR.is_valid(data), place


@pytest.mark.parametrize("record", [FULL, FAILED], ids=["full", "failed"])
def test_records_are_valid_against_the_schema(record: Record) -> None:
    VALIDATOR.validate(json.loads(dumps(record)))


def test_the_schema_is_a_schema_and_knows_no_other_keys() -> None:
    Draft202012Validator.check_schema(schema())
    assert schema()["title"] == SCHEMA
    assert not VALIDATOR.is_valid({**PLAIN, "colour": "blue"})


def test_keys_of_a_later_version_are_passed_over(tmp_path: Path) -> None:
    newer = copy.deepcopy(PLAIN)
    newer["weather"] = {"wind": 3}
    for place in [("subject",), ("device",), ("runtime",), ("metrics", 0), ("quality", "reasons", 0)]:
        _at(newer, place)["new_key"] = [1, None]
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps(newer) + "\n")
    assert list(read(path)) == [FULL]


@pytest.mark.parametrize("name", [recordpage.PAGE, recordpage.SCHEMA_FILE])
def test_docs_say_what_the_code_says(name: str, tmp_path: Path) -> None:
    recordpage.write(tmp_path)
    assert (DOCS / name).read_text() == (tmp_path / name).read_text(), "run: python -m edgecnn.recordpage docs"


def test_the_page_has_every_key_of_every_group() -> None:
    page = recordpage.record_page()
    for definition in schema()["$defs"].values():
        for key, value in definition["properties"].items():
            assert f"| `{key}` | " in page
            assert value["description"]
    for group in ("subject", "runtime", "device", "plan", "metrics[]", "quality.reasons[]", "subject.accuracy[]"):
        assert f"\n## `{group}`\n" in page
    assert "| `ci95` | [number, number] or null |" in page
    assert "| `nodes` | object of integer or null |" in page


def test_the_page_is_made_by_the_module_as_a_command(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "edgecnn.recordpage", str(tmp_path)], check=True, cwd=DOCS.parent)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["record.md", "result.schema.json"]


# --- the file


def test_append_and_read(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "r.jsonl"
    append(path, [FULL])
    append(path, iter([FAILED, FULL]))
    append(path, [])
    assert list(read(path)) == [FULL, FAILED, FULL]
    assert path.read_text() == "".join(f"{dumps(record)}\n" for record in (FULL, FAILED, FULL))


def test_blank_lines_and_line_ends_of_windows_are_no_matter(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(f"\n{dumps(FULL)}\r\n\n  \n{dumps(FAILED)}", newline="")
    assert list(read(path)) == [FULL, FAILED]
    path.write_text("")
    assert list(read(path)) == []


LINE = dumps(FULL).encode()
# Every way in which a line can end: in its first key, behind an inner brace, in a letter of several bytes, before its end.
CUTS = {*range(1, 60), *range(60, len(LINE), 37), *range(len(LINE) - 130, len(LINE))} | {
    position + 1 for position, byte in enumerate(LINE[:-1]) if byte == ord("}")
}


def test_a_line_cut_short_anywhere_is_passed_over_before_and_after_append_closes_it(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    head = dumps(FAILED).encode() + b"\n"
    for cut in sorted(CUTS):
        path.write_bytes(head + LINE[:cut])
        assert list(read(path)) == [FAILED], cut
        with path.open("ab") as file:
            file.write(b"\n" + head)
        assert list(read(path)) == [FAILED, FAILED], cut


def test_braces_inside_a_string_do_not_close_a_record(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    line = dumps(replace(FULL, reason='}}}} "}}" {{')).encode()
    for cut in range(line.index(b"}}}}"), line.index(b"{{") + 4):
        path.write_bytes(line[:cut] + b"\n" + LINE)
        assert list(read(path)) == [FULL], cut


def test_append_closes_what_a_crash_left(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    cut = LINE[:500]
    path.write_bytes(cut)
    append(path, [FULL])
    assert path.read_bytes() == cut + b"\n" + LINE + b"\n"
    assert list(read(path)) == [FULL]


def test_a_whole_record_without_its_newline_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(dumps(FAILED))
    append(path, [FULL])
    assert list(read(path)) == [FAILED, FULL]


@pytest.mark.parametrize("zeros", [b"\0" * 512, LINE[:300] + b"\0" * 212])
def test_zeros_of_a_power_cut_are_passed_over(tmp_path: Path, zeros: bytes) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(dumps(FAILED).encode() + b"\n" + zeros)
    assert list(read(path)) == [FAILED]
    append(path, [FULL])
    assert list(read(path)) == [FAILED, FULL]


@pytest.mark.parametrize(
    ("line", "key", "message"),
    [
        ("hello", "", "not JSON: "),
        ("{'schema': 1}", "", "not JSON: "),
        ("[" * 100_000, "", "not JSON: "),
        (dumps(FULL) + "}", "", "not JSON: "),
        (dumps(FULL)[:300] + dumps(FULL), "", "not JSON: "),
        (dumps(FULL).replace(":7,", ":seven,"), "", "not JSON: "),
        ("3", "schema", "schema: expected edgecnn.result/1, got None"),
        ('{"schema":"edgecnn.result/9"}', "schema", "schema: expected edgecnn.result/1, got 'edgecnn.result/9'"),
        (
            dumps(FULL).replace('"seed":7', '"seed":"7"'),
            "record.plan.seed",
            "record.plan.seed: expected int, got str '7'",
        ),
        (dumps(FULL).replace('"seed":7,', ""), "record.plan.seed", "record.plan.seed is missing"),
    ],
)
@pytest.mark.parametrize("end", ["\n", ""])
def test_a_foreign_line_is_named_by_number_and_key(tmp_path: Path, line: str, key: str, message: str, end: str) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(f"{dumps(FULL)}\n\n{line}{end}")
    records = read(path)
    assert next(records) == FULL
    with pytest.raises(ResultsError) as caught:
        next(records)
    assert (caught.value.path, caught.value.line, caught.value.key) == (str(path), 3, key)
    where = f"{path}, line 3" + (f", key {key}" if key else "")
    assert caught.value.message.startswith(f"{where}: {message}")


def test_a_file_that_is_missing_or_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"r.jsonl: cannot be read: No such file or directory"):
        next(read(tmp_path / "r.jsonl"))
    with pytest.raises(ResultsError, match="cannot be read: Is a directory"):
        next(read(tmp_path))
    with pytest.raises(ResultsError, match="cannot be written: Is a directory"):
        append(tmp_path, [FULL])


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "r.jsonl", Path("/proc/r.jsonl"), Path("/proc/deep/r.jsonl")):
        with pytest.raises(ResultsError, match=f"^{path}: cannot be written: "):
            append(path, [FULL])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk() -> None:
    with pytest.raises(ResultsError, match="cannot be written: No space left on device"):
        append(Path("/dev/full"), [FULL])


def test_a_disk_that_fills_up_in_the_middle_of_a_line_costs_that_line_only(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    append(path, [FULL])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 700, hard))
    try:
        with pytest.raises(ResultsError, match="cannot be written: File too large"):
            append(path, [FULL])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.stat().st_size == len(LINE) + 1
    assert list(read(path)) == [FULL]
    append(path, [FAILED])
    assert list(read(path)) == [FULL, FAILED]


_WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
from edgecnn.resultlines import append, read
golden, path, name = map(Path, sys.argv[1:])
record = next(read(golden))
metric = replace(record.metrics[0], samples=tuple(float(i) for i in range(5000)))
record = replace(record, reason=name.name, metrics=(metric,))
print("ready", flush=True)
sys.stdin.readline()
for _ in range(20):
    append(path, [record])
"""


@pytest.mark.slow
def test_two_processes_at_once_leave_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    command = [sys.executable, "-c", _WRITER, str(GOLDEN), str(path)]
    writers = [
        subprocess.Popen([*command, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=DOCS.parent)
        for name in "ab"
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.communicate("go\n", timeout=60)
        assert writer.returncode == 0
    records = list(read(path))
    assert sorted(str(record.reason) for record in records) == ["a"] * 20 + ["b"] * 20
    assert {len(record.metrics[0].samples) for record in records} == {5000}
