"""What every session does, whatever its engine."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from edgecnn.errors import BadInput
from edgecnn.runtimes.base import Array, Feeds, OpenOptions, Session
from edgecnn.specs import EngineInfo


class _Counted(Session):
    """Counts how often its engine is released; whoever looks whether it is closed loses time."""

    def __init__(self) -> None:
        self.released = 0
        super().__init__((), ())

    @property
    def _closed(self) -> bool:
        was = self._value
        time.sleep(0.02)
        return was

    @_closed.setter
    def _closed(self, value: bool) -> None:
        self._value = value

    def _run(self, feeds: Feeds) -> dict[str, Array]:
        return {}

    def _info(self) -> EngineInfo:
        return EngineInfo(backend="fake", engine="fake", engine_version="1")

    def _close(self) -> None:
        self.released += 1


def test_threads_that_close_at_once_release_the_engine_once() -> None:
    session = _Counted()
    with ThreadPoolExecutor(8) as threads:
        for _ in range(8):
            threads.submit(session.close)
    assert session.released == 1


def test_a_session_says_what_it_is_and_whether_it_is_closed() -> None:
    session = _Counted()
    assert repr(session) == "<_Counted on fake (fake 1)>"
    session.close()
    assert repr(session) == "<_Counted, closed>"
    half_made = _Counted.__new__(_Counted)
    assert repr(half_made) == "<_Counted>"


def test_a_cache_folder_is_a_path() -> None:
    with pytest.raises(BadInput, match=r"cache_folder: expected a pathlib\.Path, got str"):
        OpenOptions(cache_folder="cache")  # type: ignore[arg-type]
