"""Reading the small files of /proc and /sys: what is missing, unreadable or malformed is unknown, never an error."""

from __future__ import annotations

from pathlib import Path


def read_text(path: Path) -> str | None:
    """Return a file's text; None when it is missing or cannot be read."""
    try:
        with path.open("rb", buffering=0) as file:
            data = file.readall()
    except (OSError, ValueError):
        return None
    # A sensor that is powered down answers "try again", which an unbuffered file gives as None instead of an exception.
    return None if data is None else data.decode(errors="replace")


def read_integer(path: Path) -> int | None:
    """Return the whole number that a file holds; None when it cannot be read or holds something else."""
    return parse_integer(read_text(path) or "")


def parse_integer(text: str) -> int | None:
    """Return the whole number that a text holds; None when it holds something else."""
    try:
        return int(text)
    except ValueError:
        return None
