"""Measuring: a plan goes in, a record with a verdict comes out.

    record = measure(load_artifact("models/lenet5.onnx"), backend="cpu", plan=make_plan(batch=4, seconds=2))

The parent (`measure`) checks the request, starts one child process per measurement (`child`, `worker`; they talk
through `job`), summarises the samples (`stats`), judges them (`evidence`, `verdict`, `throttling`) and fills in the
record. In the child: `inputs`, `clock`, `latency`, `memory`, `activity`. No engine is imported here; the backend
imports its own.
"""

from edgecnn.bench.measure import Progress, measure, unmeasured
from edgecnn.bench.plan import make_plan
from edgecnn.bench.stats import summarise
from edgecnn.bench.verdict import judge

__all__ = ["Progress", "judge", "make_plan", "measure", "summarise", "unmeasured"]
