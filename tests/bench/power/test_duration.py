"""How long power takes by a slow sensor, told before it begins."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from edgecnn.bench.power.duration import long_power_note
from edgecnn.bench.power.phases import make_power_plan
from edgecnn.devices.sensors.battery import battery_meters
from edgecnn.devices.sensors.files import read_sensor_file
from edgecnn.testing.fakes import write_tree
from edgecnn.testing.models import TINY

Run = Callable[..., "subprocess.CompletedProcess[str]"]

_BATTERY = {
    f"sys/class/power_supply/BAT0/{name}": f"{text}\n"
    for name, text in {"type": "Battery", "status": "Discharging", "power_now": "7350000"}.items()
}
_RAPL = {
    f"sys/class/powercap/intel-rapl:0/{name}": f"{text}\n"
    for name, text in {"name": "package-0", "energy_uj": "1", "max_energy_range_uj": "262143328850"}.items()
}


def _forbidden(path: Path) -> str:
    if path.name == "energy_uj":
        raise PermissionError(13, "Permission denied", str(path))
    return read_sensor_file(path)


def test_a_laptop_on_its_battery_takes_long_and_says_why_and_how_to_do_without(tmp_path: Path) -> None:
    root = write_tree(tmp_path, _BATTERY)
    (meter,) = battery_meters(root)
    minutes = round(make_power_plan(meter.spec).total_s / 60)
    assert minutes == 23
    assert long_power_note("auto", root=root) == (
        "power: battery:BAT0 has a new value only every 30 s, so idle, runs and idle again take 23 minutes for each model "
        "and batch; --power none leaves it out"
    )
    assert "for each finalist;" in long_power_note("battery", each="finalist", root=root)


def test_a_faster_sensor_that_may_not_be_read_is_named_with_its_fix(tmp_path: Path) -> None:
    root = write_tree(tmp_path, _BATTERY | _RAPL)
    note = long_power_note("auto", root=root, read=_forbidden)
    assert "sensors that cannot be read: rapl" in note
    assert "chmod a+r" in note
    assert "rapl" not in long_power_note("battery", root=root, read=_forbidden)


@pytest.mark.parametrize("tree", [_RAPL, {}])
def test_a_fast_sensor_and_none_at_all_need_no_word(tmp_path: Path, tree: dict[str, str]) -> None:
    root = write_tree(tmp_path, tree)
    assert long_power_note("auto", root=root) == ""
    assert long_power_note("battery", root=root) == ""


@pytest.mark.slow
def test_no_power_may_be_asked_for(run_edgecnn: Run) -> None:
    done = run_edgecnn("bench", str(TINY), "--backend", "nosuch", "--power", "none")
    assert "unknown backend" in done.stderr
    done = run_edgecnn("bench", "x.onnx", "--backend", "null", "--power", "none")
    assert "x.onnx does not exist" in done.stderr


@pytest.mark.slow
def test_bench_says_it_before_it_begins(run_edgecnn: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_tree(tmp_path / "laptop", _BATTERY)
    monkeypatch.setattr("edgecnn.cli.bench.long_power_note", partial(long_power_note, root=root))
    asked = ("bench", str(TINY), "--backend", "null", "--seconds", "50ms", "--runs", "5", "--power")
    first, second, *_ = run_edgecnn(*asked, "csv:none.csv").stderr.splitlines()
    assert (first.partition(":")[0], second.partition(":")[0]) == ("error", "hint")
    first, second, *_ = run_edgecnn(*asked, "battery").stderr.splitlines()
    assert first.startswith("power: battery:BAT0 has a new value only every 30 s")
    assert second.startswith("measuring")
    assert "power:" not in run_edgecnn(*asked, "none").stderr
