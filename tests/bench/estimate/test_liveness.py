"""Peaks of hand-made rows of steps, worked out on paper, and what holds for all of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgecnn.bench.estimate.liveness import Made, Step, peak_bytes


def _step(reads: str, made: str, size: int, **more: object) -> Step:
    return Step(
        op_type="Op", reads=tuple(reads.split()), makes=(Made(name=made, size_bytes=size, shape=(size,)),), **more
    )  # type: ignore[arg-type]


def test_a_chain_holds_two_neighbours_at_a_time() -> None:
    assert peak_bytes([_step("x", "a", 10), _step("a", "b", 30), _step("b", "c", 25), _step("c", "d", 1)]) == 55


def test_a_shortcut_is_held_until_it_is_read() -> None:
    steps = [_step("x", "a", 100), _step("a", "b", 7), _step("b", "c", 8), _step("c a", "d", 3)]
    assert peak_bytes(steps) == 100 + 7 + 8


def test_what_a_step_takes_for_itself_counts_while_it_runs() -> None:
    steps = [_step("x", "a", 10, scratch=(50, 6)), _step("a", "b", 20), _step("b", "c", 30)]
    assert peak_bytes(steps) == 10 + 50 + 6


def test_a_view_keeps_what_it_looks_at() -> None:
    steps = [
        _step("x", "a", 10),
        _step("a", "v", 10, view_of="a"),
        _step("a", "b", 5),
        _step("b", "c", 4),
        _step("v c", "d", 1),
    ]
    assert peak_bytes(steps) == 10 + 5 + 4


def test_a_step_writes_over_its_input_unless_that_is_read_later_or_larger() -> None:
    assert peak_bytes([_step("x", "a", 10), _step("a", "b", 10, over=("a",)), _step("b", "c", 1)]) == 11
    assert peak_bytes([_step("x", "a", 10), _step("a", "b", 10, over=("a",)), _step("a b", "c", 1)]) == 21
    assert peak_bytes([_step("x", "a", 12), _step("a", "b", 10, over=("a",)), _step("b", "c", 1)]) == 22


def test_a_buffer_that_is_taken_again_stays_in_between() -> None:
    """The third tensor has the size of the first, which therefore is not given back while the second is made."""
    steps = [_step("x", "a", 10), _step("a", "b", 3), _step("b", "c", 4), _step("c", "d", 10), _step("d", "e", 1)]
    assert peak_bytes(steps) == 10 + 3 + 4
    assert peak_bytes([*steps[:3], _step("c", "d", 9), _step("d", "e", 1)]) == 13


def test_the_caller_s_tensors_do_not_count_and_the_answer_stays() -> None:
    assert peak_bytes([]) == 0
    assert peak_bytes([_step("x", "y", 10), _step("x", "a", 5), _step("a", "z", 1)]) == 16


def test_every_buffer_is_rounded_by_itself() -> None:
    steps = [_step("x", "a", 10, scratch=(1,)), _step("a", "b", 30)]
    assert peak_bytes(steps, lambda size: -(-size // 16) * 16) == 16 + 32


SIZES = st.lists(st.integers(1, 1000), min_size=1, max_size=12)


@given(SIZES)
def test_a_chain_is_never_below_its_widest_pair_nor_above_all_together(sizes: list[int]) -> None:
    names = ["x", *(f"t{place}" for place in range(len(sizes)))]
    steps = [_step(names[place], names[place + 1], size) for place, size in enumerate(sizes)]
    least = max(one + other for one, other in zip(sizes, [0, *sizes], strict=False))
    assert least <= peak_bytes(steps) <= sum(sizes)


@given(SIZES, st.integers(2, 16))
def test_a_batch_takes_as_many_times_the_memory(sizes: list[int], batch: int) -> None:
    def steps(times: int) -> list[Step]:
        names = ["x", *(f"t{place}" for place in range(len(sizes)))]
        return [_step(names[place], names[place + 1], times * size) for place, size in enumerate(sizes)]

    assert peak_bytes(steps(batch)) == batch * peak_bytes(steps(1))
