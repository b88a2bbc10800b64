"""Metering plugs in the local network: Shelly of both generations and Tasmota, asked over HTTP.

Source of the paths and units: Shelly API documentation (Gen2 `/rpc/Switch.GetStatus`: `apower` in W; Gen1 `/status`:
`meters[].power` in W) and Tasmota's command list (`Status 10`: `StatusSNS.ENERGY.Power` in W).
"""

from __future__ import annotations

import ipaddress
import json
import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

from edgecnn.devices.sensors.base import Channel, LiveMeter, MeterSpec
from edgecnn.errors import BadInput, SensorUnavailable

TIMEOUT_S = 1.0

Fetch = Callable[[str], bytes]
"""Return what a URL answers; raise OSError where it does not."""

_MOST_BYTES = 65536
# A plug has a new value about once a second; between that and the mains, a minute is what says something.
_PERIOD_S = 1.0
_LEAST_WINDOW_S = 60.0
# 1% of the reading is what their makers state.
_ACCURACY = 0.01
_HINT = "state the plug's address: http://192.168.1.20"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlugKind:
    """How a kind of plug is asked.

    Attributes:
        title: its name.
        path: what is asked for.
        watts: takes the power out of the answer; KeyError, IndexError or TypeError where it is another kind's.
        resolution_w: smallest step.
    """

    title: str
    path: str
    watts: Callable[[Any], float]
    resolution_w: float


KINDS = (
    PlugKind(
        title="Shelly Gen2", path="/rpc/Switch.GetStatus?id=0", watts=lambda said: said["apower"], resolution_w=0.1
    ),
    PlugKind(title="Shelly Gen1", path="/status", watts=lambda said: said["meters"][0]["power"], resolution_w=0.01),
    PlugKind(
        title="Tasmota",
        path="/cm?cmnd=Status%2010",
        watts=lambda said: said["StatusSNS"]["ENERGY"]["Power"],
        resolution_w=1.0,
    ),
)


class PlugMeter(LiveMeter):
    """One plug.

    Args:
        address: "http://HOST" or "http://HOST:PORT".
        fetch: how a URL is asked.

    Raises:
        BadInput: not such an address, or one outside the local network.
        SensorUnavailable: nothing there answers like a known plug.
    """

    def __init__(self, address: str, *, fetch: Fetch | None = None) -> None:
        self._address = checked_address(address)
        self._fetch = fetch or fetch_local
        self._kind = self._find()
        super().__init__(
            MeterSpec(
                name=self._address,
                kind="sampler",
                domain=self._kind.title,
                coverage="wall",
                note="everything behind the plug, power supply included",
                channels=(Channel(name="power"),),
                resolution=self._kind.resolution_w,
                update_period_s=_PERIOD_S,
                averaging_s=None,
                poll_s=_PERIOD_S,
                accuracy=_ACCURACY,
                least_window_s=_LEAST_WINDOW_S,
            )
        )

    def values(self) -> tuple[float, ...]:
        """Return watts; see `LiveMeter.values`."""
        watts = self._ask(self._kind)
        if watts is None:
            raise SensorUnavailable(f"{self._address}: no longer answers like a {self._kind.title}", "look at the plug")
        return (watts,)

    def _find(self) -> PlugKind:
        for kind in KINDS:
            if self._ask(kind) is not None:
                return kind
        known = ", ".join(kind.title for kind in KINDS)
        raise SensorUnavailable(f"{self._address}: answers, but like none of {known}", "is it a metering plug?")

    def _ask(self, kind: PlugKind) -> float | None:
        """Return the power, None where the answer is that of another kind."""
        try:
            answer = self._fetch(self._address + kind.path)
        except urllib.error.HTTPError as error:
            if error.code in (401, 403):
                hint = "switch its password protection off, or log its readings into a CSV file"
                raise SensorUnavailable(f"{self._address}: asks for a password", hint) from None
            return None
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise SensorUnavailable(
                f"{self._address}: does not answer: {reason}", "ping it; is it in this network?"
            ) from None
        try:
            watts = kind.watts(json.loads(answer))
        except (ValueError, KeyError, IndexError, TypeError):
            return None
        return float(watts) if isinstance(watts, (int, float)) and not isinstance(watts, bool) else None


def checked_address(text: str) -> str:
    """Return "http://HOST[:PORT]" of a plug in the local network.

    Raises:
        BadInput: another scheme, a password, or an address that is not private.
        SensorUnavailable: the name has no address.
    """
    parts = urlsplit(text)
    if parts.scheme != "http" or not parts.hostname or parts.username or parts.path not in ("", "/") or parts.query:
        raise BadInput("plug", _HINT, expected="http://HOST", got=text.rpartition("@")[2])
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port or 80, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, ValueError):
        raise SensorUnavailable(f"{parts.hostname}: has no address", _HINT) from None
    for entry in found:
        if not ipaddress.ip_address(str(entry[4][0]).partition("%")[0]).is_private:
            raise BadInput("plug", _HINT, expected="an address of the local network", got=str(entry[4][0]))
    return f"http://{parts.netloc}"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def fetch_local(url: str) -> bytes:
    """Return what a URL answers within a second, at most 64 KiB; neither a proxy nor a redirect is followed.

    Raises:
        OSError: no answer, or one that is an error.
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)
    with opener.open(url, timeout=TIMEOUT_S) as answer:
        data: bytes = answer.read(_MOST_BYTES)
    return data
