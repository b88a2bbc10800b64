"""Device profiles: what edgecnn knows about a kind of board beforehand, one TOML file each in profiles/."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from edgecnn.jsonform import from_json
from edgecnn.toml import read_toml

ANY_MACHINE = ("trt", "cuda", "cpu", "openvino")
"""What a machine without a profile may choose from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchRules:
    """How a machine is told to be of a kind; one rule that fits is enough.

    Attributes:
        compatible: entries of the device tree's "compatible" list, compared whole.
        model: beginnings of the device tree's "model".
        arch: any machine of this architecture; only for a generic profile, which every other one goes before.
    """

    compatible: tuple[str, ...] = ()
    model: tuple[str, ...] = ()
    arch: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceProfile:
    """A kind of board.

    Attributes:
        id: what `--device` and records call it.
        title: its full name.
        match: how it is recognised.
        backends: what `--backend auto` chooses from, in the order that is taken where two are equally fast.
    """

    id: str
    title: str
    match: MatchRules
    backends: tuple[str, ...] = ("cpu",)


@lru_cache(maxsize=1)
def device_profiles() -> tuple[DeviceProfile, ...]:
    """Return the profiles in order of their file names, generic ones last.

    Raises:
        BadInput: a file is not a profile; the message names it and the key.
    """
    files = sorted((Path(__file__).parent / "profiles").glob("*.toml"))
    profiles = [from_json(DeviceProfile, read_toml(path), where=path.name) for path in files]
    return tuple(sorted(profiles, key=lambda profile: profile.match.arch is not None))


def profile_backends(profile_id: str | None) -> tuple[str, ...]:
    """Return what `--backend auto` chooses from on a machine of that profile; every backend that may be fast without one."""
    known = {profile.id: profile.backends for profile in device_profiles()}
    return known.get(profile_id or "", ANY_MACHINE)


def match_profile(*, compatible: tuple[str, ...], model: str | None, arch: str | None) -> str | None:
    """Return the id of the first profile that fits, None when none does.

    Args:
        compatible: the device tree's "compatible" list, empty without a device tree.
        model: the device tree's "model".
        arch: "x86_64" or "aarch64", for example.
    """
    for profile in device_profiles():
        rules = profile.match
        by_tree = not set(rules.compatible).isdisjoint(compatible) or (model or "").startswith(rules.model)
        if by_tree or (rules.arch is not None and rules.arch == arch):
            return profile.id
    return None
