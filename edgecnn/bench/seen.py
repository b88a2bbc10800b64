"""What one worker has told so far, and what follows from all of its blocks together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import or_

import numpy as np
from numpy.typing import NDArray

from edgecnn.bench.activity import Activity, activity_of
from edgecnn.bench.job import Block, FirstRun, Loaded, Warmed
from edgecnn.bench.latency import MAX_SAMPLES
from edgecnn.bench.memory import Phase
from edgecnn.devices.state import DeviceState
from edgecnn.powerspec import Power
from edgecnn.results import ScenarioFigures

_COUNTERS = ("cgroup_throttled_us", "thermal_throttle_count")


@dataclass(slots=True, kw_only=True)
class Seen:
    """The answers of one worker.

    Attributes:
        loaded: of the session's opening.
        first: of the first run.
        warmed: of the warm-up.
        blocks: of the timed runs, in order.
        run_bytes: what one run takes, None where that was not asked.
        scenario: of the plan's load pattern.
        power: of the sensor that was asked for.
        busiest: other processes that used most meanwhile.
    """

    loaded: Loaded
    first: FirstRun
    warmed: Warmed
    blocks: list[Block] = field(default_factory=list)
    run_bytes: int | None = None
    scenario: ScenarioFigures | None = None
    power: Power | None = None
    busiest: tuple[str, ...] = ()

    @property
    def elapsed_seconds(self) -> float:
        """The sum of all blocks' lengths."""
        return sum(block.end_ns - block.begin_ns for block in self.blocks) / 1e9


def kept_samples(blocks: Sequence[Block]) -> tuple[NDArray[np.int64], ...]:
    """Return the samples of each block; of very short runs the first of each block, a million in all."""
    each = max(1, MAX_SAMPLES // max(1, len(blocks)))
    return tuple(block.samples_ns[:each] for block in blocks)


def all_activity(blocks: Sequence[Block]) -> Activity | None:
    """Return the use of the processors over all blocks, without what lay between them; None where no block tells it."""
    return activity_of([block.use for block in blocks if block.use is not None])


def spanned(blocks: Sequence[Block]) -> tuple[DeviceState, DeviceState]:
    """Return the machine before the first block and after the last one.

    Counters rise by what they rose within the blocks, for between them others were measured; the bits of a Raspberry Pi are
    those of any block.
    """
    before, after = blocks[0].before, blocks[-1].after
    counted = {
        name: None if getattr(before, name) is None else getattr(before, name) + _risen(blocks, name)
        for name in _COUNTERS
    }
    bits = [block.after.pi_throttled for block in blocks if block.after.pi_throttled is not None]
    return before, replace(after, **counted, pi_throttled=reduce(or_, bits) if bits else None)


def highest_peak(phases: Sequence[Phase | None]) -> int | None:
    """Return the greatest peak of those phases that tell one."""
    return max((phase.peak_bytes for phase in phases if phase and phase.peak_bytes is not None), default=None)


def _risen(blocks: Sequence[Block], name: str) -> int:
    spans = [(getattr(block.before, name), getattr(block.after, name)) for block in blocks]
    return sum(late - early for early, late in spans if early is not None and late is not None)
