from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgecnn.exporters.passes.channel_shuffle import widen
from edgecnn.exporters.passes.fold_shuffle import FoldShuffle, group_costs
from edgecnn.exporters.passes.widen_groups import WidenGroups


def shuffled(
    parse: Any,
    random: Any,
    *,
    before: int,
    behind: int,
    channels: int = 24,
    size: int = 28,
    groups: int = 3,
    cut: str = "",
) -> Any:
    """A unit of ShuffleNet: 1 x 1 in `before` groups, shuffle, depthwise, 1 x 1 in `behind` groups."""
    each, out = channels // groups, 2 * channels
    return parse(
        f"""g (float[N,{out},{size},{size}] x) => (float[N,{out},{size},{size}] y) {{
            c = Conv<group={before}>(x, w1, b1)
            r = Relu(c)
            i = Reshape(r, apart)
            t = Transpose<perm=[0,2,1,3,4]>(i)
            j = Reshape(t, together)
            {cut}
            d = Conv<group={channels}, pads=[1,1,1,1], kernel_shape=[3,3]>({"k" if cut else "j"}, w2, b2)
            e = Conv<group={behind}>(d, w3, b3)
            y = Add(x, e)
        }}""",
        w1=random(channels, out // before, 1, 1),
        b1=random(channels),
        w2=random(channels, 1, 3, 3),
        b2=random(channels),
        w3=random(out, channels // behind, 1, 1),
        b3=random(out),
        apart=np.array([-1, groups, each, size, size], np.int64),
        together=np.array([-1, channels, size, size], np.int64),
    )


@pytest.mark.parametrize(("before", "behind"), [(1, 3), (3, 1), (1, 1), (3, 3)])
@pytest.mark.parametrize("size", [28, 7])
def test_a_shuffle_goes_into_the_weights(
    parse: Any, ops: Any, exact: Any, random: Any, before: int, behind: int, size: int
) -> None:
    model = shuffled(parse, random, before=before, behind=behind, size=size)
    assert exact(model, FoldShuffle(), random(1, 48, size, size), random(3, 48, size, size))
    assert ops(model) == ["Conv", "Relu", "Conv", "Conv", "Add"]
    groups = [node.attributes["group"].value for node in model.graph if node.op_type == "Conv"]
    assert sum(count > 1 for count in (groups[0], groups[2])) <= 1


@pytest.mark.parametrize("groups", [2, 4, 6])
def test_any_number_of_groups(parse: Any, exact: Any, random: Any, groups: int) -> None:
    model = shuffled(parse, random, before=1, behind=1, groups=groups, size=5)
    assert exact(model, FoldShuffle(), random(2, 48, 5, 5))


def test_stays_where_widening_costs_more(parse: Any, ops: Any, random: Any) -> None:
    model = shuffled(parse, random, before=8, behind=8, groups=8, channels=384, size=7)
    before = ops(model)
    assert not FoldShuffle()(model)
    assert ops(model) == before


def test_stays_where_others_read_it(parse: Any, ops: Any, random: Any) -> None:
    model = shuffled(parse, random, before=3, behind=1, cut="s = Tanh(j) k = Mul(s, j)")
    before = ops(model)
    # The way back is open: the convolution before the shuffle is grouped, and is widened.
    assert FoldShuffle()(model)
    assert [op for op in before if op not in ("Reshape", "Transpose")] == ops(model)


def test_other_transpositions_stay(parse: Any, random: Any) -> None:
    model = parse(
        "g (float[N,6,4,4] x) => (float[N,6,4,4] y) { c = Conv(x, w) i = Reshape(c, apart) "
        "t = Transpose<perm=[0,1,2,4,3]>(i) j = Reshape(t, together) y = Conv(j, w) }",
        w=random(6, 6, 1, 1),
        apart=np.array([-1, 3, 2, 4, 4], np.int64),
        together=np.array([-1, 6, 4, 4], np.int64),
    )
    assert not FoldShuffle()(model)


@pytest.mark.parametrize(("groups", "left"), [(2, 1), (6, 1), (6, 2), (6, 3), (4, 2)])
def test_widened_is_the_same(parse: Any, run: Any, random: Any, groups: int, left: int) -> None:
    model = parse(
        f"g (float[N,24,5,7] x) => (float[N,48,5,7] y) {{ y = Conv<group={groups}, pads=[1,1,1,1]>(x, w, b) }}",
        w=random(48, 24 // groups, 3, 3),
        b=random(48),
    )
    x = random(2, 24, 5, 7)
    before = run(model, x=x)[0]
    widen(model.graph[0], left)
    assert model.graph[0].attributes["group"].value == left
    assert np.abs(run(model, x=x)[0] - before).max() <= 1e-5 * np.abs(before).max()


def test_groups_are_joined_where_that_is_faster(parse: Any, exact: Any, random: Any) -> None:
    text = "g (float[N,{0},{1},{1}] x) => (float[N,{0},{1},{1}] y) {{ y = Conv<group={2}, pads=[1,1,1,1]>(x, w) }}"
    wide = parse(text.format(128, 56, 32), w=random(128, 4, 3, 3))
    costs = group_costs(wide.graph[0])
    assert set(costs) == {1, 2, 4, 8, 16, 32}
    assert exact(wide, WidenGroups(), random(1, 128, 56, 56))
    left = wide.graph[0].attributes["group"].value
    assert 1 < left < 32
    assert costs[left] == min(costs.values())
    deep = parse(text.format(768, 7, 8), w=random(768, 96, 3, 3))
    assert not WidenGroups()(deep)


def test_depthwise_convolutions_are_no_groups(parse: Any, random: Any) -> None:
    text = "g (float[N,32,56,56] x) => (float[N,32,56,56] y) { y = Conv<group=32, pads=[1,1,1,1]>(x, w) }"
    assert not WidenGroups()(parse(text, w=random(32, 1, 3, 3)))
