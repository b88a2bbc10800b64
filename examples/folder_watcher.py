"""Label every image that appears in a folder.

    python examples/folder_watcher.py models/mobilenet_v1_0.25_32.int8.onnx inbox/

One line per image on standard output; an image that cannot be read is said on standard error and does not stop the rest. An
image is taken once its size has not changed between two looks, so that one that is still being copied is left alone.
"""

import argparse
import sys
import time
from pathlib import Path

import edgecnn
from edgecnn.images import SUFFIXES


def sizes(folder: Path) -> dict[Path, int]:
    """Return the images of a folder and their sizes in bytes."""
    return {path: path.stat().st_size for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES}


def label(classifier: edgecnn.Classifier, path: Path) -> None:
    """Print the best label of one image."""
    try:
        best = classifier.classify(path, top=1)[0]
        print(f"{path}\t{best.label}\t{best.probability:.3f}", flush=True)
    except edgecnn.EdgecnnError as error:
        print(error, file=sys.stderr)


def main() -> None:
    """Look at the folder until Ctrl-C, or once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--once", action="store_true", help="label what is there and end")
    parser.add_argument("--seconds", type=float, default=0.5, help="between two looks")
    asked = parser.parse_args()
    with edgecnn.load(asked.model, preset="embedded") as classifier:  # no waiting threads, little memory
        done: set[Path] = set()
        before = sizes(asked.folder) if asked.once else {}
        while True:
            now = sizes(asked.folder)
            done &= now.keys()  # what went and comes again is new
            for path in [path for path, size in now.items() if before.get(path) == size and path not in done]:
                label(classifier, path)
                done.add(path)
            if asked.once:
                break
            before = now
            time.sleep(asked.seconds)


if __name__ == "__main__":
    try:
        main()
    except (edgecnn.EdgecnnError, OSError, ValueError, KeyboardInterrupt) as error:
        sys.exit(f"error: {error}" if str(error) else 130)
