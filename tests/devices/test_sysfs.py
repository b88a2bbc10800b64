from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.devices.sysfs import cpu_integers, cpu_numbers, cpu_texts, matching


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("0-3,5\n", (0, 1, 2, 3, 5)),
        ("0\n", (0,)),
        ("2,0-1,1-2\n", (0, 1, 2)),
        ("", None),
        ("\n", None),
        ("3-1\n", None),
        ("a-b\n", None),
        ("0-\n", (0,)),
        ("-1\n", None),
        ("0-8191\n", tuple(range(8192))),
        ("0-8192\n", None),
        ("0-99999999999\n", None),
    ],
)
def test_cpu_numbers(text: str, numbers: tuple[int, ...] | None) -> None:
    assert cpu_numbers(text) == numbers


@given(st.sets(st.integers(0, 300), min_size=1))
def test_cpu_numbers_reads_any_list(numbers: set[int]) -> None:
    assert cpu_numbers(",".join(map(str, numbers)) + "\n") == tuple(sorted(numbers))


def test_files_of_the_online_processors(tmp_path: Path) -> None:
    cpus = tmp_path / "sys/devices/system/cpu"
    for number, text in enumerate(["5\n", "7\n", "\n", "<unknown>\n"]):
        (cpus / f"cpu{number}").mkdir(parents=True)
        (cpus / f"cpu{number}/file").write_text(text)
    (cpus / "online").write_text("1-4\n")
    assert cpu_texts(tmp_path, "file") == ("7", "<unknown>")
    assert cpu_integers(tmp_path, "file") == (7,)


def test_matching_is_sorted_and_survives_a_missing_folder(tmp_path: Path) -> None:
    for name in ("b2", "b1", "a1"):
        (tmp_path / name).touch()
    assert [path.name for path in matching(tmp_path, "b*")] == ["b1", "b2"]
    assert matching(tmp_path / "missing", "*") == ()
