from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgecnn.bench.estimate.liveness import Made, Step
from edgecnn.bench.estimate.ortorder import ordered_nodes, ordered_steps, reverse_depth_first
from edgecnn.onnxmodel.graph import OnnxNode


def _node(output: str, *inputs: str) -> OnnxNode:
    return OnnxNode(name=output, op_type="Op", domain="", inputs=inputs, outputs=(output,))


def test_of_two_branches_that_with_the_greater_number_comes_first() -> None:
    nodes = [
        _node("a", "x"),
        _node("long", "a"),
        _node("longer", "long"),
        _node("short", "a"),
        _node("sum", "longer", "short"),
    ]
    assert [node.name for node in ordered_nodes(nodes)] == ["a", "short", "long", "longer", "sum"]


def test_copies_between_layouts_are_numbered_last() -> None:
    steps = [
        Step(op_type=kind, reads=tuple(reads.split()), makes=(Made(name=made, size_bytes=1),))
        for kind, reads, made in (
            ("Conv", "x", "a"),
            ("ReorderOutput", "a", "b"),
            ("Conv", "x", "c"),
            ("Concat", "b c", "d"),
        )
    ]
    assert [step.makes[0].name for step in ordered_steps(steps)] == ["a", "b", "c", "d"]
    steps[1] = Step(op_type="Relu", reads=("a",), makes=(Made(name="b", size_bytes=1),))
    assert [step.makes[0].name for step in ordered_steps(steps)] == ["c", "a", "b", "d"]


@given(st.lists(st.sets(st.integers(0, 30), max_size=4), max_size=20), st.randoms())
def test_every_place_comes_once_and_after_what_it_needs(wanted: list[set[int]], random: object) -> None:
    before = [{one for one in needs if one < place} for place, needs in enumerate(wanted)]
    numbers = list(range(len(before)))
    random.shuffle(numbers)  # type: ignore[attr-defined]
    order = reverse_depth_first(before, numbers)
    assert sorted(order) == list(range(len(before)))
    at = {place: position for position, place in enumerate(order)}
    assert all(at[one] < at[place] for place, needs in enumerate(before) for one in needs)
