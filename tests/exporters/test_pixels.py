"""Files that take pixels: the same answers as those that take floats, whatever is done with them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import edgecnn
from edgecnn.artifacts import load_artifact
from edgecnn.errors import BadInput, Contradiction
from edgecnn.exporters.foreign.file import export_file
from edgecnn.exporters.foreign.options import ForeignOptions
from edgecnn.exporters.halfprecision import convert_precision
from edgecnn.exporters.onnxfile import stamp, write_model
from edgecnn.exporters.pixels import put_pixels_in, take_pixels
from edgecnn.exporters.quantize import QuantizeConfig, quantize
from edgecnn.exporters.targets import find_target, parse_targets
from edgecnn.preprocess import normalise
from edgecnn.specs import ModelSpec, Precision, Preprocess, TensorSpec

Run = Callable[..., "subprocess.CompletedProcess[str]"]

RELATIVE = 1e-5
IN_GRAPH = ForeignOptions(preprocess="in-graph")
COLOUR = Preprocess(size=(9, 7), channels=3, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def graph(text: str) -> str:
    return f"g (float[N,3,9,7] x) => (float[N,o,h,w] y) {{ {text} }}"


def same(parse_run: Callable[..., Any], model: Any, preprocess: Preprocess, **options: Any) -> None:
    """Hold a graph on normalised images against the same graph on pixels, black and white ones among them."""
    pixels = np.random.default_rng(1).integers(0, 256, (4, *preprocess.size, preprocess.channels), np.uint8)
    pixels[1], pixels[2] = 0, 255
    name = model.graph.inputs[0].name
    expected = parse_run(model, **{name: normalise(pixels, preprocess)})
    found = take_pixels(model, preprocess, **options)
    assert (found.in_graph, found.layout) == (True, "NHWC")
    source = model.graph.inputs[0]
    assert (source.name, source.dtype, tuple(source.shape)[1:]) == (name, ir.DataType.UINT8, pixels.shape[1:])
    for one, other in zip(expected, parse_run(model, **{name: pixels}), strict=True):
        assert np.abs(one - other).max() <= RELATIVE * np.abs(one).max()


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    mean=st.lists(st.floats(0, 1), min_size=3, max_size=3),
    std=st.lists(st.floats(0.01, 2), min_size=3, max_size=3),
    pads=st.lists(st.integers(0, 2), min_size=4, max_size=4),
    float_first=st.booleans(),
)
def test_normalisation_is_in_the_first_convolution(
    parse: Any, run: Any, mean: list[float], std: list[float], pads: list[int], float_first: bool
) -> None:
    weight = np.random.default_rng(2).standard_normal((5, 3, 3, 3)).astype(np.float32)
    model = parse(graph(f"y = Conv<pads={pads}>(x, w)"), w=weight)
    preprocess = Preprocess(size=(9, 7), channels=3, mean=tuple(mean), std=tuple(std))
    same(run, model, preprocess, float_first=float_first)
    order = ["Cast", "Transpose"] if float_first else ["Transpose", "Cast"]
    assert [node.op_type for node in model.graph] == [*order, *["Sub"] * any(mean), "Conv"]


@pytest.mark.parametrize(
    ("text", "products"),
    [
        ("a = Conv<pads=[1,1,1,1]>(x, w) c = Conv<pads=[1,1,1,1]>(x, w) y = Add(a, c)", 0),
        ("a = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1]>(x) y = Conv(a, w)", 1),
        ("a = Conv<pads=[1,1,1,1]>(x, w) y = Concat<axis=1>(a, x)", 1),
        ("y = Conv<group=3, pads=[1,1,1,1]>(x, k)", 1),
        ("n = BatchNormalization(x, s, s, s, s) y = Conv<pads=[2,2,2,2]>(n, w)", 1),
        ("d = Neg(w) y = Conv(x, d)", 1),
    ],
    ids=["two convolutions", "a pool", "another reader", "groups", "batch norm", "computed weights"],
)
def test_whatever_reads_the_image(parse: Any, run: Any, text: str, products: int) -> None:
    rng = np.random.default_rng(3)
    constants = {
        "w": rng.standard_normal((5, 3, 3, 3)).astype(np.float32),
        "k": rng.standard_normal((6, 1, 3, 3)).astype(np.float32),
        "s": np.asarray([0.5, 1.5, 2.5], np.float32),
    }
    model = parse(graph(text), **constants)
    same(run, model, COLOUR)
    assert sum(node.op_type == "Mul" for node in model.graph) == products


def test_what_does_not_fit_is_refused(parse: Any) -> None:
    spec = ModelSpec(network="g", inputs=(), outputs=())
    with pytest.raises(Contradiction, match="--mean"):
        put_pixels_in(parse(graph("y = Relu(x)")), spec)
    model = parse(graph("y = Relu(x)"))
    with pytest.raises(BadInput, match="expected float"):
        take_pixels(model, Preprocess(size=(8, 8), channels=3, mean=COLOUR.mean, std=COLOUR.std))
    done = take_pixels(model, COLOUR)
    with pytest.raises(BadInput, match="takes pixels"):
        take_pixels(model, done)
    with pytest.raises(BadInput, match="outside or in-graph"):
        ForeignOptions(preprocess="inside")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def pixel_file(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny file, with its normalisation inside."""
    return export_file(tiny, tmp_path_factory.mktemp("pixels") / "pixels.onnx", IN_GRAPH).path


def test_the_file_says_so(pixel_file: Path) -> None:
    artifact = load_artifact(pixel_file)
    (source,) = artifact.spec.inputs
    assert (source.name, source.dtype, source.shape) == ("input", "uint8", ("N", 8, 8, 1))
    assert artifact.spec.preprocess is not None
    assert (artifact.spec.preprocess.in_graph, artifact.spec.preprocess.mean) == (True, (0.5,))
    assert artifact.lineage[-1].options["preprocess"] == "in-graph"
    assert artifact.precision == "fp32"
    metadata = ir.load(pixel_file).metadata_props
    assert metadata["Image.NominalPixelRange"] == "NominalRange_0_255"


def test_for_tensorrt_bytes_go_into_a_cast(tiny: Path, tmp_path: Path) -> None:
    options = ForeignOptions(preprocess="in-graph", targets=(find_target("trt"),))
    path = export_file(tiny, tmp_path / "trt.onnx", options).path
    assert [node.op_type for node in ir.load(path).graph][:3] == ["Cast", "Transpose", "Sub"]
    result = quantize(path, tmp_path / "int8.onnx", calibration=pictures(), config=QuantizeConfig(target="trt"))
    assert [node.op_type for node in ir.load(result.artifact.path).graph][:2] == ["Cast", "Transpose"]


@pytest.mark.parametrize(("convert", "precision"), [(quantize, "int8"), (convert_precision, "fp16")])
def test_a_file_that_moves_bytes_is_not_for_tensorrt(
    pixel_file: Path, tmp_path: Path, convert: Callable[..., Any], precision: Precision
) -> None:
    config = QuantizeConfig(target="trt", precision=precision)
    given = {} if precision == "int8" else {"precision": precision}
    with pytest.raises(Contradiction, match="moves its pixels as bytes") as caught:
        convert(pixel_file, tmp_path / "new.onnx", calibration=pictures(), config=config, **given)
    assert "--preprocess in-graph --target trt" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def pictures() -> list[Any]:
    return list(np.random.default_rng(2).integers(0, 256, (8, 8, 8, 1), np.uint8))


def test_an_image_file_gives_the_same_answer(tiny: Path, pixel_file: Path, tmp_path: Path, run_edgecnn: Run) -> None:
    image = pytest.importorskip("PIL.Image")
    from edgecnn.images import read_image

    photo = tmp_path / "photo.jpg"
    rng = np.random.default_rng(4)
    image.fromarray(rng.integers(0, 256, (5, 7, 3), np.uint8)).resize((70, 50)).save(photo)
    answers = []
    for path in (tiny, pixel_file):
        with edgecnn.load(path) as classifier:
            answers.append(classifier.scores([read_image(photo)]))
    assert np.abs(answers[0] - answers[1]).max() <= 1e-4 * np.abs(answers[0]).max()
    said = [json.loads(run_edgecnn("predict", str(path), str(photo), "--json").stdout) for path in (tiny, pixel_file)]
    for one, other in zip(*(answer[0]["predictions"] for answer in said), strict=True):
        assert one["label"] == other["label"]
        assert one["probability"] == pytest.approx(other["probability"], abs=1e-4)


@pytest.fixture(scope="module")
def int8_files(tiny: Path, pixel_file: Path, images: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("int8")
    for name, path in (("floats", tiny), ("pixels", pixel_file)):
        quantize(path, folder / f"{name}.onnx", calibration=images)
    return {name: folder / f"{name}.onnx" for name in ("floats", "pixels")}


def test_int8_starts_with_the_bytes(int8_files: dict[str, Path], fused: Any) -> None:
    nodes = fused(ir.load(int8_files["pixels"]))
    assert {"Cast", "Sub", "QuantizeLinear"}.isdisjoint(nodes)
    usual = fused(ir.load(int8_files["floats"]))
    assert usual["QuantizeLinear"] == 1
    assert nodes["QLinearConv"] == usual["QLinearConv"] == 2
    step = load_artifact(int8_files["pixels"]).lineage[-1]
    assert "centre-pixels" in str(step.options["passes"]).split(",")
    assert step.options["left_float"] == load_artifact(int8_files["floats"]).lineage[-1].options["left_float"]


def test_int8_is_as_close_as_from_floats(tiny: Path, int8_files: dict[str, Path], images: Any) -> None:
    noise, wanted = {}, edgecnn.load(tiny).scores(list(images))
    for name, path in int8_files.items():
        with edgecnn.load(path) as classifier:
            noise[name] = float(np.square(classifier.scores(list(images)) - wanted).mean())
    assert noise["pixels"] < 1.5 * noise["floats"]
    assert noise["pixels"] < 1e-3 * float(np.square(wanted).mean())


@pytest.mark.parametrize("target", ["cpu-arm", "cpu-x86,cpu-arm", "trt", "openvino"])
def test_int8_for_any_target(tiny: Path, images: Any, tmp_path: Path, target: str) -> None:
    options = ForeignOptions(preprocess="in-graph", targets=parse_targets(target))
    path = export_file(tiny, tmp_path / "pixels.onnx", options).path
    result = quantize(path, tmp_path / "int8.onnx", calibration=images, config=QuantizeConfig(target=target))
    assert result.artifact.spec.inputs[0].dtype == "uint8"
    assert ("centre-pixels" in result.passes) == (target == "cpu-x86,cpu-arm")
    wanted = edgecnn.load(tiny).scores(list(images))
    found = edgecnn.load(tmp_path / "int8.onnx").scores(list(images))
    assert np.square(found - wanted).mean() < 2e-3 * np.square(wanted).mean()


def test_bytes_are_read_as_they_lie_for_the_target_that_gains(parse: Any, tmp_path: Path) -> None:
    source = TensorSpec(name="s", dtype="float32", shape=("N", 3, 64, 64))
    target = TensorSpec(name="y", dtype="float32", shape=("N", 16))
    rng = np.random.default_rng(8)
    model = parse(
        "stem (float[N,3,64,64] s) => (float[N,16] y) { c = Conv<strides=[2,2], pads=[1,1,1,1]>(s, k) r = Relu(c) "
        "p = GlobalAveragePool(r) y = Flatten(p) }",
        k=rng.standard_normal((16, 3, 3, 3)).astype(np.float32) / 5,
    )
    spec = ModelSpec(network="stem", inputs=(source,), outputs=(target,), preprocess=replace(COLOUR, size=(64, 64)))
    stamp(model, spec, ())
    write_model(model, tmp_path / "stem.onnx")
    path = export_file(tmp_path / "stem.onnx", tmp_path / "pixels.onnx", IN_GRAPH).path
    images = rng.integers(0, 256, (12, 64, 64, 3), np.uint8)
    answers = {}
    for name, grouped, config in (
        ("x86", True, QuantizeConfig()),
        ("both", False, QuantizeConfig(target="cpu-x86,cpu-arm")),
        ("without", False, QuantizeConfig(without_passes=("group-pixels",))),
    ):
        quantize(path, tmp_path / f"{name}.onnx", calibration=images, config=config)
        assert ("Pad" not in {node.op_type for node in ir.load(tmp_path / f"{name}.onnx").graph}) == grouped
        answers[name] = edgecnn.load(tmp_path / f"{name}.onnx").scores(list(images))
    wanted = edgecnn.load(path).scores(list(images))
    noise = {name: float(np.square(found - wanted).mean()) for name, found in answers.items()}
    assert noise["x86"] < 1.2 * noise["without"]
    assert noise["x86"] < 1e-3 * float(np.square(wanted).mean())


def test_without_the_passes_it_is_quantized_as_any_other(pixel_file: Path, images: Any, tmp_path: Path) -> None:
    for without, left in (("centre-pixels", {"Transpose", "Cast", "Sub"}), ("read-bytes", {"Reshape", "Cast", "Sub"})):
        path = tmp_path / f"{without}.onnx"
        quantize(pixel_file, path, calibration=images, config=QuantizeConfig(without_passes=(without,)))
        assert left <= {node.op_type for node in ir.load(path).graph}


@pytest.mark.slow
def test_the_other_verbs_take_it(
    tiny: Path, pixel_file: Path, int8_files: dict[str, Path], run_edgecnn: Run, tmp_path: Path
) -> None:
    done = run_edgecnn("verify", str(pixel_file), "--against", str(tiny), "--tolerance", "1e-5")
    assert done.returncode == 0, done.stderr
    done = run_edgecnn("bench", str(int8_files["pixels"]), "--seconds", "0.05", "--runs", "5")
    assert done.returncode == 0, done.stderr
    assert "8x8x1" in done.stdout
    done = run_edgecnn("package", str(int8_files["pixels"]), "--for", "triton", "-o", "repo")
    assert done.returncode == 0, done.stderr
    config = (tmp_path / "repo" / "pixels" / "config.pbtxt").read_text()
    assert "data_type: TYPE_UINT8\n  dims: [8, 8, 1]" in config
    done = run_edgecnn("export", str(pixel_file), "-o", "again.onnx", "--preprocess", "in-graph")
    assert done.returncode == 2
    assert "expected float32, got uint8" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v1", "resnet20", "squeezenet", "ensemble:resnet20+lenet5"])
def test_bundled_networks_keep_their_accuracy(tmp_path: Path, name: str) -> None:
    pytest.importorskip("torch")
    from edgecnn.data import open_named
    from edgecnn.exporters.network import ExportOptions, export_network
    from edgecnn.zoo.choice import choose_form

    form, source = choose_form(name, None)
    data = open_named("fashion-mnist")
    accuracies = {}
    for placing in ("outside", "in-graph"):
        fp32 = export_network(form, tmp_path / f"{placing}.onnx", ExportOptions(weights=source, preprocess=placing))  # type: ignore[arg-type]
        result = quantize(
            fp32.path,
            tmp_path / f"{placing}.int8.onnx",
            calibration=data.split("calibration"),
            evaluation=data.split("test"),
            dataset=data.name,
            labels=data.labels,
        )
        assert result.fp32 is not None
        assert result.int8 is not None
        accuracies[placing] = (result.fp32.value, result.int8.value)
    for before, after in zip(*accuracies.values(), strict=True):
        assert abs(before - after) <= 0.001
