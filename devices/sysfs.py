"""What the readers of this folder share: which processors are online, a file of each of them, files by pattern."""

from __future__ import annotations

from pathlib import Path

from edgecnn.procfs import read_text

CPUS = "sys/devices/system/cpu"

MOST_CPUS = 8192
"""A processor number from here on is taken for a malformed file. Source: Linux, arch/x86/Kconfig, NR_CPUS_RANGE_END."""


def cpu_numbers(text: str) -> tuple[int, ...] | None:
    """Return the processors of the kernel's list form, "0-3,5" for example; None when the text is not such a list."""
    numbers: set[int] = set()
    try:
        for entry in filter(None, text.strip().split(",")):
            first, _, last = entry.partition("-")
            low, high = int(first), int(last or first)
            if not 0 <= low <= high < MOST_CPUS:
                return None
            numbers.update(range(low, high + 1))
    except ValueError:
        return None
    return tuple(sorted(numbers)) or None


def matching(folder: Path, pattern: str) -> tuple[Path, ...]:
    """Return the paths below a folder that fit a glob pattern, sorted; none when the folder cannot be listed."""
    try:
        return tuple(sorted(folder.glob(pattern)))
    except OSError:
        return ()


def online_cpus(root: Path) -> tuple[int, ...] | None:
    """Return the processors that are online; None when the system does not tell."""
    return cpu_numbers(read_text(root / CPUS / "online") or "")


def cpu_texts(root: Path, name: str) -> tuple[str, ...]:
    """Return the stripped text of one file of every online processor, without those that do not have it.

    Args:
        root: folder that stands for "/".
        name: below the processor's folder, "cpufreq/scaling_governor" for example.
    """
    folders = (root / CPUS / f"cpu{number}" for number in online_cpus(root) or ())
    texts = (read_text(folder / name) for folder in folders)
    return tuple(text.strip() for text in texts if text and text.strip())


def cpu_integers(root: Path, name: str) -> tuple[int, ...]:
    """Return the whole number in one file of every online processor, without those that do not have it."""
    return tuple(int(text) for text in cpu_texts(root, name) if text.isascii() and text.isdigit())
