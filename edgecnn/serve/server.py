"""The process around the application: its socket, its signals, its end."""

from __future__ import annotations

import errno
import ipaddress
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn

from edgecnn.errors import BadInput, EdgecnnError, RuntimeUnavailable
from edgecnn.serve.app import create_app
from edgecnn.serve.service import Service

# Connections that wait to be accepted.
_BACKLOG = 1024


def bind(host: str, port: int) -> socket.socket:
    """Return a socket on which nothing listens yet: until the model is there, connections are refused.

    Args:
        host: address or name of this machine.
        port: 0 takes any that is free.

    Raises:
        RuntimeUnavailable: the port is in use or not allowed.
        BadInput: no address of this machine.
    """
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        # A port on which connections of an ended server still linger is free.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except (OSError, OverflowError) as error:
        listening.close()
        raise _refused(error, host, port) from None
    return listening


def _refused(error: Exception, host: str, port: int) -> EdgecnnError:
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        free = "--port 0 takes any that is free"
        return RuntimeUnavailable(
            f"port {port} of {host} is in use", free if port == 65535 else f"--port {port + 1}; {free}"
        )
    if number in (errno.EACCES, errno.EPERM):
        return RuntimeUnavailable(f"this user may not listen on port {port} of {host}", "--port 8000")
    return BadInput("host", "--host 127.0.0.1", expected="an address of this machine", got=host)


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def address(listening: socket.socket) -> str:
    """Return the URL of a listening socket."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve_until_ended(
    service: Service, listening: socket.socket, *, on_ready: Callable[[], None] = lambda: None, drain_s: float = 1.0
) -> int:
    """Answer requests until SIGTERM or SIGINT comes, then end in order; return how many requests had no answer then.

    The end: readiness turns false and all goes on for `drain_s`, so that whoever distributes the requests sees it; then no
    more connections are accepted and all requests in flight are answered; then this returns. A second signal does not wait
    for them.

    Args:
        service: the model.
        listening: closed at the end.
        on_ready: called once requests are answered.
        drain_s: seconds.
    """
    config = uvicorn.Config(
        create_app(service),
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        # Whom a proxy speaks for does not matter here.
        proxy_headers=False,
        server_header=False,
        backlog=_BACKLOG,
        ws="none",
        # Longer than a proxy or a pool of connections keeps them open idle.
        timeout_keep_alive=75,
        # What takes longer got its 504 already, or belongs to a client that does not read.
        timeout_graceful_shutdown=max(1, round(service.limits.deadline_s) + 1),
    )
    server = _Server(config, service, on_ready=on_ready, drain_s=drain_s)
    try:
        server.run(sockets=[listening])
    except OSError as error:
        # Another process was between `bind` and listening as well.
        host, port = listening.getsockname()[:2]
        raise _refused(error, host, port) from error
    finally:
        service.ready = False
        service.close()
        listening.close()
    return server.unanswered


class _Server(uvicorn.Server):
    def __init__(
        self, config: uvicorn.Config, service: Service, *, on_ready: Callable[[], None], drain_s: float
    ) -> None:
        super().__init__(config)
        self._service = service
        self._on_ready = on_ready
        self._drain_s = drain_s
        self._end_at_s: float | None = None
        self.unanswered = 0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, then tell."""
        await super().startup(sockets)
        self._service.ready = True
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Wait for the requests in flight, and count those that this gave up on."""
        await super().shutdown(sockets)
        self.unanswered = self._service.in_flight.now

    async def on_tick(self, counter: int) -> bool:
        """Return whether the loop ends; called ten times a second."""
        if self._end_at_s is not None and time.monotonic() >= self._end_at_s:
            self.should_exit = True
        return await super().on_tick(counter)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take SIGTERM and SIGINT as the wish to end; uvicorn would raise them again afterwards."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._end) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _end(self, number: int, frame: FrameType | None) -> None:
        self._service.ready = False
        if self._end_at_s is None:
            self._end_at_s = time.monotonic() + self._drain_s
        else:
            self.should_exit = self.force_exit = True
