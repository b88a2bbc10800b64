"""What the doctor says of one thing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Health = Literal["ok", "note", "unavailable", "broken"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        topic: "backend", "package", "machine", "gpu" or "sensor".
        name: of the thing, "cuda" for example.
        health: "ok"; "note": works, and something about it is worth knowing; "unavailable": cannot be used here, which
            is no fault; "broken": is meant to work and does not.
        message: what was found, one line.
        fix: what to do, empty where nothing is to be done.
    """

    topic: str
    name: str
    health: Health
    message: str
    fix: str = ""
