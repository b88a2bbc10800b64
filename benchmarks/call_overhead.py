"""What a call through edgecnn costs: Session.run against InferenceSession.run on a network that takes microseconds."""

import numpy as np
import onnxruntime
from _common import interleaved, model, report, row

from edgecnn.artifacts import load_artifact
from edgecnn.runtimes import OpenOptions, open_session


def main() -> None:
    path = model("lenet5", "lenet5")
    feeds = {"input": np.random.default_rng(0).standard_normal((1, 1, 32, 32), np.float32)}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    theirs = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    with open_session(load_artifact(path), options=OpenOptions(threads=1)) as ours:
        a, b = interleaved(lambda: ours.run(feeds), lambda: theirs.run(None, feeds), rounds=400, runs=100)
    report([row("lenet5, one run", a / 1e3, b / 1e3, "us", 1.05)])


if __name__ == "__main__":
    main()
