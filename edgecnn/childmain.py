"""What a child process does first that runs a part of edgecnn: keep its output for answers, and end with its parent."""

from __future__ import annotations

import os
import signal
import sys
from typing import BinaryIO

_PR_SET_PDEATHSIG = 1


def take_output() -> BinaryIO:
    """Return the real standard output, and let whatever else is printed from now on go to standard error."""
    sys.stdout.flush()
    real = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(real, "wb")


def die_with_parent() -> None:
    """Ask Linux to kill this process when the one that started it ends: nobody would read the answer."""
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 (needed nowhere else, and not everywhere there)

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
