"""Measuring: a plan goes in, a record with a verdict comes out.

    record = measure(load_artifact("models/lenet5.onnx"), backend="cpu", plan=make_plan(batch=4, seconds=2))
    old, new = measure_interleaved([load_artifact("old.onnx"), load_artifact("new.onnx")])

The parent (`measuring`, `interleave`, `running`) starts one child process per subject (`talk`, `worker`; they say to each other
what `job` has, as `wire` writes it), gives them their turns (`rounds`), sums up what they told (`seen`, `metrics`, `stats`),
judges it (`evidence`, `verdict` and the doubts) and fills in the record (`outcome`). In the child: `inputs`, `timed`, `clock`,
`latency`, `steady`, `memory`, `activity`, `queries`, `scenarios`, `loadgen`, `power`. No engine is imported here; the backend
imports its own. The child imports what it needs and not the parent's part: names are imported when they are asked for.
"""

from typing import TYPE_CHECKING

from edgecnn.lazynames import lazy_names

if TYPE_CHECKING:
    from edgecnn.bench.doubts.verdict import judge
    from edgecnn.bench.job import Job
    from edgecnn.bench.measuring import make_job, measure, measure_interleaved
    from edgecnn.bench.plan import make_plan
    from edgecnn.bench.progress import Progress
    from edgecnn.bench.stats import summarise
    from edgecnn.bench.subjects import unmeasured

__all__ = [
    "Job",
    "Progress",
    "judge",
    "make_job",
    "make_plan",
    "measure",
    "measure_interleaved",
    "summarise",
    "unmeasured",
]

__getattr__ = lazy_names(
    __name__,
    {
        "Job": "edgecnn.bench.job",
        "Progress": "edgecnn.bench.progress",
        "judge": "edgecnn.bench.doubts.verdict",
        "make_job": "edgecnn.bench.measuring",
        "make_plan": "edgecnn.bench.plan",
        "measure": "edgecnn.bench.measuring",
        "measure_interleaved": "edgecnn.bench.measuring",
        "summarise": "edgecnn.bench.stats",
        "unmeasured": "edgecnn.bench.subjects",
    },
)
