"""Which subjects get further rounds."""

from __future__ import annotations

import numpy as np
import pytest

from edgecnn.bench.further import InTurn, steps, unsure


def _subject(like: str, ratio: float, noise: float, seed: int) -> InTurn:
    spread = np.random.default_rng(seed).standard_normal(20)
    return InTurn(like=like, medians_ns=(1e6 * ratio * np.exp(noise * spread)).tolist())


def test_steps_add_up_to_as_many_rounds_again() -> None:
    assert steps(20) == [10, 10]
    assert sum(steps(11)) == 11
    assert steps(1) == [0, 1]


def test_only_like_subjects_whose_ratio_is_unsure_go_on() -> None:
    noisy, still, other = _subject("a", 1, 0.2, 0), _subject("a", 1.1, 0.001, 1), _subject("b", 1, 0.2, 2)
    assert unsure([noisy, other, still]) == {0, 2}
    assert unsure([still, _subject("a", 1, 0.001, 3), other]) == set()


def test_all_that_are_alike_go_on_together() -> None:
    noisy, still, steady = _subject("a", 1, 0.2, 0), _subject("a", 1.1, 0.001, 1), _subject("a", 1, 0.001, 3)
    assert unsure([still, steady, noisy]) == {0, 1, 2}
    assert unsure([still, steady]) == set()


@pytest.mark.parametrize("ratio", [0.5, 1.0, 1.1])
def test_where_the_ratio_lies_does_not_matter(ratio: float) -> None:
    base = _subject("a", 1, 0.03, 4)
    moved = InTurn(like="a", medians_ns=[ratio * one for one in _subject("a", 1, 0.03, 5).medians_ns])
    assert unsure([base, moved]) == unsure([base, _subject("a", 1, 0.03, 5)])


@pytest.mark.parametrize("medians", [[], [1e6] * 5, [0.0] * 20])
def test_what_has_no_interval_is_unsure(medians: list[float]) -> None:
    assert unsure([InTurn(like="a", medians_ns=medians), InTurn(like="a", medians_ns=medians)]) == {0, 1}
