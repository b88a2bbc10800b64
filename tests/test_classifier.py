"""What an app embeds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import edgecnn
from edgecnn.data import open_dataset
from edgecnn.errors import BadInput
from edgecnn.specs import SPEC_KEY
from edgecnn.testing.models import TINY, TINY_BATCH1

pytest.importorskip("onnxruntime")


def test_public_names_are_complete_and_sorted() -> None:
    assert sorted(edgecnn.__all__) == dir(edgecnn)
    for name in edgecnn.__all__:
        assert getattr(edgecnn, name) is not None
    with pytest.raises(AttributeError):
        edgecnn.nothing  # noqa: B018


def test_one_image_several_images_and_sizes() -> None:
    generator = np.random.default_rng(0)
    images = [generator.integers(0, 256, shape, np.uint8) for shape in ((8, 8), (30, 20, 1), (5, 9, 3), (16, 16, 4))]
    with edgecnn.load(TINY) as classifier:
        together = classifier.classify(images, top=3)
        apart = [classifier.classify(image, top=3) for image in images]
    for one, other in zip(together, apart, strict=True):
        assert [best.index for best in one] == [best.index for best in other]
        assert [best.probability for best in one] == pytest.approx([best.probability for best in other], rel=1e-5)
        assert sum(best.probability for best in one) == pytest.approx(1)


def test_a_stacked_array_is_a_batch() -> None:
    images = np.zeros((3, 8, 8, 1), np.uint8)
    with edgecnn.load(TINY) as classifier:
        assert len(classifier.classify(images, top=1)) == 3


def test_a_file_for_one_image_takes_a_batch_one_by_one() -> None:
    images = np.random.default_rng(1).integers(0, 256, (4, 8, 8, 1), np.uint8)
    with edgecnn.load(TINY) as free, edgecnn.load(TINY_BATCH1) as fixed:
        np.testing.assert_allclose(fixed.scores(list(images)), free.scores(list(images)), rtol=1e-5, atol=1e-6)


def test_a_file_for_several_images_takes_any_number(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(TINY)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 4
    onnx.save(model, tmp_path / "four.onnx")
    images = list(np.random.default_rng(2).integers(0, 256, (6, 8, 8, 1), np.uint8))
    with edgecnn.load(TINY) as free, edgecnn.load(tmp_path / "four.onnx") as fixed:
        for count in (1, 4, 6):
            np.testing.assert_allclose(fixed.scores(images[:count]), free.scores(images[:count]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "images",
    [np.zeros((8, 8), np.float32), np.zeros((8, 8, 2), np.uint8), np.zeros((0, 8), np.uint8), [], "shoe.png", [None]],
    ids=["float", "channels", "empty", "none", "text", "not an image"],
)
def test_what_is_no_image_is_refused(images: object) -> None:
    with edgecnn.load(TINY) as classifier:
        with pytest.raises(BadInput):
            classifier.classify(images)  # type: ignore[call-overload]
        with pytest.raises(BadInput):
            classifier.classify(np.zeros((8, 8), np.uint8), top=0)


def test_a_file_of_another_origin_runs_but_does_not_classify(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(TINY)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "foreign.onnx")
    with edgecnn.load(tmp_path / "foreign.onnx") as classifier:
        assert classifier.run({"input": np.zeros((2, 1, 8, 8), np.float32)})["logits"].shape == (2, 3)
        with pytest.raises(BadInput, match="does not say how images become its input"):
            classifier.classify(np.zeros((8, 8), np.uint8))


def test_labels_that_only_a_run_shows_to_be_too_few_are_refused(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(TINY)
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "classes"
    (entry,) = (entry for entry in model.metadata_props if entry.key == SPEC_KEY)
    entry.value = json.dumps({**json.loads(entry.value), "labels": ["square"]})
    onnx.save(model, tmp_path / "open.onnx")
    with edgecnn.load(tmp_path / "open.onnx") as classifier:
        assert classifier.artifact.spec.outputs[0].shape == ("N", "classes")
        with pytest.raises(BadInput, match="labels: expected 3 names, got 1"):
            classifier.classify(np.zeros((8, 8), np.uint8))


def test_trained_weights_know_clothes(lenet5: Path) -> None:
    data = open_dataset("fashion-mnist").split("test")
    with edgecnn.load(lenet5) as classifier:
        answers = classifier.classify([data.images[i] for i in range(200)], top=1)
    right = sum(best[0].index == label for best, label in zip(answers, data.labels, strict=False))
    assert right >= 170
