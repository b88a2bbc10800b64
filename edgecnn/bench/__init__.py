"""Measuring: a plan goes in, a record with a verdict comes out.

    record = measure(load_artifact("models/lenet5.onnx"), backend="cpu", plan=make_plan(batch=4, seconds=2))
    old, new = measure_interleaved([load_artifact("old.onnx"), load_artifact("new.onnx")])

The parent (`measure`, `interleave`, `running`) starts one child process per subject (`talk`, `worker`; they talk through
`job`), gives them their turns (`rounds`), sums up what they told (`seen`, `metrics`, `stats`), judges it (`evidence`,
`verdict`, `throttling`) and fills in the record. In the child: `inputs`, `timed`, `clock`, `latency`, `steady`, `memory`,
`activity`, `scenarios`. No engine is imported here; the backend imports its own.
"""

from edgecnn.bench.interleave import Progress
from edgecnn.bench.job import Job
from edgecnn.bench.measure import make_job, measure, measure_interleaved
from edgecnn.bench.plan import make_plan
from edgecnn.bench.stats import summarise
from edgecnn.bench.subjects import unmeasured
from edgecnn.bench.verdict import judge

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
