"""`--backend auto`: measured, explained, remembered."""

import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from edgecnn.artifacts import load_artifact
from edgecnn.bench.choose import choose_backend
from edgecnn.errors import RuntimeUnavailable
from edgecnn.jsonform import to_json
from edgecnn.runtimes import OpenOptions
from edgecnn.testing.models import TINY, TINY_INT8


@pytest.mark.slow
def test_the_fastest_is_taken_and_remembered(tmp_path: Path) -> None:
    artifact = load_artifact(TINY)
    seen: list[str] = []
    first = choose_backend(
        artifact,
        candidates=("torch", "cpu", "trt-of-nobody"),
        seconds=0.05,
        folder=tmp_path,
        on_progress=lambda done, total, note: seen.append(note),
    )
    assert first.backend == "cpu"
    assert not first.remembered
    assert seen == ["torch", "cpu", "trt-of-nobody"]
    times = {one.backend: one.median_ns for one in first.candidates}
    assert times["torch"] > times["cpu"]
    assert "trt-of-nobody" in first.candidates[2].reason
    again = choose_backend(artifact, candidates=("torch", "cpu", "trt-of-nobody"), seconds=0.05, folder=tmp_path)
    assert again.remembered
    assert again.candidates == first.candidates


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that remembers a choice between backends null and cpu; do not change it."""
    folder = tmp_path_factory.mktemp("choices")
    choose_backend(load_artifact(TINY), candidates=("null", "cpu"), seconds=0.05, folder=folder)
    return folder


@pytest.mark.parametrize("doubt", ["", pytest.param("other processes used 2 of 2 processors", marks=pytest.mark.slow)])
def test_a_choice_in_doubt_is_made_again_after_a_day(tmp_path: Path, measured: Path, doubt: str) -> None:
    asked = {"candidates": ("null", "cpu"), "seconds": 0.05, "folder": tmp_path}
    shutil.copytree(measured, tmp_path, dirs_exist_ok=True)
    first = choose_backend(load_artifact(TINY), **asked)
    assert first.remembered
    (memory,) = tmp_path.iterdir()
    candidates = tuple(replace(one, reason=doubt, median_ns=1.0) for one in first.candidates)
    memory.write_text(json.dumps(to_json(replace(first, candidates=candidates))))
    for hours, remembered in ((23, True), (25, not doubt)):
        os.utime(memory, (0, time.time_ns() / 1e9 - 3600 * hours))
        assert choose_backend(load_artifact(TINY), **asked).remembered is remembered


@pytest.mark.parametrize("change", ["model", "options", "batch", "candidates"])
def test_another_question_is_measured_anew(tmp_path: Path, change: str) -> None:
    asked = {"candidates": ("cpu",), "folder": tmp_path}
    choose_backend(load_artifact(TINY), **asked)
    artifact = load_artifact(TINY_INT8 if change == "model" else TINY)
    other = {
        "options": {"options": OpenOptions(threads=1)},
        "batch": {"batch": 2},
        "candidates": {"candidates": ("null",)},
    }
    assert not choose_backend(artifact, **{**asked, **other.get(change, {})}).remembered


def test_the_only_one_is_not_measured(tmp_path: Path) -> None:
    choice = choose_backend(load_artifact(TINY), candidates=("nosuch", "cpu"), folder=tmp_path)
    assert choice.backend == "cpu"
    assert choice.why == "the only one that can run here"
    assert all(one.median_ns is None for one in choice.candidates)


def test_equally_fast_ones_follow_the_order_of_the_profile(measured: Path) -> None:
    null = choose_backend(load_artifact(TINY), candidates=("null", "cpu"), seconds=0.05, folder=measured)
    assert null.backend == "null"


def test_none_is_an_error_with_every_reason(tmp_path: Path) -> None:
    with pytest.raises(RuntimeUnavailable, match=r"cuda-of-nobody.*trt-of-nobody"):
        choose_backend(load_artifact(TINY), candidates=("cuda-of-nobody", "trt-of-nobody"), folder=tmp_path)


def test_a_damaged_memory_is_no_error(tmp_path: Path) -> None:
    choose_backend(load_artifact(TINY), candidates=("cpu",), folder=tmp_path)
    (memory,) = tmp_path.iterdir()
    memory.write_text('{"backend": ')
    assert not choose_backend(load_artifact(TINY), candidates=("cpu",), folder=tmp_path).remembered


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    choice = choose_backend(load_artifact(TINY), candidates=("cpu",), folder=tmp_path / "file" / "choices")
    assert choice.backend == "cpu"
