"""What exporters of other frameworks leave: padding apart from its convolution, shapes changed and changed back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgecnn.exporters.passes import CancelReshapes, DropUnused, MergePads


def pads(*amounts: int) -> Any:
    return np.array(amounts, np.int64)


@pytest.mark.parametrize(
    ("attributes", "amounts", "merged"),
    [
        ("", (0, 0, 1, 1, 0, 0, 1, 1), (1, 1, 1, 1)),
        ("strides=[2,2]", (0, 0, 0, 0, 0, 0, 1, 2), (0, 0, 1, 2)),
        ("pads=[1,0,2,0]", (0, 0, 1, 1, 0, 0, 0, 1), (2, 1, 2, 1)),
        ('auto_pad="VALID"', (0, 0, 1, 0, 0, 0, 0, 1), (1, 0, 0, 1)),
    ],
)
def test_zeros_go_into_the_convolution(
    parse: Any, ops: Any, exact: Any, random: Any, attributes: str, amounts: tuple[int, ...], merged: tuple[int, ...]
) -> None:
    separator = f"<{attributes}>" if attributes else ""
    model = parse(
        f"g (float[N,3,7,9] x) => (float[N,4,h,w] y) {{ p = Pad(x, a) y = Conv{separator}(p, w) }}",
        a=pads(*amounts),
        w=random(4, 3, 3, 3),
    )
    assert exact(model, MergePads(), random(1, 3, 7, 9), random(2, 3, 7, 9))
    assert ops(model) == ["Conv"]
    assert tuple(model.graph[0].attributes["pads"].value) == merged


@pytest.mark.parametrize(
    "body",
    [
        'p = Pad<mode="reflect">(x, a) y = Conv(p, w)',
        "p = Pad(x, a, one) y = Conv(p, w)",
        "p = Pad(x, channels) y = Conv(p, w4)",
        "p = Pad(x, less) y = Conv(p, w)",
        'p = Pad(x, a) y = Conv<auto_pad="SAME_UPPER">(p, w)',
        "p = Pad(x, a) y = MaxPool<kernel_shape=[3,3]>(p)",
        "p = Pad(x, a) c = Conv<pads=[1,1,1,1]>(p, w3) y = Add(c, p)",
    ],
    ids=["reflected", "ones", "channels", "negative", "padding by itself", "maximum", "read by others"],
)
def test_other_pads_stay(parse: Any, ops: Any, random: Any, body: str) -> None:
    model = parse(
        f"g (float[N,3,7,9] x) => (float[N,c,h,w] y) {{ {body} }}",
        a=pads(0, 0, 1, 1, 0, 0, 1, 1),
        channels=pads(0, 1, 0, 0, 0, 0, 0, 0),
        less=pads(0, 0, -1, 0, 0, 0, 0, 0),
        one=np.float32(1),
        w=random(4, 3, 3, 3),
        w3=random(3, 3, 3, 3),
        w4=random(4, 4, 3, 3),
    )
    before = ops(model)
    assert not MergePads()(model)
    assert ops(model) == before


@pytest.mark.parametrize(
    ("body", "left"),
    [
        ("r = Relu(x) u = Unsqueeze(r, two) s = Squeeze(u, two) y = Neg(s)", ["Relu", "Neg"]),
        ("r = Relu(x) u = Reshape(r, apart) s = Reshape(u, whole) y = Neg(s)", ["Relu", "Neg"]),
        ("r = Relu(x) s = Reshape(r, whole) y = Neg(s)", ["Relu", "Neg"]),
        ("r = Relu(x) t = Transpose<perm=[0,1,2]>(r) y = Neg(t)", ["Relu", "Neg"]),
        ("r = Relu(x) t = Transpose<perm=[2,0,1]>(r) u = Transpose<perm=[1,2,0]>(t) y = Neg(u)", ["Relu", "Neg"]),
        (
            "r = Relu(x) u = Unsqueeze(r, two) s = Squeeze(u, two) k = Exp(u) m = Squeeze(k, two) y = Add(s, m)",
            ["Relu", "Unsqueeze", "Exp", "Squeeze", "Add"],
        ),
    ],
    ids=["squeezed again", "reshaped again", "same shape", "same order", "turned back", "between is read"],
)
def test_what_is_undone_goes(parse: Any, ops: Any, exact: Any, random: Any, body: str, left: list[str]) -> None:
    model = parse(
        f"g (float[2,4,6] x) => (float[2,4,6] y) {{ {body} }}",
        two=np.array([2], np.int64),
        apart=np.array([2, 2, 2, 6], np.int64),
        whole=np.array([2, 4, 6], np.int64),
    )
    assert exact(model, CancelReshapes(), random(2, 4, 6))
    DropUnused()(model)
    assert ops(model) == left


@pytest.mark.parametrize(
    "body",
    [
        "u = Unsqueeze(x, two) y = Squeeze(u, one)",
        "t = Transpose<perm=[2,0,1]>(x) y = Transpose<perm=[2,0,1]>(t)",
        "y = Reshape(x, other)",
    ],
)
def test_what_changes_something_stays(parse: Any, ops: Any, body: str) -> None:
    model = parse(
        f"g (float[2,1,6] x) => (float y) {{ {body} }}",
        two=np.array([2], np.int64),
        one=np.array([1], np.int64),
        other=np.array([1, 2, 6], np.int64),
    )
    before = ops(model)
    assert not CancelReshapes()(model)
    assert ops(model) == before
