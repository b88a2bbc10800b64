"""Every network of the zoo at a small size: one file, the same numbers as torch, and an int8 file that still computes it.

`make test-zoo` runs all of it; the quick suite has the smallest network of a few families.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")

import onnx  # noqa: E402

from edgecnn.artifacts import load_artifact  # noqa: E402
from edgecnn.data.dataset import Split  # noqa: E402
from edgecnn.exporters.network import ExportOptions, export_network  # noqa: E402
from edgecnn.exporters.quantize import QuantizeConfig, QuantizeResult, quantize  # noqa: E402
from edgecnn.preprocess import prepare  # noqa: E402
from edgecnn.runtimes import open_session  # noqa: E402
from edgecnn.zoo.network import Form, Network  # noqa: E402
from edgecnn.zoo.registry import build, find, make_form, networks  # noqa: E402
from edgecnn.zoo.sizes import known_sizes  # noqa: E402
from edgecnn.zoo.weights import save_weights  # noqa: E402

Images = NDArray[np.uint8]

SIZE = 32
IMAGES = 16

# Above, a network that can be narrowed is: the graph is the same.
MANY_PARAMS = 30_000_000
NARROW = 0.25

# Signal over noise of the logits, dB, where what all images have in common is no signal. Eight bits leave 20 to 30 behind a few
# layers, and the noise of 150 random ones adds up to 9; a scale that is off by two, a tensor that clips or a zero point that is
# lost makes noise about as loud as the signal.
LEAST_SQNR = 6.0

SHIFT = 1.0

ENSEMBLE = "ensemble:resnet20+mobilenet_v1"

QUICK, SLOW = "lenet5_relu", "lenet5"


def forms() -> Iterator[Form]:
    """Yield every network, and once in each family every value of an option that changes the graph."""
    seen = set()
    for network in networks():
        yield small(network)
        for option in network.options:
            values = (False, True) if isinstance(option.default, bool) else option.choices
            if (network.family, option.name) not in seen:
                seen.add((network.family, option.name))
                yield from (small(network, **{option.name: value}) for value in values if value != option.default)
    yield make_form(ENSEMBLE, forms="bundled")


def small(network: Network, **options: Any) -> Form:
    """Return a form at the least size from 32 pixels on, a large network narrowed where it has a width."""
    size = network.input_sizes[0] if network.input_sizes else max(SIZE, network.min_input)
    sizes = known_sizes(make_form(network))
    if sizes and sizes.params > MANY_PARAMS and any(option.name == "width" for option in network.options):
        options = {"width": NARROW, **options}
    return make_form(network, input_size=size, **options)


def pictures(form: Form, count: int = IMAGES) -> Images:
    """Return uint8 [count, S, S, C]: random patches of different brightness and contrast."""
    rng = np.random.default_rng(11)
    size, cells = form.input_size, 8
    centre = rng.integers(64, 192, (count, 1, 1, form.channels))
    reach = rng.integers(16, 64, (count, 1, 1, 1))
    coarse = centre + reach * rng.standard_normal((count, cells, cells, form.channels))
    index = np.arange(size) * cells // size
    return np.clip(coarse[:, index][:, :, index], 0, 255).astype(np.uint8)


def settle(form: Form, images: Images, path: Path) -> Path:
    """Write random weights whose batch norm statistics are those of the images, as trained ones are.

    Freshly made statistics let the signal of a deep network die out or grow, and there would be nothing to compare. The shift
    lets most values through the activations: random layers that block half of them double any noise every few layers.
    """
    torch.manual_seed(0)
    module = build(form)
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0
            if layer.affine:
                torch.nn.init.constant_(layer.bias, SHIFT)
        if isinstance(layer, torch.nn.Dropout):
            layer.p = 0.0
    module.train()
    with torch.no_grad():
        module(torch.from_numpy(prepare(images, find(form.network).preprocess_for(form))))
    save_weights(module, path)
    return path


def logits(path: Path, images: Images) -> NDArray[np.float64]:
    artifact = load_artifact(path)
    assert artifact.spec.preprocess is not None
    with open_session(artifact) as session:
        return session.run({"input": prepare(images, artifact.spec.preprocess)})["logits"].astype(np.float64)


def sqnr_db(reference: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the signal over noise of answers [N, classes]; what all images have in common is no signal."""
    signal = reference - reference.mean(axis=0)
    return float(10 * np.log10(np.sum(signal**2) / np.sum((reference - other) ** 2)))


def convolutions_in_int8(path: Path) -> tuple[int, int]:
    """Return how many convolutions read quantized images and weights, and how many there are."""
    graph = onnx.load(path).graph
    maker = {name: node.op_type for node in graph.node for name in node.output}
    found = [node for node in graph.node if node.op_type == "Conv"]
    both = [node for node in found if all(maker.get(name) == "DequantizeLinear" for name in node.input[:2])]
    return len(both), len(found)


def quantized(source: Path, images: Images) -> QuantizeResult:
    """Return the int8 form of a file, made for these very images; every convolution in it is int8."""
    split = Split("calibration", images, np.zeros(len(images), np.int64), trained=True)
    target = source.with_name("int8.onnx")
    return quantize(source, target, calibration=split, config=QuantizeConfig(min_channels=1))


MARKS: dict[str, Any] = {QUICK: (), SLOW: pytest.mark.slow}
CASES = [pytest.param(form, id=form.title, marks=MARKS.get(form.title, pytest.mark.zoo)) for form in forms()]


@pytest.mark.parametrize("form", CASES)
def test_it_exports_and_quantizes(tmp_path: Path, form: Form) -> None:
    images = pictures(form)
    weights = (
        "bundled" if form.network.startswith("ensemble") else str(settle(form, images, tmp_path / "w.safetensors"))
    )
    fp32 = export_network(form, tmp_path / "fp32.onnx", ExportOptions(weights=weights))
    assert fp32.spec.inputs[0].shape == ("N", *form.input_shape)
    assert fp32.spec.outputs[0].shape == ("N", form.classes)

    result = quantized(fp32.path, images)
    in_int8, every = convolutions_in_int8(result.artifact.path)
    assert in_int8 == every, result.left_float
    before, after = (logits(path, images) for path in (fp32.path, result.artifact.path))
    assert np.isfinite(after).all()
    sqnr, agreement = sqnr_db(before, after), float(np.mean(before.argmax(1) == after.argmax(1)))
    print(f"{form.title}: SQNR {sqnr:.1f} dB, same class {agreement:.0%}, left float {dict(result.left_float)}")
    assert sqnr >= LEAST_SQNR
    assert logits(result.artifact.path, images[:3]).shape == (3, form.classes)


@pytest.mark.slow
def test_the_bound_catches_a_scale_that_is_off_by_two(tmp_path: Path) -> None:
    form = make_form("lenet5", form="relu")
    images = pictures(form)
    weights = settle(form, images, tmp_path / "w.safetensors")
    fp32 = export_network(form, tmp_path / "fp32.onnx", ExportOptions(weights=str(weights))).path
    int8 = quantized(fp32, images).artifact.path
    reference = logits(fp32, images)
    assert sqnr_db(reference, logits(int8, images)) >= LEAST_SQNR
    model = onnx.load(int8)
    scales = [value for value in model.graph.initializer if "weight_scale" in value.name]
    assert len(scales) == 5
    for scale in scales:
        right = onnx.numpy_helper.to_array(scale)
        scale.CopyFrom(onnx.numpy_helper.from_array(2 * right, scale.name))
        onnx.save(model, tmp_path / "broken.onnx")
        assert sqnr_db(reference, logits(tmp_path / "broken.onnx", images)) < LEAST_SQNR, scale.name
        scale.CopyFrom(onnx.numpy_helper.from_array(right, scale.name))
