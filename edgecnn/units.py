"""Quantities as people read them, three figures each; used by tables and messages, never by records."""

from __future__ import annotations


def duration_text(time_ns: float | None) -> str:
    """Return a duration in ns, us, ms or s, "71.2 us"; "-" for None."""
    if time_ns is None:
        return "-"
    # What rounds to 1000 of a unit is 1 of the next.
    for limit, scale, unit in ((999.5, 1, "ns"), (999.5e3, 1e3, "us"), (999.5e6, 1e6, "ms")):
        if time_ns < limit:
            return f"{_three(time_ns / scale)} {unit}"
    return f"{_three(time_ns / 1e9)} s"


def bytes_text(size: float | None) -> str:
    """Return a size in decimal units, "16.9 MB"; "-" for None."""
    if size is None:
        return "-"
    if size < 1e3:
        return f"{size:.0f} B"
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


def binary_bytes_text(size: int) -> str:
    """Return a size in binary units, "256 KiB" or "1.5 MiB": of caches and memories, which come in powers of two."""
    for shift, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size >= 1 << shift:
            value = size / (1 << shift)
            return f"{value:,.0f} {unit}" if value >= 10 or value == int(value) else f"{value:,.1f} {unit}"
    return bytes_text(size)


def percent_text(share: float | None) -> str:
    """Return a share of 0..1 as percent with two decimals, "93.15"; "-" for None."""
    return "-" if share is None else f"{100 * share:.2f}"


def count_text(value: int | None) -> str:
    """Return a whole number, "25,557,032"; "-" for None."""
    return "-" if value is None else f"{value:,}"


def count_of(number: int | None, noun: str) -> str:
    """Return a number of things, "1 thread" or "2 threads"; None is a number that the engine chooses."""
    if number is None:
        return f"{noun}s chosen by the engine"
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def millions_text(value: int | None) -> str:
    """Return a whole number in millions with one decimal, "4,089.2"; "-" for None."""
    return "-" if value is None else f"{value / 1e6:,.1f}"


def _three(value: float) -> str:
    if value >= 99.95:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"
