from __future__ import annotations

import pytest

from edgecnn.devices import device_profiles
from edgecnn.devices.profile import match_profile


def test_ids_are_unique_and_generic_profiles_are_last() -> None:
    ids = [profile.id for profile in device_profiles()]
    assert ids == ["jetson-nano", "jetson-orin-nano", "rpi4", "rpi5", "x86-64"]
    assert all(profile.title for profile in device_profiles())


def test_no_rule_is_in_two_profiles() -> None:
    rules = [rule for profile in device_profiles() for rule in profile.match.compatible]
    assert len(rules) == len(set(rules))


@pytest.mark.parametrize(
    ("compatible", "model", "arch", "profile"),
    [
        (("raspberrypi,4-compute-module", "brcm,bcm2711"), None, "aarch64", "rpi4"),
        ((), "Raspberry Pi 400 Rev 1.0", None, "rpi4"),
        ((), "Raspberry Pi Compute Module 5 Rev 1.0", "aarch64", "rpi5"),
        (("oe4t,p3768-0000+p3767-0005", "nvidia,p3767-0005", "nvidia,tegra234"), "x", "aarch64", "jetson-orin-nano"),
        ((), "NVIDIA Orin Nano Developer Kit", "aarch64", "jetson-orin-nano"),
        (("nvidia,p3450-0000", "nvidia,tegra210"), None, "aarch64", "jetson-nano"),
        (("nvidia,p3737-0000+p3701-0000", "nvidia,p3701-0000", "nvidia,tegra234"), "AGX Orin", "aarch64", None),
        ((), "Raspberry Pi 3 Model B Rev 1.2", "aarch64", None),
        ((), None, "x86_64", "x86-64"),
        ((), None, None, None),
    ],
)
def test_match(compatible: tuple[str, ...], model: str | None, arch: str | None, profile: str | None) -> None:
    assert match_profile(compatible=compatible, model=model, arch=arch) == profile
