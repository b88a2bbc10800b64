from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgecnn.artifacts import load_artifact
from edgecnn.data.dataset import Split
from edgecnn.errors import BadInput, UnknownName
from edgecnn.exporters.accuracy import images_within, measure_accuracy
from edgecnn.preprocess import prepare
from edgecnn.runtimes import open_session
from edgecnn.specs import Preprocess

Images = NDArray[np.uint8]


def answers(path: Path, images: Images) -> NDArray[np.int64]:
    artifact = load_artifact(path)
    assert artifact.spec.preprocess is not None
    with open_session(artifact) as session:
        return session.run({"input": prepare(images, artifact.spec.preprocess)})["logits"].argmax(axis=1)


def split(images: Any, labels: Any) -> Split:
    return Split("test", images, np.asarray(labels, np.int64), trained=False)


@pytest.mark.parametrize("batch", [1, 7, 64, 1000])
def test_it_is_the_share_of_right_answers(tiny: Path, images: Images, batch: int) -> None:
    labels = answers(tiny, images)
    labels[:24] = (labels[:24] + 1) % 4
    found = measure_accuracy(load_artifact(tiny), split(images, labels), dataset="quarters", batch=batch, threads=1)
    assert found.value == 0.75
    assert (found.images, found.metric, found.dataset, found.split) == (96, "top1", "quarters", "test")
    assert (found.precision, found.backend) == ("fp32", "cpu")


def test_progress_ends_with_all_images(tiny: Path, images: Images) -> None:
    seen: list[tuple[int, int]] = []
    measure_accuracy(
        load_artifact(tiny),
        split(images, np.zeros(96)),
        dataset="quarters",
        batch=40,
        on_progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(40, 96), (80, 96), (96, 96)]


@pytest.mark.parametrize("label", [4, -1])
def test_a_label_that_the_model_cannot_give(tiny: Path, images: Images, label: int) -> None:
    with pytest.raises(BadInput, match="expected 0 to 3"):
        measure_accuracy(load_artifact(tiny), split(images, [label] * 96), dataset="other")


def test_no_images(tiny: Path, images: Images) -> None:
    with pytest.raises(BadInput, match="at least one image"):
        measure_accuracy(load_artifact(tiny), split(images[:0], []), dataset="quarters")


def test_an_unknown_backend(tiny: Path, images: Images) -> None:
    with pytest.raises(UnknownName):
        measure_accuracy(load_artifact(tiny), split(images, np.zeros(96)), dataset="quarters", backend="gpu")


def test_batches_are_bounded_by_bytes() -> None:
    large = Preprocess(size=(1024, 1024), channels=3, mean=(0.0,) * 3, std=(1.0,) * 3)
    assert images_within(16 << 20, large) == 1
    assert images_within(64 << 20, large) == 5
    assert images_within(1, large) == 1
