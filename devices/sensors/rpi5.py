"""The Raspberry Pi 5's power management chip, asked through `vcgencmd pmic_read_adc`.

It tells voltage and current of twelve rails; power is the sum of their products. `EXT5V_V` and `BATT_V` (the clock's cell) are
voltages alone and count nothing. What hangs on USB and the 5 V pins and what the chip itself loses are not in the rails.

Reads are slow (a process each, some 20 ms in the firmware) and take processor time from what is measured.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from edgecnn.devices.board import tree_model
from edgecnn.devices.sensors.base import Channel, LiveMeter, MeterSpec
from edgecnn.errors import SensorAbsent, SensorUnavailable
from edgecnn.powerspec import ModelledPower

Runner = Callable[[Sequence[str]], str]
"""Run a command and return its output; raise OSError where it cannot be started."""

COMMAND = ("vcgencmd", "pmic_read_adc")

MODELS = ("Raspberry Pi 5", "Raspberry Pi 500", "Raspberry Pi Compute Module 5")
"""Beginnings of the device tree's model of boards with this chip."""

# Slope and offset (W) of a wall meter's reading over the sum of the rails.
_FIT = (1.1451, 0.5879)
_FIT_SOURCE = "least squares fit of one Raspberry Pi 5, github.com/jfikar/RPi5-power"

_LINE = re.compile(r"(\w+)_([AV]) +(?:current|volt)\(\d+\)=(-?\d+(?:\.\d+)?)[AV]")
_PERIOD_S = 0.2
_TIMEOUT_S = 2.0


class Rpi5Meter(LiveMeter):
    """The rails of one board.

    Args:
        run: how the command is run.
    """

    def __init__(self, run: Runner) -> None:
        self._run = run
        self._rails = tuple(self._watts())
        super().__init__(
            MeterSpec(
                name="rpi5",
                kind="sampler",
                domain="sum of the PMIC's rails",
                coverage="module",
                note="the rails of the power management chip; without USB, the 5 V pins and the chip's own loss",
                channels=tuple(Channel(name=rail) for rail in self._rails),
                # A rail's last digits are those of the converter; together they come to some milliwatts.
                resolution=0.005,
                update_period_s=_PERIOD_S,
                averaging_s=0.0,
                poll_s=_PERIOD_S,
                accuracy=None,
            )
        )

    def values(self) -> tuple[float, ...]:
        """Return watts of every rail; see `LiveMeter.values`."""
        watts = self._watts()
        if tuple(watts) != self._rails:
            missing = ", ".join(sorted(set(self._rails) ^ set(watts)))
            raise SensorUnavailable(f"rpi5: the rails are others than at first: {missing}", "measure again")
        return tuple(watts.values())

    def _watts(self) -> dict[str, float]:
        try:
            output = self._run(COMMAND)
        except FileNotFoundError:
            raise SensorUnavailable("rpi5: vcgencmd is not installed", "sudo apt install raspi-utils") from None
        except subprocess.TimeoutExpired:
            raise SensorUnavailable("rpi5: vcgencmd does not answer", "reboot the board") from None
        except OSError as error:
            raise SensorUnavailable(f"rpi5: vcgencmd cannot be run: {error.strerror}", "try it by hand") from None
        return parse_rails(output)


def rpi5_meters(root: Path, *, run: Runner | None = None) -> tuple[Rpi5Meter, ...]:
    """Return the meter of this board.

    Args:
        root: folder that stands for "/".
        run: how the command is run; None runs it on this machine, which is refused where `root` is another one's.

    Raises:
        SensorAbsent: another board.
        SensorUnavailable: its command cannot be run, or says no power.
    """
    model = tree_model(root) or ""
    if not model.startswith(MODELS):
        raise SensorAbsent(
            "rpi5: the device tree names no Raspberry Pi 5",
            "older Raspberry Pis measure no current: use an external meter (csv:FILE, http://PLUG)",
        )
    if run is None and root != Path("/"):
        raise SensorUnavailable("rpi5: a recorded tree has no vcgencmd to run", "measure on the board itself")
    return (Rpi5Meter(run or run_command),)


def run_command(command: Sequence[str]) -> str:
    """Return what a command prints, on either output.

    Raises:
        OSError: it cannot be started.
        TimeoutExpired: it does not end.
    """
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    return done.stdout + done.stderr


def parse_rails(output: str) -> dict[str, float]:
    """Return rail -> watts.

    Raises:
        SensorUnavailable: not what the command prints on a Raspberry Pi 5, or a rail has a current and no voltage.
    """
    found = {(rail, unit): float(value) for rail, unit, value in _LINE.findall(output)}
    currents = {rail: value for (rail, unit), value in found.items() if unit == "A"}
    if not currents:
        said = (output.strip().splitlines() or ["nothing"])[0][:100]
        fix = "sudo usermod -aG video $USER, then log in again" if "vcio" in output else "update the firmware"
        raise SensorUnavailable(f"rpi5: expected rails from vcgencmd pmic_read_adc, got {said!r}", fix)
    alone = sorted(rail for rail in currents if (rail, "V") not in found)
    if alone:
        raise SensorUnavailable(f"rpi5: current without voltage: {', '.join(alone)}", "measure again")
    return {rail: current * found[rail, "V"] for rail, current in currents.items()}


def modelled_input(rails_w: float) -> ModelledPower:
    """Return what the board would draw at its supply by a published fit; a model, never a measurement.

    Args:
        rails_w: measured sum of the rails.
    """
    slope, offset_w = _FIT
    return ModelledPower(
        watts=slope * rails_w + offset_w,
        formula=f"{slope} * rails_w + {offset_w}",
        inputs=(("rails_w", rails_w),),
        source=_FIT_SOURCE,
    )
