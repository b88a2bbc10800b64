from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgecnn.errors import BadInput, ResultsError
from edgecnn.resultlines import append, check_appendable, dumps, read, scan
from edgecnn.resultsfiles import Imported, find_results, import_results, newer_note, read_all, repeated
from edgecnn.testing.records import made_record

GOLDEN = Path(__file__).parent / "golden"
A, B, C = (made_record(plan_batch=batch) for batch in (1, 2, 4))


def _fleet(folder: Path) -> Path:
    append(folder / "pi-1" / "results.jsonl", [A, B])
    append(folder / "pi-2" / "deep" / "results.jsonl", [B, C])
    (folder / "pi-2" / "notes.txt").write_text("no results")
    (folder / ".sync").mkdir()
    (folder / ".sync" / "half.jsonl").write_text("{")
    return folder


def test_asking_whether_a_file_can_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    check_appendable(tmp_path / "new" / "deep" / "r.jsonl")
    assert not list(tmp_path.iterdir())
    append(tmp_path / "r.jsonl", [A])
    before = (tmp_path / "r.jsonl").read_bytes()
    check_appendable(tmp_path / "r.jsonl")
    assert (tmp_path / "r.jsonl").read_bytes() == before
    (tmp_path / "folder.jsonl").mkdir()
    for path in (tmp_path / "folder.jsonl", tmp_path / "r.jsonl" / "below.jsonl"):
        with pytest.raises(ResultsError, match="cannot be written"):
            check_appendable(path)


def test_folders_are_searched_at_any_depth_but_not_what_is_hidden(tmp_path: Path) -> None:
    fleet = _fleet(tmp_path / "fleet")
    names = [str(path.relative_to(fleet)) for path in find_results([fleet])]
    assert names == ["pi-1/results.jsonl", "pi-2/deep/results.jsonl"]
    assert find_results([fleet / "pi-1" / "results.jsonl", fleet]) == find_results([fleet])


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nothing does not exist"):
        find_results([tmp_path / "nothing"])
    with pytest.raises(BadInput, match=r"expected a folder with files that end in \.jsonl"):
        find_results([tmp_path])


def test_foreign_lines_are_reported_with_file_and_line_and_the_rest_is_read(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    lines = [dumps(A), "hello", '{"schema":"edgecnn.result/9"}', dumps(B), dumps(C)[:200], dumps(C)]
    path.write_text("\n".join(lines) + "\n")
    foreign: list[ResultsError] = []
    found = list(read_all([path], on_foreign=foreign.append))
    assert [(one.line, one.record) for one in found] == [(1, A), (4, B), (6, C)]
    told = [(error.path, error.line, error.key) for error in foreign]
    assert told == [(str(path), 2, ""), (str(path), 3, "schema"), (str(path), 5, "")]
    assert foreign[-1].message.endswith("line 5: a record that breaks off")
    assert [number for number, _ in scan(path)] == [1, 2, 3, 4, 5, 6]


def test_a_fleet_becomes_one_file_without_duplicates(tmp_path: Path) -> None:
    fleet, output = _fleet(tmp_path / "fleet"), tmp_path / "all.jsonl"
    assert import_results(fleet, output, on_foreign=_never) == Imported(files=2, added=3, known=1, foreign=0)
    assert list(read(output)) == [A, B, C]
    assert import_results(fleet, output, on_foreign=_never) == Imported(files=2, added=0, known=4, foreign=0)
    assert list(read(output)) == [A, B, C]


def test_the_output_may_lie_in_the_folder(tmp_path: Path) -> None:
    fleet = _fleet(tmp_path)
    output = fleet / "all.jsonl"
    for _ in range(2):
        assert import_results(fleet, output, on_foreign=_never).files == 2
        assert list(read(output)) == [A, B, C]


def test_records_are_known_by_content_not_by_spelling(tmp_path: Path) -> None:
    """Keys in another order, with spaces, and as an older version wrote it, without the keys that have defaults."""
    plain = json.loads(dumps(A))
    del plain["reason"]
    for metric in plain["metrics"]:
        del metric["p999"]
    shuffled = dict(reversed(plain.items()))
    (tmp_path / "a.jsonl").write_text(
        dumps(A) + "\n" + json.dumps(plain) + "\n" + json.dumps(shuffled, indent=None) + "\n"
    )
    done = import_results(tmp_path, tmp_path / "all.jsonl", on_foreign=_never)
    assert (done.added, done.known) == (1, 2)


def test_foreign_lines_are_counted_and_do_not_stop_an_import(tmp_path: Path) -> None:
    fleet = _fleet(tmp_path / "fleet")
    (fleet / "pi-1" / "other.jsonl").write_text('{"a": 1}\nhello\n')
    foreign: list[ResultsError] = []
    done = import_results(fleet, tmp_path / "all.jsonl", on_foreign=foreign.append)
    assert (done.files, done.added, done.foreign) == (3, 3, 2)
    assert [Path(error.path).name for error in foreign] == ["other.jsonl"] * 2


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").touch()
    with pytest.raises(BadInput, match="expected a folder, got a file"):
        import_results(tmp_path / "r.jsonl", tmp_path / "all.jsonl", on_foreign=_never)
    with pytest.raises(BadInput, match="expected a folder, got nothing of that name"):
        import_results(tmp_path / "no", tmp_path / "all.jsonl", on_foreign=_never)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    append(path, [A])
    path.chmod(0)
    with pytest.raises(ResultsError, match="cannot be read: Permission denied"):
        list(read_all([path], on_foreign=_never))


def test_the_first_version_stays_readable_and_gets_the_defaults_of_later_keys() -> None:
    records = [one.record for one in read_all([GOLDEN / "record_first.jsonl"], on_foreign=_never)]
    assert [record.status for record in records] == ["ok", "failed"]
    first = (GOLDEN / "record_first.jsonl").read_text().splitlines()[0]
    assert "p999" not in first
    latency = records[0].metric("latency")
    assert latency is not None
    assert (latency.median, latency.p999) == (1045.0, None)
    assert replace(records[0], reason="x") != records[0]


def _never(error: ResultsError) -> None:
    raise AssertionError(error)


def _of_a_newer_version(batch: int = 1, **changed: object) -> dict[str, Any]:
    """Return a plain record with keys of its own at every depth."""
    plain: dict[str, Any] = json.loads(dumps(made_record(plan_batch=batch)))
    plain["carbon_g"] = {"low": 1.5, "high": [2, None]}
    plain["plan"]["weather"] = "rain"
    plain["metrics"][0]["p42"] = 7
    plain["subject"]["lineage"] = [{"tool": "x", "version": "1", "options": {}, "by": "a robot"}]
    return plain | changed


def test_keys_of_a_newer_version_come_through_an_import_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "fleet").mkdir()
    plain, other = _of_a_newer_version(), _of_a_newer_version(carbon_g=None)
    lines = [json.dumps(plain), json.dumps(dict(reversed(plain.items()))), json.dumps(other), dumps(A)]
    (tmp_path / "fleet" / "r.jsonl").write_text("\n".join(lines) + "\n")
    output = tmp_path / "all.jsonl"
    done = import_results(tmp_path / "fleet", output, on_foreign=_never)
    assert done == Imported(files=1, added=3, known=1, foreign=0, newer=2)
    assert [json.loads(line) for line in output.read_text().splitlines()] == [plain, other, json.loads(dumps(A))]
    again = import_results(tmp_path / "fleet", output, on_foreign=_never)
    assert (again.added, again.known) == (0, 4)


def test_only_records_that_say_the_same_with_unknown_keys_and_all_are_repeated(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    plain = _of_a_newer_version()
    path.write_text("\n".join(json.dumps(one) for one in (plain, plain, plain | {"carbon_g": 3})) + "\n")
    found = list(read_all([path], on_foreign=_never))
    assert repeated(found) == 1
    assert newer_note(found).startswith("3 records with keys that this edgecnn does not know")
    assert newer_note([]) == ""


def test_unknown_keys_that_are_no_json_are_read_and_not_imported(tmp_path: Path) -> None:
    path = tmp_path / "fleet/r.jsonl"
    path.parent.mkdir()
    line = json.dumps(_of_a_newer_version(carbon_g=float("nan")))
    path.write_text(f"{line}\n{line}\n")
    assert repeated(read_all([path], on_foreign=_never)) == 1
    foreign: list[ResultsError] = []
    done = import_results(path.parent, tmp_path / "all.jsonl", on_foreign=foreign.append)
    assert (done.added, done.foreign) == (0, 2)
    assert "numbers that are not finite" in foreign[0].message
    assert (foreign[1].path, foreign[1].line) == (str(path), 2)
