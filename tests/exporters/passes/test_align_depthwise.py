from __future__ import annotations

from typing import Any

import pytest

from edgecnn.exporters.passes.align_depthwise import AlignDepthwise


def block(parse: Any, random: Any, body: str, *, channels: int = 72, size: int = 28, out: str = "") -> Any:
    """A MobileNetV3 block around a depthwise convolution."""
    head = f"g (float[N,24,{size},{size}] x) => (float[N,24,{size},{size}] y{out}) {{ c = Conv(x, w1, b1) "
    return parse(
        head + body + " }",
        w1=random(channels, 24, 1, 1),
        b1=random(channels),
        w2=random(channels, 1, 3, 3),
        b2=random(channels),
        w3=random(24, channels, 1, 1),
        s1=random(16, channels, 1, 1),
        s2=random(channels, 16, 1, 1),
        k=random(channels, 1, 1),
    )


DEPTHWISE = "r = Relu(c) d = Conv<group={0}, pads=[1,1,1,1]>(r, w2, b2) "
PLAIN = DEPTHWISE.format(72) + "e = HardSwish(d) y = Conv(e, w3)"
SQUEEZED = (
    DEPTHWISE.format(72) + "e = Relu(d) p = GlobalAveragePool(e) q = Conv(p, s1) u = Relu(q) v = Conv(u, s2) "
    "z = HardSigmoid(v) m = Mul(e, z) y = Conv(m, w3)"
)


@pytest.mark.parametrize(("body", "kept"), [(PLAIN, 0), (SQUEEZED, 2)])
def test_channels_are_filled_up_from_convolution_to_convolution(
    parse: Any, exact: Any, random: Any, body: str, kept: int
) -> None:
    model = block(parse, random, body)
    assert exact(model, AlignDepthwise(), random(1, 24, 28, 28), random(2, 24, 28, 28))
    layers = [node for node in model.graph if node.op_type == "Conv"]
    depthwise = layers[1]
    assert depthwise.attributes["group"].value == 80
    assert depthwise.outputs[0].shape[1] == 80
    assert layers[0].inputs[1].const_value.shape[0] == 80
    assert layers[-1].inputs[1].const_value.shape[1] == 80
    assert layers[-1].outputs[0].shape[1] == 24
    if kept:
        assert layers[2].inputs[1].const_value.shape == (16, 80, 1, 1)
        assert layers[3].inputs[1].const_value.shape == (80, 16, 1, 1)


@pytest.mark.parametrize(
    ("body", "out"),
    [
        (DEPTHWISE.format(72) + "y = Conv(d, w3) z = Identity(d)", ", float[N,72,28,28] z"),
        (DEPTHWISE.format(72) + "e = Add(d, k) y = Conv(e, w3)", ""),
        (DEPTHWISE.format(72) + "e = Softmax<axis=1>(d) y = Conv(e, w3)", ""),
        ("r = Neg(c) d = Conv<group=72, pads=[1,1,1,1]>(r, w2, b2) y = Conv(d, w3)", ""),
    ],
    ids=["handed out", "a number for each channel", "channels mixed", "another operator before"],
)
def test_stays_where_something_else_counts_the_channels(parse: Any, ops: Any, random: Any, body: str, out: str) -> None:
    model = block(parse, random, body, out=out)
    shapes = [value.shape for value in model.graph.initializers.values()]
    assert not AlignDepthwise()(model)
    assert [value.shape for value in model.graph.initializers.values()] == shapes


def test_a_multiple_of_sixteen_stays(parse: Any, random: Any) -> None:
    assert not AlignDepthwise()(block(parse, random, DEPTHWISE.format(96) + "y = Conv(d, w3)", channels=96))


def test_stays_where_the_neighbours_pay_more(parse: Any, random: Any) -> None:
    model = parse(
        "g (float[N,512,28,28] x) => (float[N,512,28,28] y) { c = Conv(x, w1) d = Conv<group=1, pads=[1,1,1,1]>(c, w2) "
        "e = Conv<group=17>(d, w3) y = Conv(e, w4) }",
        w1=random(17, 512, 1, 1),
        w2=random(17, 17, 3, 3),
        w3=random(17, 1, 1, 1),
        w4=random(512, 17, 1, 1),
    )
    assert not AlignDepthwise()(model)
