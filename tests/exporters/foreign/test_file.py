"""A foreign .onnx file -> artifact: today's operator set, any batch, the same scores, what is known inside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")

import onnx  # noqa: E402

from edgecnn.artifacts import load_artifact  # noqa: E402
from edgecnn.errors import Contradiction, ParityError, QuantizeError  # noqa: E402
from edgecnn.exporters.foreign.file import export_file  # noqa: E402
from edgecnn.exporters.foreign.options import ForeignOptions, Meaning  # noqa: E402
from edgecnn.exporters.foreign.signature import Head, ImageInput  # noqa: E402
from edgecnn.exporters.targets import parse_targets  # noqa: E402
from edgecnn.specs import Preprocess  # noqa: E402
from edgecnn.testing.models import TINY_INT8  # noqa: E402

Array = NDArray[Any]
Save = Callable[..., Path]
Answer = Callable[..., Array]

OLD = """g (float[1,3,8,8] image) => (float[1,5] probabilities) {
    c = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(image, w)
    n = BatchNormalization<epsilon=1e-3, spatial=1>(c, scale, shift, mean, variance)
    r = Relu(n)
    d, mask = Dropout<ratio=0.3>(r)
    k = Clip<min=0.0, max=6.0>(d)
    p = AveragePool<kernel_shape=[8,8]>(k)
    f = Reshape(p, target)
    scores = Gemm<transB=1>(f, v, b)
    probabilities = Softmax<axis=1>(scores)
}"""


def test_an_old_file_becomes_one_of_today(save: Save, answer: Answer, images: Array, tmp_path: Path) -> None:
    path = save(OLD, opset=7, weights_are_inputs=True)
    said: list[str] = []
    artifact = export_file(path, tmp_path / "new.onnx", ForeignOptions(), say=said.append)
    assert (artifact.opset, artifact.ir_version, artifact.precision) == (18, 8, "fp32")
    assert artifact.spec.inputs[0].shape == ("N", 3, 8, 8)
    assert (artifact.spec.outputs[0].name, artifact.spec.outputs[0].shape) == ("logits", ("N", 5))
    graph = onnx.load(artifact.path).graph
    assert [value.name for value in graph.input] == ["image"]
    assert not {"BatchNormalization", "Dropout", "Softmax"} & {node.op_type for node in graph.node}
    assert len({node.name for node in graph.node}) == len(graph.node)
    assert any("Softmax" in line for line in said)
    scores = answer(artifact.path, images).astype(np.float64)
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(answer(path, images), probabilities, rtol=1e-4, atol=1e-6)
    assert artifact.spec.weights.startswith("net.onnx sha256:")
    # Conv 6*3*3*3, batch norm 6 + 6, Gemm 5*6 + 5.
    assert artifact.spec.params == 162 + 12 + 35
    assert artifact.spec.macs == 162 * 64 + 30


def test_attributes_of_dead_operator_sets_are_dropped(save: Save, tmp_path: Path) -> None:
    text = OLD.replace("spatial=1", "spatial=1, is_test=1, consumed_inputs=[0,0,0,1,1]").replace(
        "ratio=0.3", "ratio=0.3, is_test=1, mode=1"
    )
    path = save(text, opset=9)
    with pytest.raises(Exception, match=r"is_test|spatial|consumed_inputs"):
        onnx.checker.check_model(str(path))
    artifact = export_file(path, tmp_path / "new.onnx", ForeignOptions())
    onnx.checker.check_model(str(artifact.path), full_check=True)


@pytest.mark.parametrize("opset", [18, 21, 26])
def test_a_newer_operator_set_is_kept_as_far_as_edgecnn_writes_it(save: Save, tmp_path: Path, opset: int) -> None:
    artifact = export_file(save(opset=opset), tmp_path / "new.onnx", ForeignOptions())
    assert artifact.opset == min(opset, 23)


@pytest.mark.parametrize(("target", "opset", "expected"), [("cpu-x86", None, 18), ("cpu-x86,trt", 20, 20)])
def test_the_targets_set_operator_set_and_format(
    save: Save, tmp_path: Path, target: str, opset: int | None, expected: int
) -> None:
    options = ForeignOptions(targets=parse_targets(target), opset=opset)
    artifact = export_file(save(opset=21), tmp_path / "new.onnx", options)
    assert artifact.opset == expected
    assert artifact.lineage[0].options["target"] == target
    assert artifact.lineage[0].options["source_opset"] == 21


def test_an_operator_set_that_a_target_does_not_read(save: Save, tmp_path: Path) -> None:
    options = ForeignOptions(targets=parse_targets("trt"), opset=23)
    with pytest.raises(Contradiction, match="23 is not for target trt"):
        export_file(save(), tmp_path / "new.onnx", options)


def test_what_the_user_says_goes_into_the_file(save: Save, tmp_path: Path) -> None:
    meaning = Meaning(
        name="mine", mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), fit="pad", crop_fraction=1.0, labels=tuple("abcde")
    )
    spec = export_file(save(), tmp_path / "new.onnx", ForeignOptions(meaning=meaning)).spec
    assert (spec.network, spec.labels) == ("mine", ("a", "b", "c", "d", "e"))
    assert spec.preprocess == Preprocess(
        size=(8, 8), channels=3, fit="pad", crop_fraction=1.0, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)
    )


def test_a_file_of_edgecnn_keeps_what_it_says_and_its_lineage_grows(lenet5: Path, tmp_path: Path) -> None:
    before = load_artifact(lenet5)
    after = export_file(lenet5, tmp_path / "new.onnx", ForeignOptions(targets=parse_targets("trt"), opset=20))
    assert (after.opset, after.ir_version) == (20, 9)
    assert after.spec == before.spec
    assert [step.tool for step in after.lineage] == ["edgecnn export", "edgecnn export"]
    assert after.lineage[0] == before.lineage[0]
    assert after.lineage[1].options["source_sha256"] == before.sha256


def test_another_preprocessing_voids_the_accuracy_that_was_measured(lenet5: Path, tmp_path: Path) -> None:
    meaning = Meaning(mean=(0.5,), std=(0.5,))
    after = export_file(lenet5, tmp_path / "new.onnx", ForeignOptions(meaning=meaning))
    assert load_artifact(lenet5).spec.accuracy
    assert after.spec.accuracy == ()


def test_an_int8_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(QuantizeError, match="quantized already"):
        export_file(TINY_INT8, tmp_path / "new.onnx", ForeignOptions())
    assert list(tmp_path.iterdir()) == []


def test_the_source_is_not_replaced(save: Save) -> None:
    path = save()
    with pytest.raises(Contradiction, match="would replace its source"):
        export_file(path, path, ForeignOptions())


def test_weights_that_are_made_by_the_graph_are_computed_once(save: Save, tmp_path: Path) -> None:
    text = """g (float[1,3,8,8] image) => (float[1,4,1,1] scores) {
        w = ConstantOfShape<value: tensor = float[1] {0.25}>(sizes)
        half = Constant<value: tensor = float[1] {0.5}>()
        less = Mul(w, half)
        c = Conv<kernel_shape=[3,3]>(image, less)
        scores = GlobalAveragePool(c)
    }"""
    artifact = export_file(save(text, sizes=np.array([4, 3, 3, 3], np.int64)), tmp_path / "new.onnx", ForeignOptions())
    graph = onnx.load(artifact.path).graph
    assert [node.op_type for node in graph.node] == ["Conv", "GlobalAveragePool", "Flatten"]
    weight = next(one for one in graph.initializer if list(one.dims) == [4, 3, 3, 3])
    assert np.array_equal(onnx.numpy_helper.to_array(weight), np.full((4, 3, 3, 3), 0.125, np.float32))
    assert artifact.spec.outputs[0].shape == ("N", 4)


def test_channels_that_come_last_are_put_first(save: Save, answer: Answer, images: Array, tmp_path: Path) -> None:
    text = """g (float[1,8,8,3] image) => (float[1,5] scores) {
        x = Transpose<perm=[0,3,1,2]>(image)
        c = Conv<kernel_shape=[3,3]>(x, w)
        p = GlobalMaxPool(c)
        f = Flatten(p)
        scores = Gemm<transB=1>(f, v)
    }"""
    rng = np.random.default_rng(0)
    w, v = (rng.standard_normal(shape).astype(np.float32) for shape in ((6, 3, 3, 3), (5, 6)))
    path = save(text, opset=11, w=w, v=v)
    artifact = export_file(path, tmp_path / "new.onnx", ForeignOptions())
    assert artifact.spec.inputs[0].shape == ("N", 3, 8, 8)
    expected = answer(path, np.ascontiguousarray(images.transpose(0, 2, 3, 1)))
    np.testing.assert_allclose(answer(artifact.path, images), expected, rtol=1e-4, atol=1e-5)


def test_an_argmax_head_gives_way_to_the_scores(save: Save, answer: Answer, images: Array, tmp_path: Path) -> None:
    text = OLD.replace("Softmax<axis=1>(scores)", "ArgMax<axis=1>(scores)").replace(
        "float[1,5] probabilities", "int64[1,1] probabilities"
    )
    path = save(text, opset=8)
    artifact = export_file(path, tmp_path / "new.onnx", ForeignOptions())
    assert artifact.spec.outputs[0].shape == ("N", 5)
    assert artifact.lineage[0].options["head_removed"] == "ArgMax"
    assert np.array_equal(answer(path, images).reshape(-1), answer(artifact.path, images).argmax(axis=1))


def test_of_several_outputs_the_first_is_kept(save: Save, tmp_path: Path) -> None:
    text = OLD.replace("(float[1,5] probabilities)", "(float[1,5] scores, float[1,6,8,8] r)").replace(
        "    probabilities = Softmax<axis=1>(scores)\n", ""
    )
    said: list[str] = []
    artifact = export_file(save(text), tmp_path / "new.onnx", ForeignOptions(), say=said.append)
    assert [output.name for output in artifact.spec.outputs] == ["scores"]
    assert any("2 outputs" in line and "r left out" in line for line in said)


def test_parity_finds_a_file_that_is_not_the_original(save: Save, tmp_path: Path) -> None:
    from edgecnn.exporters.foreign.original import compare_with_original

    path = save(OLD, opset=7)
    artifact = export_file(path, tmp_path / "new.onnx", ForeignOptions())
    image = ImageInput(name="image", batch=1, shape=(3, 8, 8))
    head = Head(scores="scores", removed="Softmax", output="probabilities")
    assert compare_with_original(path, image, head, artifact, (1, 3)) == "onnxruntime"
    proto = onnx.load(artifact.path)
    bias = next(one for one in proto.graph.initializer if list(one.dims) == [5])
    values = onnx.numpy_helper.to_array(bias).copy()
    values[2] += 0.05
    bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
    onnx.save(proto, artifact.path)
    with pytest.raises(ParityError) as caught:
        compare_with_original(path, image, head, load_artifact(artifact.path), (2,))
    assert caught.value.max_abs == pytest.approx(0.05, rel=1e-3)
    assert "2)" in caught.value.worst


@pytest.mark.slow
@pytest.mark.parametrize("name", ["squeezenet", pytest.param("shufflenet", marks=pytest.mark.slow)])
def test_light_models_of_the_onnx_package(tmp_path: Path, name: str) -> None:
    _export_light(name, tmp_path)


@pytest.mark.zoo
@pytest.mark.parametrize(
    "name", ["bvlc_alexnet", "densenet121", "inception_v1", "inception_v2", "resnet50", "vgg19", "zfnet512"]
)
def test_the_other_light_models(tmp_path: Path, name: str) -> None:
    _export_light(name, tmp_path)


# Trained values of the published networks: Caffe's AlexNet with its grouped convolutions, SqueezeNet 1.1, ...
_LIGHT_PARAMS = {
    "bvlc_alexnet": 60_965_224,
    "inception_v1": 6_998_552,
    "resnet50": 25_557_032,
    "squeezenet": 1_235_496,
    "vgg19": 143_667_240,
}


def _export_light(name: str, folder: Path) -> None:
    path = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light" / f"light_{name}.onnx"
    artifact = export_file(path, folder / "new.onnx", ForeignOptions())
    assert artifact.spec.inputs[0].shape == ("N", 3, 224, 224)
    assert artifact.spec.outputs[0].shape == ("N", 1000)
    assert "ConstantOfShape" not in {node.op_type for node in onnx.load(artifact.path).graph.node}
    assert artifact.spec.params == _LIGHT_PARAMS.get(name, artifact.spec.params)
