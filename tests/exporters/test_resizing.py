"""Files that scale images themselves: the same pixels, to a step or two, and the same answers as scaling outside."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import edgecnn
from edgecnn.artifacts import load_artifact
from edgecnn.bench.subjects import make_subject
from edgecnn.bench.timed import make_images
from edgecnn.errors import BadInput, Contradiction, ParityError
from edgecnn.exporters import resizing
from edgecnn.exporters.foreign.file import export_file
from edgecnn.exporters.foreign.options import ForeignOptions
from edgecnn.exporters.halfprecision import convert_precision
from edgecnn.exporters.package.app import package_app
from edgecnn.exporters.package.triton import package_triton
from edgecnn.exporters.package.tritonoptions import TritonOptions
from edgecnn.exporters.pixels import check_placing
from edgecnn.exporters.quantize import QuantizeConfig, quantize
from edgecnn.exporters.resizegraph import longest, resize_graph
from edgecnn.exporters.resizing import MOST_STEPS, check_resize, put_resize_in, take_resize_out
from edgecnn.exporters.scaling import framed_input
from edgecnn.exporters.targets import parse_targets
from edgecnn.exporters.verify import VerifyOptions, verify
from edgecnn.preprocess import frame
from edgecnn.runtimes import open_session
from edgecnn.specs import Preprocess

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Pixels = NDArray[np.uint8]

IN_GRAPH = ForeignOptions(preprocess="in-graph", resize="in-graph")
FITS = ("crop", "pad", "stretch")
MODES = ("bilinear", "bicubic", "nearest")
SIZE = (24, 17)

KINDS = [(fit, mode) for fit in FITS for mode in MODES]
QUICK = [("crop", "bilinear"), ("pad", "nearest"), ("stretch", "bicubic")]
kinds = pytest.mark.parametrize(("fit", "mode"), KINDS)


def spec(fit: str, mode: str, size: tuple[int, int] = SIZE, fraction: float = 0.875) -> Preprocess:
    given: Any = {"fit": fit, "interpolation": mode}
    return Preprocess(size=size, channels=3, mean=(0.5,) * 3, std=(0.5,) * 3, crop_fraction=fraction, **given)


@cache
def engine(preprocess: Preprocess) -> Any:
    proto = ir.to_proto(resize_graph(preprocess, 18))
    onnx.checker.check_model(proto, full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def scaled(preprocess: Preprocess, image: Pixels) -> Pixels:
    return engine(preprocess).run(None, {"pixels": image[None]})[0][0]  # type: ignore[no-any-return]


def noise(height: int, width: int, seed: int = 0, channels: int = 3) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


@pytest.mark.parametrize(
    ("fit", "mode"), [pytest.param(*kind, marks=() if kind in QUICK else pytest.mark.slow) for kind in KINDS]
)
@settings(max_examples=40, deadline=None)
@given(side=st.integers(1, 130), other=st.integers(1, 130), fraction=st.sampled_from([0.875, 1.0, 0.7]))
def test_pixels_are_those_of_scaling_outside(fit: str, mode: str, side: int, other: int, fraction: float) -> None:
    preprocess, image = spec(fit, mode, fraction=fraction), noise(side, other, seed=side)
    if max(side, other) > longest(preprocess) * min(side, other):
        return
    steps = np.abs(scaled(preprocess, image).astype(int) - frame(image, preprocess))
    assert steps.max() <= (0 if mode == "nearest" else MOST_STEPS)
    # Pixels that differ are those next to a half, by one step: few, but where the scale makes many halves (45 to 27).
    assert (steps > 0).mean() <= 0.15
    assert (steps > 1).mean() <= 0.01


@kinds
def test_an_image_of_the_networks_size_is_taken_as_it_is(fit: str, mode: str) -> None:
    image = noise(*SIZE)
    assert np.array_equal(scaled(spec(fit, mode), image), image)


@pytest.mark.parametrize("fit", ["crop", "stretch"])
@pytest.mark.parametrize("shape", [(1, 20_000), (20_000, 1), (3, 5_001)])
def test_a_line_of_pixels_is_cut_to_its_middle(fit: str, shape: tuple[int, int]) -> None:
    """Its shorter side, scaled to the network's, would make a picture of gigabytes out of it."""
    image = noise(*shape)
    middle = tuple(slice((side - keep) // 2, (side - keep) // 2 + keep) for side, keep in _kept(shape))
    assert np.array_equal(scaled(spec(fit, "bilinear"), image), scaled(spec(fit, "bilinear"), image[middle]))


def _kept(shape: tuple[int, int]) -> list[tuple[int, int]]:
    return [(side, min(side, longest(spec("crop", "bilinear")) * min(shape))) for side in shape]


@pytest.mark.slow
@kinds
def test_no_size_of_the_network_is_special(fit: str, mode: str) -> None:
    for size in ((1, 1), (2, 80), (33, 5)):
        check_resize(spec(fit, mode, size), 18)
        image = noise(*size)
        assert np.array_equal(scaled(spec(fit, mode, size), image), image)


def test_an_engine_that_scales_in_another_way_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    nearest = spec("crop", "nearest")
    monkeypatch.setattr(resizing, "resize_graph", lambda preprocess, opset: resize_graph(nearest, opset))
    with pytest.raises(ParityError, match="pixels scaled by this engine"):
        check_resize(spec("crop", "bilinear"), 18)


def test_it_goes_in_and_out_again(parse: Any, run: Any) -> None:
    text = "g (uint8[N,24,17,3] x) => (float[N,24,17,3] y) { y = Cast<to=1>(x) }"
    preprocess = replace(spec("crop", "bilinear"), layout="NHWC", in_graph=True)
    model, image = parse(text), noise(50, 40)
    assert not take_resize_out(model)
    found = put_resize_in(model, preprocess)
    assert found.resize_in_graph
    assert [str(side) for side in model.graph.inputs[0].shape] == ["N", "height", "width", "3"]
    both = run(model, x=np.stack([image, image[::-1]]))[0]
    assert np.array_equal(both[0], scaled(preprocess, image))
    assert np.array_equal(both[1], scaled(preprocess, image[::-1].copy()))
    assert take_resize_out(model)
    assert [node.op_type for node in model.graph] == ["Cast"]
    assert tuple(model.graph.inputs[0].shape)[1:] == (24, 17, 3)
    assert model.graph.inputs[0].name == "x"
    assert np.array_equal(run(model, x=image[None, :24, :17])[0], image[None, :24, :17])


# --- files


@pytest.fixture(scope="module")
def image_file(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny file, with its scaling and its normalisation inside."""
    return export_file(tiny, tmp_path_factory.mktemp("images") / "images.onnx", IN_GRAPH).path


@pytest.fixture(scope="module")
def pixel_file(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = ForeignOptions(preprocess="in-graph")
    return export_file(tiny, tmp_path_factory.mktemp("images") / "pixels.onnx", options).path


def photos(folder: Path, count: int = 8) -> list[Path]:
    """Return JPEG files of gray pictures of several sizes, upright and lying."""
    image = pytest.importorskip("PIL.Image")
    rng, paths = np.random.default_rng(5), []
    for index in range(count):
        height, width = ((8, 8), (30, 41), (120, 64), (9, 8), (5, 70), (64, 64), (300, 200), (3, 4))[index % 8]
        picture = image.fromarray(rng.integers(0, 256, (6, 7), np.uint8)).resize(
            (width, height), image.Resampling.BICUBIC
        )
        paths.append(folder / f"{index}.jpg")
        picture.save(paths[-1], quality=90)
    return paths


def test_the_file_says_who_does_what(image_file: Path) -> None:
    artifact = load_artifact(image_file)
    (source,) = artifact.spec.inputs
    assert (source.dtype, source.shape) == ("uint8", ("N", "height", "width", 1))
    preprocess = artifact.spec.preprocess
    assert preprocess is not None
    assert (preprocess.resize_in_graph, preprocess.in_graph, preprocess.size) == (True, True, (8, 8))
    assert artifact.lineage[-1].options["resize"] == "in-graph"
    assert framed_input(artifact.spec).inputs[0].shape == ("N", 8, 8, 1)
    assert framed_input(framed_input(artifact.spec)) == framed_input(artifact.spec)
    with pytest.raises(BadInput, match="expected in_graph as well"):
        replace(preprocess, in_graph=False, layout="NCHW").check()


def test_answers_are_those_of_scaling_outside(tiny: Path, image_file: Path, tmp_path: Path) -> None:
    from edgecnn.images import read_image

    paths = photos(tmp_path)
    with edgecnn.load(tiny) as outside, edgecnn.load(image_file) as inside:
        pixels = [read_image(path) for path in paths]
        wanted, found = outside.scores(pixels), inside.scores(pixels)
        assert np.abs(found - wanted).max() <= 0.02 * np.abs(wanted).max()
        assert found[0] == pytest.approx(wanted[0], rel=1e-5)  # of the network's size
        together = inside.classify(paths)
        assert together == [inside.classify(path) for path in paths]
        assert inside.classify(pixels[2:3] * 3) == [inside.classify(pixels[2])] * 3
        from PIL import Image

        assert inside.classify(Image.open(paths[1])) == together[1]
        assert inside.classify(noise(20, 30)) == inside.classify(np.dstack([noise(20, 30), noise(20, 30)[..., :1]]))
        with edgecnn.Batcher(inside, max_wait_ms=20) as batcher:
            futures = [batcher.submit(path) for path in (*paths, *paths)]
            assert [future.result() for future in futures] == [*together, *together]


def test_verify_looks_at_the_resize_on_random_pictures_too(tiny: Path, image_file: Path, tmp_path: Path) -> None:
    options = VerifyOptions(against=str(tiny))
    assert verify(load_artifact(image_file), options).verdict == "ok"
    model = ir.load(image_file)
    for node in model.graph:
        if node.op_type == "Resize":
            node.attributes["mode"] = ir.AttrString("mode", "nearest")
            for name in ("antialias", "exclude_outside", "cubic_coeff_a"):
                node.attributes.pop(name, None)
    ir.save(model, tmp_path / "other.onnx")
    assert verify(load_artifact(tmp_path / "other.onnx"), options).verdict == "fail"


def test_images_of_two_sizes_are_no_batch(image_file: Path) -> None:
    preprocess = load_artifact(image_file).spec.preprocess
    assert preprocess is not None
    with pytest.raises(BadInput, match="expected one size, 9 x 8 as the first, got 8 x 9"):
        edgecnn.preprocess.prepare([noise(9, 8), noise(8, 9)], preprocess)
    assert edgecnn.preprocess.prepare([noise(9, 8), noise(9, 8)], preprocess).shape == (2, 9, 8, 1)


def test_a_fixed_batch_is_filled_up(tiny: Path, image_file: Path, tmp_path: Path) -> None:
    path = export_file(tiny, tmp_path / "two.onnx", replace(IN_GRAPH, batch=2)).path
    images = [noise(9, 8, seed, 1) for seed in range(3)] + [noise(30, 20, 1, 1)]
    with edgecnn.load(path) as two, edgecnn.load(image_file) as any_number:
        assert np.allclose(two.scores(images), any_number.scores(images), rtol=1e-4, atol=1e-5)


def test_int8_is_that_of_pixels_behind_the_resize(
    pixel_file: Path, image_file: Path, images: Any, tmp_path: Path, fused: Any
) -> None:
    made = [tmp_path / "pixels.int8.onnx", tmp_path / "images.int8.onnx"]
    for source, path in zip((pixel_file, image_file), made, strict=True):
        quantize(source, path, calibration=images)
    with edgecnn.load(made[0]) as pixels, edgecnn.load(made[1]) as scaling:
        assert np.array_equal(pixels.scores(list(images)), scaling.scores(list(images)))
        assert scaling.scores([noise(40, 30)]).shape == (1, scaling.outputs[0].shape[1])
    nodes = fused(ir.load(made[1]))
    assert {"Cast", "QuantizeLinear"}.isdisjoint(nodes)
    assert load_artifact(made[1]).spec.preprocess == load_artifact(image_file).spec.preprocess
    half = convert_precision(image_file, tmp_path / "half.onnx", precision="fp16", calibration=images, config=_half())
    assert half.artifact.spec.inputs[0].shape == ("N", "height", "width", 1)


def _half() -> QuantizeConfig:
    return QuantizeConfig(target="cpu-arm", precision="fp16")


# --- what does not go


def test_options_that_do_not_go_together() -> None:
    with pytest.raises(Contradiction, match="--resize in-graph without --preprocess in-graph"):
        ForeignOptions(resize="in-graph")
    with pytest.raises(BadInput, match="resize: expected outside or in-graph"):
        ForeignOptions(resize="inside")  # type: ignore[arg-type]
    for name in ("trt", "openvino", "cuda", "cpu-x86,cuda"):
        with pytest.raises(Contradiction, match=f"for target {name.split(',')[-1]}"):
            check_placing("in-graph", "in-graph", parse_targets(name))
    check_placing("in-graph", "in-graph", parse_targets("cpu-x86,cpu-arm"))


def test_engines_that_scale_in_another_way_are_refused(image_file: Path, images: Any, tmp_path: Path) -> None:
    for backend in ("torch", "openvino", "cuda"):
        with pytest.raises(BadInput, match=f"which backend {backend} does not do"):
            edgecnn.runtimes.check_scales(load_artifact(image_file), backend)
    with pytest.raises(Contradiction, match="for target openvino"):
        quantize(image_file, tmp_path / "x.onnx", calibration=images, config=QuantizeConfig(target="openvino"))
    with pytest.raises(Contradiction, match="not for target openvino"):
        package_app(image_file, tmp_path / "app", target="openvino")
    for options in (TritonOptions(accelerator="tensorrt"), TritonOptions(backend="tensorrt")):
        with pytest.raises(Contradiction, match="not for tensorrt"):
            package_triton([image_file], tmp_path / "repo", options)
    assert list(tmp_path.iterdir()) == []


# --- what has to know a size


def test_it_is_measured_on_pictures_of_twice_the_size(image_file: Path) -> None:
    artifact = load_artifact(image_file)
    assert make_subject(artifact, batch=3).input_shape == (3, 16, 16, 1)
    assert make_images(artifact, batch=1, seed=0).shape == (1, 16, 16, 3)
    with edgecnn.load(image_file) as classifier:
        assert sorted(classifier.warm_up((1, 2), runs=1)) == [1, 2]
    with open_session(artifact) as session:
        assert [one.shape for one in session.inputs] == [("N", "height", "width", 1)]


@pytest.mark.slow
def test_the_verbs_take_it(tiny: Path, image_file: Path, run_edgecnn: Run, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    paths = photos(folder)
    for more in ((), ("--data", str(folder))):
        done = run_edgecnn("verify", str(image_file), "--against", str(tiny), *more, "--json")
        assert done.returncode == 0, done.stderr
        (parity,) = [one["parity"] for one in json.loads(done.stdout)]
        assert parity["tolerance"] == 1e-2
        assert parity["difference"]["agreement"] == 1
    done = run_edgecnn("bench", str(image_file), "--seconds", "0.05", "--runs", "5")
    assert done.returncode == 0, done.stderr
    assert "16x16x1" in done.stdout
    done = run_edgecnn("predict", str(image_file), *map(str, paths), "--json")
    assert len(json.loads(done.stdout)) == len(paths)
    done = run_edgecnn("package", str(image_file), "--for", "triton", "-o", "repo")
    assert done.returncode == 0, done.stderr
    config = (tmp_path / "repo" / "images" / "config.pbtxt").read_text()
    assert "data_type: TYPE_UINT8\n  dims: [-1, -1, 1]" in config
    assert "KIND_CPU" in config
    done = run_edgecnn("package", str(image_file), "--for", "app", "-o", "app")
    assert done.returncode == 0, done.stderr
    assert "The file scales and cuts images itself" in (tmp_path / "app" / "README.md").read_text()


def test_the_command_names_the_file_after_what_it_takes(tiny: Path, run_edgecnn: Run, tmp_path: Path) -> None:
    done = run_edgecnn("export", str(tiny), "--preprocess", "in-graph", "--resize", "in-graph")
    assert done.returncode == 0, done.stderr
    assert "any size x1" in done.stdout
    assert [path.name for path in (tmp_path / "models").iterdir()] == [f"{tiny.stem}_images.onnx"]
    done = run_edgecnn("export", str(tiny), "--resize", "in-graph")
    assert done.returncode == 2
    assert "without --preprocess in-graph" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["squeezenet", "mobilenet_v1"])
def test_bundled_networks_from_raw_jpeg(tmp_path: Path, name: str) -> None:
    """Test images as JPEG files of many sizes: the same first class as with scaling outside, in fp32 and int8."""
    pytest.importorskip("torch")
    image = pytest.importorskip("PIL.Image")
    from edgecnn.data import open_named
    from edgecnn.exporters.network import ExportOptions, export_network
    from edgecnn.zoo.choice import choose_form

    form, source = choose_form(name, None)
    data = open_named("fashion-mnist")
    rng = np.random.default_rng(7)
    raw = []
    for picture in data.split("test").take(200).images:
        height, width = (int(side) for side in rng.integers(20, 500, 2))
        content = io.BytesIO()
        image.fromarray(np.squeeze(picture)).resize((width, height), image.Resampling.BICUBIC).save(content, "JPEG")
        raw.append(edgecnn.images.decode_image(content.getvalue()))
    firsts = {}
    for resize in ("outside", "in-graph"):
        options = ExportOptions(weights=source, preprocess="in-graph", resize=resize)  # type: ignore[arg-type]
        fp32 = export_network(form, tmp_path / f"{resize}.onnx", options)
        quantize(fp32.path, tmp_path / f"{resize}.int8.onnx", calibration=data.split("calibration"))
        for kind in ("", ".int8"):
            with edgecnn.load(tmp_path / f"{resize}{kind}.onnx") as classifier:
                firsts[resize, kind] = classifier.scores(raw).argmax(axis=1)
    for kind in ("", ".int8"):
        assert (firsts["outside", kind] == firsts["in-graph", kind]).mean() >= 0.99
