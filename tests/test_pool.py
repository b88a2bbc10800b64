"""Copies that are lent to one user at a time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import edgecnn
from edgecnn.errors import BadInput, Overloaded
from edgecnn.runtimes.base import Array, Feeds
from edgecnn.testing.fakes import FakeSession
from edgecnn.testing.models import TINY, read_reference

FEEDS = {"x": np.zeros((1, 3), np.float32)}
SOON_S = 10


class Serialising(FakeSession):
    """A session that only one thread may be in, as a TensorRT context."""

    def __init__(self) -> None:
        super().__init__(lambda: None)
        self.closed = 0
        self._inside = threading.Lock()

    def _run(self, feeds: Feeds) -> dict[str, Array]:
        assert self._inside.acquire(blocking=False), "two threads at once"
        try:
            threading.Event().wait(0.001)
            return super()._run(feeds)
        finally:
            self._inside.release()

    def _close(self) -> None:
        assert self._inside.acquire(blocking=False), "closed during a run"
        self.closed += 1


def test_a_copy_has_one_user_at_a_time_and_all_are_used() -> None:
    made: list[Serialising] = []

    def factory() -> Serialising:
        made.append(Serialising())
        return made[-1]

    with edgecnn.Pool(factory, 3) as pool, ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: pool.run(FEEDS), range(60)))
        assert pool.idle == pool.size == len(made) == 3
        assert pool.inputs == made[0].inputs
        assert pool.outputs == made[0].outputs
        assert pool.info() == made[0].info()
    assert sum(len(one.feeds) for one in made) == 60
    assert all(one.feeds for one in made)
    assert [one.closed for one in made] == [1, 1, 1]


def test_copies_are_made_one_after_the_other_over_all_pools() -> None:
    inside = threading.Lock()

    def factory() -> Serialising:
        assert inside.acquire(blocking=False), "two creations at once"
        threading.Event().wait(0.002)
        inside.release()
        return Serialising()

    with ThreadPoolExecutor(4) as threads:
        for pool in [threads.submit(edgecnn.Pool, factory, 3) for _ in range(4)]:
            pool.result().close()


def test_when_one_cannot_be_made_the_others_are_closed() -> None:
    made: list[Serialising] = []

    def factory() -> Serialising:
        if len(made) == 2:
            raise BadInput("the third")
        made.append(Serialising())
        return made[-1]

    with pytest.raises(BadInput, match="the third"):
        edgecnn.Pool(factory, 3)
    assert [one.closed for one in made] == [1, 1]


def test_nobody_waits_longer_than_asked() -> None:
    with edgecnn.Pool(Serialising, 1) as pool, pool.lend():
        for timeout_s in (0, 0.01):
            with (
                pytest.raises(Overloaded, match="all 1 copies of the model were in use"),
                pool.lend(timeout_s=timeout_s),
            ):
                pass


def test_a_copy_comes_back_after_an_error() -> None:
    with edgecnn.Pool(Serialising, 1) as pool:
        with pytest.raises(BadInput):
            pool.run({})
        pool.run(FEEDS)


def test_close_waits_for_lent_copies_and_turns_waiters_away() -> None:
    one = Serialising()
    pool = edgecnn.Pool(lambda: one, 1)
    with ThreadPoolExecutor(3) as threads:
        with pool.lend():
            waiter = threads.submit(pool.run, FEEDS)
            closers = [threads.submit(pool.close) for _ in range(2)]
            with pytest.raises(RuntimeError, match="this pool is closed"):
                waiter.result(SOON_S)
            assert one.closed == 0
        for closer in closers:
            closer.result(SOON_S)
    assert one.closed == 1
    for call in (lambda: pool.run(FEEDS), lambda: pool.classify(np.zeros((8, 8), np.uint8))):
        with pytest.raises(RuntimeError, match="this pool is closed"):
            call()


def test_a_holder_that_closes_is_told_instead_of_waiting_for_itself() -> None:
    with edgecnn.Pool(Serialising, 1) as pool, pool.lend(), pytest.raises(RuntimeError, match="cannot be closed by"):
        pool.close()


@pytest.mark.parametrize("size", [0, -1])
def test_a_pool_has_at_least_one_copy(size: int) -> None:
    with pytest.raises(BadInput, match="size: expected at least 1"):
        edgecnn.Pool(Serialising, size)


def test_options_of_load_belong_to_a_file() -> None:
    with pytest.raises(BadInput, match="none beside a callable, got backend"):
        edgecnn.Pool(Serialising, 1, backend="cpu")


@pytest.mark.parametrize("path", [TINY, str(TINY)], ids=["path", "text"])
def test_a_file_is_opened_as_load_does(path: Path | str) -> None:
    pytest.importorskip("onnxruntime")
    images = list(np.random.default_rng(0).integers(0, 256, (12, 8, 8, 1), np.uint8))
    reference = read_reference()
    with edgecnn.Pool(path, 2, options=edgecnn.OpenOptions(threads=1)) as pool, edgecnn.load(TINY) as single:
        assert pool.info().threads == 1
        assert pool.artifact.spec.network == "tiny"
        np.testing.assert_allclose(pool.run({"input": reference["input"]})["logits"], reference["logits"], atol=1e-5)
        with ThreadPoolExecutor(4) as threads:
            assert list(threads.map(pool.classify, images)) == [single.classify(image) for image in images]
