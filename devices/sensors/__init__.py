"""Power sensors, one kind per file: `find_meters` says what there is, `meter_from` gives the one that is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgecnn.lazynames import lazy_names

if TYPE_CHECKING:
    from edgecnn.devices.sensors.base import Channel, LiveMeter, LoggedMeter, Meter, MeterSpec, Moment, Reading
    from edgecnn.devices.sensors.catalog import Found, Missing, find_meters, meter_from

__all__ = [
    "Channel",
    "Found",
    "LiveMeter",
    "LoggedMeter",
    "Meter",
    "MeterSpec",
    "Missing",
    "Moment",
    "Reading",
    "find_meters",
    "meter_from",
]

_BASE = ("Channel", "LiveMeter", "LoggedMeter", "Meter", "MeterSpec", "Moment", "Reading")

__getattr__ = lazy_names(
    __name__,
    {name: f"edgecnn.devices.sensors.{'base' if name in _BASE else 'catalog'}" for name in __all__},
)
