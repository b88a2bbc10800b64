"""Feeds damaged files to `edgecnn.load` and `classify`, in a process of its own:
`python driver.py KIND COUNT SEED FOLDER BACKEND`.

KIND is "models" or "images". What came of each file is counted and written to standard output as JSON; the file at hand
lies in FOLDER, so that a crash leaves it there.
"""

from __future__ import annotations

import faulthandler
import io
import json
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

import edgecnn
from edgecnn.errors import EdgecnnError
from edgecnn.loading import load_with
from edgecnn.seal import SEAL_BYTES, has_seal
from edgecnn.testing.models import TINY, TINY_INT8
from edgecnn.testing.mutations import mutate_bytes, mutate_model
from edgecnn.trial import Trial

OPTIONS = edgecnn.OpenOptions(threads=1, cache=False)
# Above all the time that a healthy file takes, many times over.
TIMEOUT_S = 8.0
SLOW_S = 120.0


def damaged_models(count: int, seed: int, folder: Path):
    import onnx

    paths = (TINY, TINY_INT8, *sorted(folder.glob("source*.onnx")))
    sealed = [path.read_bytes() for path in paths]
    # A seal that does not fit is refused before anything is looked at: most files come without, as foreign ones do.
    unsealed = [
        content[:-SEAL_BYTES] if has_seal(path) else content for path, content in zip(paths, sealed, strict=True)
    ]
    generator = np.random.default_rng(seed)
    for index in range(count):
        sources = unsealed if index % 8 else sealed
        content = sources[index % len(sources)]
        if generator.integers(3) == 0:
            other = sources[generator.integers(len(sources))]
            yield mutate_bytes(content, generator, other=other)
        else:
            yield mutate_model(onnx.load_from_string(content), generator)


def try_model(trial: Trial, path: Path, backend: str) -> str:
    generator = np.random.default_rng(0)
    with load_with(path, backend=backend, options=OPTIONS, trusted=None, trial=trial) as classifier:
        answer = "opened"
        if classifier.artifact.spec.preprocess is not None:
            for images in (
                generator.integers(0, 256, (28, 28), np.uint8),
                list(generator.integers(0, 256, (2, 9, 40, 3), np.uint8)),
            ):
                classifier.classify(images)
            answer = "classified"
        return answer


def damaged_images(count: int, seed: int):
    from PIL import Image

    pixels = np.random.default_rng(1).integers(0, 256, (40, 50, 3), np.uint8)
    smooth = Image.fromarray(np.minimum(np.add.outer(np.arange(64), np.arange(64)), 255).astype(np.uint8))
    sources = []
    for image in (Image.fromarray(pixels), smooth.convert("P"), smooth, smooth.convert("CMYK"), smooth.convert("RGBA")):
        exif = Image.Exif()
        exif[0x0112] = 6
        for kind, options in (
            ("JPEG", {"exif": exif}),
            ("PNG", {"exif": exif}),
            ("GIF", {"save_all": True, "append_images": [image]}),
            ("BMP", {}),
            ("WEBP", {"exif": exif}),
            ("TIFF", {"compression": "tiff_lzw"}),
            ("TIFF", {"compression": "jpeg"}),
            ("JPEG2000", {}),
            ("PPM", {}),
        ):
            buffer = io.BytesIO()
            try:
                image.save(buffer, kind, **options)
            except (OSError, ValueError):
                continue
            sources.append(buffer.getvalue())
    generator = np.random.default_rng(seed)
    for index in range(count):
        other = sources[generator.integers(len(sources))]
        yield mutate_bytes(sources[index % len(sources)], generator, other=other)


def main() -> None:
    kind, count, seed, folder, backend = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]), sys.argv[5]
    faulthandler.enable()
    warnings.simplefilter("error")
    outcomes: Counter[str] = Counter()
    strange: list[str] = []
    path = folder / "at-hand"
    with Trial(backend, OPTIONS, timeout_s=TIMEOUT_S) as trial, edgecnn.load(TINY, backend=backend) as classifier:
        files = damaged_models(count, seed, folder) if kind == "models" else damaged_images(count, seed)
        for index, content in enumerate(files):
            path.write_bytes(content)
            start = time.monotonic()
            try:
                if kind == "models":
                    outcome = try_model(trial, path, backend)
                else:
                    classifier.classify(path)
                    outcome = "classified"
            except EdgecnnError as error:
                outcome = type(error).__name__
                if "crashed" in error.message or "stopped the engine" in error.message:
                    outcome = "crashed the child" if "crashed" in error.message else "stopped the child"
                    path.replace(folder / f"{outcome.replace(' ', '-')}-{index}")
            except BaseException as error:
                outcome = "strange"
                strange.append(f"{index}: {type(error).__name__}: {error}"[:300])
                path.replace(folder / f"strange-{index}")
            if time.monotonic() - start > SLOW_S:
                strange.append(f"{index}: took {time.monotonic() - start:.0f} s")
            outcomes[outcome] += 1
    print(json.dumps({"outcomes": outcomes, "strange": strange}))


if __name__ == "__main__":
    main()
