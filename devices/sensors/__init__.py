"""Power sensors, one kind per file: `find_meters` says what there is, `meter_from` gives the one that is asked for."""

from __future__ import annotations

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
