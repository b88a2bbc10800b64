from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from edgecnn.devices.sensors.plug import PlugMeter, checked_address
from edgecnn.errors import BadInput, SensorUnavailable

GEN2 = {"/rpc/Switch.GetStatus?id=0": {"id": 0, "apower": 8.7, "voltage": 230.1, "aenergy": {"total": 11.2}}}
GEN1 = {"/status": {"meters": [{"power": 12.34, "is_valid": True, "total": 5}]}}
TASMOTA = {"/cm?cmnd=Status%2010": {"StatusSNS": {"Time": "2024-01-01T00:00:00", "ENERGY": {"Power": 6, "Total": 1.5}}}}


@contextmanager
def _plug(answers: dict[str, Any], *, status: int = 200) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path in answers
            self.send_response((status if self.path != "/elsewhere" else 200) if known else 404)
            if status == 302:
                self.send_header("Location", "/elsewhere")
            body = answers.get(self.path, "")
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("answers", "title", "watts"), [(GEN2, "Shelly Gen2", 8.7), (GEN1, "Shelly Gen1", 12.34), (TASMOTA, "Tasmota", 6.0)]
)
def test_each_kind_is_recognised_and_read(answers: dict[str, Any], title: str, watts: float) -> None:
    with _plug(answers) as address:
        meter = PlugMeter(address + "/")
        meter.available()
        assert meter.values() == (watts,)
    spec = meter.spec
    assert (spec.name, spec.domain, spec.coverage) == (address, title, "wall")
    assert spec.shortest_window_s == 60


def test_a_plug_that_vanishes_while_measuring() -> None:
    with _plug(GEN2) as address:
        meter = PlugMeter(address)
    with pytest.raises(SensorUnavailable, match="does not answer"):
        meter.values()


def test_a_plug_that_answers_something_else_later() -> None:
    answers = dict(GEN2)
    with _plug(answers) as address:
        meter = PlugMeter(address)
        answers["/rpc/Switch.GetStatus?id=0"] = {"apower": None}
        with pytest.raises(SensorUnavailable, match="no longer answers like a Shelly Gen2"):
            meter.values()


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b'{"apower": true}', b'{"apower": "8.7"}', b"\xff\xfe", b""])
def test_what_is_no_plug(answer: bytes) -> None:
    with (
        _plug({"/rpc/Switch.GetStatus?id=0": answer}) as address,
        pytest.raises(SensorUnavailable, match="like none of"),
    ):
        PlugMeter(address)


def test_a_password_and_a_redirect() -> None:
    with _plug(GEN2, status=401) as address, pytest.raises(SensorUnavailable, match="asks for a password"):
        PlugMeter(address)
    elsewhere = {**GEN2, "/elsewhere": GEN2["/rpc/Switch.GetStatus?id=0"]}
    with _plug(elsewhere, status=302) as address, pytest.raises(SensorUnavailable, match="like none of"):
        PlugMeter(address)


def test_a_plug_that_is_too_slow_is_said_to_be() -> None:
    def fetch(url: str) -> bytes:
        raise TimeoutError("timed out")

    with pytest.raises(SensorUnavailable, match="does not answer: timed out"):
        PlugMeter("http://127.0.0.1", fetch=fetch)


@pytest.mark.parametrize(
    "text",
    [
        "https://127.0.0.1",
        "http://",
        "http://8.8.8.8",
        "http://user:secret@127.0.0.1",
        "http://127.0.0.1/x",
        "127.0.0.1",
    ],
)
def test_addresses_that_are_refused(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        checked_address(text)
    assert "secret" not in str(caught.value)


def test_a_port_is_part_of_the_address() -> None:
    assert checked_address("http://127.0.0.1:8080/") == "http://127.0.0.1:8080"
