"""What one file holds, in a process of its own: python _held.py FILE BATCH,... prints one line of JSON.

held_bytes: that a session keeps once it is open (exact anonymous pages of the process), beyond those of a process that has had
a session of a network of one node before: registries and code of the engine are there already. run_bytes: batch -> the most
that a run holds at a time beyond that.
"""

from __future__ import annotations

import gc
import json
import sys
import tempfile
from pathlib import Path

from onnx import TensorProto, helper, save

from edgecnn.artifacts import load_artifact
from edgecnn.bench.allocations import Allocations, keep_nothing_free, peak_allocated
from edgecnn.bench.inputs import make_feeds
from edgecnn.bench.memory import read_anonymous
from edgecnn.runtimes import OpenOptions, get_runtime
from edgecnn.specs import sized_inputs

OPTIONS = OpenOptions(threads=1, arena=False)


def main() -> None:
    if not keep_nothing_free():
        sys.exit("no malloc of the GNU C library: nothing can be told here")
    runtime = get_runtime("cpu")
    with tempfile.TemporaryDirectory() as folder:
        first = runtime.open(load_artifact(_one_node(Path(folder))), OPTIONS)
    artifact = load_artifact(Path(sys.argv[1]))
    inputs = sized_inputs(artifact.spec.inputs, artifact.spec.preprocess)
    gc.collect()
    Allocations().take_holes()
    before = read_anonymous()
    session = runtime.open(artifact, OPTIONS)
    after = read_anonymous()
    held = after - before
    runs = {}
    for batch in map(int, sys.argv[2].split(",")):
        feeds = make_feeds(inputs, batch=batch, seed=0)
        # A network with small inputs is bound to its buffers by the second run.
        session.run(feeds)
        session.run(feeds)
        runs[batch] = peak_allocated(lambda: session.run(feeds))  # noqa: B023 (called at once)
    print(json.dumps({"held_bytes": held, "run_bytes": runs}))
    session.close()
    first.close()


def _one_node(folder: Path) -> Path:
    image = ["N", 1, 2, 2]
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, image)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, image)],
    )
    path = folder / "one.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path)
    return path


if __name__ == "__main__":
    main()
