"""Requests per second of a real `edgecnn serve` against those of a Batcher that threads of its own process submit to.

    python benchmarks/_serve_load.py MODEL [CLIENTS [SECONDS]]

Both have a process of their own, the same model, options and images, and take turns while the other one waits without
work, so that they see the same machine. The clients are one process with a connection each that stays open; every client
sends its image as soon as it has the answer to the one before. Images are PPM files of the network's size, whose decoding
takes no time: what is compared is HTTP, not decoders. Every answer is held against the label that `classify` gives.
"""

from __future__ import annotations

import json
import re
import selectors
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

import edgecnn
from edgecnn.runtimes.presets import preset_options
from edgecnn.runtimes.threads import usable_threads

# So often each of the two gets its turn.
_TURNS = 6

# Requests before anything is counted: buffers of all batch sizes, caches, the heap.
_WARM_S = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeLoad:
    """What came out.

    Attributes:
        served_per_s: answers per second of the server, median of its turns.
        batched_per_s: answers per second of the Batcher, median of its turns.
        ratio: median over the turns of the ratios of neighbours.
        answered: right answers of the server.
        failed: answers with another status or another label.
        lost: requests whose connection ended without an answer.
        rss_10s_bytes: memory of the server after 10 s under load.
        rss_end_bytes: and at the end.
    """

    served_per_s: float
    batched_per_s: float
    ratio: float
    answered: int
    failed: int
    lost: int
    rss_10s_bytes: int
    rss_end_bytes: int


def compare(path: Path, *, clients: int = 32, seconds: float = 60.0) -> ServeLoad:
    """Return the figures of a model under so many clients; `seconds` is how long the server is under load."""
    images = _images(path, clients)
    turn_s = seconds / _TURNS
    with _server(path) as (process, url), _batcher(path, clients) as batcher, _Clients(url, images) as load:
        load.run(_WARM_S)
        _turn(batcher, _WARM_S)
        before = load.total
        served, batched, rss = [], [], [0, 0]
        under_load_s = 0.0
        for index in range(_TURNS):
            for which in ("served", "batched") if index % 2 else ("batched", "served"):
                if which == "batched":
                    batched.append(_turn(batcher, turn_s))
                    continue
                served.append(load.run(turn_s))
                under_load_s += turn_s
                rss[1] = _rss_bytes(process.pid)
                if under_load_s <= max(10.0, turn_s) or not rss[0]:
                    rss[0] = rss[1]
        total = load.total
    return ServeLoad(
        served_per_s=statistics.median(served),
        batched_per_s=statistics.median(batched),
        ratio=statistics.median(ours / theirs for ours, theirs in zip(served, batched, strict=True)),
        answered=total.answered - before.answered,
        failed=total.failed,
        lost=total.lost,
        rss_10s_bytes=rss[0],
        rss_end_bytes=rss[1],
    )


@dataclass(frozen=True, slots=True)
class _Total:
    answered: int = 0
    failed: int = 0
    lost: int = 0


def _images(path: Path, count: int) -> list[tuple[bytes, str]]:
    """Return PPM files and the labels that they have by `classify`."""
    rng = np.random.default_rng(0)
    with edgecnn.load(path, options=preset_options("shared")) as classifier:
        spec = classifier.artifact.spec.preprocess
        assert spec is not None
        arrays = [rng.integers(0, 256, (*spec.size, spec.channels), np.uint8) for _ in range(count)]
        labels = [classifier.classify(array, top=1)[0].label for array in arrays]
    kind = b"P6" if spec.channels == 3 else b"P5"
    header = b"%s %d %d 255\n" % (kind, spec.size[1], spec.size[0])
    return [(header + array.tobytes(), label) for array, label in zip(arrays, labels, strict=True)]


class _Clients:
    """Connections that stay open, one request on its way on each; one thread, so that the clients cost little."""

    def __init__(self, url: str, images: list[tuple[bytes, str]]) -> None:
        self._address = (urlsplit(url).hostname, urlsplit(url).port)
        self._selector = selectors.DefaultSelector()
        self._answered = self._failed = self._lost = 0
        self._all = [_Client(self._address, image, label) for image, label in images]

    def run(self, seconds: float) -> float:
        """Send as fast as answers come; return right answers per second. All requests have their answer at the end."""
        start = time.perf_counter()
        answered = self._answered
        for client in self._all:
            self._send(client)
        while self._selector.get_map():
            for key, _ in self._selector.select(60):
                self._serve(key.data, go_on=time.perf_counter() - start < seconds)
        return (self._answered - answered) / (time.perf_counter() - start)

    @property
    def total(self) -> _Total:
        """Return what came back so far."""
        return _Total(self._answered, self._failed, self._lost)

    def _send(self, client: _Client) -> None:
        client.begin()
        self._selector.register(client.connection, selectors.EVENT_READ | selectors.EVENT_WRITE, client)

    def _serve(self, client: _Client, *, go_on: bool) -> None:
        try:
            done = client.step()
        except OSError:
            self._selector.unregister(client.connection)
            self._lost += 1
            client.connect()
            return
        if client.sent and not done:
            self._selector.modify(client.connection, selectors.EVENT_READ, client)
        if not done:
            return
        self._selector.unregister(client.connection)
        self._answered += client.right
        self._failed += not client.right
        if go_on:
            self._send(client)

    def __enter__(self) -> _Clients:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._all:
            client.connection.close()
        self._selector.close()


class _Client:
    def __init__(self, address: tuple[Any, Any], image: bytes, label: str) -> None:
        head = (
            f"POST /classify?top=1 HTTP/1.1\r\nHost: {address[0]}\r\nContent-Type: image/x-portable-pixmap\r\n"
            f"Content-Length: {len(image)}\r\n\r\n"
        )
        self._request = head.encode() + image
        self._wanted = f'"label":{json.dumps(label)}'.encode()
        self._address = address
        self.connect()

    def connect(self) -> None:
        self.connection = socket.create_connection(self._address, timeout=60)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection.setblocking(False)

    def begin(self) -> None:
        self._rest = memoryview(self._request)
        self._answer = b""

    @property
    def sent(self) -> bool:
        return not self._rest

    @property
    def right(self) -> bool:
        return self._answer.startswith(b"HTTP/1.1 200 ") and self._wanted in self._answer

    def step(self) -> bool:
        """Send or receive what goes without waiting; return whether the answer is complete."""
        try:
            if self._rest:
                self._rest = self._rest[self.connection.send(self._rest) :]
                return False
            chunk = self.connection.recv(65536)
        except BlockingIOError:
            return False
        if not chunk:
            raise ConnectionResetError
        self._answer += chunk
        head, end, body = self._answer.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        return bool(end and length and len(body) >= int(length[1]))


@contextmanager
def _server(path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "edgecnn", "serve", str(path), "--port", "0"], stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("ready on "):
                yield process, line.split()[-1]
                break
        else:
            raise SystemExit("edgecnn serve did not come up")
    finally:
        process.terminate()
        process.communicate()


@contextmanager
def _batcher(path: Path, submitters: int) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, __file__, "--batcher", str(path), str(submitters)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _turn(batcher: subprocess.Popen[str], seconds: float) -> float:
    assert batcher.stdin is not None
    assert batcher.stdout is not None
    print(seconds, file=batcher.stdin, flush=True)
    return float(batcher.stdout.readline())


def _serve_turns(path: Path, submitters: int) -> None:
    """Be the process with the Batcher: one line in with the seconds of a turn, one line out with answers per second."""
    options = preset_options("shared", max_batch=8)
    images = _images(path, submitters)
    size = [int(number) for number in images[0][0].split(b" ", 3)[1:3]]
    arrays = [
        np.frombuffer(image, np.uint8, -1, image.index(b"\n") + 1).reshape(size[1], size[0], -1) for image, _ in images
    ]
    with (
        edgecnn.load(path, options=options) as classifier,
        edgecnn.Batcher(classifier, workers=usable_threads() // (options.threads or 1)) as batcher,
    ):
        for line in sys.stdin:
            print(_submit(batcher, arrays, float(line)), flush=True)


def _submit(batcher: edgecnn.Batcher, arrays: list[Any], seconds: float) -> float:
    counts = [0] * len(arrays)
    start = time.perf_counter()

    def submitter(index: int) -> None:
        while time.perf_counter() - start < seconds:
            batcher.submit(arrays[index], top=1).result()
            counts[index] += 1

    threads = [threading.Thread(target=submitter, args=(index,)) for index in range(len(arrays))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - start)


def _rss_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def main() -> None:
    if sys.argv[1] == "--batcher":
        _serve_turns(Path(sys.argv[2]), int(sys.argv[3]))
        return
    clients = int(sys.argv[2]) if len(sys.argv) > 2 else 32
    seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 60.0
    print(compare(Path(sys.argv[1]), clients=clients, seconds=seconds))


if __name__ == "__main__":
    main()
