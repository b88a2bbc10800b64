"""Whether this process runs on an emulated processor, where times say nothing."""

from __future__ import annotations

from pathlib import Path


def is_emulated(root: Path = Path("/")) -> bool:
    """Tell whether QEMU's user mode runs this process; a whole emulated machine cannot be told from a real one.

    QEMU hides itself behind /proc/self/exe, but not behind the same link of the thread.

    Args:
        root: of the tree that holds /proc.
    """
    try:
        return (root / "proc/thread-self/exe").readlink().name.startswith("qemu-")
    except OSError:
        return False
