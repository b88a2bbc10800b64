"""What MLCommons' load generator writes into its logs, read back: when each query arrived and was done, and its own judgement.

Two of its files are read. "detail" has lines ":::MLLOG {…}", one JSON object with `key` and `value` each. "trace" is made
for chrome://tracing: a line for each sample, with its arrival in microseconds (three decimals, so to the nanosecond) and
the nanoseconds from there to its end. Some other lines of it are no JSON, so each line is read by itself.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from edgecnn.bench.generators import PACKAGE
from edgecnn.errors import MeasurementError

_MARK = b":::MLLOG "
_SAMPLE = b'{"name":"Sample",'
_BEGINS = "b"

# What it asks of a run, and how not meeting it is said.
_DEMANDS = {
    "result_min_duration_met": "it ended before its time was over",
    "result_min_queries_met": "it issued fewer queries than it should",
    "result_perf_constraints_met": "the latency bound was not held",
    "early_stopping_met": "too few queries to be sure (early stopping)",
}

_ESTIMATES = {"single-stream": "early_stopping_latency_ss", "multi-stream": "early_stopping_latency_ms"}


class UnreadLogs(Exception):
    """The logs are not as expected; outside edgecnn's tree, because it never leaves this package."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What the load generator says about its run.

    Attributes:
        valid: it calls the run valid.
        unmet: what it asks for and did not get, in words.
        tail_ns: its early-stopping estimate of the scenario's percentile, None with too few queries and in scenarios that
            have none.
        early_stopping: what it says about early stopping, in its own words.
        scheduled: queries that it had prepared.
        queries: those that it issued.
        over_bound: those of "server" above the bound.
        longest_ns: the longest latency of a sample.
    """

    valid: bool
    unmet: tuple[str, ...]
    tail_ns: int | None
    early_stopping: str
    scheduled: int
    queries: int
    over_bound: int | None
    longest_ns: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Queries:
    """The queries that were issued, in order of arrival, by the load generator's clock.

    Attributes:
        arrived_ns: when each arrived, int64 [n].
        issued_ns: when each was issued, int64 [n]; in "server" it may have waited.
        done_ns: when the last of its samples was done, int64 [n].
    """

    arrived_ns: NDArray[np.int64]
    issued_ns: NDArray[np.int64]
    done_ns: NDArray[np.int64]


class Logs:
    """The files that the load generator writes, open and without a name.

    Attributes:
        folder: where it is to make them.

    Raises:
        MeasurementError: there is no place for it.
    """

    def __init__(self) -> None:
        try:
            self.folder = Path(tempfile.mkdtemp(prefix="edgecnn-loadgen-"))
        except OSError as error:
            raise MeasurementError(
                f"no folder for the logs of {PACKAGE}: {error.strerror}", "let TMPDIR name one that can be written"
            ) from error
        self._files: dict[str, IO[bytes]] = {}

    def __enter__(self) -> Logs:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def take(self) -> None:
        """Open all files and take their names away; the generator has opened them."""
        for path in sorted(self.folder.iterdir()):
            self._files[path.stem.rpartition("_")[2]] = path.open("rb")
            path.unlink()
        self.folder.rmdir()

    def named(self, name: str) -> IO[bytes]:
        """Return a file.

        Raises:
            UnreadLogs: there is none of that name.
        """
        if name not in self._files:
            raise UnreadLogs(f"no file {name!r}")
        return self._files[name]


def read_judgement(scenario: str, lines: Iterable[bytes]) -> Judgement:
    """Return what the file "detail" says at the end.

    Args:
        scenario: one of `edgecnn.bench.scenarioresult.SCENARIOS`.
        lines: of the file.

    Raises:
        UnreadLogs: something is missing.
    """
    told: dict[str, Any] = {}
    for line in lines:
        if line.startswith(_MARK):
            entry = _object(line[len(_MARK) :])
            told[str(entry.get("key"))] = entry.get("value")
    if told.get("result_validity") not in ("VALID", "INVALID"):
        raise UnreadLogs("no result")
    over = told.get("result_overlatency_query_count")
    estimate = _ESTIMATES.get(scenario)
    return Judgement(
        valid=told["result_validity"] == "VALID",
        unmet=tuple(text for key, text in _DEMANDS.items() if told.get(key) is False),
        tail_ns=_whole(told, estimate) if estimate and told.get("early_stopping_met") is True else None,
        early_stopping=str(told.get("early_stopping_result", "")),
        scheduled=_whole(told, "generated_query_count"),
        queries=_whole(told, "result_query_count"),
        over_bound=None if over is None else _whole(told, "result_overlatency_query_count"),
        longest_ns=_whole(told, "result_max_latency_ns"),
    )


def read_queries(lines: Iterable[bytes]) -> Queries:
    """Return the queries that the file "trace" tells.

    Args:
        lines: of the file.

    Raises:
        UnreadLogs: there is none, or one of them is told otherwise than expected.
    """
    rows: dict[int, tuple[int, int, int]] = {}
    for line in lines:
        if not line.startswith(_SAMPLE):
            continue
        sample = _object(line.rstrip().rstrip(b","))
        if sample.get("ph") != _BEGINS:
            continue
        query, row = _row(sample)
        # The samples of a query arrive together; the last one to end ends it.
        rows[query] = max(rows.get(query, row), row, key=_end)
    if not rows:
        raise UnreadLogs("no queries")
    table = np.array([rows[query] for query in sorted(rows)], np.int64)
    return Queries(arrived_ns=table[:, 0], issued_ns=table[:, 1], done_ns=table[:, 2])


def _row(sample: dict[str, Any]) -> tuple[int, tuple[int, int, int]]:
    try:
        told = sample["args"]
        arrived = round(sample["ts"] * 1000)
        row = (arrived, arrived + int(told["issue_start_ns"]), arrived + int(told["complete_ns"]))
        return int(told["query_seq"]), row
    except (KeyError, TypeError, ValueError) as error:
        raise UnreadLogs(f"a sample without {error}") from None


def _end(row: tuple[int, int, int]) -> int:
    return row[2]


def _object(text: bytes) -> dict[str, Any]:
    """Return a JSON object, an empty one for what is none."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _whole(told: dict[str, Any], key: str) -> int:
    value = told.get(key)
    if isinstance(value, bool) or not isinstance(value, int):
        raise UnreadLogs(f"{key} is {value!r}")
    return value
