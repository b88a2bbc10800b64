"""A fresh process from its start to its first answer: edgecnn, and the same steps by hand with onnxruntime.

Both run with one thread and with the byte code of all their modules at hand, as pip leaves it behind a package that it
installed; a source tree has none where the environment forbids writing it, and is then compiled in each process.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

OURS = """
import sys, numpy as np, edgecnn
from edgecnn import OpenOptions
image = np.zeros((224, 224, 3), np.uint8)
cache = {"cache": True, "cache_folder": __import__("pathlib").Path(sys.argv[2])} if len(sys.argv) > 2 else {}
classifier = edgecnn.load(sys.argv[1], options=OpenOptions(threads=1, **cache))
print(classifier.classify(image)[0].index)
"""

BY_HAND = """
import sys, numpy as np, onnxruntime as ort
image = np.zeros((224, 224, 3), np.uint8)
options = ort.SessionOptions()
options.intra_op_num_threads = 1
session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
pixels = np.ascontiguousarray(((image / np.float32(255) - mean) / std).transpose(2, 0, 1)[None])
logits = session.run(None, {session.get_inputs()[0].name: pixels})[0][0]
probabilities = np.exp(logits - logits.max())
probabilities /= probabilities.sum()
print(np.argsort(-probabilities)[:5][0])
"""

# VmHWM is of this process alone; getrusage would tell the parent's where that was larger.
_PEAK = (
    "\nprint(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')), file=sys.stderr)"
)


def cold_starts(path: Path, *, rounds: int) -> Mapping[str, list[tuple[float, float]]]:
    """Return milliseconds and peak megabytes of each fresh process: "by hand", "edgecnn", "edgecnn, cached"."""
    with tempfile.TemporaryDirectory() as folder:
        ways = {
            "by hand": (BY_HAND, str(path)),
            "edgecnn": (OURS, str(path)),
            "edgecnn, cached": (OURS, str(path), f"{folder}/models"),
        }
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = f"{folder}/bytecode"
        for _ in range(2):  # fills the file cache, the byte code, and the cache of optimised models
            for way in ways.values():
                _once(environment, *way)
        figures: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for index in range(rounds):
            # Each is as often the first of a round, the second and the last.
            for place in range(len(ways)):
                name = list(ways)[(index + place) % len(ways)]
                figures[name].append(_once(environment, *ways[name]))
    return figures


def _once(environment: Mapping[str, str], code: str, *arguments: str) -> tuple[float, float]:
    command = [sys.executable, "-c", code + _PEAK, *arguments]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return (time.perf_counter() - start) * 1e3, int(done.stderr.split()[-1]) / 1e3
