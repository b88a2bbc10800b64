from __future__ import annotations

from typing import Any

import pytest

from edgecnn.exporters.passes import GlobalPool
from edgecnn.exporters.passes.average_to_conv import AverageToConv


def pooled(parse: Any, random: Any, pool: str, *, size: tuple[int, int] = (9, 7), channels: int = 16) -> Any:
    height, width = size
    return parse(
        f"g (float[N,{channels},{height},{width}] x) => (float[N,{channels},h,w] y) "
        f"{{ c = Conv(x, k) p = {pool}(c) y = Relu(p) }}",
        k=random(channels, channels, 1, 1),
    )


@pytest.mark.parametrize(
    ("attributes", "size"),
    [
        ("kernel_shape=[2,2], strides=[2,2]", (9, 7)),
        ("kernel_shape=[3,2], strides=[1,2]", (9, 7)),
        ("kernel_shape=[3,3], pads=[1,1,1,1], count_include_pad=1", (5, 5)),
        ("kernel_shape=[3,3], strides=[2,2], pads=[1,1,0,1], count_include_pad=1", (7, 9)),
        ("kernel_shape=[3,3], strides=[2,2], ceil_mode=1", (9, 7)),
        ('kernel_shape=[2,2], auto_pad="VALID"', (3, 4)),
    ],
    ids=["halving", "oblong", "padding that counts", "uneven padding", "rounding up for nothing", "valid"],
)
def test_becomes_a_depthwise_convolution(
    parse: Any, ops: Any, exact: Any, random: Any, attributes: str, size: tuple[int, int]
) -> None:
    model = pooled(parse, random, f"AveragePool<{attributes}>", size=size)
    assert exact(model, AverageToConv(), random(1, 16, *size), random(3, 16, *size))
    assert ops(model) == ["Conv", "Conv", "Relu"]


@pytest.mark.parametrize(
    ("attributes", "channels"),
    [
        ("kernel_shape=[3,3], pads=[1,1,1,1]", 16),
        ("kernel_shape=[3,3], strides=[2,2], ceil_mode=1", 16),
        ('kernel_shape=[3,3], auto_pad="SAME_UPPER", count_include_pad=1', 16),
        ("kernel_shape=[2,2]", 8),
    ],
    ids=["padding that does not count", "windows cut off", "padding by itself", "too few channels for int8"],
)
def test_stays_where_windows_differ_or_it_would_be_float(
    parse: Any, ops: Any, random: Any, attributes: str, channels: int
) -> None:
    model = pooled(parse, random, f"AveragePool<{attributes}>", size=(8, 6), channels=channels)
    assert not AverageToConv()(model)
    assert ops(model) == ["Conv", "AveragePool", "Relu"]


def test_stays_behind_a_float_function(parse: Any, random: Any) -> None:
    model = parse(
        "g (float[N,16,8,8] x) => (float[N,16,4,4] y) "
        "{ c = Conv(x, k) t = Tanh(c) y = AveragePool<kernel_shape=[2,2], strides=[2,2]>(t) }",
        k=random(16, 16, 1, 1),
    )
    assert not AverageToConv()(model)


def test_an_average_of_the_whole_image_is_global(parse: Any, ops: Any, exact: Any, random: Any) -> None:
    model = pooled(parse, random, "AveragePool<kernel_shape=[9,7]>")
    assert exact(model, GlobalPool(), random(2, 16, 9, 7))
    assert ops(model) == ["Conv", "GlobalAveragePool", "Relu"]


@pytest.mark.parametrize(
    "attributes", ["kernel_shape=[9,6]", "kernel_shape=[9,7], pads=[0,0,1,0], count_include_pad=1"]
)
def test_other_averages_are_not_global(parse: Any, random: Any, attributes: str) -> None:
    assert not GlobalPool()(pooled(parse, random, f"AveragePool<{attributes}>"))
