"""Where ONNX Runtime's worker threads run: the entry session.intra_op_thread_affinities, checked before the engine sees it.

By onnxruntime_session_options_config_keys.h (kOrtSessionOptionsConfigIntraOpThreadAffinities) the value has one group for
each worker, separated by ";". The calling thread works as well and is not the engine's to place, so there is one group
fewer than threads. A group is ids or ranges separated by ",", and ids are counted from 1, where the system counts from 0.
A wrong count ends in an exception about the model, a processor that is not ours in a line on standard error.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path

from edgecnn.errors import BadInput
from edgecnn.runtimes.threads import usable_big_cores
from edgecnn.specs import Scalar

AFFINITIES = "session.intra_op_thread_affinities"

BIG = "big"
"""Value that stands for the large cores of this machine, see `edgecnn.runtimes.threads.big_cores`."""

_MOST_PROCESSORS = 8192
_GROUP = r"\d{1,4}(-\d{1,4})?(,\d{1,4}(-\d{1,4})?)*"


def affinity_entry(value: Scalar, threads: int, *, root: Path = Path("/")) -> str | None:
    """Return the entry's value for the engine; None where there is nothing to say: one thread, or cores of one kind only.

    Args:
        value: "big", or groups in the engine's form.
        threads: of one operator.
        root: folder that stands for "/".

    Raises:
        BadInput: not one group for each worker, or a processor that this process may not run on.
    """
    if value == BIG:
        cores = usable_big_cores(root)
        return worker_affinities(cores, threads) if cores and threads > 1 else None
    groups = str(value).split(";")
    if not all(re.fullmatch(_GROUP, group) for group in groups):
        raise BadInput(AFFINITIES, expected='"big" or groups of processor ids from 1, "2,3;4-5"', got=repr(value)[:40])
    if len(groups) != threads - 1:
        raise BadInput(
            AFFINITIES,
            "the calling thread works as well and has no group",
            expected=f"{threads - 1} groups for {threads} threads",
            got=f"{len(groups)}: {value}"[:60],
        )
    foreign = sorted(_named(groups) - {core + 1 for core in _allowed()})
    if foreign:
        raise BadInput(
            AFFINITIES,
            "ids begin at 1, one above the system's",
            expected="processors that this process may use",
            got=", ".join(map(str, foreign[:8])),
        )
    return ";".join(groups)


def worker_affinities(cores: Collection[int], threads: int) -> str:
    """Return the value that keeps all workers on some cores: each group is the whole set.

    Workers that were tied to one core each would meet those of another session, which begins with the same core.

    Args:
        cores: ids as the system counts them, from 0; at least one.
        threads: of one operator, at least 2.

    Returns:
        "5,6,7,8;5,6,7,8;5,6,7,8" for the cores 4 to 7 and four threads.
    """
    group = ",".join(str(core + 1) for core in sorted(cores))
    return ";".join([group] * (threads - 1))


def _named(groups: Collection[str]) -> set[int]:
    named: set[int] = set()
    for part in ",".join(groups).split(","):
        first, _, last = part.partition("-")
        named.update(range(int(first), int(last or first) + 1))
    return named


def _allowed() -> Collection[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(_MOST_PROCESSORS)
