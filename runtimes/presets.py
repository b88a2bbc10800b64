"""Named ways to open a session on a processor: latency, embedded, shared.

Each value has its reason. Ratios are onnxruntime 1.31 with mobilenet_v2 on x86-64, unless another network is named; numbers
with # are threads of microsoft/onnxruntime.

`latency`: the answer as soon as possible, with the machine for itself. What backend cpu does without a preset.

- spinning: with workers that sleep between operators a run of 2 threads takes 1.54 times as long.
- arena: without it a run takes 1.08 times as long.
- threads, as many as may run at once (affinity, quota, large cores): an engine that counts by itself starts more than a
  container may run (#8313, #10113).

`embedded`: one program among others on a small device, where power and memory count as much as time.

- no spinning: the workers of an idle session keep cores busy and hot (#26847), and of three sessions that follow each
  other each is held up by the workers of the one before (#17011: 160 ms instead of 77).
- no arena: memory that a large batch took goes back, half and more of it after batches of 1 to 16; with one size of
  batch it is a few MB either way. It is on by default for historical reasons (#22271).
- no memory patterns, by backend cpu, where the arena is off: the engine keeps a plan for each input shape (#11118), which
  without the arena adds to the memory instead of saving.
- cache: the optimised model is kept, which opens in 0.3 of the time (resnet50 in 0.07, with half the peak of memory).
- large cores only, workers as well: with a small core among the threads every operator waits for it (79 ms on all 8
  cores, 6.7 on the 4 large ones: pytorch/executorch#5811).

`shared`: several sessions or processes use the machine at once, as the workers of a server do.

- one thread: a session of one thread that two callers use gives 1.14 times the images per second of one with two threads
  (int8).
- no spinning: a worker that waits actively takes the core from another session's work (#17011).
- arena: the same sizes come again and again, and freed memory is wanted at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from edgecnn.errors import UnknownName
from edgecnn.runtimes.base import OpenOptions
from edgecnn.runtimes.ort.affinity import AFFINITIES, BIG
from edgecnn.runtimes.threads import usable_big_cores

PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "latency": {"spinning": True, "arena": True, "threads": None},
        "embedded": {"spinning": False, "arena": False, "threads": None, "cache": True},
        "shared": {"spinning": False, "arena": True, "threads": 1},
    }
)
"""Name -> the fields of OpenOptions that it sets; see the module's docstring for the reasons."""


def preset_options(name: str, **changes: Any) -> OpenOptions:
    """Return the options of a preset, decided for this machine.

    Args:
        name: one of `PRESETS`.
        changes: fields of OpenOptions that win over the preset's; of `engine`, each entry does.

    Raises:
        UnknownName: no such preset.
        BadInput: the value of a change cannot be.
    """
    if name not in PRESETS:
        raise UnknownName("preset", name, PRESETS)
    engine: dict[str, Any] = {}
    if name == "embedded" and usable_big_cores():
        engine[AFFINITIES] = BIG
    engine.update(changes.pop("engine", {}))
    return OpenOptions(**{**PRESETS[name], **changes, "engine": engine})
