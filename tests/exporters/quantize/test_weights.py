from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.exporters.quantize.weights import quantize_layer

SCALE = np.float32(0.02)


@given(st.integers(0, 2**32 - 1), st.sampled_from([0, 1]), st.sampled_from([127, 63]))
def test_weights_come_back_within_half_a_step(seed: int, axis: int, limit: int) -> None:
    rng = np.random.default_rng(seed)
    weight = (rng.standard_normal((5, 7)) * rng.uniform(1e-3, 10, (5, 7))).astype(np.float32)
    layer = quantize_layer(weight, None, axis=axis, input_scale=SCALE, limit=limit, per_channel=True)
    column = layer.weight_scale.reshape([-1, 1] if axis == 0 else [1, -1])
    assert layer.weight_scale.shape == (weight.shape[axis],)
    assert np.all(np.abs(layer.weight * column - weight) <= 0.501 * column)
    assert np.abs(layer.weight).max() == limit
    assert layer.weight.dtype == np.int8
    assert layer.bias is None


def test_bias_is_in_units_of_the_products() -> None:
    weight = np.array([[1.0, -0.5], [0.01, 0.02]], np.float32)
    bias = np.array([0.3, -7.0], np.float32)
    layer = quantize_layer(weight, bias, axis=0, input_scale=SCALE, limit=127, per_channel=True)
    assert layer.bias is not None
    assert layer.bias.dtype == np.int32
    units = layer.bias_scale(SCALE)
    assert units == pytest.approx(SCALE * np.array([1.0, 0.02]) / 127)
    assert np.all(np.abs(layer.bias * units - bias) <= 0.51 * units + 1e-6 * np.abs(bias))


def test_one_scale_for_the_layer() -> None:
    weight = np.array([[1.0, -0.5], [0.01, 0.02]], np.float32)
    layer = quantize_layer(weight, None, axis=0, input_scale=SCALE, limit=127, per_channel=False)
    assert layer.weight_scale.shape == ()
    assert layer.weight.tolist() == [[127, -64], [1, 3]]


@pytest.mark.parametrize("dead", [0.0, 1e-30])
def test_a_dead_channel_keeps_its_bias(dead: float) -> None:
    weight = np.array([[dead, dead], [1.0, 1.0]], np.float32)
    bias = np.array([1000.0, 1.0], np.float32)
    layer = quantize_layer(weight, bias, axis=0, input_scale=SCALE, limit=127, per_channel=True)
    assert layer.bias is not None
    assert np.all(layer.weight_scale > 0)
    assert layer.weight[0].tolist() == [0, 0]
    assert layer.bias * layer.bias_scale(SCALE) == pytest.approx(bias, rel=1e-6)
