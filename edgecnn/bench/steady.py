"""Where a row of run times becomes steady: seen from the times themselves, not from a fixed warm-up.

The row is cut into blocks, and each block stands for its median, which a few interrupted runs do not move. From the
front, block after block is given up until what follows is one steady row: the block that comes next looks like the rest,
and the rest shows no trend. A difference counts only where it is both beyond chance and of a size that matters.

That a fixed number of warm-up runs is either too few or a waste, and that some programs never become steady: Barrett et
al. 2017, "Virtual Machine Warmup Blows Hot and Cold" (OOPSLA), and Traini et al. 2023, "Towards effective assessment of
steady state performance in Java software" (Empirical Software Engineering 28). Comparing recent blocks until they agree:
Georges, Buytaert and Eeckhout 2007, "Statistically Rigorous Java Performance Evaluation" (OOPSLA), with medians and
ranks here in place of their coefficient of variation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgecnn.bench.stats import trend_z
from edgecnn.units import duration_text

Floats = NDArray[np.float64]

MOST_BLOCKS = 40
"""Blocks of a long row: the start is told to a fortieth, and a trend test over 40 values sees what matters."""

LEAST_BLOCKS = 5
"""A steady row has this many blocks at least; with fewer a trend cannot be told from chance."""

BLOCK_RUNS = 5
"""Runs in a block at least: two interrupted ones among them do not move its median."""

TOLERANCE = 0.02
"""Relative difference that matters; block medians of a quiet machine differ by up to this much."""

LATEST = 0.5
"""Share of the row that may be given up at most: what settles later than that has not been seen steady for long."""

_TREND_Z = 1.96
"""Two-sided 5% point of the standard normal; chance alone then costs a block of warm-up now and then, nothing more."""

_OUTLYING = 3.0
"""Standard deviations, estimated from the median absolute deviation: the identifier of Hampel 1974 (JASA 69, 383)."""

_MAD_TO_SIGMA = 1.4826
"""One standard deviation over one median absolute deviation, for the normal distribution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Steady:
    """Where a row became steady.

    Attributes:
        start: 0-based index of the first steady run, None where the row has not become steady.
        reason: why there, or why not, in one line.
    """

    start: int | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Phases:
    """A row of run times that begins with the first run after loading, taken apart.

    Attributes:
        first_ns: duration of the first run, in which engines finish their set-up.
        settling_ns: durations of the runs between it and the steady ones.
        steady_ns: durations of the steady runs, empty where the row has not become steady.
        steady: where the steady ones begin and why.
    """

    first_ns: int
    settling_ns: tuple[int, ...]
    steady_ns: tuple[int, ...]
    steady: Steady


def detect_steady(
    samples_ns: ArrayLike, *, tolerance: float = TOLERANCE, latest: float = LATEST, most_blocks: int = MOST_BLOCKS
) -> Steady:
    """Return from which run on a row is steady.

    It may be asked again as the row grows. Random changes between two speeds are steady where both are met throughout.

    Args:
        samples_ns: int or float [n], above 0, durations of runs in order.
        tolerance: relative difference that matters.
        latest: share of the row that may be given up at most.
        most_blocks: blocks that the row is cut into at most.
    """
    samples = np.asarray(samples_ns, np.float64).reshape(-1)
    least = LEAST_BLOCKS * BLOCK_RUNS
    if samples.size < least:
        return Steady(start=None, reason=f"{samples.size} runs are too few to tell, at least {least} are needed")
    starts, medians = _blocks(samples, most_blocks)
    fault = ""
    for place in range(len(medians) - LEAST_BLOCKS + 1):
        start = int(starts[place])
        if start > latest * samples.size:
            break
        now = _fault(medians[place:], tolerance)
        if not now:
            return Steady(start=start, reason=_why(fault, start))
        fault = now
    return Steady(start=None, reason=f"not steady within {samples.size} runs: {fault}")


def split_phases(samples_ns: ArrayLike, *, tolerance: float = TOLERANCE) -> Phases:
    """Return first, settling and steady runs of a row that begins with the first run after loading.

    Args:
        samples_ns: int [n], n at least 1, durations in order.
        tolerance: relative difference that matters.
    """
    row = [int(sample) for sample in np.asarray(samples_ns).reshape(-1)]
    steady = detect_steady(row[1:], tolerance=tolerance)
    begin = len(row) if steady.start is None else 1 + steady.start
    return Phases(first_ns=row[0], settling_ns=tuple(row[1:begin]), steady_ns=tuple(row[begin:]), steady=steady)


def _blocks(samples: Floats, most: int) -> tuple[NDArray[np.int64], Floats]:
    """Return where each block begins and its median; all blocks are equally long, a rest at the end is left out."""
    count = max(LEAST_BLOCKS, min(most, samples.size // BLOCK_RUNS))
    length = samples.size // count
    used = samples[: count * length].reshape(count, length)
    return np.arange(count) * length, np.median(used, axis=1)


def _fault(medians: Floats, tolerance: float) -> str:
    """Return what speaks against these blocks being one steady row, empty where nothing does."""
    first, rest = float(medians[0]), medians[1:]
    middle = float(np.median(rest))
    spread = _MAD_TO_SIGMA * float(np.median(np.abs(rest - middle)))
    if abs(first - middle) > max(tolerance * middle, _OUTLYING * spread):
        return f"runs took {duration_text(first)}, later ones {duration_text(middle)}"
    third = max(1, len(medians) // 3)
    early, late = float(np.median(medians[:third])), float(np.median(medians[-third:]))
    if abs(late - early) > tolerance * early and abs(trend_z(medians)) > _TREND_Z:
        word = "slower" if late > early else "faster"
        return f"runs get {word}, from {duration_text(early)} to {duration_text(late)}"
    return ""


def _why(fault: str, start: int) -> str:
    return f"before run {start + 1}: {fault}" if fault else "steady from the first run on"
