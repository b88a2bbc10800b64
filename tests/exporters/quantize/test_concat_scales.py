from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgecnn.exporters.quantize.concat_scales import MAX_GROWTH, MIN_SAVED_NS, saved_ns, settle_scales
from edgecnn.exporters.quantize.placement import Placement, place
from edgecnn.exporters.quantize.ranges import Range
from edgecnn.exporters.targets import find_target


def weight(*shape: int) -> Any:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


CONSTANTS = {
    "w": weight(16, 16, 1, 1),
    "w2": weight(16, 32, 1, 1),
    "w3": weight(16, 48, 1, 1),
    "zero": np.float32(0),
    "one": np.float32(1),
}

# a is read by the concatenation and by the layer that makes b, as in DenseNet; z is read by a layer and by the next.
DENSE = (
    "a = Conv(x, w) b = Conv(a, w) z = Concat<axis=1>(a, b) c = Conv(z, w2) v = Concat<axis=1>(z, c) y = Conv(v, w3)"
)


def placed(parse: Any, body: str, size: int = 32, **options: Any) -> Placement:
    used = {name: array for name, array in CONSTANTS.items() if f"{name})" in body or f"{name}," in body}
    return place(parse(f"g (float[N,16,{size},{size}] x) => (float[N,c,h,k] y) {{ {body} }}", **used), **options)


def settled(placement: Placement, **highs: float | tuple[float, float]) -> dict[str, Range]:
    """Range by tensor, where those not given have a range to 1; a pair is low and high."""
    given = {name: Range(*high) if isinstance(high, tuple) else Range(0.0, high) for name, high in highs.items()}
    ranges = {str(value.name): given.get(str(value.name), Range(0.0, 1.0)) for value in placement.observed}
    return {str(value.name): found for value, found in settle_scales(placement, ranges).items()}


def test_concatenations_of_concatenations_share_one_scale(parse: Any) -> None:
    found = settled(placed(parse, DENSE), a=1.0, b=1.5, z=1.5, v=2.0)
    assert {found[name] for name in ("a", "b", "z", "c", "v")} == {Range(0.0, 2.0)}
    assert found["x"] == found["y"] == Range(0.0, 1.0)


@pytest.mark.parametrize(("high", "joins"), [(MAX_GROWTH * 0.99, True), (MAX_GROWTH * 1.01, False)])
def test_no_step_grows_beyond_the_limit(parse: Any, high: float, joins: bool) -> None:
    found = settled(placed(parse, DENSE), a=1.0, z=high, v=high)
    assert (found["a"] == found["z"]) == joins
    assert found["a"].high == (high if joins else 1.0)


def test_the_limit_holds_for_every_tensor_of_a_group(parse: Any) -> None:
    """All three would be too far apart: z, twice as large as a, is the one that is copied."""
    found = settled(placed(parse, DENSE), a=1.0, z=MAX_GROWTH * 0.9, v=MAX_GROWTH * 1.8)
    assert found["a"] == Range(0.0, 1.0)
    assert found["z"] == found["v"] == found["c"] == Range(0.0, MAX_GROWTH * 1.8)


def test_symmetric_steps_grow_by_the_farther_end(parse: Any) -> None:
    ranges = {"a": (-1.0, 0.1), "z": (-1.0, 1.0), "v": (-1.0, 1.0)}
    found = settled(placed(parse, DENSE, form=find_target("trt").form), **ranges)
    assert found["a"] == Range(-1.0, 1.0)


def test_a_copy_of_few_bytes_is_not_worth_a_coarser_step(parse: Any) -> None:
    found = settled(placed(parse, DENSE, size=4), a=1.0, z=2.0, v=2.0)
    assert found["a"] == Range(0.0, 1.0)
    assert found["b"] == Range(0.0, 2.0)  # read by nothing else: loses nothing


def test_what_only_the_concatenation_reads_loses_nothing_and_always_shares(parse: Any) -> None:
    body = "a = Conv(x, w) b = Conv(x, w) z = Concat<axis=1>(a, b) y = Conv(z, w2)"
    placement = placed(parse, body, size=4)
    assert "a" not in {value.name for value in placement.observed}
    assert settled(placement, z=100.0)["a"] == Range(0.0, 100.0)


@pytest.mark.parametrize(
    ("activation", "high", "joins"),
    [("Relu(a0)", 2.0, True), ("Clip(a0, zero, one)", 2.0, False), ("Clip(a0, zero, one)", 1.0, True)],
)
def test_an_activation_that_vanished_still_clips(parse: Any, activation: str, high: float, joins: bool) -> None:
    body = f"a0 = Conv(x, w) a = {activation} b = Conv(a, w) z = Concat<axis=1>(a, b) y = Conv(z, w2)"
    found = settled(placed(parse, body), a=1.0, z=high)
    assert (found["a"] == found["z"]) == joins


def test_an_activation_that_vanished_keeps_negative_values_out(parse: Any) -> None:
    body = "a0 = Conv(x, w) a = Relu(a0) b = Conv(a, w) z = Concat<axis=1>(a, b) y = Conv(z, w2)"
    assert settled(placed(parse, body), z=(-0.5, 1.0))["a"] == Range(0.0, 1.0)


def test_an_activation_behind_the_concatenation(parse: Any) -> None:
    body = "a = Conv(x, w) b = Conv(a, w) z0 = Concat<axis=1>(a, b) z = Relu(z0) y = Conv(z, w2)"
    found = settled(placed(parse, body), a=(-1.0, 1.0), z=1.0)
    assert found["z"] == Range(0.0, 1.0)  # what is below zero is cut off there, and nowhere before
    assert found["a"] == Range(-1.0, 1.0)


def test_the_estimate_counts_bytes(parse: Any) -> None:
    placement = placed(parse, DENSE)
    value = next(value for value in placement.tensors if value.name == "a")
    assert saved_ns(value) == pytest.approx(16 * 32 * 32 * 0.16)
    assert saved_ns(value) > MIN_SAVED_NS


NETWORKS = {
    # network, options -> bounds of the share of bytes that concatenations copy: by structure alone, and with what joins
    "squeezenet1_1": ({"input_size": 32}, (1.0, 1.0), (1.0, 1.0)),
    "googlenet": ({"input_size": 64}, (1.0, 1.0), (1.0, 1.0)),
    "densenet_bc": ({}, (0.0, 0.2), (0.7, 1.0)),
}


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_networks_copy_bytes(quantize_graph: Any, network: str) -> None:
    pytest.importorskip("torch")
    from edgecnn.exporters.network import ExportOptions, trace
    from edgecnn.exporters.passes import run_passes
    from edgecnn.exporters.passes.int8 import prepare_for_int8
    from edgecnn.zoo.registry import build, make_form

    options, by_structure, joined = NETWORKS[network]
    form = make_form(network, **options)
    model = trace(build(form).eval(), form, ExportOptions(weights="random"))
    run_passes(model)
    prepare_for_int8(model, wanted=find_target("cpu-x86").form.rewrites)
    _, channels, height, width = model.graph.inputs[0].shape
    pictures = np.random.default_rng(0).integers(0, 256, (4, height, width, channels)).astype(np.uint8)
    assert by_structure[0] <= structural_share(place(model, min_channels=1)) <= by_structure[1]
    int8, _ = quantize_graph(model, pictures, min_channels=1)
    assert joined[0] <= copied_share(int8) <= joined[1]


def structural_share(placement: Placement) -> float:
    """Share of the bytes of concatenations whose scale is the result's by the structure of the graph alone."""
    pairs = [(value, node.outputs[0]) for node in placement.nodes if node.op_type == "Concat" for value in node.inputs]
    scale_of = placement.scale_of
    return share([(saved_ns(value), scale_of.get(value) is scale_of.get(result)) for value, result in pairs])


def copied_share(int8: Any) -> float:
    """Share of the bytes of concatenations whose scale and zero point are the result's in the file."""
    found = []
    for node in int8.graph:
        if node.op_type == "Concat":
            behind = next(use.node for use in node.outputs[0].uses())
            for value in node.inputs:
                pairs = zip(value.producer().inputs[1:], behind.inputs[1:], strict=True)
                same = all(np.array_equal(one.const_value.numpy(), other.const_value.numpy()) for one, other in pairs)
                found.append((saved_ns(value), same))
    return share(found)


def share(weighted: list[tuple[float, bool]]) -> float:
    return sum(weight for weight, same in weighted if same) / sum(weight for weight, _ in weighted)
