"""What machine this is, read from /proc, /sys and /etc: the device group of a record. Unknown is None.

Every function takes the folder that stands for "/", so that a recorded tree of another machine can be read as well.
"""

from __future__ import annotations

import hashlib
import platform
import re
from pathlib import Path

from edgecnn.devices.board import board_name, tree_model, tree_strings, virtual_machine
from edgecnn.devices.cpuinfo import Block, cpu_arch, cpu_features, cpu_name, cpuinfo, processors
from edgecnn.devices.nvidia import driver_version, gpu_name, l4t_release, power_mode
from edgecnn.devices.profile import match_profile
from edgecnn.devices.sysfs import cpu_integers, cpu_numbers, cpu_texts, online_cpus
from edgecnn.procfs import read_text
from edgecnn.results import Device
from edgecnn.runtimes.threads import cgroup_memory_limit, cgroup_quota

HOST_SALT = "edgecnn.host"
"""Put before the machine id, so that the hash in a record cannot be looked up in another program's."""


def detect(root: Path = Path("/")) -> Device:
    """Return the machine; every field that cannot be told is None or empty.

    Args:
        root: folder that stands for "/".
    """
    blocks = cpuinfo(root)
    arch = (platform.machine() or None) if root == Path("/") else cpu_arch(blocks)
    return Device(
        profile=match_profile(compatible=tree_strings(root, "compatible"), model=tree_model(root), arch=arch),
        board=board_name(root, blocks),
        cpu=cpu_name(blocks),
        arch=arch,
        features=cpu_features(blocks),
        cores=_cores(root, blocks),
        cores_usable=_cores_usable(root),
        cgroup_quota=cgroup_quota(root),
        memory_bytes=_memory_bytes(root),
        memory_limit_bytes=cgroup_memory_limit(root),
        os=_os_name(root),
        kernel=(read_text(root / "proc/sys/kernel/osrelease") or "").strip() or None,
        governor=_governor(root),
        frequency_max_khz=_frequency_max_khz(root),
        power_mode=power_mode(root),
        hypervisor=virtual_machine(root, blocks),
        gpu=gpu_name(root),
        gpu_driver=driver_version(root),
    )


def host_id(root: Path = Path("/")) -> str | None:
    """Return 12 hexadecimal digits that are the same for every record of a machine and do not tell which one it is.

    They are the beginning of SHA-256 over a salt and the id of machine-id(5); None where there is no such id, as in a
    container.
    """
    for name in ("etc/machine-id", "var/lib/dbus/machine-id"):
        machine = (read_text(root / name) or "").strip()
        if re.fullmatch(r"[0-9a-f]{32}", machine):
            return hashlib.sha256((HOST_SALT + machine).encode()).hexdigest()[:12]
    return None


def _cores(root: Path, blocks: tuple[Block, ...]) -> int | None:
    online = online_cpus(root)
    return len(online) if online else len(processors(blocks)) or None


def _cores_usable(root: Path) -> int | None:
    """Count the processors of the affinity mask; the mask may name some that are not online."""
    status = read_text(root / "proc/self/status") or ""
    mask = re.search(r"^Cpus_allowed_list:\s*(\S+)\s*$", status, re.MULTILINE)
    allowed = cpu_numbers(mask[1]) if mask else None
    if allowed is None:
        return None
    return len(set(allowed) & set(online_cpus(root) or allowed)) or None


def _memory_bytes(root: Path) -> int | None:
    total = re.search(r"^MemTotal:\s*(\d+) kB$", read_text(root / "proc/meminfo") or "", re.MULTILINE)
    return int(total[1]) * 1024 if total else None


def _os_name(root: Path) -> str | None:
    """Return PRETTY_NAME of os-release(5), with the L4T release behind it on a Jetson."""
    text = read_text(root / "etc/os-release") or read_text(root / "usr/lib/os-release") or ""
    pretty = re.search(r"^PRETTY_NAME=(.*)$", text, re.MULTILINE)
    name = pretty[1].strip().strip("\"'") if pretty else ""
    release = l4t_release(root)
    return ", ".join(part for part in (name, release and f"L4T {release}") if part) or None


def _governor(root: Path) -> str | None:
    return ",".join(dict.fromkeys(cpu_texts(root, "cpufreq/scaling_governor"))) or None


def _frequency_max_khz(root: Path) -> int | None:
    """Return the fastest core's limit as a governor or power mode set it, else what the hardware can do."""
    limits = cpu_integers(root, "cpufreq/scaling_max_freq") or cpu_integers(root, "cpufreq/cpuinfo_max_freq")
    return max(limits, default=None)
