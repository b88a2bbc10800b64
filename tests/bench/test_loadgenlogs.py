"""The logs of MLCommons' load generator, read without it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.bench.loadgenlogs import Logs, UnreadLogs, read_judgement, read_queries

_VALID = {
    "generated_query_count": 900,
    "result_validity": "VALID",
    "result_min_duration_met": True,
    "result_min_queries_met": True,
    "early_stopping_met": True,
    "early_stopping_result": " * Run successful.",
    "result_query_count": 800,
    "early_stopping_latency_ss": 2534,
    "early_stopping_latency_ms": 4106,
    "result_max_latency_ns": 5000,
}


def _detail(**changes: object) -> list[bytes]:
    told = {**_VALID, **changes}
    entries = [json.dumps({"key": key, "value": value}) for key, value in told.items() if value is not ...]
    return [b"something else\n", b':::MLLOG {"key": broken\n', *(f":::MLLOG {one}\n".encode() for one in entries)]


def _sample(query: int, *, at_us: str, issued_ns: int = 0, done_ns: int = 1) -> bytes:
    told = f'"sample_seq":0,"query_seq":{query},"sample_idx":5,"issue_start_ns":{issued_ns},"complete_ns":{done_ns}'
    line = f'{{"name":"Sample","cat":"default","ph":"b","pid":1,"id":0,"ts":{at_us},"args":{{{told}}}}},\n'
    return line.encode()


def test_a_judgement_is_read() -> None:
    judgement = read_judgement("single-stream", _detail())
    assert (judgement.valid, judgement.unmet, judgement.tail_ns) == (True, (), 2534)
    assert (judgement.scheduled, judgement.queries, judgement.longest_ns) == (900, 800, 5000)
    assert (judgement.over_bound, judgement.early_stopping) == (None, " * Run successful.")
    assert read_judgement("multi-stream", _detail()).tail_ns == 4106
    assert read_judgement("server", _detail(result_overlatency_query_count=3)).over_bound == 3
    assert read_judgement("server", _detail()).tail_ns is None


def test_what_it_did_not_get_is_said_and_no_estimate_is_none() -> None:
    told = _detail(result_validity="INVALID", early_stopping_met=False, result_perf_constraints_met=False)
    judgement = read_judgement("single-stream", told)
    assert (judgement.valid, judgement.tail_ns) == (False, None)
    assert judgement.unmet == ("the latency bound was not held", "too few queries to be sure (early stopping)")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"result_validity": ...}, "no result"),
        ({"result_validity": "PERHAPS"}, "no result"),
        ({"result_query_count": ...}, "result_query_count is None"),
        ({"result_max_latency_ns": "5 ms"}, "result_max_latency_ns is '5 ms'"),
        ({"result_query_count": True}, "result_query_count is True"),
    ],
)
def test_a_judgement_with_something_missing_is_none(changes: dict[str, object], text: str) -> None:
    with pytest.raises(UnreadLogs, match=text):
        read_judgement("single-stream", _detail(**changes))


def test_queries_are_read_to_the_nanosecond_in_their_order() -> None:
    lines = [
        b'{"traceEvents":[\n',
        b'{"name":"LogDetail","ph":"X","args":{"key":""no JSON""}},\n',
        _sample(1, at_us="4133960774.123", issued_ns=7, done_ns=84_647),
        b'{"name":"Sample","cat":"default","ph":"e", "pid":1,"id":0,"ts":4133960858.770},\n',
        _sample(0, at_us="4133960700.001", done_ns=5000),
        _sample(1, at_us="4133960774.123", issued_ns=7, done_ns=84_900),
        _sample(1, at_us="4133960774.123", issued_ns=7, done_ns=84_800),
    ]
    queries = read_queries(lines)
    assert queries.arrived_ns.tolist() == [4_133_960_700_001, 4_133_960_774_123]
    assert (queries.issued_ns - queries.arrived_ns).tolist() == [0, 7]
    assert (queries.done_ns - queries.arrived_ns).tolist() == [5000, 84_900]


@given(st.lists(st.tuples(st.integers(0, 10**15), st.integers(0, 10**12)), min_size=1, max_size=20))
def test_no_time_is_rounded(times: list[tuple[int, int]]) -> None:
    """Within eleven days of its beginning, which is where the trace counts from."""
    lines = [
        _sample(number, at_us=f"{at // 1000}.{at % 1000:03}", done_ns=took) for number, (at, took) in enumerate(times)
    ]
    queries = read_queries(lines)
    told = zip(queries.arrived_ns.tolist(), (queries.done_ns - queries.arrived_ns).tolist(), strict=True)
    assert list(told) == times


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [b'{"name":"Sample","ph":"b","ts":1.5}\n'],
        [b'{"name":"Sample","ph":"b","ts":"soon","args":{}}\n'],
        [b'{"name":"Sample","ph":"b","ts":1.5,"args":{"query_seq":0,"issue_start_ns":0}}\n'],
        [b'{"name":"Sample", torn'],
    ],
)
def test_a_trace_without_its_queries_is_none(lines: list[bytes]) -> None:
    with pytest.raises(UnreadLogs):
        read_queries(lines)


def test_files_lose_their_names_and_can_be_read_all_the_same() -> None:
    with Logs() as logs:
        with (logs.folder / "mlperf_log_detail.txt").open("wb") as detail:
            (logs.folder / "mlperf_log_trace.json").touch()
            logs.take()
            assert not logs.folder.exists()
            detail.write(b"later")
        assert logs.named("detail").read() == b"later"
        with pytest.raises(UnreadLogs, match="no file 'summary'"):
            logs.named("summary")


def test_a_folder_that_was_not_taken_goes_as_well() -> None:
    with Logs() as logs:
        (logs.folder / "mlperf_log_detail.txt").touch()
    assert not logs.folder.exists()
