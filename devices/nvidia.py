"""What an NVIDIA driver or a Jetson's system files tell: GPU, driver version, power mode, L4T release.

Only files are read: asking the driver's library would load CUDA into a process that may be about to be measured.
"""

from __future__ import annotations

import re
from pathlib import Path

from edgecnn.devices.board import tree_strings
from edgecnn.devices.cpuinfo import counted
from edgecnn.devices.sysfs import matching
from edgecnn.procfs import read_text

TEGRA_GPUS = {
    "nvidia,tegra210": "Tegra X1",
    "nvidia,tegra186": "Tegra X2",
    "nvidia,tegra194": "Xavier",
    "nvidia,tegra234": "Orin",
    "nvidia,tegra264": "Thor",
}
"""Device tree entry of a Jetson's SoC -> name of its GPU.

Source of the entries: Linux, Documentation/devicetree/bindings/arm/tegra.yaml.
"""


def gpu_name(root: Path) -> str | None:
    """Return the GPU's name, several joined by " + "; None without an NVIDIA GPU."""
    compatible = tree_strings(root, "compatible")
    tegra = next((TEGRA_GPUS[entry] for entry in compatible if entry in TEGRA_GPUS), None)
    return tegra or counted(_driver_gpus(root))


def driver_version(root: Path) -> str | None:
    """Return the NVIDIA kernel driver's version, "550.54.14" for example."""
    text = read_text(root / "proc/driver/nvidia/version") or ""
    match = re.search(r"Kernel Module(?: for \S+)?\s+(\d+(?:\.\d+)+)", text)
    return match[1] if match else None


def power_mode(root: Path) -> str | None:
    """Return the name of a Jetson's nvpmodel mode, "MAXN_SUPER" for example; "mode 2" when only the number is known."""
    status = re.search(r"pmode:(\d+)", read_text(root / "var/lib/nvpmodel/status") or "")
    if status is None:
        return None
    number = int(status[1])
    modes = re.findall(r"<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)\s*>", read_text(root / "etc/nvpmodel.conf") or "")
    return next((name for mode, name in modes if int(mode) == number), f"mode {number}")


def l4t_release(root: Path) -> str | None:
    """Return the release of NVIDIA's Jetson Linux, "R36.4.3" for example."""
    text = read_text(root / "etc/nv_tegra_release") or ""
    match = re.search(r"#\s*(R\d+) \(release\), REVISION: (\d+(?:\.\d+)*)", text)
    return f"{match[1]}.{match[2]}" if match else None


def _driver_gpus(root: Path) -> list[str]:
    files = matching(root, "proc/driver/nvidia/gpus/*/information")
    names = [re.search(r"^Model:\s*(\S.*?)\s*$", read_text(file) or "", re.MULTILINE) for file in files]
    return [name[1] for name in names if name and name[1] != "Unknown"]
