"""`edgecnn profile` and `edgecnn devices`: what they print, and what they refuse."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from edgecnn.cli.devices import narrow_rows
from edgecnn.runtimes import backend_states
from edgecnn.testing.models import TINY

pytest.importorskip("onnxruntime")
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.slow
def test_a_profile_of_a_machine_that_is_not_calibrated(
    run_edgecnn: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    done = run_edgecnn("profile", str(TINY), "--threads", "1", "--seconds", "0.05")
    assert done.returncode == 0, done.stderr
    assert "edgecnn profile tiny fp32, batch 1" in done.stdout
    assert re.search(r"^conv1 +Conv\+Relu", done.stdout, re.M)
    assert "edgecnn devices calibrate --threads 1" in done.stdout
    assert re.search(r"median of \d+ without profiling; with it \d+\.\d\d times as long", done.stdout)


def test_json_holds_what_the_table_shows(run_edgecnn: Run) -> None:
    done = run_edgecnn("profile", str(TINY), "--batch", "3", "--threads", "1", "--seconds", "0.05", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["batch"] == 3
    assert sum(layer["time_ns"] for layer in found["layers"]) == pytest.approx(found["total_ns"])
    assert sum(layer["macs"] or 0 for layer in found["layers"]) == found["macs"]


@pytest.mark.slow
def test_what_top_and_a_narrow_terminal_leave_out_is_said(run_edgecnn: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    done = run_edgecnn("profile", str(TINY), "--threads", "1", "--seconds", "0.05", "--top", "2")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^2 of \d+ steps are shown$", done.stdout, re.M)
    head = next(line for line in done.stdout.splitlines() if line.startswith("layer"))
    assert len(head.rstrip()) <= 60
    assert "% of roof" in head
    assert "not shown for lack of width: operators; engine" in " ".join(done.stdout.split())
    words = [line for line in done.stdout.splitlines()[2:] if "-----" not in line and len(line.split(None, 1)) > 1]
    assert max(map(len, words)) <= 60
    assert all(line == line.rstrip() for line in done.stdout.splitlines())


@pytest.mark.slow
def test_svg_files_are_written(run_edgecnn: Run, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    done = run_edgecnn("profile", str(TINY), "--threads", "1", "--seconds", "0.05", "--svg", "out")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/tiny.fp32.batch1.layers.svg").read_text().startswith("<?xml")
    assert "tiny.fp32.batch1.layers.svg written" in done.stderr


def test_where_pictures_cannot_go_is_said_before_anything_is_measured(run_edgecnn: Run) -> None:
    pytest.importorskip("matplotlib")
    done = run_edgecnn("profile", str(TINY), "--seconds", "60", "--svg", "/proc/zz")
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.splitlines()[0].startswith("error: cannot write /proc/zz: ")
    assert "choose another place with --svg" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("profile", str(TINY), "--backend", "torch"), 2, "backend torch does not tell the time of its layers"),
        (("profile", str(TINY), "--backend", "nonsense"), 2, "nonsense"),
        (("profile", "missing.onnx"), 2, "missing.onnx does not exist"),
        (("profile", str(TINY), "--batch", "0"), 2, "--batch"),
        (("profile", str(TINY), "--seconds", "-1"), 2, "'--seconds': expected a length of time above 0"),
        (("devices", "calibrate", "--backend", "torch"), 2, "backend torch cannot be calibrated"),
        (("devices", "calibrate", "--threads", "0"), 2, "--threads"),
    ],
)
def test_bad_input_is_one_line(run_edgecnn: Run, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = run_edgecnn(*arguments)
    assert done.returncode == code
    assert said in done.stderr.splitlines()[0]
    assert done.stdout == ""


def test_devices_shows_this_machine(run_edgecnn: Run) -> None:
    done = run_edgecnn("devices")
    assert done.returncode == 0, done.stderr
    for row in ("processor", "features", "cores", "memory", "governor", "power sensor", "limits"):
        assert re.search(rf"^{row}", done.stdout, re.M), row


@pytest.mark.slow
def test_devices_offers_the_backends_that_run_here_and_fits_its_width(
    run_edgecnn: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    able = {state.name for state in backend_states() if state.state == "ok"}
    monkeypatch.setenv("COLUMNS", "60")
    lines = run_edgecnn("devices").stdout.splitlines()
    (offered,) = [line for line in lines if line.startswith("backends to choose from")]
    assert set(offered.split("from")[1].replace(",", " ").split()) <= able
    assert all(line == line.rstrip() for line in lines)
    assert max(map(len, lines)) <= 60


def test_rows_of_words_are_broken_between_words() -> None:
    rows = [("what", "one two three four five six seven"), ("b", "short")]
    assert narrow_rows(rows, None) == rows
    assert narrow_rows(rows, 30) == [("what", "one two three four five"), ("", "  six seven"), ("b", "short")]


@pytest.mark.slow
def test_devices_as_json(run_edgecnn: Run) -> None:
    found = json.loads(run_edgecnn("devices", "--json").stdout)
    assert found["threads"] >= 1
    assert found["device"]["arch"]
    assert isinstance(found["sensors"], list)


@pytest.mark.slow
def test_a_calibration_is_remembered_and_gives_a_roofline(
    run_edgecnn: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    first = json.loads(run_edgecnn("devices", "calibrate", "--threads", "1", "--json").stdout)
    assert first["peaks"]["fp32"]["value"] > 0
    again = json.loads(run_edgecnn("devices", "calibrate", "--threads", "1", "--json").stdout)
    if first["verdict"] != "invalid":
        assert (again["remembered"], again["time_utc"]) == (True, first["time_utc"])
    assert "GFLOP/s" in run_edgecnn("devices", "calibrate", "--threads", "1").stdout
    done = run_edgecnn("profile", str(TINY), "--threads", "1", "--seconds", "0.05", "--json")
    layers = json.loads(done.stdout)["layers"]
    assert all(layer["roof_share"] > 0 for layer in layers if layer["macs"])
