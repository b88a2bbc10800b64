from __future__ import annotations

import pytest

from edgecnn.units import binary_bytes_text, bytes_text, duration_text, percent_text


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (None, "-"),
        (12.34, "12.3 ns"),
        (999.7, "1.00 us"),
        (4567, "4.57 us"),
        (99_960, "100 us"),
        (999_400, "999 us"),
        (999_600, "1.00 ms"),
        (1_500_000, "1.50 ms"),
        (2.5e9, "2.50 s"),
        (75e9, "75.0 s"),
    ],
)
def test_durations(nanoseconds: float | None, text: str) -> None:
    assert duration_text(nanoseconds) == text


def test_sizes_that_come_in_powers_of_two() -> None:
    sizes = [binary_bytes_text(size) for size in (40, 262_144, 1_572_864, 2_097_152, 17_179_869_184)]
    assert sizes == ["40 B", "256 KiB", "1.5 MiB", "2 MiB", "16 GiB"]


def test_sizes_and_shares() -> None:
    assert [bytes_text(size) for size in (None, 40, 480, 299_400, 16_900_000)] == [
        "-",
        "40 B",
        "480 B",
        "299 kB",
        "16.9 MB",
    ]
    assert [percent_text(share) for share in (None, 0.93054, 1.0)] == ["-", "93.05", "100.00"]
