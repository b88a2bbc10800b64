from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgecnn.bench.steady import BLOCK_RUNS, LEAST_BLOCKS, MOST_BLOCKS, detect_steady, split_phases

Floats = NDArray[np.float64]
LEAST = LEAST_BLOCKS * BLOCK_RUNS


def _noise(n: int, seed: int = 0, *, sigma: float = 0.01) -> Floats:
    """Factors around 1 with a tail to the right, as run times have: one run in 50 is interrupted."""
    generator = np.random.default_rng(seed)
    factors = np.exp(sigma * generator.standard_normal(n))
    factors[generator.random(n) < 0.02] *= 1.5
    return factors


# --- closed form


def test_equal_runs_are_steady_from_the_first_on() -> None:
    found = detect_steady([1000] * 200)
    assert (found.start, found.reason) == (0, "steady from the first run on")


def test_a_step_is_where_the_steady_part_begins() -> None:
    """800 runs are 40 blocks of 20; 100 slow ones end in the middle of the sixth block, whose median is still slow."""
    found = detect_steady([1200] * 100 + [1000] * 700)
    assert found.start == 100
    found = detect_steady([1200] * 111 + [1000] * 689)
    assert found.start == 120
    assert found.reason == "before run 121: runs took 1.20 us, later ones 1.00 us"


def test_a_step_smaller_than_the_tolerance_does_not_matter() -> None:
    row = [1015] * 100 + [1000] * 700
    assert detect_steady(row).start == 0
    assert detect_steady(row, tolerance=0.01).start == 100


def test_a_row_that_rises_to_its_end_is_never_steady() -> None:
    found = detect_steady(np.linspace(1000, 2000, 400))
    assert found.start is None
    assert found.reason.startswith("not steady within 400 runs: runs ")


def test_what_settles_in_the_second_half_has_not_been_steady_for_long() -> None:
    row = [1300] * 600 + [1000] * 400
    assert detect_steady(row).start is None
    assert detect_steady(row, latest=0.7).start == 600


@pytest.mark.parametrize("count", [0, 1, LEAST - 1])
def test_too_few_runs_are_no_answer(count: int) -> None:
    found = detect_steady([1000] * count)
    assert (found.start, found.reason) == (None, f"{count} runs are too few to tell, at least {LEAST} are needed")
    assert detect_steady([1000] * LEAST).start == 0


def test_interrupted_runs_do_not_count() -> None:
    """Two of the five runs of every block take ten times as long: the medians do not move."""
    row = np.full(200, 1000.0)
    row[::5] = row[1::5] = 10_000
    assert detect_steady(row).start == 0


def test_phases_are_apart() -> None:
    row = [90_000, *[1500] * 40, *[1000] * 360]
    phases = split_phases(row)
    assert (phases.first_ns, set(phases.settling_ns), set(phases.steady_ns)) == (90_000, {1500}, {1000})
    assert (len(phases.settling_ns), len(phases.steady_ns)) == (40, 360)
    never = split_phases(range(1000, 1400, 2))
    assert (never.steady.start, never.steady_ns, len(never.settling_ns)) == (None, (), 199)


# --- simulated


def test_quiet_noise_is_steady_at_once_almost_always() -> None:
    starts = [detect_steady(1e6 * _noise(1000, seed)).start for seed in range(200)]
    assert sum(start == 0 for start in starts) >= 190
    assert None not in starts


def test_wide_noise_is_steady_too() -> None:
    """Medians of 25 runs that scatter by 30% scatter by 7%, far more than the tolerance, and mean nothing by it."""
    starts = [detect_steady(1e6 * _noise(1000, seed, sigma=0.3)).start for seed in range(100)]
    assert sum(start == 0 for start in starts) >= 90


@pytest.mark.parametrize(("half_life", "least", "most"), [(10, 25, 120), (40, 100, 400)])
def test_an_exponential_warm_up_is_given_up_until_it_no_longer_matters(half_life: int, least: int, most: int) -> None:
    """A surplus of 50% is 2% after 4.6 half-lives; blocks hold 25 runs, and one more may pass by chance."""
    falls = 1 + 0.5 * 2.0 ** (-np.arange(1000) / half_life)
    starts = [detect_steady(1e6 * falls * _noise(1000, seed, sigma=0.005)).start for seed in range(50)]
    inside = [start is not None and least <= start <= most for start in starts]
    assert np.mean(inside) >= 0.95, starts


def test_a_slow_drift_is_found() -> None:
    drift = np.linspace(1, 1.2, 1000)
    assert all(detect_steady(1e6 * drift * _noise(1000, seed)).start is None for seed in range(50))


def test_a_late_step_is_not_called_steady() -> None:
    """What the machine did for the last quarter is not what it did before: there is no one figure."""
    row = np.r_[np.ones(750), np.full(250, 1.15)]
    assert np.mean([detect_steady(1e6 * row * _noise(1000, seed)).start is None for seed in range(50)]) >= 0.95


def test_two_speeds_in_random_turns_are_steady() -> None:
    """Runs of 10 in either speed, at random: nothing changes on the whole."""
    starts = []
    for seed in range(100):
        levels = np.random.default_rng(seed).choice([1.0, 1.3], 200).repeat(10)
        starts.append(detect_steady(1e6 * levels * _noise(2000, seed)).start)
    assert np.mean([start is not None for start in starts]) >= 0.95
    assert np.median([start for start in starts if start is not None]) == 0


def test_asked_again_as_the_row_grows_the_answer_comes_when_there_is_enough_behind_it() -> None:
    row = 1e6 * np.r_[np.full(60, 1.4), np.ones(400)] * _noise(460, 3)
    answers = {n: detect_steady(row[:n]).start for n in range(30, 460, 10)}
    assert answers[60] == 0  # nothing but the slow runs was seen yet
    assert answers[100] is None  # they are the larger part
    found = [start for n, start in answers.items() if n >= 200]
    assert all(start is not None and 55 <= start <= 80 for start in found)


# --- properties


ROWS = st.lists(st.integers(100, 10**9), min_size=LEAST, max_size=200)


@given(ROWS, st.sampled_from([2, 1024]))
@settings(max_examples=40)
def test_the_unit_does_not_matter(row: list[int], factor: int) -> None:
    assert detect_steady(row).start == detect_steady([factor * value for value in row]).start


@given(ROWS)
@settings(max_examples=40)
def test_at_most_half_is_given_up_and_a_reason_is_given(row: list[int]) -> None:
    found = detect_steady(row)
    assert found.reason
    assert "\n" not in found.reason
    assert found.start is None or 0 <= found.start <= len(row) / 2


@given(st.integers(1, 10**9), st.integers(2 * LEAST, 3000))
@settings(max_examples=40)
def test_the_start_is_told_to_a_block(value: int, count: int) -> None:
    """A block whose median is fast is taken, so at most half a block of slow runs is left in or of fast ones lost."""
    slow = count // 4
    start = detect_steady([2 * value] * slow + [value] * (count - slow)).start
    block = count // max(LEAST_BLOCKS, min(MOST_BLOCKS, count // BLOCK_RUNS))
    assert start is not None
    assert abs(start - slow) <= block / 2 + 1
