"""Whole numbers from outside."""

import numpy as np
import pytest

from edgecnn.errors import BadInput
from edgecnn.numbers import check_whole
from edgecnn.runtimes import OpenOptions, get_runtime


@pytest.mark.parametrize("value", [1, 7, np.int64(3)])
def test_whole_numbers_pass(value: object) -> None:
    check_whole("n", value, high=7)


@pytest.mark.parametrize("value", [0, 8, -1, True, 2.0, 2.5, "3", None, [1]])
def test_others_are_named(value: object) -> None:
    with pytest.raises(BadInput, match="n: expected"):
        check_whole("n", value, high=7)


@pytest.mark.parametrize("options", [{"threads": "2"}, {"threads": 1.5}, {"max_batch": 2.5}, {"spinning": "yes"}])
def test_options_of_a_wrong_type_are_bad_input(options: dict[str, object]) -> None:
    with pytest.raises(BadInput, match=next(iter(options))):
        OpenOptions(**options)


def test_a_backend_is_a_name() -> None:
    with pytest.raises(BadInput, match="a name such as cpu"):
        get_runtime(None)
