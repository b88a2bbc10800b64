"""What an app pays until its first answer: edgecnn against the same steps by hand, each in a fresh process."""

import statistics
import subprocess
import sys
import time

from _common import model, report, row

OURS = """
import sys, numpy as np, edgecnn
image = np.zeros((28, 28, 1), np.uint8)
classifier = edgecnn.load(sys.argv[1])
print(classifier.classify(image)[0].index)
"""

BY_HAND = """
import sys, numpy as np, onnxruntime as ort
image = np.zeros((28, 28, 1), np.uint8)
session = ort.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
canvas = np.zeros((32, 32), np.float32)
canvas[2:30, 2:30] = image[..., 0]
pixels = ((canvas / 255 - 0.286) / 0.353)[None, None].astype(np.float32)
logits = session.run(None, {session.get_inputs()[0].name: pixels})[0][0]
probabilities = np.exp(logits - logits.max())
probabilities /= probabilities.sum()
print(np.argsort(-probabilities)[:5][0])
"""

PEAK = (
    "\nprint(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')), file=sys.stderr)"
)


def once(code: str, path: str) -> tuple[float, float]:
    """Return seconds and peak megabytes of one fresh process."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code + PEAK, path], capture_output=True, text=True, check=True)
    return time.perf_counter() - start, int(done.stderr.split()[-1]) / 1e3


def main() -> None:
    rows = []
    for name in ("mobilenet", "resnet20"):
        path = str(model(name, name))
        figures: dict[str, list[tuple[float, float]]] = {"ours": [], "theirs": []}
        for _ in range(21):
            figures["ours"].append(once(OURS, path))
            figures["theirs"].append(once(BY_HAND, path))
        (a, a_mb), (b, b_mb) = (
            [statistics.median(column) for column in zip(*figures[who], strict=True)] for who in figures
        )
        rows.append(row(f"{name}, process start to first answer", a * 1e3, b * 1e3, "ms", 1.25))
        rows.append(row(f"{name}, peak memory", a_mb, b_mb, "MB", 1.25))
    report(rows)


if __name__ == "__main__":
    main()
