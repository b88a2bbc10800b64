"""`edgecnn devices`: what this machine is, and what it can do at most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from edgecnn.cli.options import json_option, threads_option
from edgecnn.cli.output import BESIDE, folded, print_json, print_table, progress, table_width
from edgecnn.units import binary_bytes_text

if TYPE_CHECKING:
    from edgecnn.bench.peaks.calibration import Calibration, Limit
    from edgecnn.machine import Machine

_UNKNOWN = "unknown"

# Characters that a column of words has at least.
_LEAST = 20

_CALIBRATE = "edgecnn devices calibrate"


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def devices(ctx: click.Context, as_json: bool) -> None:
    """Show this machine: processor, memory, governor, power sensors, and its measured limits.

    \b
    Example:
      edgecnn devices
      edgecnn devices calibrate --threads 1
    """
    if ctx.invoked_subcommand is not None:
        return
    from edgecnn.machine import describe_machine  # noqa: PLC0415

    machine = describe_machine()
    if as_json:
        print_json(machine)
        return
    left = ("what", "found")
    print_table("edgecnn devices", left, narrow_rows(machine_rows(machine), table_width()), left=left)


@devices.command()
@click.option(
    "--backend", default="cpu", show_default=True, metavar="NAME", help="Engine that is measured: cpu or openvino."
)
@threads_option
@click.option("--force", is_flag=True, help="Measure anew where this machine was measured before.")
@json_option
def calibrate(backend: str, threads: int | None, force: bool, as_json: bool) -> None:
    """Measure this machine's limits with the engine itself: peak operations per second, and memory bandwidth by size.

    Takes some seconds and is remembered per machine, engine version and number of threads. `edgecnn profile` and
    `edgecnn bench` say how near to these limits a network comes.

    \b
    Example:
      edgecnn devices calibrate
      edgecnn devices calibrate --threads 1 --force --json
    """
    from edgecnn.bench.peaks.calibrate import calibrate as measure  # noqa: PLC0415
    from edgecnn.bench.peaks.calibrate import check_calibrated  # noqa: PLC0415
    from edgecnn.bench.peaks.calibration import find_calibration, keep_calibration  # noqa: PLC0415

    check_calibrated(backend)
    found = None if force else find_calibration(backend=backend, threads=threads)
    if found is None or found.verdict == "invalid":
        with progress(f"measuring what this machine can do with backend {backend}", still=True):
            found = measure(backend=backend, threads=threads)
        keep_calibration(found)
    if as_json:
        print_json(found)
    else:
        show_calibration(found)


def machine_rows(machine: Machine) -> list[tuple[str, str]]:
    """Return what is shown of a machine: what, and what was found."""
    device = machine.device
    sharing = [f"L{one.level} {one.size_bytes >> 10:,} KiB" for one in machine.caches]
    rows = [
        ("board", device.board),
        ("profile", machine.profile_title or "none: a machine that edgecnn has no profile of"),
        ("processor", device.cpu),
        ("architecture", device.arch),
        ("features", " ".join(device.features)),
        ("cores", _cores(machine)),
        ("caches", ", ".join(sharing)),
        ("memory", _memory(machine)),
        ("governor", device.governor),
        ("highest frequency", _megahertz(device.frequency_max_khz)),
        ("power mode", device.power_mode),
        ("gpu", device.gpu),
        ("system", ", ".join(filter(None, (device.os, device.kernel)))),
        ("virtual machine", {True: "yes", False: "no", None: None}[device.hypervisor]),
        ("backends to choose from", ", ".join(machine.backends) or "none: edgecnn backends says why"),
    ]
    shown = [(name, value or _UNKNOWN) for name, value in rows if value or name not in ("power mode", "gpu")]
    return [*shown, *_sensor_rows(machine), *_limit_rows(machine.calibration)]


def narrow_rows(rows: Sequence[tuple[str, str]], width: int | None) -> list[tuple[str, str]]:
    """Return rows of words that fit into a width, what is longer broken between words; None is any width."""
    if width is None:
        return list(rows)
    beside = max((len(name) for name, _ in rows), default=0) + BESIDE
    return [
        (name if place == 0 else "", part)
        for name, text in rows
        for place, part in enumerate(folded(text, max(width - beside, _LEAST)))
    ]


def show_calibration(calibration: Calibration) -> None:
    """Print a calibration."""
    rows = [(f"peak {number}", *_cells(limit)) for number, limit in calibration.peaks.items()]
    last = len(calibration.bandwidths) - 1
    for place, one in enumerate(calibration.bandwidths):
        where = " (memory)" if place == last else ""
        rows.append((f"bandwidth, {binary_bytes_text(one.size_bytes)}{where}", *_cells(one.limit)))
    print_table(
        "edgecnn devices calibrate",
        ("limit", "median", "spread", "reached by"),
        rows,
        left=("limit", "reached by"),
        caption=_calibration_caption(calibration),
    )
    for reason in calibration.reasons:
        click.echo(f"{reason.message}; {reason.advice}" if reason.advice else reason.message)


def _cells(limit: Limit) -> tuple[str, str, str]:
    if limit.value is None:
        return ("-", "-", limit.reason)
    spread = "-" if limit.spread is None else f"{100 * limit.spread:.1f} %"
    return (f"{limit.value:,.1f} {limit.unit}", spread, limit.kernel)


def _calibration_caption(calibration: Calibration) -> str:
    device = calibration.device
    threads = f"{calibration.threads} thread" + ("s" if calibration.threads != 1 else "")
    when = f"remembered, measured {calibration.time_utc}" if calibration.remembered else "measured now"
    return "\n".join(
        (
            " · ".join(filter(None, (device.board, device.cpu, threads))),
            f"{calibration.engine} {calibration.engine_version} · {when} · verdict: {calibration.verdict}",
            "spread: middle half of the rounds over their median; 1 GFLOP/s, GOP/s and GB/s are 10^9 a second",
        )
    )


def _cores(machine: Machine) -> str:
    device = machine.device
    parts = [
        f"{device.cores} online" if device.cores else "",
        f"{device.cores_usable} usable" if device.cores_usable else "",
    ]
    parts.append(f"quota {device.cgroup_quota:g}" if device.cgroup_quota else "")
    parts.append(f"large: {', '.join(map(str, machine.big_cores))}" if machine.big_cores else "")
    parts.append(f"a session takes {machine.threads} thread{'s' if machine.threads != 1 else ''}")
    return ", ".join(filter(None, parts))


def _memory(machine: Machine) -> str:
    device = machine.device
    limit = f", container limit {binary_bytes_text(device.memory_limit_bytes)}" if device.memory_limit_bytes else ""
    return f"{binary_bytes_text(device.memory_bytes)}{limit}" if device.memory_bytes else ""


def _megahertz(frequency_khz: int | None) -> str:
    return f"{frequency_khz / 1e3:,.0f} MHz" if frequency_khz else ""


def _sensor_rows(machine: Machine) -> list[tuple[str, str]]:
    readable = [(f"power sensor {one.name}", one.covers) for one in machine.sensors if one.readable]
    if readable:
        return readable
    hints = "; ".join(f"{one.name}: {one.fix}" for one in machine.sensors)
    return [
        ("power sensor", f"none can be read ({hints})" if hints else "none; edgecnn doctor names meters from outside")
    ]


def _limit_rows(calibration: Calibration | None) -> list[tuple[str, str]]:
    if calibration is None:
        return [("limits", f"not measured: {_CALIBRATE}")]
    peaks = [
        f"{number} {limit.value:,.0f} {limit.unit}"
        for number, limit in calibration.peaks.items()
        if limit.value is not None
    ]
    memory = calibration.bandwidths[-1].limit.value if calibration.bandwidths else None
    parts = [*peaks, *([f"memory {memory:,.0f} GB/s"] if memory is not None else [])]
    count = f"{calibration.threads} thread{'s' if calibration.threads != 1 else ''}"
    return [(f"limits, {count}", f"{', '.join(parts)} (verdict: {calibration.verdict})")]
