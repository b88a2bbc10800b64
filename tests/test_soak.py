"""Many calls from many threads: every answer right, and no growth."""

from __future__ import annotations

import gc
import threading
from pathlib import Path

import numpy as np
import pytest

import edgecnn
from edgecnn.procfs import read_text

CALLS = 100_000
THREADS = 8


def _resident_kib() -> int:
    text = read_text(Path("/proc/self/status")) or ""
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("VmRSS:")))


@pytest.mark.slow
def test_soak(lenet5: Path) -> None:
    """Answers of 8 threads equal those of one to the bit; from the 10th to the last percent memory grows by less than 1%."""
    pytest.importorskip("onnxruntime")
    generator = np.random.default_rng(0)
    images = [generator.integers(0, 256, (28, 28, 1), np.uint8) for _ in range(64)]
    images += [generator.integers(0, 256, (30 + index, 45, 3), np.uint8) for index in range(8)]
    wrong: list[int] = []
    resident: list[int] = []
    done, lock = 0, threading.Lock()
    with edgecnn.load(lenet5, options=edgecnn.OpenOptions(threads=1)) as classifier:
        wanted = [classifier.classify(image) for image in images]

        def work(offset: int) -> None:
            nonlocal done
            for step in range(CALLS // THREADS):
                index = (step * 5 + offset) % len(images)
                if classifier.classify(images[index]) != wanted[index]:
                    wrong.append(index)
                with lock:
                    done += 1
                    if done % (CALLS // 100) == 0:
                        resident.append(_resident_kib())

        gc.collect()
        workers = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert not wrong
    assert len(resident) == 100
    assert resident[-1] <= 1.01 * resident[9], f"{resident[9]} KiB became {resident[-1]}"
