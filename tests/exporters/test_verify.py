"""A file beside what it says of itself, and beside another form of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from edgecnn.artifacts import load_artifact
from edgecnn.data.dataset import Split
from edgecnn.errors import AccuracyError, BadInput, Contradiction, ParityError
from edgecnn.exporters.compare import Side, answers_on_random, measure_difference
from edgecnn.exporters.onnxfile import stamp, write_model
from edgecnn.exporters.quantize import QuantizeConfig, quantize
from edgecnn.exporters.stated import check_accuracy, check_fit, why_not_applicable
from edgecnn.exporters.verify import STRANGE_IMAGES, VerifyOptions, hold, verify
from edgecnn.preprocess import prepare
from edgecnn.runtimes import open_session
from edgecnn.specs import Accuracy, Artifact, TensorSpec
from edgecnn.testing.models import TINY, TINY_BATCH1, TINY_INT8

Images = NDArray[np.uint8]
Write = Callable[..., Artifact]


@dataclass(frozen=True)
class Quarters:
    """The set that `tiny` was trained on, as far as it goes: three of four labels are what `tiny` answers."""

    images: Images
    answers: NDArray[np.int64]
    name: str = "quarters"
    labels: tuple[str, ...] = ("a", "b", "c", "d")

    def split(self, name: str) -> Split:
        right = np.arange(len(self.images)) % 4 != 0
        return Split(name, self.images, np.where(right, self.answers, (self.answers + 1) % 4), trained=False)

    def unlabelled(self) -> Split:
        return self.split("calibration")


@pytest.fixture
def quarters(tiny: Path, images: Images) -> Quarters:
    preprocess = load_artifact(tiny).spec.preprocess
    assert preprocess is not None
    with open_session(load_artifact(tiny)) as session:
        return Quarters(images, session.run({"input": prepare(images, preprocess)})["logits"].argmax(axis=1))


def test_classes_of_other_names_or_order_are_not_measured(tiny: Path, quarters: Quarters) -> None:
    artifact = load_artifact(tiny)
    unnamed = replace(artifact, spec=replace(artifact.spec, dataset=None))
    turned = replace(quarters, name="folder:turned", labels=("b", "a", "c", "d"))
    assert why_not_applicable(unnamed, quarters) == ""
    assert "in another order" in why_not_applicable(unnamed, turned)
    assert check_accuracy(unnamed, turned).verdict == "not applicable"


def test_nothing_to_compare_on_is_said() -> None:
    with pytest.raises(BadInput, match="at least one"):
        measure_difference([])


@pytest.mark.parametrize("batch", [1, 5, 64, "N"])
def test_random_inputs_fill_a_fixed_batch_and_count_once(batch: int | str) -> None:
    seen = []

    def run(feed: NDArray[Any]) -> dict[str, NDArray[Any]]:
        seen.append(len(feed))
        return {"y": feed}

    source = TensorSpec(name="x", dtype="float32", shape=(batch, 3))
    side = Side(name="a", source=source, targets=(replace(source, name="y"),), preprocess=None, run=run)
    found = measure_difference(answers_on_random(side, side, count=32))
    assert (found.inputs, found.max, found.agreement) == (32, 0.0, 1.0)
    assert set(seen) == {1 if batch == "N" else batch}


def test_infinity_in_both_is_no_agreement() -> None:
    answers = {"y": np.float32([[np.inf, 1.0]])}
    found = measure_difference([(answers, answers)])
    assert (found.max, found.mean, found.output) == (None, None, "y")


def stated(value: float, images: int = 96, **other: Any) -> Accuracy:
    fields = {"metric": "top1", "dataset": "quarters", "split": "test", "precision": "fp32", "backend": "cpu"}
    return Accuracy(value=value, images=images, **{**fields, **other})


@pytest.fixture
def write(tiny: Path, tmp_path: Path) -> Write:
    """`write(bias=0.5, accuracy=(...), ...)`: tiny with other stated values, a number added to its first logit."""

    def write(name: str = "made.onnx", bias: float = 0.0, **spec: Any) -> Artifact:
        source, model = load_artifact(tiny), ir.load(tiny)
        last = model.graph[-1].inputs[2]
        assert last is not None and last.const_value is not None
        last.const_value = ir.tensor(last.const_value.numpy() + np.float32([bias, 0, 0, 0]), name=last.name)
        stamp(model, replace(source.spec, **spec), source.lineage)
        write_model(model, tmp_path / name)
        return load_artifact(tmp_path / name)

    return write


def test_an_accuracy_that_holds(write: Write, quarters: Quarters) -> None:
    result = verify(write(accuracy=(stated(0.75), stated(0.1, precision="int8"))), VerifyOptions(), evaluation=quarters)
    assert result.verdict == "ok"
    assert result.parity is None
    assert result.accuracy is not None
    assert result.accuracy.measured == stated(0.75)
    (figure,) = result.accuracy.figures
    assert (figure.source, figure.value, figure.difference_points, figure.comparable) == ("file", 0.75, 0.0, True)
    hold([result])


def test_weights_that_were_altered_by_hand_fail(write: Write, quarters: Quarters) -> None:
    result = verify(write(bias=100.0, accuracy=(stated(0.75),)), VerifyOptions(), evaluation=quarters)
    assert result.verdict == "fail"
    with pytest.raises(AccuracyError, match=r"made\.onnx by -"):
        hold([result])


@pytest.mark.parametrize(("allowed", "verdict"), [(0.99, "fail"), (1.0, "ok")])
def test_the_tolerance_is_in_points(write: Write, quarters: Quarters, allowed: float, verdict: str) -> None:
    artifact = write(accuracy=(stated(0.76),))
    assert check_accuracy(artifact, quarters, allowed_points=allowed).verdict == verdict


def test_another_number_of_images_is_not_compared(write: Write, quarters: Quarters) -> None:
    check = check_accuracy(write(accuracy=(stated(0.2, images=10_000),)), quarters)
    assert (check.verdict, check.difference_points) == ("reported", None)
    assert "10,000 images (file)" in check.reason
    assert check_accuracy(write(), quarters).reason == "no accuracy on these images is stated"


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"weights": "random", "dataset": None}, "random weights"),
        ({"dataset": "imagenet", "labels": ("x", "y", "z", "w")}, "trained on imagenet, not on quarters"),
    ],
)
def test_where_accuracy_means_nothing(write: Write, quarters: Quarters, spec: dict[str, Any], reason: str) -> None:
    result = verify(write(accuracy=(stated(0.1),), **spec), VerifyOptions(), evaluation=quarters)
    assert result.accuracy is not None
    assert (result.verdict, result.accuracy.reason, result.accuracy.measured) == ("not applicable", reason, None)
    hold([result])


def test_a_folder_with_the_same_classes_serves(write: Write, quarters: Quarters) -> None:
    check = check_accuracy(write(accuracy=(stated(0.1),)), replace(quarters, name="folder:more"))
    assert check.measured is not None
    assert (check.measured.value, check.verdict) == (0.75, "reported")


def test_another_count_of_classes_names_both(write: Write, quarters: Quarters) -> None:
    five = replace(quarters, labels=("a", "b", "c", "d", "e"))
    with pytest.raises(BadInput, match=r"made\.onnx: expected 5, as quarters has, got 4"):
        check_fit(write(labels=()), five)


def test_a_file_without_a_description_is_named(tiny: Path, quarters: Quarters, tmp_path: Path) -> None:
    model = onnx.load(tiny)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "bare.onnx")
    with pytest.raises(BadInput, match=r"bare\.onnx does not say how an image becomes its input"):
        check_fit(load_artifact(tmp_path / "bare.onnx"), quarters)


def test_the_difference_is_relative_to_the_greatest_output() -> None:
    pairs = [
        (np.float32([[1, 2], [3, 0]]), np.float32([[1, 2], [4, 0]])),
        (np.float32([[-8, 1]]), np.float32([[-8, -9]])),
    ]
    found = measure_difference([({"y": mine}, {"y": theirs}) for mine, theirs in pairs])
    assert found.inputs == 3
    assert found.max == pytest.approx(10 / 9)
    assert found.mean == pytest.approx(11 / 6 / 9)
    assert found.agreement == pytest.approx(2 / 3)
    # By hand: columns (1, 4, -8) and (2, 0, -9) have the means -1 and -7/3; the differences are 1 and 10.
    signal = (4 + 25 + 49) + (169 + 49 + 400) / 9
    assert found.sqnr_db == pytest.approx(10 * np.log10(signal / 101))
    assert found.spread == pytest.approx(np.sqrt(signal / 6) / 9)


def test_of_several_outputs_the_one_that_differs_most_counts() -> None:
    logits, boxes = np.float32([[1, 0], [0, 1]]), np.float32([[[100.0], [50]], [[20], [10]]])
    same = measure_difference([({"logits": logits, "boxes": boxes}, {"logits": logits, "boxes": boxes})])
    assert (same.max, same.sqnr_db, same.agreement) == (0.0, None, 1.0)
    found = measure_difference([({"boxes": boxes + 3, "logits": logits}, {"logits": logits, "boxes": boxes})])
    assert (found.output, found.inputs, found.agreement) == ("boxes", 2, 1.0)
    assert found.max == pytest.approx(0.03)
    assert found.mean == pytest.approx(0.03)
    broken = measure_difference([({"logits": logits, "boxes": boxes * np.nan}, {"logits": logits, "boxes": boxes})])
    assert (broken.output, broken.max, broken.sqnr_db) == ("boxes", None, None)


def test_answers_that_are_all_alike_are_no_signal() -> None:
    expected = np.full((50, 3), 0.1, np.float32)
    assert measure_difference([({"y": expected + 1}, {"y": expected})]).sqnr_db is None


def with_second_output(source: Path, target: Path, name: str, factor: float) -> Path:
    """Write a file that also gives its logits times a factor, under that name."""
    model = onnx.load(source)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(factor), "factor"))
    model.graph.node.append(onnx.helper.make_node("Mul", ["logits", "factor"], [name], name="scaled"))
    model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", 4]))
    onnx.save(model, target)
    return target


def test_every_output_is_compared(tiny: Path, tmp_path: Path) -> None:
    made = [
        with_second_output(tiny, tmp_path / f"{index}.onnx", name, factor)
        for index, (name, factor) in enumerate([("scaled", 2.0), ("scaled", 2.1), ("other", 2.0)])
    ]
    reference, off, other = (load_artifact(path) for path in made)
    assert verify(reference, VerifyOptions(against=str(made[0]))).verdict == "ok"
    result = verify(off, VerifyOptions(against=str(made[0])))
    assert result.parity is not None
    assert (result.verdict, result.parity.difference.output) == ("fail", "scaled")
    assert result.parity.difference.max == pytest.approx(0.05, rel=1e-3)
    with pytest.raises(ParityError, match="at scaled, the worst of 32 inputs"):
        hold([result])
    with pytest.raises(BadInput, match=r"2\.onnx: expected logits, scaled, as .*0\.onnx, got logits, other"):
        verify(other, VerifyOptions(against=str(made[0])))
    with pytest.raises(BadInput, match=r"tiny\.onnx: expected logits, scaled, as .*0\.onnx, got logits \("):
        verify(load_artifact(tiny), VerifyOptions(against=str(made[0])))


def test_outputs_that_are_not_numbers_fail(tiny: Path, write: Write) -> None:
    result = verify(write(bias=np.nan), VerifyOptions(against=str(tiny)))
    assert result.parity is not None
    assert (result.verdict, result.parity.difference.max) == ("fail", None)
    with pytest.raises(ParityError):
        hold([result])


def test_a_form_that_is_off_by_a_known_amount(tiny: Path, write: Write, quarters: Quarters) -> None:
    made = write(bias=0.01)
    for evaluation, inputs, count in ((None, "random", 32), (quarters, "quarters", 96)):
        result = verify(made, VerifyOptions(against=str(tiny)), evaluation=evaluation)
        parity = result.parity
        assert parity is not None
        assert (result.verdict, parity.tolerance, parity.inputs) == ("fail", 1e-4, inputs)
        assert parity.difference.inputs == count
        assert parity.difference.mean == pytest.approx(parity.difference.max / 4, rel=1e-2)  # one of four logits
        with pytest.raises(ParityError, match=r"made\.onnx and .*tiny\.onnx"):
            hold([result])
    loose = VerifyOptions(against=str(tiny), tolerance=1.0)
    assert verify(made, loose).verdict == "ok"


@pytest.fixture
def int8(tiny: Path, images: Images, tmp_path: Path) -> Path:
    """The int8 form of `tiny`, made for the images of `quarters`."""
    split = Split("calibration", images, np.zeros(len(images), np.int64), trained=True)
    target = tmp_path / "tiny.int8.onnx"
    return quantize(tiny, target, calibration=split, config=QuantizeConfig(min_channels=1)).artifact.path


def test_int8_on_images_is_judged_by_its_noise(tiny: Path, int8: Path, quarters: Quarters, tmp_path: Path) -> None:
    result = verify(load_artifact(int8), VerifyOptions(against=str(tiny)), evaluation=quarters)
    parity = result.parity
    assert parity is not None
    assert (parity.verdict, parity.tolerance, parity.least_sqnr_db, parity.reason) == ("ok", None, 6.0, "")
    assert parity.difference.sqnr_db is not None
    assert parity.difference.sqnr_db > 20

    model = onnx.load(int8)
    (scale,) = [value for value in model.graph.initializer if value.name.startswith("w3") and "scale" in value.name]
    scale.CopyFrom(onnx.numpy_helper.from_array(2 * onnx.numpy_helper.to_array(scale), scale.name))
    onnx.save(model, tmp_path / "broken.onnx")
    broken = verify(load_artifact(tmp_path / "broken.onnx"), VerifyOptions(against=str(tiny)), evaluation=quarters)
    assert broken.parity is not None
    assert broken.parity.verdict == "fail"
    assert broken.parity.difference.sqnr_db is not None
    assert broken.parity.difference.sqnr_db < 1
    with pytest.raises(ParityError, match=r"96 images, over what the answers differ by.*, allowed 0\.501"):
        hold([replace(broken, accuracy=None)])
    allowed = VerifyOptions(against=str(tiny), tolerance=5.0)
    free = verify(load_artifact(tmp_path / "broken.onnx"), allowed, evaluation=quarters).parity
    assert free is not None
    assert (free.verdict, free.least_sqnr_db) == ("ok", None)


@pytest.mark.parametrize(("off", "verdict"), [(0.01, "ok"), (0.03, "fail")])
def test_answers_that_hardly_differ_from_image_to_image(
    write: Write, tiny: Path, int8: Path, quarters: Quarters, tmp_path: Path, off: float, verdict: str
) -> None:
    """The reference's first logit is a thousand: little noise beside it, much beside what the images make of it."""
    reference = write(name="far.onnx", bias=1000.0)
    model = onnx.load(int8)
    model.graph.node[-1].output[0] = "near"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32([1000 * (1 + off), 0, 0, 0]), "far"))
    model.graph.node.append(onnx.helper.make_node("Add", ["near", "far"], ["logits"], name="far"))
    onnx.save(model, tmp_path / "far.int8.onnx")
    result = verify(
        load_artifact(tmp_path / "far.int8.onnx"), VerifyOptions(against=str(reference.path)), evaluation=quarters
    )
    assert result.parity is not None
    assert result.parity.difference.agreement == 1
    assert (result.parity.verdict, (result.parity.difference.sqnr_db or 99) < 6) == (verdict, True)
    if verdict == "fail":
        with pytest.raises(ParityError) as caught:
            hold([replace(result, accuracy=None)])
        assert "the answers hardly differ from image to image" in (caught.value.hint or "")


def test_int8_on_random_inputs_is_not_judged_unless_a_tolerance_is_given() -> None:
    free = verify(load_artifact(TINY_INT8), VerifyOptions(against=str(TINY)))
    assert free.verdict == "reported"
    assert free.parity is not None
    assert free.parity.reason.startswith("other precisions on random inputs: give --tolerance, or --data")
    assert 1e-4 < (free.parity.difference.max or 0.0) < 0.2
    strict = verify(load_artifact(TINY_INT8), VerifyOptions(against=str(TINY), tolerance=1e-4))
    assert strict.verdict == "fail"


def test_images_without_labels_serve_to_compare_but_not_for_accuracy(
    tiny: Path, int8: Path, quarters: Quarters
) -> None:
    nameless = replace(quarters, name="folder:photos", labels=())
    result = verify(load_artifact(int8), VerifyOptions(against=str(tiny), layers=True), evaluation=nameless)
    assert result.parity is not None
    assert (result.verdict, result.parity.inputs, result.parity.difference.inputs) == ("ok", "folder:photos", 96)
    assert result.layers is not None
    assert result.layers.source == "folder:photos"
    alone = verify(load_artifact(int8), VerifyOptions(), evaluation=nameless)
    assert alone.accuracy is not None
    assert (alone.verdict, "have no labels" in alone.accuracy.reason) == ("not applicable", True)


def test_a_fixed_batch_is_met() -> None:
    result = verify(load_artifact(TINY_BATCH1), VerifyOptions(against=str(TINY)))
    assert result.parity is not None
    assert (result.verdict, result.parity.difference.inputs) == ("ok", 32)


def test_random_inputs_are_those_of_the_seed(tiny: Path, write: Write) -> None:
    found = [verify(write(bias=0.01), VerifyOptions(against=str(tiny), seed=seed)).parity for seed in (1, 1, 2)]
    assert found[0] == found[1] != found[2]


def test_a_reference_of_another_kind_names_both(tiny: Path) -> None:
    with pytest.raises(BadInput, match=r"tiny\.onnx: expected float32 \[N, 3\], as .*tiny\.onnx, got float32 \[N, 4\]"):
        verify(load_artifact(tiny), VerifyOptions(against=str(TINY)))


def test_options_that_exclude_each_other() -> None:
    with pytest.raises(Contradiction, match="weights are for the comparison with torch"):
        VerifyOptions(weights="x.safetensors", against="other.onnx")
    with pytest.raises(Contradiction, match="beside another form"):
        VerifyOptions(tolerance=1e-3)
    with pytest.raises(BadInput, match="at least 0"):
        VerifyOptions(tolerance=float("nan"), against="torch")


@pytest.mark.slow
def test_torch_is_built_again_from_what_the_file_says(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from edgecnn.exporters.network import ExportOptions, export_network
    from edgecnn.exporters.reference import form_of_artifact
    from edgecnn.zoo.registry import build, make_form
    from edgecnn.zoo.weights import load_weights, save_weights

    form = make_form("lenet5", form="relu", classes=4)
    module = build(form)
    load_weights(module, form, "random", seed=5)
    save_weights(module, tmp_path / "mine.safetensors")
    options = ExportOptions(weights=str(tmp_path / "mine.safetensors"))
    made = export_network(form, tmp_path / "made.onnx", options)
    assert form_of_artifact(made) == form
    result = verify(made, VerifyOptions(against="torch"))
    assert result.parity is not None
    assert (result.verdict, result.parity.reference) == ("ok", "torch")

    (tmp_path / "mine.safetensors").rename(tmp_path / "away.safetensors")
    with pytest.raises(BadInput, match="are not beside it"):
        verify(made, VerifyOptions(against="torch"))
    assert verify(made, VerifyOptions(against="torch", weights=str(tmp_path / "away.safetensors"))).verdict == "ok"

    load_weights(module, form, "random", seed=6)
    save_weights(module, tmp_path / "other.safetensors")
    other = verify(made, VerifyOptions(against="torch", weights=str(tmp_path / "other.safetensors")))
    assert other.verdict == "fail"


def test_a_form_that_a_file_does_not_tell_is_refused(lenet5: Path) -> None:
    pytest.importorskip("torch")
    from edgecnn.exporters.reference import form_of_artifact
    from edgecnn.zoo.registry import bundled_form

    known = load_artifact(lenet5)
    assert form_of_artifact(known) == bundled_form("lenet5")
    (source,), (target,) = known.spec.inputs, known.spec.outputs
    for change, said in (
        ({"variant": "relu"}, "expected lenet5_relu with .*, got lenet5 with"),
        ({"outputs": (replace(target, shape=("N", 7)),)}, "expected lenet5 with .* classes 7, .*, got .* classes 10"),
        ({"inputs": (replace(source, shape=("N", 1, "H", "W")),)}, r"numbers, got \[N, 1, H, W\] and \[N, 10\]"),
        ({"inputs": (replace(source, shape=("N", 1, 32, 28)),)}, r"numbers, got \[N, 1, 32, 28\] and"),
        ({"inputs": (replace(source, shape=("N", 784)),)}, r"numbers, got \[N, 784\] and"),
        ({"outputs": (replace(target, shape=("N", "classes")),)}, r"and \[N, classes\]"),
        ({"inputs": (), "outputs": ()}, "got none"),
    ):
        artifact = replace(known, lineage=(), spec=replace(known.spec, **change))  # type: ignore[arg-type]
        with pytest.raises(BadInput, match=said):
            form_of_artifact(artifact)


def test_what_is_not_of_the_zoo_has_no_torch_form(tiny: Path) -> None:
    pytest.importorskip("torch")
    with pytest.raises(BadInput, match="no network of the zoo"):
        verify(load_artifact(tiny), VerifyOptions(against="torch"))


def test_images_that_were_given_are_what_outputs_are_compared_on(tiny: Path, write: Write, quarters: Quarters) -> None:
    """Also where accuracy does not apply to them."""
    other = replace(quarters, name="folder:other", labels=("e", "f", "g", "h"))
    result = verify(write(), VerifyOptions(against=str(tiny)), evaluation=other)
    assert result.accuracy is not None
    assert result.accuracy.verdict == "not applicable"
    assert result.parity is not None
    assert (result.parity.inputs, result.parity.difference.inputs) == ("folder:other", len(quarters.images))
    assert (result.verdict, result.changed) == ("ok", False)


def test_int8_is_not_judged_on_images_of_another_kind(
    tiny: Path, quarters: Quarters, images: Images, tmp_path: Path
) -> None:
    quantize(tiny, tmp_path / "int8.onnx", calibration=images)
    other = replace(quarters, name="folder:other", labels=("e", "f", "g", "h"))
    options = VerifyOptions(against=str(tiny))
    result = verify(load_artifact(tmp_path / "int8.onnx"), options, evaluation=other)
    assert result.parity is not None
    assert (result.verdict, result.parity.inputs, result.parity.reason) == ("reported", "folder:other", STRANGE_IMAGES)


def test_a_file_that_was_changed_is_told(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "changed.onnx").write_bytes(tiny.read_bytes().replace(b"quarters", b"quartets"))
    options = VerifyOptions(against=str(tiny))
    assert verify(load_artifact(tmp_path / "changed.onnx"), options).changed
    assert not verify(load_artifact(tiny), options).changed
