"""How requests become one run and its outputs one answer each."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.batching.requestqueue import Request
from edgecnn.batching.rows import batch_of, of_any_rows, run_images, run_together, split
from edgecnn.errors import InferenceError
from edgecnn.runtimes.base import Array, Feeds
from edgecnn.specs import TensorSpec


def spec(*shape: int | str, name: str = "x") -> TensorSpec:
    return TensorSpec(name=name, dtype="float32", shape=shape)


@pytest.mark.parametrize(
    ("inputs", "outputs", "batch"),
    [
        ([spec("N", 3)], [spec("N", 2)], "N"),
        ([spec("N", 3), spec("N", 4)], [spec("M", 2)], "N"),
        ([spec(4, 3)], [spec(4, 2)], 4),
        ([spec(1, 3)], [spec(1, 2)], 1),
        ([spec("N", 3), spec("M", 3)], [spec("N", 2)], None),
        ([spec("N", 3)], [spec(1, 2)], None),
        ([spec(4, 3)], [spec("N", 2)], None),
        ([spec(224, 224, 3)], [spec(1000)], None),
        ([spec("N", 3)], [spec()], None),
        ([], [spec("N")], None),
    ],
)
def test_batch_of(inputs: list[TensorSpec], outputs: list[TensorSpec], batch: int | str | None) -> None:
    assert batch_of(inputs, outputs) == batch


def test_rows_of_the_inputs_become_free() -> None:
    assert of_any_rows([spec(4, 3), spec(4, 2, name="y")]) == (spec("N", 3), spec("N", 2, name="y"))


def waiting(*parts: Array) -> list[Request]:
    return [
        Request(feeds={"x": part}, rows=len(part), key=0, finish=lambda outputs: outputs, submitted_ns=0, due_ns=0)
        for part in parts
    ]


@given(rows=st.lists(st.integers(1, 3), min_size=1, max_size=5), padding=st.integers(0, 3), fixed=st.booleans())
def test_everyone_gets_the_answer_to_their_own_rows(rows: list[int], padding: int, fixed: bool) -> None:
    values = np.arange(sum(rows) * 2, dtype=np.float32).reshape(-1, 2)
    parts = np.split(values, np.cumsum(rows)[:-1])
    seen: list[int] = []

    def run(feeds: Feeds) -> dict[str, Array]:
        seen.append(len(feeds["x"]))
        return {"double": feeds["x"] * 2, "first": feeds["x"][:, 0]}

    fill = sum(rows) + padding if fixed else None
    answers = run_together(run, waiting(*parts), fill=fill)
    assert seen == [fill or sum(rows)]
    for part, answer in zip(parts, answers, strict=True):
        np.testing.assert_array_equal(answer["double"], part * 2)
        np.testing.assert_array_equal(answer["first"], part[:, 0])


def test_a_request_that_fits_as_it_is_goes_without_a_copy() -> None:
    (one,) = waiting(np.zeros((4, 2), np.float32))
    given_: list[Feeds] = []
    run_together(lambda feeds: given_.append(feeds) or {"y": feeds["x"]}, [one], fill=4)  # type: ignore[func-returns-value]
    assert given_[0] is one.feeds


@pytest.mark.parametrize(("count", "fill", "seen"), [(1, None, 1), (1, 1, 1), (3, None, 3), (1, 4, 4), (3, 4, 4)])
def test_images_are_prepared_as_one_batch(count: int, fill: int | None, seen: int) -> None:
    frames = [np.full((1, 2, 2, 1), value, np.uint8) for value in range(count)]
    sizes: list[int] = []

    def run(feeds: Feeds) -> dict[str, Array]:
        sizes.append(len(feeds["x"]))
        return {"mean": feeds["x"].mean((1, 2))}

    answers = run_images(run, waiting(*frames), fill=fill, prepare=lambda images: np.stack(images).astype(np.float32))
    assert [answer["mean"].tolist() for answer in answers] == [[[float(value)]] for value in range(count)]
    assert sizes == [seen]


def test_answers_do_not_keep_the_batch_alive() -> None:
    first, second = split({"y": np.arange(4.0)}, [1, 3], total=4)
    assert first["y"].base is None
    assert second["y"].base is None


@pytest.mark.parametrize("value", [np.zeros((3, 2)), np.zeros(())], ids=["rows", "scalar"])
def test_an_output_without_a_row_each_is_refused(value: Array) -> None:
    with pytest.raises(InferenceError, match="not one row for each of 4"):
        split({"y": value}, [2, 2], total=4)
