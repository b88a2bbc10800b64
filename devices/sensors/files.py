"""Reading a sensor's file, where the reason for a failure matters: forbidden, gone, silent or garbled."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

from edgecnn.errors import SensorUnavailable

ReadText = Callable[[Path], str]
"""Return the text of a file, or raise OSError as the system does."""


def read_sensor_file(path: Path) -> str:
    """Return a file's text, raising OSError as the system does."""
    with path.open("rb", buffering=0) as file:
        data = file.readall()
    if data is None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable", str(path))
    return data.decode(errors="replace")


def sensor_integer(path: Path, name: str, *, read: ReadText = read_sensor_file) -> int:
    """Return the whole number in a sensor's file.

    Args:
        path: the file.
        name: of the meter, for the message.
        read: how a file is read.

    Raises:
        SensorUnavailable: it cannot be read; says why, and what to do.
    """
    try:
        text = read(path)
    except PermissionError:
        raise SensorUnavailable(f"{name}: only root may read {path}", f"sudo chmod a+r {path}") from None
    except FileNotFoundError:
        raise SensorUnavailable(f"{name}: {path} is gone", "is its driver still loaded? see dmesg") from None
    except OSError as error:
        code = errno.errorcode.get(error.errno or 0, "unknown error")
        raise SensorUnavailable(f"{name}: {path} does not answer ({code})", "see dmesg for its driver") from None
    try:
        return int(text)
    except ValueError:
        raise SensorUnavailable(
            f"{name}: {path}: expected a whole number, got {text.strip()[:40]!r}", "see dmesg for its driver"
        ) from None
