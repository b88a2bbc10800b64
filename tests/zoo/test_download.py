"""Downloading against a real server on this machine: whole, in parts, and everything that goes wrong on the way."""

from __future__ import annotations

import hashlib
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from edgecnn.errors import BadInput, Contradiction, UnavailableError, UsageError
from edgecnn.zoo import find, make_form
from edgecnn.zoo.choice import choose_form
from edgecnn.zoo.download import Patience, cache_folder, download, file_name
from edgecnn.zoo.published import fetch_published, published_file, published_files

Run = Callable[..., "subprocess.CompletedProcess[str]"]

ROOT = Path(__file__).parents[2]
CONTENT = bytes(range(256)) * 12_000  # 3 MB: longer than what counts as progress
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NAME = "net-0123abcd.pth"
HASTY = Patience(timeout_s=5, attempts=3, back_off_s=0.01)


@dataclass
class Server:
    """What a server does, and what it was asked.

    Attributes:
        content: of the file.
        etag: of the file, sent and compared; empty for none.
        ranges: answers to Range.
        status: an answer of that status instead of the file.
        stated: added to the Content-Length that is sent.
        breaks: number of answers that end, or stall, in the middle.
        stall_s: an answer that breaks waits that long first.
        redirect: leads there.
    """

    content: bytes = CONTENT
    etag: str = '"one"'
    ranges: bool = True
    status: int = 200
    stated: int = 0
    breaks: int = 0
    stall_s: float = 0
    redirect: str = ""
    asked: list[dict[str, str]] = field(default_factory=list)
    url: str = ""


class Handler(BaseHTTPRequestHandler):
    """Answers as the server's `behaviour` says."""

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        behaviour: Server = self.server.behaviour  # type: ignore[attr-defined]
        behaviour.asked.append(dict(self.headers.items()))
        if behaviour.redirect or behaviour.status != 200:
            self.send_response(302 if behaviour.redirect else behaviour.status)
            if behaviour.redirect:
                self.send_header("Location", behaviour.redirect)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self._answer(behaviour, self._start(behaviour))

    def _start(self, behaviour: Server) -> int:
        wanted = self.headers.get("Range")
        if not wanted or not behaviour.ranges or self.headers.get("If-Range", behaviour.etag) != behaviour.etag:
            return 0
        return int(wanted.removeprefix("bytes=").rstrip("-"))

    def _answer(self, behaviour: Server, start: int) -> None:
        length = len(behaviour.content)
        if start >= length:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{length}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = behaviour.content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{length - 1}/{length}")
        if behaviour.etag:
            self.send_header("ETag", behaviour.etag)
        self.send_header("Content-Length", str(len(body) + behaviour.stated))
        self.end_headers()
        if behaviour.breaks:
            behaviour.breaks -= 1
            body = body[: len(body) // 2]
        try:
            self.wfile.write(body)
            self.wfile.flush()
            time.sleep(behaviour.stall_s)
        except OSError:
            pass


@contextmanager
def serving(**options: Any) -> Iterator[Server]:
    """Yield a server that runs on a free port of this machine."""
    behaviour = Server(**options)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.behaviour = behaviour  # type: ignore[attr-defined]
        behaviour.url = f"http://127.0.0.1:{server.server_port}/models/{NAME}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield behaviour
        finally:
            server.shutdown()
            thread.join()


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def entries(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()} - {f"{NAME}.lock"}


def test_a_whole_file_comes_once_with_its_progress(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    with serving() as server:
        for _ in range(2):
            path = download(
                server.url, SHA256[:8], tmp_path / "new", on_progress=lambda *step: seen.append(step), patience=HASTY
            )
        assert len(server.asked) == 1
    assert path == tmp_path / "new" / NAME
    assert path.read_bytes() == CONTENT
    assert entries(path.parent) == {NAME}
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert seen == sorted(seen)


def test_a_part_is_continued_where_it_ends(tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT[:1000])
    (tmp_path / f"{NAME}.part.tag").write_text('"one"')
    seen: list[tuple[int, int]] = []
    with serving() as server:
        path = download(server.url, SHA256, tmp_path, on_progress=lambda *step: seen.append(step), patience=HASTY)
        assert (server.asked[0]["Range"], server.asked[0]["If-Range"]) == ("bytes=1000-", '"one"')
    assert path.read_bytes() == CONTENT
    assert entries(tmp_path) == {NAME}
    assert 1000 < seen[0][0] <= seen[0][1] == len(CONTENT)


@pytest.mark.parametrize(
    ("options", "tag"),
    [({"ranges": False}, '"one"'), ({"etag": '"two"'}, '"one"'), ({"etag": ""}, "")],
    ids=["no ranges", "another version", "no tag"],
)
def test_a_part_that_cannot_be_continued_is_begun_again(tmp_path: Path, options: dict[str, Any], tag: str) -> None:
    same = "etag" in options and not options["etag"]
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT[:1000] if same else b"x" * 1000)
    (tmp_path / f"{NAME}.part.tag").write_text(tag)
    with serving(**options) as server:
        path = download(server.url, SHA256[:8], tmp_path, patience=HASTY)
        assert server.asked[0].get("If-Range", "") == tag
    assert path.read_bytes() == CONTENT
    assert entries(tmp_path) == {NAME}


@pytest.mark.parametrize("excess", [0, 10])
def test_a_part_as_long_as_the_file_is_taken_and_a_longer_one_is_not(tmp_path: Path, excess: int) -> None:
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT + b"x" * excess)
    with serving() as server:
        assert download(server.url, SHA256[:8], tmp_path, patience=HASTY).read_bytes() == CONTENT
        assert len(server.asked) == (2 if excess else 1)
    assert entries(tmp_path) == {NAME}


def test_a_broken_connection_is_taken_up_again(tmp_path: Path) -> None:
    with serving(breaks=3) as server:
        assert download(server.url, SHA256[:8], tmp_path, patience=HASTY).read_bytes() == CONTENT
        ranges = [asked.get("Range", "") for asked in server.asked]
    half = len(CONTENT) // 2
    assert ranges[:3] == ["", f"bytes={half}-", f"bytes={half + half // 2}-"]
    assert len(ranges) == 4


def test_a_file_that_is_shorter_than_stated_is_given_up_and_kept(tmp_path: Path) -> None:
    said = "given up after 3 attempts: the connection ended after 3,072,000 of 3,072,100 bytes"
    with serving(stated=100, ranges=False) as server, pytest.raises(UnavailableError, match=said):
        download(server.url, SHA256[:8], tmp_path, patience=HASTY)
    assert entries(tmp_path) == {f"{NAME}.part", f"{NAME}.part.tag"}
    assert (tmp_path / f"{NAME}.part").read_bytes() == CONTENT


def test_a_file_that_is_longer_than_stated_has_the_wrong_hash(tmp_path: Path) -> None:
    with serving(stated=-100) as server, pytest.raises(BadInput, match="SHA-256 of net"):
        download(server.url, SHA256[:8], tmp_path, patience=HASTY)
    assert not entries(tmp_path) & {NAME, f"{NAME}.part"}


def test_a_wrong_hash_is_said_and_the_file_removed(tmp_path: Path) -> None:
    with serving(content=b"something else") as server, pytest.raises(BadInput) as caught:
        download(server.url, "0123abcd", tmp_path, patience=HASTY)
    found = hashlib.sha256(b"something else").hexdigest()
    assert (caught.value.expected, caught.value.got) == ("0123abcd...", f"{found[:8]}...")
    assert server.url in caught.value.message
    assert not entries(tmp_path) & {NAME, f"{NAME}.part"}


def test_a_file_in_the_cache_that_is_another_is_neither_used_nor_removed(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(CONTENT[:-1])
    found = hashlib.sha256(CONTENT[:-1]).hexdigest()
    with serving() as server:
        for _ in range(2):
            with pytest.raises(BadInput) as caught:
                download(server.url, SHA256[:8], tmp_path, patience=HASTY)
            assert (caught.value.expected, caught.value.got) == (f"{SHA256[:8]}...", f"{found[:8]}...")
            assert str(tmp_path / NAME) in caught.value.message
            assert "move it away" in caught.value.hint
            assert (tmp_path / NAME).read_bytes() == CONTENT[:-1]
        assert not server.asked
        (tmp_path / NAME).rename(tmp_path / "mine.pth")
        assert download(server.url, SHA256[:8], tmp_path, patience=HASTY).read_bytes() == CONTENT
    assert (tmp_path / "mine.pth").read_bytes() == CONTENT[:-1]


@contextmanager
def holding(lock: Path) -> Iterator[subprocess.Popen[str]]:
    """Have another process hold a lock while the block runs, or until it is ended."""
    code = (
        "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print('held'); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-u", "-c", code, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.slow
def test_waiting_for_another_process_is_said_once_and_ends(tmp_path: Path) -> None:
    said: list[str] = []
    patience = replace(HASTY, silent_s=0.05, lock_s=30)
    with serving() as server, holding(tmp_path / f"{NAME}.lock") as other:

        def on_wait(line: str) -> None:
            said.append(line)
            threading.Timer(0.3, other.kill).start()

        path = download(server.url, SHA256[:8], tmp_path, on_wait=on_wait, patience=patience)
    assert path.read_bytes() == CONTENT
    assert said == [f"another process is downloading {NAME}: waiting for it at most 30 s"]


@pytest.mark.slow
def test_a_process_that_never_ends_is_not_waited_for_without_end(tmp_path: Path) -> None:
    lock = tmp_path / f"{NAME}.lock"
    patience = replace(HASTY, silent_s=0.05, lock_s=0.3)
    with (
        serving() as server,
        holding(lock),
        pytest.warns(UserWarning, match=f"another process is downloading {NAME}"),
        pytest.raises(UnavailableError, match="held by another process") as caught,
    ):
        download(server.url, SHA256[:8], tmp_path, patience=patience)
    assert str(lock) in caught.value.message
    assert not server.asked


def test_a_slow_server_is_given_up(tmp_path: Path) -> None:
    said = "given up after 2 attempts: no answer in time"
    patience = Patience(timeout_s=0.1, attempts=2, back_off_s=0.01)
    with serving(breaks=9, stall_s=0.5, content=CONTENT[:1000]) as server, pytest.raises(UnavailableError, match=said):
        download(server.url, SHA256[:8], tmp_path, patience=patience)
    assert (tmp_path / f"{NAME}.part").read_bytes() == CONTENT[:750]


@pytest.mark.parametrize(("status", "times"), [(404, 1), (403, 1), (503, 3)])
def test_a_refusal_is_said_and_only_a_passing_one_is_asked_again(tmp_path: Path, status: int, times: int) -> None:
    with serving(status=status) as server:
        with pytest.raises(UnavailableError, match=f"the server answers {status}"):
            download(server.url, SHA256[:8], tmp_path, patience=HASTY)
        assert len(server.asked) == times
    assert entries(tmp_path) == set()


def test_a_refused_connection_is_said_at_once(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{closed_port()}/{NAME}"
    with pytest.raises(UnavailableError, match=f"{url} cannot be reached: Connection refused") as caught:
        download(url, SHA256[:8], tmp_path)
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("stated", [0, -len(CONTENT) + 50])
def test_a_file_above_the_limit_is_not_taken(tmp_path: Path, stated: int) -> None:
    patience = Patience(limit_bytes=len(CONTENT) - 1 if not stated else 49)
    said = rf"bytes, allowed are {patience.limit_bytes:,}"
    with serving(stated=stated) as server, pytest.raises(UnavailableError, match=said):
        download(server.url, SHA256[:8], tmp_path, patience=patience)


@pytest.mark.parametrize("url", ["http://example.org/a.pth", "ftp://127.0.0.1/a.pth", "file:///etc/passwd"])
def test_only_https_leaves_this_machine(tmp_path: Path, url: str) -> None:
    with pytest.raises(UsageError, match="is not https"):
        download(url, SHA256[:8], tmp_path)


def test_a_redirection_must_be_https_as_well(tmp_path: Path) -> None:
    said = r"leads elsewhere: http://example\.org/a\.pth is not https"
    with serving(redirect="http://example.org/a.pth") as server, pytest.raises(UnavailableError, match=said):
        download(server.url, SHA256[:8], tmp_path, patience=HASTY)
    with serving() as target, serving(redirect=target.url) as server:
        assert download(server.url, SHA256[:8], tmp_path, patience=HASTY).read_bytes() == CONTENT


@pytest.mark.parametrize("path", ["", "a/..", "%2e%2e%2fa", ".hidden", "a%00b"])
def test_a_url_without_a_safe_name_is_refused(path: str) -> None:
    with pytest.raises(UsageError, match="does not end in the name of a file"):
        file_name(f"https://example.org/{path}")


def test_a_folder_that_cannot_be_written_to_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UnavailableError, match="cannot write"):
        download(f"http://127.0.0.1:1/{NAME}", SHA256[:8], tmp_path / "file" / "cache")


FETCH = """
import sys
from pathlib import Path
from edgecnn.zoo.download import download
print("ready", flush=True)
print(download(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
"""


def fetching(url: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", FETCH, url, SHA256[:8], str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def test_processes_at_once_fetch_one_file_once(tmp_path: Path) -> None:
    with serving(stall_s=0.3) as server:
        processes = [fetching(server.url, tmp_path) for _ in range(3)]
        outputs = [process.communicate(timeout=60) for process in processes]
        assert [process.returncode for process in processes] == [0, 0, 0], outputs
        assert len(server.asked) == 1
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert entries(tmp_path) == {NAME}


def test_an_interrupted_download_keeps_its_part(tmp_path: Path) -> None:
    part = tmp_path / f"{NAME}.part"
    with serving(breaks=1, stall_s=3) as server:
        process = fetching(server.url, tmp_path)
        deadline = time.perf_counter() + 30
        while not (part.exists() and part.stat().st_size) and time.perf_counter() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
        assert "KeyboardInterrupt" in said
        kept = part.stat().st_size
        assert 0 < kept < len(CONTENT)
        server.stall_s = 0
        assert download(server.url, SHA256[:8], tmp_path, patience=HASTY).read_bytes() == CONTENT
        assert server.asked[-1]["Range"] == f"bytes={kept}-"


def test_the_cache_is_where_the_desktop_specification_has_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "edgecnn" / "weights"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == Path.home() / ".cache" / "edgecnn" / "weights"


def test_published_weights_are_found_by_form() -> None:
    network = find("squeezenet1_1")
    form, source = choose_form(network, "imagenet")
    assert (form, source) == (make_form(network), "imagenet")
    assert published_file(form).sha256_prefix == "b8a52dc0"
    at_160, _ = choose_form(network, "imagenet", input_size=160)
    assert published_file(at_160).sha256_prefix == "b8a52dc0"
    for options in ({"classes": 10}, {"channels": 1}):
        with pytest.raises(
            Contradiction, match="published weights of squeezenet1_1 are for squeezenet1_1 with 3 channels"
        ):
            choose_form(network, "imagenet", **options)
    with pytest.raises(Contradiction, match="are for resnet50 with"):
        choose_form("resnet50", "imagenet", stride_in="1x1")


def test_files_without_a_hash_are_not_downloaded() -> None:
    assert any(row.weights_url for row in find("mobilenet_v1").published)
    assert published_files(find("mobilenet_v1")) == ()
    with pytest.raises(UsageError, match="no published weights file is registered for mobilenet_v1"):
        choose_form("mobilenet_v1", "imagenet")


def test_a_file_that_was_put_into_the_cache_by_hand_needs_no_network(tmp_path: Path) -> None:
    row = published_file(make_form("squeezenet1_1"))
    path = tmp_path / file_name(row.weights_url)
    path.write_bytes(b"not the published file")
    with pytest.raises(BadInput, match="expected b8a52dc0"):
        fetch_published(make_form("squeezenet1_1"), folder=tmp_path)
    assert path.read_bytes() == b"not the published file"


PLUGIN = """
from edgecnn.zoo import find, make_form
from edgecnn.zoo.network import Published
from dataclasses import replace
base = find("squeezenet1_1")
form = replace(make_form(base), network="theirs")
row = Published(id="theirs", form=form, weights_url="http://127.0.0.1:{port}/theirs.pth", sha256_prefix="0123abcd")
theirs = replace(base, name="theirs", aliases=(), published=(row,), bundled=None)
"""


def test_the_command_says_offline_what_else_there_is(
    run_edgecnn: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = closed_port()
    (tmp_path / "theirplugin.py").write_text(PLUGIN.format(port=port))
    info = tmp_path / "theirplugin-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirplugin\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[edgecnn.networks]\ntheirs = theirplugin:theirs\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    done = run_edgecnn("export", "theirs", "--weights", "imagenet")
    assert done.returncode == 4, done.stderr
    assert f"error: http://127.0.0.1:{port}/theirs.pth cannot be reached: Connection refused" in done.stderr
    hint = next(line for line in done.stderr.splitlines() if line.startswith("hint: "))
    assert "choose --weights random or FILE; of the SqueezeNet family, squeezenet1_1 has bundled weights" in hint
    assert f"put the file at {tmp_path / 'cache' / 'edgecnn' / 'weights' / 'theirs.pth'}" in hint
    assert "Traceback" not in done.stderr
