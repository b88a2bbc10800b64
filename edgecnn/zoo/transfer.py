"""Bringing a file over HTTP into a part beside its place: continued where it was broken off, over several connections.

The server's entity tag, in <part>.tag, keeps parts of two versions from being joined (RFC 9110, If-Range).
"""

from __future__ import annotations

import http.client
import ipaddress
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPMessage
from pathlib import Path
from typing import IO, Any

from edgecnn.errors import UnavailableError, UsageError, first_line

OnProgress = Callable[[int, int], None]
"""Called with the bytes that are here and those of the whole file, 0 when unknown."""

LIMIT_BYTES = 2 << 30
"""About four times the largest file that is registered, VGG-19 with batch norm."""

_BLOCK_BYTES = 1 << 18
# What must have come for a broken connection to count as progress rather than as one more failure.
_PROGRESS_BYTES = 1 << 20
# Answers after which the same request may succeed a moment later (RFC 9110, RFC 6585).
_PASSING = (408, 429, 500, 502, 503, 504)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """When a download gives up.

    Attributes:
        timeout_s: without a byte from the server.
        attempts: in a row that brought next to nothing.
        back_off_s: pause after the first of them; doubled after each.
        limit_bytes: longest file that is taken.
        silent_s: wait for another process that fetches the same file before that is said.
        lock_s: wait for it in all.
    """

    timeout_s: float = 30.0
    attempts: int = 5
    back_off_s: float = 0.5
    limit_bytes: int = LIMIT_BYTES
    silent_s: float = 1.0
    lock_s: float = 3600.0


class _Broken(Exception):
    """The connection ended early; what came so far is kept."""


def check_url(url: str) -> None:
    """Raise UsageError unless a URL is https, or http of this machine."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(parts.hostname or "")):
        raise UsageError(f"{url} is not https", "only https is downloaded, and http from this machine itself")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def fetch_part(url: str, part: Path, patience: Patience, on_progress: OnProgress) -> None:
    """Bring the whole file into `part`, over as many connections as it takes; what is there already is kept.

    Raises:
        UnavailableError: offline, refused, not found, given up or too large; what came so far is kept.
    """
    failures, pause = 0, patience.back_off_s
    while True:
        before = _size(part)
        try:
            return _continue(url, part, patience, on_progress)
        except _Broken as error:
            failures += 1
            if _size(part) - before >= _PROGRESS_BYTES:
                failures, pause = 0, patience.back_off_s
            if failures >= patience.attempts:
                raise UnavailableError(f"{url}: given up after {failures} attempts: {error}") from None
        time.sleep(pause)
        pause *= 2


def _continue(url: str, part: Path, patience: Patience, on_progress: OnProgress) -> None:
    """Ask for what is missing and append it.

    Raises:
        _Broken: the connection ended, or timed out, before the file did.
    """
    have = _size(part)
    with _open(url, _headers(part, have), patience.timeout_s) as response:
        if response.status == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            _settle(part, have, response.headers)
            return
        start = _start(response)
        if start not in (0, have):
            part.unlink()
            raise _Broken("the server sent another part than asked for")
        total = _total(response, start)
        if total > patience.limit_bytes:
            raise UnavailableError(f"{url} has {total:,} bytes, allowed are {patience.limit_bytes:,}")
        with part.open("r+b" if start else "wb") as file:
            file.seek(start)
            tag_of(part).write_text(_tag(response.headers), encoding="ascii", errors="replace")
            done = _copy(response, file, start, total, patience.limit_bytes, on_progress)
            os.fsync(file.fileno())
    if total and done < total:
        raise _Broken(f"the connection ended after {done:,} of {total:,} bytes")


def _copy(
    response: http.client.HTTPResponse, file: IO[bytes], done: int, total: int, limit: int, on_progress: OnProgress
) -> int:
    while block := _block(response):
        file.write(block)
        done += len(block)
        if done > limit:
            raise UnavailableError(f"{response.url} has more than the {limit:,} bytes that are allowed")
        on_progress(done, total)
    return done


def _block(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read1(_BLOCK_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(_reason(error)) from None


def _open(url: str, headers: dict[str, str], timeout_s: float) -> Any:
    """Return the response, also where it is that nothing is missing."""
    handlers: list[Any] = [_Redirects()]
    if _is_loopback(urllib.parse.urlsplit(url).hostname or ""):
        handlers.append(urllib.request.ProxyHandler({}))
    opener = urllib.request.build_opener(*handlers)
    try:
        return opener.open(urllib.request.Request(url, headers=headers), timeout=timeout_s)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and "Range" in headers:
            return error
        error.close()
        if error.code in _PASSING:
            raise _Broken(f"the server answers {error.code} {error.reason}") from None
        raise UnavailableError(f"{url}: the server answers {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise UnavailableError(f"{url} cannot be reached: {_reason(error.reason)}") from None
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(_reason(error)) from None


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirections to https only, or within this machine."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        """Return the request that follows, as the standard library makes it."""
        try:
            check_url(newurl)
        except UsageError as error:
            raise UnavailableError(f"{req.full_url} leads elsewhere: {error.message}") from None
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _headers(part: Path, have: int) -> dict[str, str]:
    headers = {"User-Agent": "edgecnn", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        tag = tag_of(part)
        if tag.exists() and (text := tag.read_text(encoding="ascii", errors="replace")):
            headers["If-Range"] = text
    return headers


def _tag(headers: HTTPMessage) -> str:
    """Return the strong entity tag, empty without one: a weak one cannot stand in If-Range (RFC 9110, 13.1.5)."""
    tag = str(headers.get("ETag", ""))
    return tag if tag.startswith('"') else ""


def tag_of(part: Path) -> Path:
    """Return where the entity tag of a part is kept."""
    return part.with_name(f"{part.name}.tag")


def _start(response: http.client.HTTPResponse) -> int:
    """Return the position in the file that the body begins at."""
    if response.status != http.HTTPStatus.PARTIAL_CONTENT:
        return 0
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(match[1]) if match else -1


def _total(response: http.client.HTTPResponse, start: int) -> int:
    """Return the bytes of the whole file, 0 when the server does not say."""
    length = response.headers.get("Content-Length", "")
    return start + int(length) if length.isdigit() else 0


def _settle(part: Path, have: int, headers: HTTPMessage) -> None:
    """Keep a part that is the whole file already; begin again with one that is longer."""
    match = re.fullmatch(r"bytes \*/(\d+)", headers.get("Content-Range", ""))
    if match is None or int(match[1]) != have:
        part.unlink()
        raise _Broken("the part was longer than the file")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _reason(error: object) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return first_line(error) if isinstance(error, BaseException) else str(error)
