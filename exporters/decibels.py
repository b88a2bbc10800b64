"""Signal over noise in decibels: ten times the logarithm of a ratio of powers."""

from __future__ import annotations

import numpy as np


def decibels(signal: float, noise: float) -> float | None:
    """Return a power over another in dB; None where one of them is zero or no finite number."""
    if not (signal > 0 and noise > 0 and np.isfinite(signal) and np.isfinite(noise)):
        return None
    return float(10 * np.log10(signal / noise))


def power_ratio(level_db: float) -> float:
    """Return the ratio of powers that so many dB are."""
    return float(10 ** (level_db / 10))


def amplitude_ratio(level_db: float) -> float:
    """Return the ratio of amplitudes, the roots of powers, that so many dB are."""
    return float(10 ** (level_db / 20))
