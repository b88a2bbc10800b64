from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgecnn.exporters.passes.expand_response_norm import ExpandResponseNorm


@pytest.mark.parametrize(
    "attributes",
    [
        "size=5, alpha=0.0001, bias=1.0",
        "size=5, alpha=0.5, beta=0.75, bias=2.0",
        "size=3, alpha=2.0",
        "size=1, alpha=0.1",
    ],
)
@pytest.mark.parametrize("size", [(1, 1), (5, 7)])
def test_a_power_becomes_roots(
    parse: Any, ops: Any, exact: Any, random: Any, attributes: str, size: tuple[int, int]
) -> None:
    model = parse(f"g (float[N,7,h,w] x) => (float[N,7,h,w] y) {{ r = Relu(x) y = LRN<{attributes}>(r) }}")
    assert exact(model, ExpandResponseNorm(), 3 * random(1, 7, *size), random(3, 7, *size))
    assert "LRN" not in ops(model)
    assert "Conv" not in ops(model), "which the quantizer would take for a layer"


def test_large_values_are_nearer_to_the_formula_than_the_engines_running_sum(parse: Any, run: Any, random: Any) -> None:
    x = 30 * random(3, 7, 5, 7)
    model = parse("g (float[N,7,h,w] x) => (float[N,7,h,w] y) { y = LRN<size=3, alpha=2.0>(x) }")
    squares = np.pad(x.astype(np.float64) ** 2, [(0, 0), (1, 1), (0, 0), (0, 0)])
    total = squares[:, :-2] + squares[:, 1:-1] + squares[:, 2:]
    wanted = x / (1 + 2.0 / 3 * total) ** 0.75
    before = np.abs(run(model, x=x)[0] - wanted).max()
    assert ExpandResponseNorm()(model)
    after = np.abs(run(model, x=x)[0] - wanted).max()
    assert after <= min(before, 1e-6 * np.abs(wanted).max())


@pytest.mark.parametrize("attributes", ["size=5, beta=0.5", "size=4"])
def test_other_exponents_and_even_sizes_stay(parse: Any, attributes: str) -> None:
    model = parse(f"g (float[N,7,5,5] x) => (float[N,7,5,5] y) {{ y = LRN<{attributes}>(x) }}")
    assert not ExpandResponseNorm()(model)


def test_waits_for_its_operator_set(parse: Any) -> None:
    model = parse("g (float[N,7,5,5] x) => (float[N,7,5,5] y) { y = LRN<size=5>(x) }", opset=12)
    assert not ExpandResponseNorm()(model)
