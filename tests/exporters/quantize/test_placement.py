from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgecnn.exporters.quantize.placement import Placement, place

RNG = np.random.default_rng(0)


def weight(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


CONSTANTS = {
    "w16": weight(16, 3, 3, 3),
    "w1": weight(16, 16, 1, 1),
    "w8": weight(8, 3, 3, 3),
    "g": weight(16, 10),
    "zero": np.float32(0),
    "one": np.float32(1),
    "six": np.float32(6),
    "below": np.float32(-1),
    "to": np.array([0, -1], np.int64),
    "flat": np.array([-1, 16], np.int64),
    "grow": np.array([0, 0, 0, 0, 0, 16, 0, 0], np.int64),
}


def placed(parse: Any, body: str, result: str = "float[N,c,h,w] y", **options: int) -> Placement:
    model = parse(f"g (float[N,3,8,8] x) => ({result}) {{ {body} }}", **CONSTANTS)
    return place(model, **options)


def names(values: Any) -> list[str]:
    return [value.name for value in values]


def kinds(placement: Placement) -> list[str]:
    return [node.op_type for node in placement.nodes]


def test_convolution_with_relu(parse: Any) -> None:
    found = placed(parse, "c = Conv(x, w16) r = Relu(c) y = Conv(r, w1)")
    assert kinds(found) == ["Conv", "Conv"]
    assert names(found.tensors) == ["x", "r", "y"]
    assert names(node.outputs[0] for node in found.absorbed) == ["r"]


@pytest.mark.parametrize(
    ("activation", "vanishes"),
    [
        ("Relu(c)", True),
        ("Clip(c, zero, six)", True),
        ("Clip(c, zero)", True),
        ("Clip(c, one, six)", False),
        ("Clip(c, zero, below)", False),
        ("Clip(c, , six)", False),
        ("LeakyRelu(c)", False),
        ("Tanh(c)", False),
    ],
)
def test_only_what_a_range_from_zero_does_by_itself_vanishes(parse: Any, activation: str, vanishes: bool) -> None:
    found = placed(parse, f"c = Conv(x, w16) r = {activation} y = Conv(r, w1)")
    assert bool(found.absorbed) == vanishes
    assert names(found.tensors) == (["x", "r", "y"] if vanishes else ["x", "c", "r", "y"])


def test_a_relu_beside_another_reader_stays(parse: Any) -> None:
    found = placed(parse, "c = Conv(x, w16) r = Relu(c) d = Conv(r, w1) y = Add(d, c)")
    assert not found.absorbed
    assert "c" in names(found.tensors)


def test_a_residual_block(parse: Any) -> None:
    found = placed(parse, "a = Conv(x, w16) r = Relu(a) b = Conv(r, w1) s = Add(b, r) t = Relu(s) y = Conv(t, w1)")
    assert kinds(found) == ["Conv", "Conv", "Add", "Conv"]
    assert names(found.tensors) == ["x", "r", "b", "t", "y"]
    assert names(found.observed) == ["x", "r", "b", "t", "y"]


def test_a_sum_with_a_float_stays_float(parse: Any) -> None:
    found = placed(parse, "a = Conv(x, w16) b = Tanh(a) c = Conv(b, w1) s = Add(b, c) y = Conv(s, w1)")
    assert kinds(found) == ["Conv", "Conv", "Conv"]
    assert names(found.tensors) == ["x", "a", "b", "c", "s", "y"]


def test_a_concatenation_gives_its_scale_to_those_it_alone_reads(parse: Any) -> None:
    found = placed(
        parse,
        "a = Conv(x, w16) b = Relu(a) c = Conv(x, w16) d = Relu(c) z = Concat<axis=1>(b, d) m = MaxPool<kernel_shape=[2,2]>(z)"
        " p = Concat<axis=0>(m, m) y = GlobalAveragePool(p) ",
    )
    assert {value.name: decider.name for value, decider in found.scale_of.items()} == {
        "x": "x",
        "b": "z",
        "d": "z",
        "z": "z",
        "m": "z",
        "p": "p",
    }
    assert names(found.observed) == ["x", "z", "p"]


def test_a_concatenation_leaves_others_their_scale(parse: Any) -> None:
    found = placed(
        parse,
        "a = Conv(x, w16) b = Conv(a, w1) c = Conv(a, w1) z = Concat<axis=1>(a, b, c) y = MaxPool<kernel_shape=[1,1]>(z)",
    )
    scales = {value.name: decider.name for value, decider in found.scale_of.items()}
    assert (scales["a"], scales["b"], scales["c"]) == ("a", "z", "z")


def test_a_chain_into_a_concatenation_shares_its_scale(parse: Any) -> None:
    found = placed(
        parse,
        "a = Conv(x, w16) m = MaxPool<kernel_shape=[2,2]>(a) b = Conv(x, w16) n = MaxPool<kernel_shape=[2,2]>(b)"
        " z = Concat<axis=0>(m, n) r = Relu(z) y = Conv(r, w1)",
    )
    assert names(found.observed) == ["x", "r", "y"]
    assert [node.op_type for node in found.absorbed] == ["Relu"]


@pytest.mark.parametrize(
    ("first", "second", "behind", "shared"),
    [
        ("Relu(a)", "Relu(b)", "", {"r", "s"}),
        ("Clip(a, zero, six)", "Clip(b, zero, six)", "", {"r", "s"}),
        ("Clip(a, zero, six)", "Clip(b, zero, one)", "", {"r"}),
        ("Relu(a)", "Clip(b, zero, one)", "", {"r"}),
        ("Relu(a)", "Tanh(b)", "", set()),
        ("Relu(a)", "MaxPool<kernel_shape=[1,1]>(b)", "", {"b", "s"}),
        ("Relu(a)", "MaxPool<kernel_shape=[1,1]>(b)", "Relu(k)", {"r", "b", "s"}),
        ("Clip(a, zero, six)", "MaxPool<kernel_shape=[1,1]>(b)", "Relu(k)", {"b", "s"}),
        ("Clip(a, zero, six)", "Relu(b)", "Clip(k, zero, one)", {"r", "s"}),
    ],
)
def test_who_takes_the_scale_of_a_concatenation(
    parse: Any, first: str, second: str, behind: str, shared: set[str]
) -> None:
    found = placed(
        parse,
        f"a = Conv(x, w16) r = {first} b = Conv(x, w16) s = {second} k = Concat<axis=1>(r, s) "
        f"{f'z = {behind}' if behind else ''} y = MaxPool<kernel_shape=[1,1]>({'z' if behind else 'k'})",
    )
    result = "z" if behind else "k"
    scales = {value.name: decider.name for value, decider in found.scale_of.items()}
    assert {name for name, decider in scales.items() if decider == result} - {result, "y"} == shared


def test_an_activation_behind_a_pool_vanishes_into_the_quantizers_before_it(parse: Any) -> None:
    found = placed(
        parse,
        "a = Conv(x, w16) m = MaxPool<kernel_shape=[2,2]>(a) t = Transpose<perm=[0,1,3,2]>(m) r = Relu(t) y = Conv(r, w1)",
    )
    assert names(node.outputs[0] for node in found.absorbed) == ["r"]
    assert names(found.tensors) == ["x", "a", "m", "r", "y"]
    assert names(found.observed) == ["x", "r", "y"]


def test_an_activation_behind_a_pool_stays_where_the_values_before_are_read(parse: Any) -> None:
    found = placed(
        parse,
        "a = Conv(x, w16) m = MaxPool<kernel_shape=[1,1]>(a) r = Relu(m) b = Conv(r, w1) c = Conv(a, w1) y = Add(b, c)",
    )
    assert not found.absorbed


@pytest.mark.parametrize(
    "body",
    [
        "a = Conv(x, w16) m = MaxPool<kernel_shape=[2,2]>(a)",
        "a = Conv(x, w16) b = Conv(x, w16) m = Concat<axis=1>(a, b)",
    ],
)
def test_an_activation_at_the_end_vanishes_too(parse: Any, body: str) -> None:
    found = placed(parse, f"{body} y = Relu(m)")
    assert names(node.outputs[0] for node in found.absorbed) == ["y"]
    assert names(found.observed) == ["x", "y"]


@pytest.mark.parametrize(
    "carrier",
    [
        "MaxPool<kernel_shape=[2,2]>(a)",
        "Transpose<perm=[0,1,3,2]>(a)",
        "Slice(a, to, to)",
        "Pad(a, grow)",
        "Pad(a, grow, zero)",
    ],
)
def test_what_only_moves_values_keeps_their_scale(parse: Any, carrier: str) -> None:
    found = placed(parse, f"a = Conv(x, w16) m = {carrier} y = MaxPool<kernel_shape=[1,1]>(m)")
    assert names(found.observed) == ["x", "a"]


@pytest.mark.parametrize("carrier", ["Pad(a, grow, one)", 'Pad<mode="edge">(a, grow)'])
def test_a_pad_with_other_values_stays_float(parse: Any, carrier: str) -> None:
    found = placed(parse, f"a = Conv(x, w16) m = {carrier} y = MaxPool<kernel_shape=[1,1]>(m)")
    assert kinds(found) == ["Conv"]


def test_the_last_layer_gives_float(parse: Any) -> None:
    found = placed(
        parse,
        "a = Conv(x, w16) p = GlobalAveragePool(a) f = Reshape(p, flat) y = Gemm(f, g)",
        result="float[N,10] y",
    )
    assert kinds(found) == ["Conv", "GlobalAveragePool", "Reshape", "Gemm"]
    assert names(found.tensors) == ["x", "a", "p", "f"]


def test_an_average_that_nothing_quantized_reads_stays_float(parse: Any) -> None:
    found = placed(
        parse, "a = Conv(x, w16) r = Relu(a) p = GlobalAveragePool(r) y = Reshape(p, flat)", result="float[N,16] y"
    )
    assert kinds(found) == ["Conv"]
    assert names(found.tensors) == ["x", "r"]


def test_convolutions_with_few_channels_stay_float(parse: Any) -> None:
    body = "a = Conv(x, w8) y = Relu(a)"
    assert not placed(parse, body).nodes
    assert kinds(placed(parse, body, min_channels=8)) == ["Conv"]
    one_pixel = placed(parse, "a = Conv(x, w16) y = Conv(a, w1)", min_channels=17)
    assert names(node.outputs[0] for node in one_pixel.nodes) == ["y"]


@pytest.mark.parametrize(
    ("attributes", "quantized"),
    [
        ("kernel_shape=[2,2]", True),
        ("kernel_shape=[3,3], pads=[1,1,1,1], count_include_pad=1", True),
        ("kernel_shape=[3,3], pads=[1,1,1,1]", False),
        ("kernel_shape=[3,3], strides=[2,2], ceil_mode=1", False),
        ("kernel_shape=[2,2], strides=[2,2], ceil_mode=1", True),  # no window is cut off
        ('kernel_shape=[3,3], auto_pad="SAME_UPPER"', False),
    ],
)
def test_averages_that_are_convolutions(parse: Any, attributes: str, quantized: bool) -> None:
    found = placed(parse, f"a = Conv(x, w16) p = AveragePool<{attributes}>(a) y = Conv(p, w1)")
    assert ("AveragePool" in kinds(found)) == quantized


def test_computed_weights_stay_float(parse: Any) -> None:
    found = placed(parse, "k = Relu(w16) a = Conv(x, k) y = Relu(a)")
    assert not found.nodes


def test_a_node_that_is_kept_float_stays_so(parse: Any) -> None:
    body = "c = Conv(x, w16) r = Relu(c) d = Conv(r, w1) y = Conv(d, w1)"
    model = parse(f"g (float[N,3,8,8] x) => (float[N,c,h,w] y) {{ {body} }}", **CONSTANTS)
    found = place(model, keep_float=("conv_2",))
    assert names(node.outputs[0] for node in found.nodes) == ["c", "y"]
    assert names(found.tensors) == ["x", "r", "d", "y"]
    assert not place(model, keep_float=("relu_1",)).absorbed


def test_a_squeeze_and_excitation(parse: Any) -> None:
    found = placed(
        parse,
        "a = Conv(x, w16) r = Relu(a) q = GlobalAveragePool(r) c = Conv(q, w1) s = Sigmoid(c) m = Mul(r, s) y = Conv(m, w1)",
    )
    assert kinds(found) == ["Conv", "GlobalAveragePool", "Conv", "Sigmoid", "Mul", "Conv"]
    assert names(found.observed) == ["x", "r", "q", "c", "s", "m", "y"]


@pytest.mark.parametrize("table", ["Sigmoid(a)", "LeakyRelu(a)"])
def test_a_table_runs_in_int8_where_its_result_does(parse: Any, table: str) -> None:
    assert kinds(placed(parse, f"a = Conv(x, w16) t = {table} y = Conv(t, w1)")) == ["Conv", table[:-3], "Conv"]
    assert kinds(placed(parse, f"a = Conv(x, w16) y = {table}")) == ["Conv"]


def test_sums_and_products_with_constants(parse: Any) -> None:
    found = placed(parse, "a = Conv(x, w16) s = Add(a, one) m = Mul(six, s) y = Conv(m, w1)")
    assert kinds(found) == ["Conv", "Add", "Mul", "Conv"]
    assert names(found.constants) == ["one", "six"]
    assert names(found.observed) == ["x", "a", "s", "m", "y"]


def test_a_bound_from_above_keeps_the_scale(parse: Any) -> None:
    """A hard swish in its int8 form: what is not negative is read whole, and as the lesser of it and a constant."""
    found = placed(
        parse, "a = Conv(x, w16) r = Relu(a) k = Clip(r, zero, six) s = Add(r, below) m = Mul(s, k) y = Conv(m, w1)"
    )
    assert kinds(found) == ["Conv", "Clip", "Add", "Mul", "Conv"]
    assert {value.name: decider.name for value, decider in found.scale_of.items()}["k"] == "r"
    assert names(node.outputs[0] for node in found.absorbed) == ["r"]


def test_a_clip_of_what_may_be_negative_stays_float_beside_another_reader(parse: Any) -> None:
    found = placed(parse, "a = Conv(x, w16) k = Clip(a, zero, six) s = Conv(k, w1) y = Add(s, a)")
    assert "Clip" not in kinds(found)
    assert not found.absorbed
