from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgecnn.data.dataset import Split
from edgecnn.exporters.quantize import QuantizeConfig
from edgecnn.exporters.quantize.bias_correction import correct_biases, weight_error, weight_errors
from edgecnn.exporters.quantize.calibrate import Calibrator
from edgecnn.exporters.quantize.concat_scales import settle_scales
from edgecnn.exporters.quantize.emit import emit
from edgecnn.exporters.quantize.placement import place
from edgecnn.exporters.quantize.scales import choose_quantizer
from edgecnn.preprocess import prepare
from edgecnn.specs import Preprocess, TensorSpec

Array = NDArray[Any]
PREPROCESS = Preprocess(size=(8, 8), channels=1, fit="stretch", mean=(0.2,), std=(0.25,))
SOURCE = TensorSpec(name="x", dtype="float32", shape=("N", 1, 8, 8))
CONFIG = QuantizeConfig(per_channel=False, min_channels=1)


@pytest.fixture
def calibrator(images: NDArray[np.uint8]) -> Calibrator:
    split = Split("calibration", images, np.zeros(len(images), np.int64), trained=True)
    return Calibrator(source=SOURCE, preprocess=PREPROCESS, images=split)


def corrected(model: Any, calibrator: Calibrator) -> tuple[Any, dict[str, Array]]:
    placement = place(model, min_channels=1)
    table = calibrator.tables(model, placement.observed, ("minmax",))["minmax"]
    errors = weight_errors(placement, table.ranges, CONFIG)
    copy = model.clone()
    count = correct_biases(copy, errors, lambda graph, tensors: calibrator.mean_outputs(graph, tensors, 96))
    assert count == len(errors)
    return copy, errors


def with_errors(model: Any, errors: dict[str, Array]) -> Any:
    """The graph with the weights that int8 would have."""
    from edgecnn.exporters.passes.values import add_constant

    copy = model.clone()
    for node in tuple(copy.graph):
        if node.name in errors:
            weight = node.inputs[1].const_value.numpy() + errors[node.name] / (
                node.attributes["alpha"].value if "alpha" in node.attributes else 1
            )
            node.replace_input_with(1, add_constant(copy.graph, f"{node.name}_w", weight.astype(np.float32)))
    return copy


BODIES = {
    "padding and stride": "y = Conv<pads=[1,1,1,1], strides=[2,2]>(x, w, b)",
    "no bias": "y = Conv<pads=[2,2,2,2]>(x, w)",
    "gemm": "f = Flatten(x) y = Gemm<transB=1, alpha=0.5, beta=2.0>(f, v, c)",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_the_mean_of_a_layer_is_as_in_fp32(
    parse: Callable[..., Any], run: Callable[..., list[Array]], calibrator: Calibrator, images: Array, body: str
) -> None:
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.standard_normal((6, 1, 3, 3)) * np.geomspace(0.01, 10, 6)[:, None, None, None],
        "b": rng.standard_normal(6),
        "v": rng.standard_normal((5, 64)) * np.geomspace(0.01, 10, 5)[:, None],
        "c": rng.standard_normal(5),
    }
    rank = "5" if "Gemm" in body else "6,h,w"
    used = {name: array.astype(np.float32) for name, array in constants.items() if f" {name}" in body}
    model = parse(f"g (float[N,1,8,8] x) => (float[N,{rank}] y) {{ {body} }}", **used)
    fixed, errors = corrected(model, calibrator)
    x = prepare(images, PREPROCESS)

    def means(graph: Any) -> Array:
        (y,) = run(graph, x=x)
        found: Array = y.reshape(*y.shape[:2], -1).mean(axis=(0, 2), dtype=np.float64)
        return found

    reference, wrong = means(model), means(with_errors(model, errors))
    right = means(with_errors(fixed, errors))
    assert np.abs(wrong - reference).max() > 1e-3
    assert np.abs(right - reference).max() < 0.01 * np.abs(wrong - reference).max()


def test_a_shared_bias_is_not_changed_under_the_other(parse: Callable[..., Any], calibrator: Calibrator) -> None:
    rng = np.random.default_rng(0)
    model = parse(
        "g (float[N,1,8,8] x) => (float[N,6,h,w] y) { c = Conv(x, w, b) d = Conv(x, v, b) y = Add(c, d) }",
        w=rng.standard_normal((6, 1, 3, 3)).astype(np.float32),
        v=rng.standard_normal((6, 1, 3, 3)).astype(np.float32),
        b=np.zeros(6, np.float32),
    )
    fixed, _ = corrected(model, calibrator)
    one, other = (node.inputs[2].const_value.numpy() for node in fixed.graph if node.op_type == "Conv")
    assert np.any(one != other)
    assert not any(node.inputs[2].const_value.numpy().any() for node in model.graph if node.op_type == "Conv")


@pytest.mark.parametrize("target", ["cpu-x86", "trt"])
def test_errors_are_those_of_the_integers_in_the_file(
    parse: Callable[..., Any], calibrator: Calibrator, target: str
) -> None:
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.standard_normal((6, 1, 3, 3)) * np.array([1, 1, 1e-6, 1, 5, 1])[:, None, None, None],
        "b": np.array([0, 1, 50, 0, 0, 2]),
        "u": rng.standard_normal((54, 5)) * np.geomspace(0.01, 10, 5),
        "v": rng.standard_normal((5, 4)),
    }
    model = parse(
        "g (float[N,1,8,8] x) => (float[N,4] y) "
        "{ a = Conv<strides=[3,3], pads=[1,1,1,1]>(x, w, b) r = Relu(a) f = Flatten(r) m = MatMul(f, u) y = Gemm(m, v) }",
        **{name: array.astype(np.float32) for name, array in constants.items()},
    )
    config = QuantizeConfig(target=target, min_channels=1)
    placement = place(model, form=config.form, min_channels=1)
    ranges = calibrator.tables(model, placement.observed, ("minmax",))["minmax"].ranges
    settled = settle_scales(placement, ranges)
    wanted = {
        node.name: weight_error(node, choose_quantizer(settled[node.inputs[0]], config.form).scale, config)
        for node in placement.nodes
        if node.op_type in ("Conv", "MatMul")
    }
    floats = {node.name: node.inputs[1].const_value.numpy() for node in model.graph if node.name in wanted}
    assert len(wanted) == 2
    emit(model, placement, ranges, config)
    for node in model.graph:
        if node.name in wanted:
            integers, scale, _ = (value.const_value.numpy() for value in node.inputs[1].producer().inputs)
            shape = (-1, 1, 1, 1) if node.op_type == "Conv" else (1, -1)
            found = integers * (scale.reshape(shape) if scale.ndim else scale) - floats[node.name]
            assert np.allclose(found, wanted[node.name], atol=1e-9)
