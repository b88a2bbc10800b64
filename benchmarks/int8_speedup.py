"""What int8 gains: mobilenet_v1 1.0 at 224 on one thread, the int8 file against the fp32 file."""

import numpy as np
from _common import interleaved, model, report, row

from edgecnn.artifacts import load_artifact
from edgecnn.runtimes import OpenOptions, open_session


def main() -> None:
    arguments = ("mobilenet", "--weights", "random")
    fp32 = open_session(load_artifact(model("mobilenet_v1", *arguments)), options=OpenOptions(threads=1))
    int8 = open_session(load_artifact(model("mobilenet_v1", *arguments, int8=True)), options=OpenOptions(threads=1))
    feeds = {"input": np.random.default_rng(0).standard_normal((1, 3, 224, 224), np.float32)}
    a, b = interleaved(lambda: int8.run(feeds), lambda: fp32.run(feeds), rounds=60, runs=15)
    report([row("mobilenet_v1 1.0 at 224, int8 against fp32, one thread", a / 1e6, b / 1e6, "ms", 0.42)])


if __name__ == "__main__":
    main()
