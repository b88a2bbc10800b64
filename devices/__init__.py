"""What machine this is (`detect`), how it is doing (`read_state`), what is known of its kind (`device_profiles`)."""

from __future__ import annotations

from edgecnn.devices.detect import detect, host_id
from edgecnn.devices.profile import DeviceProfile, MatchRules, device_profiles
from edgecnn.devices.state import DeviceState, read_state

__all__ = ["DeviceProfile", "DeviceState", "MatchRules", "detect", "device_profiles", "host_id", "read_state"]
