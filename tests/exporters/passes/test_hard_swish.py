from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgecnn.exporters.passes import DropUnused
from edgecnn.exporters.passes.fold_hard_sigmoid import FoldHardSigmoid
from edgecnn.exporters.passes.gather_hard_swish import GatherHardSwish
from edgecnn.exporters.passes.split_hard_swish import SplitHardSwish

NUMBERS = {
    "zero": np.float32(0),
    "three": np.float32(3),
    "six": np.float32(6),
    "sixth": np.float32(1 / 6),
    "five": np.float32(5),
}


def scaled(random: Any, *shape: int) -> Any:
    """Inputs from about -12 to 12, on both sides of every corner of the function."""
    return 4 * random(*shape)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("a = Add(x, three) c = Clip(a, zero, six) y = Div(c, six)", "HardSigmoid"),
        ("a = Add(three, x) c = Clip(a, zero, six) y = Mul(sixth, c)", "HardSigmoid"),
        ("a = Add(x, three) c = Clip(a, zero, six) d = Div(c, six) y = Mul(x, d)", "HardSwish"),
        ("a = Add(x, three) c = Clip(a, zero, six) p = Mul(c, x) y = Div(p, six)", "HardSwish"),
        ("a = Add(x, three) c = Clip(a, zero, six) p = Mul(x, c) y = Mul(p, sixth)", "HardSwish"),
        ("h = HardSigmoid<alpha=0.16666667, beta=0.5>(x) y = Mul(h, x)", "HardSwish"),
    ],
)
def test_finds_the_forms_that_exporters_write(
    parse: Any, ops: Any, exact: Any, random: Any, body: str, found: str
) -> None:
    model = parse(f"g (float[N,3,5,4] x) => (float[N,3,5,4] y) {{ {body} }}", **NUMBERS)
    assert exact(model, GatherHardSwish(), scaled(random, 1, 3, 5, 4), scaled(random, 2, 3, 5, 4))
    DropUnused()(model)
    assert ops(model) == [found]


@pytest.mark.parametrize(
    "body",
    [
        "a = Add(x, three) c = Clip(a, zero, five) y = Div(c, six)",
        "a = Add(x, five) c = Clip(a, zero, six) y = Div(c, six)",
        "a = Add(x, three) c = Clip(a, zero, six) y = Div(six, c)",
        "h = HardSigmoid<alpha=0.2, beta=0.5>(x) y = Mul(h, x)",
        "n = Neg(x) h = HardSigmoid<alpha=0.16666667, beta=0.5>(n) y = Mul(h, x)",
    ],
)
def test_leaves_other_functions(parse: Any, ops: Any, body: str) -> None:
    model = parse(f"g (float[N,3,5,4] x) => (float[N,3,5,4] y) {{ {body} }}", **NUMBERS)
    before = ops(model)
    assert not GatherHardSwish()(model)
    assert ops(model) == before


def test_hard_swish_waits_for_its_operator_set(parse: Any, ops: Any) -> None:
    model = parse(
        "g (float[N,3] x) => (float[N,3] y) { h = HardSigmoid<alpha=0.16666667, beta=0.5>(x) y = Mul(h, x) }", opset=13
    )
    assert not GatherHardSwish()(model)


@pytest.mark.parametrize("layer", ["Conv(x, w, b)", "Conv(x, w)"])
def test_hard_sigmoid_goes_into_the_layer(parse: Any, ops: Any, exact: Any, random: Any, layer: str) -> None:
    model = parse(
        f"g (float[N,3,5,4] x) => (float[N,8,5,4] y) {{ c = {layer} y = HardSigmoid<alpha=0.3, beta=0.4>(c) }}",
        w=random(8, 3, 1, 1),
        b=random(8),
    )
    assert exact(model, FoldHardSigmoid(), scaled(random, 1, 3, 5, 4), scaled(random, 3, 3, 5, 4))
    assert ops(model) == ["Conv", "Clip"]
    assert [value.name for value in model.graph.outputs] == ["y"]


@pytest.mark.parametrize(
    ("layer", "kind"), [("Conv(x, w, b)", "Conv"), ("Conv<group=4>(x, d)", "Conv"), ("Gemm(q, k, b)", "Gemm")]
)
def test_hard_swish_becomes_a_product(parse: Any, ops: Any, exact: Any, random: Any, layer: str, kind: str) -> None:
    shape, given = ("N,4", "N,8") if kind == "Gemm" else ("N,4,5,3", "N,8,5,3")
    model = parse(
        f"g (float[{shape}] x) => (float[{given}] y) {{ q = Identity(x) c = {layer} y = HardSwish(c) }}",
        w=random(8, 4, 1, 1),
        d=random(8, 1, 1, 1),
        k=random(4, 8),
        b=random(8),
    )
    sizes = (4,) if kind == "Gemm" else (4, 5, 3)
    assert exact(model, SplitHardSwish(), scaled(random, 1, *sizes), scaled(random, 3, *sizes))
    assert ops(model) == ["Identity", kind, "Relu", "Clip", "Add", "Mul"]


@pytest.mark.parametrize(
    "body",
    [
        "s = Add(x, x) y = HardSwish(s)",
        "c = Conv(x, w) h = HardSwish(c) y = Add(h, c)",
        "k = Neg(w) c = Conv(x, k) y = HardSwish(c)",
    ],
    ids=["no layer", "read twice", "computed weight"],
)
def test_hard_swish_stays_where_no_layer_can_take_its_share(parse: Any, random: Any, body: str) -> None:
    model = parse(f"g (float[N,4,5,3] x) => (float[N,4,5,3] y) {{ {body} }}", w=random(4, 4, 1, 1))
    assert not SplitHardSwish()(model)
