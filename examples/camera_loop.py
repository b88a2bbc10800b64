"""Label what a camera sees.

    python examples/camera_loop.py models/mobilenet_v1_0.25_32.int8.onnx 0          # the first camera
    python examples/camera_loop.py models/mobilenet_v1_0.25_32.int8.onnx images/    # a folder stands in for it

A source is the number of a camera, a video file, or a folder of images. Camera and video need OpenCV.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import edgecnn
from edgecnn.images import SUFFIXES, read_image


def frames(source: str) -> Iterator[np.ndarray]:
    """Yield images, uint8 [H, W, 3] in RGB, until the source ends."""
    if Path(source).is_dir():
        yield from (read_image(path) for path in sorted(Path(source).iterdir()) if path.suffix.lower() in SUFFIXES)
        return
    try:
        import cv2  # noqa: PLC0415 (only where a camera or a video is asked for)
    except ImportError:
        raise SystemExit("error: cameras and videos need OpenCV: pip install opencv-python-headless") from None
    capture = cv2.VideoCapture(int(source) if source.isdigit() else source)
    if not capture.isOpened():
        raise SystemExit(f"error: expected the number of a camera, a video or a folder of images, got {source}")
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest frame, not the oldest one that waits
    while (frame := capture.read()[1]) is not None:
        yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    capture.release()


def main() -> None:
    """Print the best label of each frame and how long it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("source")
    asked = parser.parse_args()
    with edgecnn.load(asked.model, preset="embedded") as classifier:
        classifier.warm_up()
        for number, frame in enumerate(frames(asked.source)):
            begin = time.perf_counter_ns()
            best = classifier.classify(frame, top=1)[0]
            took_ms = (time.perf_counter_ns() - begin) / 1e6
            print(f"{number}\t{best.label}\t{best.probability:.3f}\t{took_ms:.2f} ms", flush=True)


if __name__ == "__main__":
    try:
        main()
    except (edgecnn.EdgecnnError, OSError, KeyboardInterrupt) as error:
        sys.exit(f"error: {error}" if str(error) else 130)
