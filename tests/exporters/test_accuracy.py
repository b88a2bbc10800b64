from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgecnn.artifacts import load_artifact
from edgecnn.data.dataset import Split
from edgecnn.errors import BadInput, UnknownName
from edgecnn.exporters.accuracy import check_classes, images_within, measure_accuracy
from edgecnn.exporters.foreign.file import export_file
from edgecnn.exporters.foreign.options import ForeignOptions, Meaning
from edgecnn.preprocess import prepare
from edgecnn.runtimes import open_session
from edgecnn.specs import ModelSpec, Preprocess, TensorSpec

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


@dataclass(frozen=True)
class Pets:
    """A set of two classes."""

    labels: tuple[str, ...] = ("cat", "dog")
    name: str = "folder:pets"

    def split(self, name: str) -> Split:
        return Split(name, np.zeros((2, 8, 8, 1), np.uint8), np.array([0, 1]), trained=False)

    def unlabelled(self) -> Split:
        return self.split("calibration")


@pytest.mark.parametrize(
    ("labels", "classes", "dataset", "text"),
    [
        (("cat", "dog"), 2, None, ""),
        ((), 2, None, ""),
        (("Katze", "Hund"), 2, "folder:pets", ""),
        (("dog", "cat"), 2, None, "class 0 of folder:pets: expected dog, as the model has it, got cat"),
        (("cat", "dog", "eel"), 3, None, "class 2 of folder:pets: expected eel, as the model has it, got none"),
        ((), 3, None, "classes of folder:pets: expected 3, as the model has, got 2"),
    ],
)
def test_images_of_other_classes(labels: tuple[str, ...], classes: int, dataset: str | None, text: str) -> None:
    logits = TensorSpec(name="logits", dtype="float32", shape=("N", classes))
    spec = ModelSpec(network="net", inputs=(), outputs=(logits,), labels=labels, dataset=dataset)
    if not text:
        check_classes(spec, Pets())
        return
    with pytest.raises(BadInput, match=text):
        check_classes(spec, Pets())


def test_an_export_measured_on_other_classes_writes_nothing(tiny: Path, tmp_path: Path) -> None:
    options = ForeignOptions(meaning=Meaning(mean=(0.5,), std=(0.5,), labels=("a", "b", "c", "d")))
    with pytest.raises(BadInput, match="class 0 of folder:pets: expected a, as the model has it, got cat"):
        export_file(tiny, tmp_path / "new.onnx", options, evaluation=Pets())
    assert list(tmp_path.iterdir()) == []
