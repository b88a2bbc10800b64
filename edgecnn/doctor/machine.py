"""What the machine does to a measurement and to an application: cores, container, governor, throttling, memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edgecnn.bench.doubts.throttling import PI_BITS
from edgecnn.devices.detect import detect
from edgecnn.devices.emulation import is_emulated
from edgecnn.devices.state import DeviceState, read_state
from edgecnn.doctor.finding import Finding, Health
from edgecnn.procfs import read_text
from edgecnn.results import Device
from edgecnn.runtimes.threads import usable_threads

SLOW_GOVERNORS = ("powersave", "conservative", "ondemand")
"""Governors of the kernel's documentation (admin-guide/pm/cpufreq.rst) that start a run at less than full speed. The
powersave of intel_pstate and amd_pstate in active mode is another one: it scales like schedutil."""

SCALING_DRIVERS = ("intel_pstate", "amd-pstate-epp")
"""Drivers whose powersave governor scales with the load (admin-guide/pm/intel_pstate.rst, amd-pstate.rst)."""


def machine(root: Path = Path("/")) -> Iterator[Finding]:
    """Yield what is to be said of the machine.

    Args:
        root: folder that stands for "/".
    """
    device, state = detect(root), read_state(root)
    yield _finding("device", "ok", _device_text(device))
    if is_emulated(root):
        yield _finding(
            "emulation", "note", "the processor is emulated: its speed means nothing", "measure on the board"
        )
    yield _cores(device, root)
    yield _memory(device)
    yield from _governor(device, root)
    yield from _throttling(state)


def _device_text(device: Device) -> str:
    parts = (device.board, device.cpu, device.arch, device.os, device.profile and f"profile {device.profile}")
    return " · ".join(part for part in parts if part) or "unknown"


def _cores(device: Device, root: Path) -> Finding:
    usable = usable_threads(root, affinity=device.cores_usable or device.cores)
    text = f"{device.cores or 'an unknown number of'} cores, {usable} of them usable"
    if device.cgroup_quota is not None and device.cgroup_quota < (device.cores_usable or device.cores or 0):
        quota = f"the container's quota is {device.cgroup_quota:g} processors"
        return _finding("cores", "note", f"{text}: {quota}", "give the container more, where it is too slow")
    return _finding("cores", "ok", text)


def _memory(device: Device) -> Finding:
    total, limit = device.memory_bytes, device.memory_limit_bytes
    text = _gib(total) if total else "unknown"
    if limit is not None and (total is None or limit < total):
        return _finding("memory", "note", f"{text}, of which the container may use {_gib(limit)}")
    return _finding("memory", "ok", text)


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:.1f} GiB"


def _governor(device: Device, root: Path) -> Iterator[Finding]:
    if device.governor is None:
        return
    driver = read_text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_driver") or ""
    scales = driver.strip() in SCALING_DRIVERS
    slow = [name for name in device.governor.split(",") if name in SLOW_GOVERNORS and not scales]
    if slow:
        fix = "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
        yield _finding("governor", "note", f"{device.governor}: short runs begin at a low frequency", fix)
    else:
        yield _finding("governor", "ok", device.governor)


def _throttling(state: DeviceState) -> Iterator[Finding]:
    if state.pi_throttled:
        for bit, (message, advice) in PI_BITS.items():
            if state.pi_throttled & (1 << bit | 1 << (bit + 16)):
                text = f"{message} (get_throttled {state.pi_throttled:#x})"
                yield _finding("throttling", "note", text, advice)
    if state.thermal_throttle_count:
        text = f"the processor has throttled {state.thermal_throttle_count} times from heat since it was started"
        yield _finding("throttling", "note", text, "improve cooling where that goes on")
    if state.temperature_c is not None:
        yield _finding("temperature", "ok", f"{state.temperature_c:.0f} degrees C")


def _finding(name: str, health: Health, message: str, fix: str = "") -> Finding:
    return Finding(topic="machine", name=name, health=health, message=message, fix=fix)
