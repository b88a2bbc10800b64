from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from edgecnn.artifacts import load_artifact
from edgecnn.data.dataset import Split
from edgecnn.errors import (
    AccuracyError,
    BadInput,
    Contradiction,
    EdgecnnError,
    QuantizeError,
    UnavailableError,
    UnknownName,
)
from edgecnn.exporters.onnxfile import stamp, write_model
from edgecnn.exporters.quantize import QuantizeConfig, QuantizeResult, quantize
from edgecnn.preprocess import prepare
from edgecnn.runtimes import open_session
from edgecnn.specs import Accuracy, ModelSpec

LABELS = ("a", "b", "c", "d")
Images = NDArray[np.uint8]


def logits(path: Path, images: Images) -> NDArray[np.float32]:
    artifact = load_artifact(path)
    assert artifact.spec.preprocess is not None
    with open_session(artifact) as session:
        answer: NDArray[np.float32] = session.run({"input": prepare(images, artifact.spec.preprocess)})["logits"]
    return answer


def quantizers(path: Path) -> dict[str, Any]:
    """Return scales and zero points of a file by name."""
    constants = ir.load(path).graph.initializers
    return {
        name: value.const_value.numpy().tolist()  # type: ignore[union-attr]
        for name, value in constants.items()
        if name.endswith(("_scale", "_zero_point"))
    }


@pytest.fixture
def calibration(images: Images) -> Split:
    return Split("calibration", images[:48].copy(), np.zeros(48, np.int64), trained=True)


@pytest.fixture
def evaluation(images: Images, tiny: Path) -> Split:
    """Images that the fp32 file gets right, by definition of their labels."""
    rest = images[48:].copy()
    return Split("test", rest, logits(tiny, rest).argmax(axis=1), trained=False)


@pytest.fixture
def grey() -> Split:
    """Images that differ by one level, so that no range is wide enough for real ones."""
    images = np.full((48, 8, 8, 1), 127, np.uint8)
    images[::2, ::2] += 1
    return Split("calibration", images, np.zeros(48, np.int64), trained=True)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "models" / "tiny.int8.onnx"


@pytest.fixture
def go(tiny: Path, output: Path, calibration: Split, evaluation: Split) -> Callable[..., QuantizeResult]:
    """`go(...)`: quantize the tiny file, with these changes."""

    def go(source: Path = tiny, **changes: Any) -> QuantizeResult:
        options: dict[str, Any] = {
            "calibration": calibration,
            "evaluation": evaluation,
            "dataset": "quarters",
            "labels": LABELS,
        }
        options.update(changes)
        return quantize(source, options.pop("output", output), **options)

    return go


@pytest.fixture
def changed(tiny: Path, tmp_path: Path) -> Callable[..., Path]:
    """`changed(spec field=...)`: a copy of the tiny file that says something else about itself."""

    def changed(*, opset: int | None = None, **fields: Any) -> Path:
        artifact, model = load_artifact(tiny), ir.load(tiny)
        stamp(model, replace(artifact.spec, **fields), artifact.lineage)
        if opset is not None:
            model.opset_imports[""] = opset
            model.ir_version = 7
        path = tmp_path / "changed.onnx"
        write_model(model, path)
        return path

    return changed


def test_float_nodes_between_int8_ones_are_counted(tiny: Path, go: Callable[..., QuantizeResult]) -> None:
    names = {node.outputs[0].name: str(node.name) for node in ir.load(tiny).graph}
    whole = go(config=QuantizeConfig(min_channels=1))
    assert (whole.left_float, whole.float_between) == ({}, {})
    split = go(config=QuantizeConfig(min_channels=1, keep_float=(names["d"],)))
    # The depthwise convolution, what follows it, and not the last layer, which is int8 as the first is.
    assert split.float_between == {"Conv": 1, "Relu": 1, "Add": 1, "MaxPool": 1, "Flatten": 1}
    last = go(config=QuantizeConfig(min_channels=1, keep_float=(names["logits"],)))
    assert last.left_float["Gemm"] == 1
    assert last.float_between == {}


@pytest.mark.parametrize(("target", "said"), [("cpu-arm", False), ("trt", True)])
def test_accuracy_of_another_backend_than_the_targets_is_said(
    go: Callable[..., QuantizeResult], target: str, said: bool
) -> None:
    notes: list[str] = []
    result = go(config=QuantizeConfig(target=target), on_note=notes.append)
    assert result.int8 is not None
    assert result.time_ratio is None
    assert any("accuracy is that of backend cpu" in note for note in notes) == said


def test_an_int8_file_comes_out(go: Any, tiny: Path, output: Path, evaluation: Split) -> None:
    result = go()
    source, made = load_artifact(tiny), load_artifact(output)
    assert result.artifact == made
    assert made.precision == "int8"
    assert (made.opset, made.ir_version) == (source.opset, source.ir_version) == (18, 8)
    assert made.spec == replace(source.spec, accuracy=(result.fp32, result.int8))
    assert result.quantized == {"Conv": 2, "Relu": 2, "Add": 1, "MaxPool": 1, "Flatten": 1, "Gemm": 1}
    assert result.left_float == {}
    assert list(output.parent.iterdir()) == [output]
    right = (logits(output, np.asarray(evaluation.images)).argmax(axis=1) == evaluation.labels).mean()
    assert result.fp32 == Accuracy(
        metric="top1", value=1.0, dataset="quarters", split="test", images=48, precision="fp32", backend="cpu"
    )
    assert result.int8 == replace(result.fp32, value=right, precision="int8")
    assert result.drop == pytest.approx(100 * (1 - right))
    assert right >= 0.9


def test_logits_are_close(go: Any, tiny: Path, output: Path, images: Images) -> None:
    go()
    reference, int8 = logits(tiny, images), logits(output, images)
    noise = np.sum((reference - int8) ** 2, dtype=np.float64)
    assert 10 * np.log10(np.sum(reference**2, dtype=np.float64) / noise) > 30


def test_calibration_takes_any_iterable_of_images(go: Any, output: Path, calibration: Split) -> None:
    go()
    wanted = quantizers(output)
    images = np.asarray(calibration.images)
    preprocess = load_artifact(output).spec.preprocess
    assert preprocess is not None
    for given in (list(images), iter(images), (image for image in images), prepare(images, preprocess)):
        result = go(calibration=given)
        assert result.artifact.lineage[-1].options["calibration_images"] == 48
        assert quantizers(output) == wanted


def test_the_cache_gives_the_same_file_and_says_so(go: Any, output: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    first = go(cache=tmp_path / "cache", on_note=notes.append)
    assert not first.ranges_from_cache
    assert notes == []
    content = output.read_bytes()
    seen: list[str] = []
    second = go(
        cache=tmp_path / "cache", on_note=notes.append, on_progress=lambda stage, done, total: seen.append(stage)
    )
    assert second.ranges_from_cache
    assert output.read_bytes() == content
    assert "calibrate" not in seen
    assert len(notes) == 1
    assert "48 calibration images are taken from the cache" in notes[0]
    assert not go().ranges_from_cache


def test_the_share_of_int8_is_stated(go: Any) -> None:
    assert go().int8_share == 1
    result = go(config=QuantizeConfig(keep_float=("conv_2",)))
    assert result.int8_share == pytest.approx((9216 + 1024) / (2 * 9216 + 1024))
    assert result.artifact.lineage[-1].options["int8_share"] == pytest.approx(result.int8_share, abs=1e-4)


def test_lineage_says_how(go: Any, tiny: Path) -> None:
    config = QuantizeConfig(calibration_images=20, method="mse", reduce_range=True)
    result = go(config=config, calibration_name="halves")
    first, last = result.artifact.lineage
    assert first == load_artifact(tiny).lineage[0]
    assert last.tool == "edgecnn quantize"
    assert last.options["source_sha256"] == load_artifact(tiny).sha256
    wanted = {"calibration_images": 20, "method": "mse", "reduce_range": True, "target": "cpu-x86"}
    assert wanted.items() <= last.options.items()
    assert (last.options["calibration_dataset"], last.options["calibration_split"]) == ("halves", "calibration")
    assert last.options["left_float"] == ""


def test_lineage_names_what_stays_float(go: Any) -> None:
    result = go(config=QuantizeConfig(min_channels=17))
    assert result.left_float["Conv"] == 2
    assert "Conv 2" in result.artifact.lineage[-1].options["left_float"].split(", ")


def test_progress_tells_the_stages(go: Any) -> None:
    seen: list[tuple[str, int, int]] = []
    go(on_progress=lambda stage, done, total: seen.append((stage, done, total)))
    assert list(dict.fromkeys(stage for stage, _, _ in seen)) == ["calibrate", "accuracy fp32", "accuracy int8"]
    assert {(done, total) for _, done, total in seen} == {(48, 48)}


def test_older_accuracies_stay_unless_measured_again(go: Any, changed: Any) -> None:
    old = Accuracy(
        metric="top1", value=0.5, dataset="quarters", split="test", images=9, precision="fp32", backend="cpu"
    )
    other = replace(old, dataset="halves")
    result = go(source=changed(accuracy=(old, other)))
    assert result.artifact.spec.accuracy == (other, result.fp32, result.int8)


@pytest.mark.parametrize(
    ("fields", "changes", "reason"),
    [
        ({"weights": "random"}, {}, "random"),
        ({"labels": ("e", "f", "g", "h")}, {}, "other classes"),
        ({"labels": ()}, {"labels": ("a", "b", "c")}, "4 outputs"),
        ({}, {"evaluation": None}, "no evaluation set"),
    ],
)
def test_where_accuracy_means_nothing(
    go: Any, changed: Any, output: Path, fields: dict[str, Any], changes: dict[str, Any], reason: str
) -> None:
    source = changed(**fields)
    result = go(source=source, **changes)
    assert (result.fp32, result.int8, result.drop) == (None, None, None)
    assert reason in result.not_measured
    assert result.artifact.spec.accuracy == ()
    output.unlink()
    with pytest.raises(Contradiction, match=reason):
        go(source=source, config=QuantizeConfig(max_drop=1.0), **changes)
    assert not output.exists()


def test_a_bound_that_holds(go: Any, output: Path) -> None:
    assert go(config=QuantizeConfig(max_drop=10)).drop <= 10
    assert output.exists()


def test_a_bound_that_is_missed_leaves_nothing(go: Any, output: Path, grey: Split) -> None:
    with pytest.raises(
        AccuracyError, match=r"from 100\.00% \(fp32\) to \d+\.\d+% \(int8\), allowed 0\.5; .* best of"
    ) as caught:
        go(calibration=grey, config=QuantizeConfig(max_drop=0.5))
    assert caught.value.hint
    assert list(output.parent.iterdir()) == []
    assert go(calibration=grey).drop > 10  # without a bound, and nothing but the bound was in the way


@pytest.mark.parametrize("stage", ["calibrate", "accuracy fp32", "accuracy int8"])
def test_an_interruption_leaves_nothing(go: Any, output: Path, stage: str) -> None:
    def interrupt(now: str, done: int, total: int) -> None:
        if now == stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go(on_progress=interrupt)
    assert list(output.parent.iterdir()) == []


@pytest.mark.slow
def test_a_failure_leaves_an_older_file_alone(go: Any, output: Path, grey: Split) -> None:
    output.parent.mkdir()
    output.write_bytes(b"older")
    with pytest.raises(AccuracyError):
        go(calibration=grey, config=QuantizeConfig(max_drop=0))
    assert output.read_bytes() == b"older"
    assert list(output.parent.iterdir()) == [output]


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder(go: Any, output: Path) -> None:
    output.parent.mkdir()
    output.parent.chmod(0o555)
    with pytest.raises(UnavailableError, match="cannot write"):
        go()
    assert list(output.parent.iterdir()) == []


@pytest.mark.parametrize("folder", ["file", "/proc", "/proc/models"])
def test_a_folder_that_takes_no_files_shows_before_the_work(go: Any, tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").write_text("in the way")
    seen: list[str] = []
    with pytest.raises(UnavailableError, match="cannot write"):
        go(output=tmp_path / folder / "out.onnx", on_progress=lambda stage, done, total: seen.append(stage))
    assert not seen
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_quantized_file_is_refused(go: Any, output: Path, tmp_path: Path) -> None:
    go()
    with pytest.raises(QuantizeError, match="quantized already"):
        go(source=output, output=tmp_path / "again.onnx")
    assert not (tmp_path / "again.onnx").exists()


def test_calibration_on_images_that_are_measured(go: Any, calibration: Split, evaluation: Split) -> None:
    with pytest.raises(Contradiction, match="accuracy is measured on"):
        go(calibration=evaluation)
    with pytest.raises(Contradiction, match="same 'test' images"):
        go(calibration=replace(evaluation, trained=True))
    overlapping = Split("test", calibration.images[20:], calibration.labels[20:], trained=False)
    with pytest.raises(Contradiction, match="same 'test' images"):
        go(evaluation=overlapping)


def test_the_source_is_not_replaced(go: Any, tiny: Path) -> None:
    before = tiny.read_bytes()
    with pytest.raises(Contradiction, match="replace its source"):
        go(output=tiny)
    assert tiny.read_bytes() == before


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"preprocess": None}, BadInput, "does not say how an image"),
        ({"opset": 12}, BadInput, "13 or newer, got 12"),
    ],
)
def test_a_file_that_does_not_fit(
    go: Any, changed: Any, output: Path, fields: dict[str, Any], error: type[EdgecnnError], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        go(source=changed(**fields))
    assert caught.value.hint
    assert not output.parent.exists()


def test_a_preprocessing_of_another_size(go: Any, changed: Any, tiny: Path, output: Path) -> None:
    preprocess = replace(load_artifact(tiny).spec.preprocess, size=(9, 9))  # type: ignore[type-var]
    with pytest.raises(BadInput, match=r"shape \[N, 1, 8, 8\], got \[1, 1, 9, 9\]"):
        go(source=changed(preprocess=preprocess))
    assert list(output.parent.iterdir()) == []


def test_nothing_to_quantize(go: Any, parse: Any, tiny: Path, tmp_path: Path) -> None:
    model = parse("g (float[N,1,8,8] input) => (float[N,1,8,8] logits) { logits = Relu(input) }")
    stamp(model, replace(load_artifact(tiny).spec, labels=()), ())
    write_model(model, tmp_path / "relu.onnx")
    with pytest.raises(QuantizeError, match="no convolution or linear layer"):
        go(source=tmp_path / "relu.onnx")


def test_half_precision_is_refused(go: Any, parse: Any, tiny: Path, tmp_path: Path) -> None:
    model = parse(
        "g (float16[N,4] input) => (float16[N,4] logits) { logits = Gemm(input, w) }", w=np.ones((4, 4), np.float16)
    )
    stamp(model, load_artifact(tiny).spec, ())
    write_model(model, tmp_path / "half.onnx")
    with pytest.raises(QuantizeError, match="is fp16"):
        go(source=tmp_path / "half.onnx")


def test_a_file_cut_short(go: Any, tiny: Path, output: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.onnx").write_bytes(tiny.read_bytes()[:-100])
    with pytest.raises(BadInput):
        go(source=tmp_path / "cut.onnx")
    assert not output.exists()


def test_images_of_another_size_are_resized(go: Any, calibration: Split) -> None:
    large = np.asarray(calibration.images).repeat(5, axis=1).repeat(5, axis=2)
    assert go(calibration=replace(calibration, images=large)).drop < 10


def test_a_fixed_batch(go: Any, tiny: Path, output: Path, parse: Any, tmp_path: Path, evaluation: Split) -> None:
    artifact, model = load_artifact(tiny), ir.load(tiny)
    for value in (*model.graph.inputs, *model.graph.outputs):
        value.shape = ir.Shape([5, *value.shape[1:]])
    for node in model.graph:
        for value in node.outputs:
            value.shape = None
    fixed = ir.from_proto(onnx.shape_inference.infer_shapes(ir.to_proto(model)))
    inputs = tuple(replace(spec, shape=(5, *spec.shape[1:])) for spec in artifact.spec.inputs)
    stamp(fixed, replace(artifact.spec, inputs=inputs), artifact.lineage)
    write_model(fixed, tmp_path / "fixed.onnx")
    result = go(source=tmp_path / "fixed.onnx")
    assert result.fp32.images == 48
    assert result.fp32.value == 1
    assert result.drop < 10
    assert ort.InferenceSession(output).get_inputs()[0].shape == [5, 1, 8, 8]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"target": "arm"}, UnknownName),
        ({"method": "max"}, UnknownName),
        ({"calibration_images": 0}, BadInput),
        ({"percentile": 99.9}, Contradiction),
        ({"method": "percentile", "percentile": 20.0}, BadInput),
        ({"min_channels": 0}, BadInput),
        ({"max_drop": -1.0}, BadInput),
        ({"max_drop": float("nan")}, BadInput),
    ],
)
def test_options_are_checked(options: dict[str, Any], error: type[EdgecnnError]) -> None:
    with pytest.raises(error):
        QuantizeConfig(**options)


def test_hints_name_fields_of_the_configuration() -> None:
    with pytest.raises(Contradiction) as caught:
        QuantizeConfig(percentile=99.9)
    assert caught.value.hint == 'set method="percentile", or leave percentile None'


def test_a_spec_without_its_own_classes(go: Any, changed: Any) -> None:
    result = go(source=changed(labels=()))
    assert isinstance(result.artifact.spec, ModelSpec)
    assert result.fp32.value == 1
