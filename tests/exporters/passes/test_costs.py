from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgecnn.exporters.passes.costs import INT8_COSTS

# Measured microseconds, one thread, of what the model has to order: (pixels, inputs, outputs, window, groups, dense, grouped).
MEASURED = [
    (28 * 28, 240, 60, 1, 3, 35, 43),
    (7 * 7, 960, 240, 1, 3, 36, 20),
    (28 * 28, 272, 68, 1, 4, 37, 68),
    (14 * 14, 544, 136, 1, 4, 46, 31),
    (7 * 7, 1536, 384, 1, 8, 105, 23),
    (14 * 14, 768, 192, 1, 8, 74, 35),
    (56 * 56, 128, 128, 9, 32, 1144, 3753),
    (7 * 7, 1024, 1024, 9, 32, 1707, 89),
]


def test_the_model_orders_what_was_measured_and_is_near() -> None:
    for pixels, inputs, outputs, window, groups, *measured in MEASURED:
        found = [INT8_COSTS.convolution(pixels, inputs, outputs, window, count) / 1000 for count in (1, groups)]
        assert (found[0] < found[1]) == (measured[0] < measured[1])
        for estimate, truth in zip(found, measured, strict=True):
            assert 0.45 * truth < estimate < 2.2 * truth


@given(st.integers(1, 10**6), st.integers(1, 49))
def test_an_average_is_never_cheaper_than_the_convolution(elements: int, window: int) -> None:
    assert INT8_COSTS.depthwise(elements, window) <= INT8_COSTS.average(elements, window)


@given(st.integers(1, 10**6), st.integers(1, 49))
def test_a_ragged_depthwise_convolution_is_slower(elements: int, window: int) -> None:
    assert INT8_COSTS.depthwise(elements, window) < INT8_COSTS.depthwise(elements, window, aligned=False)
