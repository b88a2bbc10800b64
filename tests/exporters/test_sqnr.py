"""Tensors inside two files: matched by name, their noise as computed by hand, and what a rewrite does to them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from edgecnn.artifacts import load_artifact
from edgecnn.data.dataset import Split
from edgecnn.errors import BadInput, Contradiction
from edgecnn.exporters.channelpower import ChannelPower
from edgecnn.exporters.halfprecision import convert_precision
from edgecnn.exporters.onnxfile import stamp, write_model
from edgecnn.exporters.quantize import QuantizeConfig, quantize
from edgecnn.exporters.sqnr import Layer, LayerReport, compare_layers
from edgecnn.exporters.verify import VerifyOptions, verify
from edgecnn.preprocess import prepare
from edgecnn.testing.models import TINY, TINY_INT8

Array = NDArray[Any]
Images = NDArray[np.uint8]


@dataclass(frozen=True)
class Pictures:
    """A set with one part, whose labels are all of the first class."""

    images: Images
    name: str = "pictures"
    labels: tuple[str, ...] = ("a", "b", "c", "d")

    def split(self, name: str) -> Split:
        return Split(name, self.images, np.zeros(len(self.images), np.int64), trained=False)

    def unlabelled(self) -> Split:
        return self.split("calibration")


@pytest.fixture
def pictures(images: Images) -> Pictures:
    return Pictures(images[:48])


@pytest.fixture
def int8(tiny: Path, images: Images, tmp_path: Path) -> Path:
    split = Split("calibration", images, np.zeros(len(images), np.int64), trained=True)
    config = QuantizeConfig(min_channels=1)
    return quantize(tiny, tmp_path / "tiny.int8.onnx", calibration=split, config=config).artifact.path


def by_tensor(report: LayerReport) -> dict[str, Layer]:
    return {layer.tensor: layer for layer in report.layers}


def noise(layer: Layer) -> float:
    assert layer.sqnr_db is not None
    return layer.sqnr_db


def test_the_noise_is_what_numpy_says(
    tiny: Path, int8: Path, pictures: Pictures, run: Callable[..., list[Array]]
) -> None:
    report = compare_layers(load_artifact(int8), load_artifact(tiny), pictures)
    layers = by_tensor(report)
    assert [(one.tensor, one.op_types, one.precision) for one in report.layers] == [
        ("r", ("Conv", "Relu"), "int8"),
        ("e", ("Conv", "Relu"), "int8"),
        ("s", ("Add",), "int8"),
        ("p", ("MaxPool",), "int8"),
        ("f", ("Flatten",), "int8"),
        ("logits", ("Gemm",), "fp32"),
    ]
    assert (report.inputs, report.source, report.unmatched) == (48, "pictures", 0)
    assert [one.match for one in report.layers] == ["same"] * 6
    assert sum(one.macs_share or 0 for one in report.layers) == pytest.approx(1)
    assert layers["r"].macs_share == pytest.approx(16 * 9 * 64 / (2 * 16 * 9 * 64 + 1024))

    preprocess = load_artifact(tiny).spec.preprocess
    assert preprocess is not None
    feed = prepare(pictures.images, preprocess)
    for tensor in ("r", "s"):
        values = []
        for path, name in ((tiny, tensor), (int8, f"{tensor}_dequantized")):
            model = ir.load(path)
            model.graph.outputs[:] = [one for node in model.graph for one in node.outputs if one.name == name]
            values.append(run(model, input=feed)[0])
        expected, given = (value.astype(np.float64) for value in values)
        by_hand = 10 * np.log10((expected**2).sum() / ((given - expected) ** 2).sum())
        assert layers[tensor].sqnr_db == pytest.approx(by_hand, abs=0.5)
        assert (layers[tensor].low, layers[tensor].high) == pytest.approx((expected.min(), expected.max()), rel=1e-5)


def test_a_damaged_layer_is_the_worst_and_those_before_it_are_as_they_were(
    tiny: Path, int8: Path, pictures: Pictures, tmp_path: Path
) -> None:
    before = by_tensor(compare_layers(load_artifact(int8), load_artifact(tiny), pictures))
    model = onnx.load(int8)
    (scale,) = [value for value in model.graph.initializer if value.name.startswith("w2") and "scale" in value.name]
    scale.CopyFrom(onnx.numpy_helper.from_array(3 * onnx.numpy_helper.to_array(scale), scale.name))
    onnx.save(model, tmp_path / "damaged.onnx")
    report = compare_layers(load_artifact(tmp_path / "damaged.onnx"), load_artifact(tiny), pictures)
    after = by_tensor(report)
    assert report.worst == "e"
    assert noise(before["e"]) > 20
    assert noise(after["e"]) < 5
    assert after["r"].sqnr_db == before["r"].sqnr_db


def test_a_file_beside_itself_has_no_noise(tiny: Path) -> None:
    report = compare_layers(load_artifact(tiny), load_artifact(tiny))
    assert {(one.sqnr_db, one.precision) for one in report.layers} == {(None, "fp32")}
    assert (report.worst, report.source, report.inputs, len(report.layers)) == (None, "random", 32, 8)


def test_random_inputs_are_those_of_the_seed(tiny: Path, int8: Path) -> None:
    files = load_artifact(int8), load_artifact(tiny)
    found = [compare_layers(*files, seed=seed).layers for seed in (1, 1, 2)]
    assert found[0] == found[1] != found[2]


def test_16_bit_tensors_keep_their_names(tiny: Path, pictures: Pictures, tmp_path: Path) -> None:
    target = tmp_path / "tiny.fp16.onnx"
    config = QuantizeConfig(target="cpu-arm", precision="fp16")
    images = Split("calibration", pictures.images, np.zeros(48, np.int64), trained=True)
    made = convert_precision(tiny, target, precision="fp16", calibration=images, config=config).artifact
    report = compare_layers(made, load_artifact(tiny), pictures)
    assert [one.precision for one in report.layers] == ["fp16"] * 7 + ["fp32"]
    assert min(noise(one) for one in report.layers) > 50


@pytest.mark.slow
def test_openvino_runs_it_as_well(tiny: Path, int8: Path, pictures: Pictures) -> None:
    pytest.importorskip("openvino")
    report = compare_layers(load_artifact(int8), load_artifact(tiny), pictures, backend="openvino")
    assert [one.tensor for one in report.layers] == ["r", "e", "s", "p", "f", "logits"]
    assert min(noise(one) for one in report.layers) > 15
    options = VerifyOptions(against=str(tiny), backend="openvino", layers=True)
    result = verify(load_artifact(int8), options, evaluation=pictures)
    assert result.layers is not None
    assert by_tensor(result.layers).keys() == by_tensor(report).keys()
    assert result.parity is not None
    assert result.parity.difference.inputs == 48


def test_files_without_a_tensor_in_common(tiny: Path, tmp_path: Path) -> None:
    model, artifact = ir.load(tiny), load_artifact(tiny)
    for node in model.graph:
        node.outputs[0].name = f"other_{node.outputs[0].name}"
    stamp(model, artifact.spec, ())
    write_model(model, tmp_path / "other.onnx")
    with pytest.raises(BadInput, match=r"tensors of .*other\.onnx: expected some with the names of .*tiny\.onnx"):
        compare_layers(load_artifact(tmp_path / "other.onnx"), artifact)


@pytest.mark.parametrize("against", ["", "torch", "published"])
def test_layers_want_a_file(against: str) -> None:
    with pytest.raises(Contradiction, match="layers are compared with those of another file"):
        VerifyOptions(against=against, layers=True)


def power_of(given: Array, expected: Array) -> ChannelPower:
    power = ChannelPower()
    for rows in np.array_split(np.arange(len(given)), 3):
        power.add(given[rows], expected[rows])
    return power


def test_channels_that_a_rewrite_scaled_or_moved_are_told_from_noise() -> None:
    rng = np.random.default_rng(0)
    expected = rng.standard_normal((12, 8, 5, 5)) * np.arange(1, 9)[:, None, None]
    noisy = expected + 0.01 * rng.standard_normal(expected.shape)
    factors = 2.0 ** rng.integers(-3, 4, (8, 1, 1))
    assert power_of(noisy, expected).result(rewritten=True) == power_of(noisy, expected).result(rewritten=False)
    match, found = power_of(noisy * factors, expected).result(rewritten=True)
    assert match == "scaled"
    assert found == pytest.approx(power_of(noisy, expected).result(rewritten=False)[1], abs=0.2)
    match, found = power_of(noisy * factors, expected).result(rewritten=False)
    assert match == "same"
    assert found is not None
    assert found < 6
    assert power_of(noisy[:, ::-1], expected).result(rewritten=True) == ("reordered", None)
    drowned = expected + 2 * np.std(expected) * rng.standard_normal(expected.shape)
    assert power_of(drowned, expected).result(rewritten=True)[0] == "same"
    assert not power_of(noisy[:, :4], expected).same_shape


def test_channels_that_a_rewrite_both_scaled_and_moved() -> None:
    rng = np.random.default_rng(1)
    expected = rng.standard_normal((16, 24, 4, 4)) * np.arange(1, 25)[:, None, None]
    factors = 2.0 ** rng.integers(-3, 4, (24, 1, 1))
    moved = (expected * factors)[:, rng.permutation(24)]
    moved += 0.3 * moved.std(axis=(0, 2, 3), keepdims=True) * rng.standard_normal(moved.shape)
    assert power_of(moved, expected).result(rewritten=True) == ("reordered", None)
    assert power_of(moved, expected).result(rewritten=False)[0] == "same"
    others = rng.standard_normal(moved.shape) * moved.std(axis=(0, 2, 3), keepdims=True)
    assert power_of(others, expected).result(rewritten=True)[0] == "same"


def test_what_an_activation_behind_a_concatenation_clips_is_clipped_in_both(
    tiny: Path, parse: Callable[..., Any], pictures: Pictures, tmp_path: Path
) -> None:
    rng = np.random.default_rng(5)
    model = parse(
        """g (float[N,1,8,8] input) => (float[N,4] logits) {
            a = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(input, w1)
            b = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(input, w2)
            c = Concat<axis=1>(a, b)
            r = Relu(c)
            g = GlobalAveragePool(r)
            f = Flatten(g)
            logits = Gemm<transB=1>(f, w3)
        }""",
        w1=rng.standard_normal((8, 1, 3, 3)).astype(np.float32),
        w2=rng.standard_normal((8, 1, 3, 3)).astype(np.float32),
        w3=rng.standard_normal((4, 16)).astype(np.float32),
    )
    stamp(model, load_artifact(tiny).spec, ())
    source = tmp_path / "concat.onnx"
    write_model(model, source)
    config = QuantizeConfig(min_channels=1)
    made = quantize(source, tmp_path / "int8.onnx", calibration=pictures.images, config=config).artifact
    layers = by_tensor(compare_layers(made, load_artifact(source), pictures))
    assert [layers[name].clipped for name in ("a", "b", "r", "logits")] == [True, True, False, False]
    assert layers["a"].low == 0
    assert min(noise(layers[name]) for name in ("a", "b", "r")) > 20


@pytest.mark.slow
def test_no_layer_of_a_rewritten_network_looks_wrong(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from edgecnn.data import open_named
    from edgecnn.exporters.network import ExportOptions, export_network
    from edgecnn.zoo.registry import bundled_form

    form = bundled_form("shufflenet_v1")
    assert form is not None
    source = export_network(form, tmp_path / "net.onnx", ExportOptions()).path
    data = open_named("fashion-mnist")
    made = quantize(source, tmp_path / "int8.onnx", calibration=data.split("calibration")).artifact
    report = compare_layers(made, load_artifact(source), data)
    matches = [one.match for one in report.layers]
    assert matches.count("reordered") >= 3
    assert report.layers[-1].match == "same"
    assert min(one.sqnr_db for one in report.layers if one.sqnr_db is not None) > 6


Run = Callable[..., "subprocess.CompletedProcess[str]"]


def test_the_command_shows_layers(run_edgecnn: Run) -> None:
    done = run_edgecnn("verify", str(TINY_INT8), "--against", str(TINY), "--layers")
    assert done.returncode == 0, done.stderr
    assert "layers beside tiny.onnx, 32 random inputs" in done.stdout
    assert "* has the least signal over noise" in done.stdout
    done = run_edgecnn("verify", str(TINY_INT8), "--against", str(TINY), "--layers", "--json")
    (result,) = json.loads(done.stdout)
    layers = result["layers"]
    assert layers["worst"] in [one["tensor"] for one in layers["layers"]]
    least = min(one["sqnr_db"] for one in layers["layers"] if one["sqnr_db"] is not None)
    assert [one["sqnr_db"] for one in layers["layers"] if one["tensor"] == layers["worst"]] == [least]
    done = run_edgecnn("verify", str(TINY_INT8), "--layers")
    assert (done.returncode, "--against FILE" in done.stderr) == (2, True)
