"""Which of several files is faster: short blocks of runs, the files taking turns, so that all meet the same machine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from edgecnn.exporters.scaling import framed_input
from edgecnn.runtimes import open_session
from edgecnn.runtimes.base import Array
from edgecnn.specs import Artifact, TensorSpec

_BLOCKS = 9
_BLOCK_NS = 15_000_000
_MOST_RUNS = 50
_FLOOR = 0.02
"""Files that differ by less are equally fast: so much is moved by where the memory of a process happens to lie."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latencies:
    """How long one inference takes in each of several files.

    Attributes:
        block_ns: median of the runs of each block, float64 [files, blocks].
    """

    block_ns: NDArray[np.float64]

    @property
    def medians_ns(self) -> tuple[float, ...]:
        """Median over the blocks, of each file."""
        return tuple(float(value) for value in np.median(self.block_ns, axis=1))

    def ratio(self, one: int, other: int) -> float:
        """Return how many times as long the one takes as the other: the median of the ratios within a block."""
        return float(np.median(self.block_ns[one] / self.block_ns[other]))

    def without_first(self) -> Latencies:
        """Return the same measurement without the first file."""
        return Latencies(block_ns=self.block_ns[1:])

    def is_tie(self, one: int, other: int) -> bool:
        """Tell whether two files are equally fast within the noise of this measurement.

        That is twice the standard error of the median ratio, from its median absolute deviation, or 2% where this is more.
        """
        ratios = self.block_ns[one] / self.block_ns[other]
        middle = np.median(ratios)
        deviation = 1.4826 * np.median(np.abs(ratios - middle))
        error = 1.2533 * deviation / np.sqrt(len(ratios))
        return bool(abs(middle - 1) <= max(_FLOOR, 2 * error))


def measure_latencies(files: Sequence[Artifact], *, backend: str = "cpu", blocks: int = _BLOCKS) -> Latencies:
    """Return how long one inference takes, of one image where the batch is free.

    Args:
        files: models with the same input.
        backend: what runs them.
        blocks: how many times the files take turns.
    """
    with ExitStack() as stack:
        sessions = [stack.enter_context(open_session(file, backend=backend)) for file in files]
        # Of the network's size also where the file scales images: the resize is the same in all of them.
        sources = [framed_input(file.spec).inputs[0] for file in files]
        runs = [
            partial(session.run, {source.name: _example(source)})
            for session, source in zip(sessions, sources, strict=True)
        ]
        for run in runs:
            run()
            run()
        counts = [_runs_per_block(run) for run in runs]
        found = [[_median_ns(run, count) for run, count in zip(runs, counts, strict=True)] for _ in range(blocks)]
    return Latencies(block_ns=np.asarray(found, np.float64).T)


def fastest(latencies: Latencies, accuracies: Sequence[float]) -> int:
    """Return the index of the fastest file; of those equally fast within the noise, the most accurate."""
    first = int(np.argmin(latencies.medians_ns))
    equal = [index for index in range(len(accuracies)) if index == first or latencies.is_tie(index, first)]
    return max(equal, key=lambda index: (accuracies[index], -latencies.medians_ns[index]))


def _example(source: TensorSpec) -> Array:
    shape = [side if isinstance(side, int) else 1 for side in source.shape]
    generator = np.random.default_rng(0)
    if source.dtype == "uint8":
        return generator.integers(0, 256, shape).astype(np.uint8)
    return generator.standard_normal(shape).astype(source.dtype)


def _runs_per_block(run: partial[dict[str, Array]]) -> int:
    return int(np.clip(_BLOCK_NS // max(1, _median_ns(run, 3)), 1, _MOST_RUNS))


def _median_ns(run: partial[dict[str, Array]], count: int) -> float:
    stamps = [time.perf_counter_ns()]
    for _ in range(count):
        run()
        stamps.append(time.perf_counter_ns())
    return float(np.median(np.diff(stamps)))
