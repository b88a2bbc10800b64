"""Requests of many threads in batches: everyone gets the answer to their own question, once."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np
import pytest

import edgecnn
from edgecnn.artifacts import load_artifact
from edgecnn.batcher import Batcher, BatcherStats
from edgecnn.classifier import Classifier
from edgecnn.errors import BadInput, DeadlineExceeded, EdgecnnError, InferenceError, Overloaded
from edgecnn.runtimes.base import Array, Feeds, Session
from edgecnn.specs import EngineInfo, TensorSpec
from edgecnn.testing.models import TINY, TINY_BATCH1, read_reference

SOON_S = 20
LONG_MS = 60_000.0


class Doubling(Session):
    """Answers [N, 3] with its double; waits while the gate is closed; fails on a NaN."""

    def __init__(self, batch: int | str = "N") -> None:
        super().__init__(
            (TensorSpec(name="x", dtype="float32", shape=(batch, 3)),),
            (TensorSpec(name="y", dtype="float32", shape=(batch, 3)),),
        )
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.batches: list[Array] = []

    def _run(self, feeds: Feeds) -> dict[str, Array]:
        self.batches.append(feeds["x"].copy())
        self.entered.set()
        assert self.gate.wait(SOON_S)
        if np.isnan(feeds["x"]).any():
            raise InferenceError("a NaN")
        return {"y": feeds["x"] * 2}

    def _info(self) -> EngineInfo:
        return EngineInfo(backend="fake", engine="fake", engine_version="1")


@pytest.fixture
def session() -> Iterator[Doubling]:
    session = Doubling()
    yield session
    session.gate.set()


class Standing(Doubling):
    """Takes what TINY takes and answers with zeros."""

    def __init__(self) -> None:
        super().__init__()
        artifact = load_artifact(TINY)
        self.inputs, self.outputs = artifact.spec.inputs, artifact.spec.outputs

    def _run(self, feeds: Feeds) -> dict[str, Array]:
        super()._run({"x": feeds["input"]})
        return {"logits": np.zeros((len(feeds["input"]), 3), np.float32)}


def classifier(session: Session) -> Classifier:
    return Classifier(load_artifact(TINY), session)


def row(value: float, rows: int = 1) -> dict[str, Array]:
    return {"x": np.full((rows, 3), value, np.float32)}


def busy(batcher: Batcher, session: Doubling) -> Future[dict[str, Array]]:
    """Let the only worker stand in a run until the gate opens."""
    session.gate.clear()
    session.entered.clear()
    future = batcher.submit_feeds(row(-1))
    assert session.entered.wait(SOON_S)
    return future


def until(condition: Callable[[], bool]) -> None:
    # Sooner than a closed gate gives up.
    end = time.monotonic() + SOON_S / 2
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def balanced(stats: BatcherStats) -> bool:
    parts = (stats.queued, stats.running, stats.answered, stats.failed, stats.expired, stats.cancelled)
    return stats.submitted == sum(parts)


def test_images_get_the_predictions_of_classify(lenet5: Path) -> None:
    images = list(np.random.default_rng(0).integers(0, 256, (24, 28, 28, 1), np.uint8))
    with edgecnn.load(lenet5) as single, Batcher(single, max_batch=4, max_wait_ms=5) as batcher:
        futures = [batcher.submit(image, top=3) for image in images]
        for image, future in zip(images, futures, strict=True):
            wanted = single.classify(image, top=3)
            got = future.result(SOON_S)
            assert [one.label for one in got] == [one.label for one in wanted]
            assert [one.probability for one in got] == pytest.approx([one.probability for one in wanted], rel=1e-4)
        assert batcher.stats().answered == 24
        assert batcher.stats().batches < 24


@pytest.mark.parametrize("path", [TINY, TINY_BATCH1], ids=["free", "fixed"])
def test_an_image_may_be_changed_as_soon_as_it_is_submitted(path: Path) -> None:
    images = np.random.default_rng(3).integers(0, 256, (6, 8, 8, 1), np.uint8)
    camera = np.empty((8, 8, 1), np.uint8)
    with edgecnn.load(path) as single, Batcher(single, max_wait_ms=50) as batcher:
        futures = []
        for image in images:
            camera[...] = image
            futures.append(batcher.submit(camera, top=1))
        for image, future in zip(images, futures, strict=True):
            (wanted,) = single.classify(image, top=1)
            (got,) = future.result(SOON_S)
            assert (got.label, got.probability) == (wanted.label, pytest.approx(wanted.probability, rel=1e-5))


@pytest.mark.parametrize("path", [TINY, TINY_BATCH1], ids=["free", "fixed"])
def test_prepared_rows_get_the_models_outputs(path: Path) -> None:
    reference = read_reference()
    with edgecnn.load(path) as single, Batcher(single) as batcher:
        futures = [batcher.submit_feeds({"input": one[None]}) for one in reference["input"]]
        logits = np.concatenate([future.result(SOON_S)["logits"] for future in futures])
    np.testing.assert_allclose(logits, reference["logits"], atol=1e-5)


def test_a_pool_runs_batches_side_by_side() -> None:
    images = list(np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), np.uint8))
    with edgecnn.Pool(TINY, 2) as pool, Batcher(pool, workers=2, max_batch=2, max_wait_ms=0) as batcher:
        futures = [batcher.submit(image, block_s=None) for image in images]
        answers = [[one.label for one in future.result(SOON_S)] for future in futures]
        assert answers == [[one.label for one in pool.classify(image)] for image in images]


def test_a_batch_leaves_when_it_is_full(session: Doubling) -> None:
    with Batcher(classifier(session), max_batch=3, max_wait_ms=LONG_MS) as batcher:
        futures = [batcher.submit_feeds(row(i)) for i in range(3)]
        assert [future.result(SOON_S)["y"].tolist() for future in futures] == [[[2.0 * i] * 3] for i in range(3)]
    assert [len(batch) for batch in session.batches] == [3]


def test_a_batch_leaves_when_its_oldest_has_waited(session: Doubling) -> None:
    with Batcher(classifier(session), max_batch=3, max_wait_ms=20) as batcher:
        start = time.monotonic()
        batcher.submit_feeds(row(1)).result(SOON_S)
        assert time.monotonic() - start >= 0.02
        assert batcher.stats().longest_wait_ms >= 20


def test_a_request_waits_for_company_at_most_half_of_its_deadline(session: Doubling) -> None:
    with Batcher(classifier(session), max_wait_ms=LONG_MS) as batcher:
        assert batcher.submit_feeds(row(1), deadline_s=0.4).result(SOON_S)["y"][0, 0] == 2


def test_what_comes_during_a_run_leaves_together_after_it(session: Doubling) -> None:
    with Batcher(classifier(session), max_batch=8, max_wait_ms=0) as batcher:
        first = busy(batcher, session)
        futures = [batcher.submit_feeds(row(i, rows)) for i, rows in enumerate((1, 3, 2))]
        session.gate.set()
        assert [len(future.result(SOON_S)["y"]) for future in (first, *futures)] == [1, 1, 3, 2]
        stats = batcher.stats()
    assert [len(batch) for batch in session.batches] == [1, 6]
    assert (stats.sizes, stats.mean_batch, stats.batches) == ({1: 1, 6: 1}, 3.5, 2)
    with pytest.raises(TypeError):
        stats.sizes[1] = 7  # type: ignore[index]


def test_short_batches_of_a_fixed_size_are_filled_up() -> None:
    session = Doubling(4)
    with Batcher(classifier(session), max_batch=8, max_wait_ms=0) as batcher:
        assert batcher.max_batch == 4
        assert batcher.submit_feeds(row(1, 2)).result(SOON_S)["y"].tolist() == [[2.0] * 3] * 2
        assert batcher.submit_feeds(row(2, 4)).result(SOON_S)["y"].shape == (4, 3)
    assert [batch.shape for batch in session.batches] == [(4, 3), (4, 3)]


def test_a_full_queue_refuses_at_once_or_after_a_while(session: Doubling) -> None:
    with Batcher(classifier(session), queue_size=2, max_wait_ms=0) as batcher:
        busy(batcher, session)
        waiting = [batcher.submit_feeds(row(i)) for i in range(2)]
        for call in (
            lambda: batcher.submit_feeds(row(9)),
            lambda: batcher.submit_feeds(row(9), block_s=0.01),
            lambda: batcher.submit_feeds(row(9), block_s=None, deadline_s=0.01),
            lambda: batcher.submit(np.zeros((8, 8), np.uint8)),
        ):
            with pytest.raises(Overloaded, match="the queue is full: 2 requests in it"):
                call()
        with ThreadPoolExecutor(1) as threads:
            blocked = threads.submit(batcher.submit_feeds, row(3), block_s=None)
            session.gate.set()
            assert blocked.result(SOON_S).result(SOON_S)["y"][0, 0] == 6
        wait(waiting, SOON_S)
        assert batcher.stats().refused == 4
        assert batcher.stats().submitted == 4


def test_what_is_cancelled_or_late_makes_room_at_once(session: Doubling) -> None:
    with Batcher(classifier(session), queue_size=2, max_wait_ms=0) as batcher:
        busy(batcher, session)
        unwanted, late = batcher.submit_feeds(row(1)), batcher.submit_feeds(row(2), deadline_s=0.001)
        assert unwanted.cancel()
        time.sleep(0.002)
        futures = [batcher.submit_feeds(row(3)) for _ in range(2)]
        with pytest.raises(DeadlineExceeded, match=r"no run began within 0\.001 s"):
            late.result(0)
        session.gate.set()
        wait(futures, SOON_S)
    assert [batch[0, 0] for batch in session.batches] == [-1, 3]
    assert (batcher.stats().cancelled, batcher.stats().expired) == (1, 1)


def test_a_full_queue_of_images_that_nobody_wants_takes_others() -> None:
    session = Standing()
    image = np.zeros((8, 8), np.uint8)
    with Batcher(classifier(session), queue_size=1, max_wait_ms=0) as batcher:
        session.gate.clear()
        batcher.submit(image)
        assert session.entered.wait(SOON_S)
        assert batcher.submit(image).cancel()
        wanted = batcher.submit(image)
        session.gate.set()
        assert len(wanted.result(SOON_S)) == 3


def test_what_a_batch_leaves_behind_goes_to_another_worker(session: Doubling) -> None:
    session.gate.clear()
    with Batcher(classifier(session), max_batch=2, max_wait_ms=LONG_MS, workers=2) as batcher:
        batcher.submit_feeds(row(1))
        time.sleep(0.05)  # until both workers wait, one of them for the first request to be due
        batcher.submit_feeds(row(2, 2))
        try:
            until(lambda: len(session.batches) == 2)
        finally:
            session.gate.set()


def test_late_and_cancelled_requests_are_never_run(session: Doubling) -> None:
    with Batcher(classifier(session), max_wait_ms=0) as batcher:
        busy(batcher, session)
        late = batcher.submit_feeds(row(1), deadline_s=0.001)
        unwanted = batcher.submit_feeds(row(2))
        good = batcher.submit_feeds(row(3), deadline_s=SOON_S)
        unwanted.cancel()
        time.sleep(0.002)
        session.gate.set()
        assert good.result(SOON_S)["y"][0, 0] == 6
        with pytest.raises(DeadlineExceeded):
            late.result(SOON_S)
        with pytest.raises(CancelledError):
            unwanted.result(SOON_S)
    assert [batch.tolist() for batch in session.batches] == [[[-1.0] * 3], [[3.0] * 3]]


@pytest.mark.parametrize(
    "image",
    [np.zeros((8, 8), np.float32), np.zeros((8, 8, 2), np.uint8), np.zeros((0, 8), np.uint8), None],
    ids=["float", "channels", "empty", "none"],
)
def test_a_bad_image_fails_alone(image: object) -> None:
    good = np.zeros((8, 8), np.uint8)
    with edgecnn.load(TINY) as single, Batcher(single, max_batch=3, max_wait_ms=50) as batcher:
        before = batcher.submit(good)
        with pytest.raises(BadInput):
            batcher.submit(image)  # type: ignore[arg-type]
        after = batcher.submit(good)
        assert before.result(SOON_S) == after.result(SOON_S)
        assert batcher.stats().submitted == 2


@pytest.mark.parametrize(
    "feeds",
    [{}, {"z": np.zeros((1, 3), np.float32)}, {"x": np.zeros((1, 3))}, row(0, 9), {"x": np.zeros((0, 3), np.float32)}],
    ids=["none", "name", "dtype", "too many rows", "no row"],
)
def test_bad_feeds_fail_alone(session: Doubling, feeds: dict[str, Array]) -> None:
    with Batcher(classifier(session)) as batcher, pytest.raises(BadInput):
        batcher.submit_feeds(feeds)
    assert batcher.stats().submitted == 0


@pytest.mark.parametrize(
    "options", [{"top": 0}, {"top": "3"}, {"deadline_s": 0}, {"deadline_s": float("nan")}, {"deadline_s": -1.0}]
)
def test_bad_options_of_a_request(options: dict[str, object]) -> None:
    with edgecnn.load(TINY) as single, Batcher(single) as batcher, pytest.raises(BadInput):
        batcher.submit(np.zeros((8, 8), np.uint8), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["max_batch", "queue_size", "workers", "max_wait_ms"])
def test_bad_options_of_a_batcher(session: Doubling, name: str) -> None:
    with pytest.raises(BadInput, match=f"{name}: expected"):
        Batcher(classifier(session), **{name: -1})  # type: ignore[arg-type]


def test_a_path_is_no_classifier() -> None:
    with pytest.raises(BadInput, match="classifier: expected a Classifier or a Pool"):
        Batcher(str(TINY))  # type: ignore[arg-type]


def test_an_engine_failure_fails_its_batch_and_no_other(session: Doubling) -> None:
    with Batcher(classifier(session), max_batch=2, max_wait_ms=LONG_MS) as batcher:
        bad = [batcher.submit_feeds(row(float("nan"))), batcher.submit_feeds(row(1))]
        for future in bad:
            with pytest.raises(InferenceError, match="a NaN"):
                future.result(SOON_S)
        good = [batcher.submit_feeds(row(i)) for i in range(2)]
        assert [future.result(SOON_S)["y"][0, 0] for future in good] == [0, 2]
        assert (batcher.stats().failed, batcher.stats().answered) == (2, 2)


def test_a_classifier_that_is_closed_under_it_fails_requests_and_not_the_batcher() -> None:
    single = edgecnn.load(TINY)
    with Batcher(single, max_wait_ms=0) as batcher:
        single.close()
        for _ in range(2):
            with pytest.raises(RuntimeError, match="closed"):
                batcher.submit(np.zeros((8, 8), np.uint8)).result(SOON_S)


def test_close_runs_what_waits(session: Doubling) -> None:
    batcher = Batcher(classifier(session), max_wait_ms=LONG_MS, max_batch=64)
    futures = [batcher.submit_feeds(row(i)) for i in range(5)]
    start = time.monotonic()
    batcher.close()
    assert time.monotonic() - start < LONG_MS / 2000
    assert [future.result(0)["y"][0, 0] for future in futures] == [0, 2, 4, 6, 8]
    batcher.close()
    with pytest.raises(RuntimeError, match="this batcher is closed"):
        batcher.submit_feeds(row(1))


def test_close_without_drain_cancels_what_waits_and_ends_what_runs(session: Doubling) -> None:
    batcher = Batcher(classifier(session), max_wait_ms=0)
    running = busy(batcher, session)
    futures = [batcher.submit_feeds(row(i)) for i in range(3)]
    with ThreadPoolExecutor(1) as threads:
        closing = threads.submit(batcher.close, drain=False)
        assert wait(futures, SOON_S).not_done == set()
        assert not closing.done()
        session.gate.set()
        closing.result(SOON_S)
    assert running.result(0)["y"][0, 0] == -2
    assert all(future.cancelled() for future in futures)
    assert batcher.stats().cancelled == 3
    assert balanced(batcher.stats())


def test_a_blocked_submitter_learns_of_the_end(session: Doubling) -> None:
    batcher = Batcher(classifier(session), queue_size=1, max_wait_ms=0)
    busy(batcher, session)
    batcher.submit_feeds(row(0))
    with ThreadPoolExecutor(2) as threads:
        blocked = threads.submit(batcher.submit_feeds, row(1), block_s=None)
        closing = threads.submit(batcher.close, drain=False)
        with pytest.raises(RuntimeError, match="this batcher is closed"):
            blocked.result(SOON_S)
        session.gate.set()
        closing.result(SOON_S)


def test_a_callback_may_submit_and_close(session: Doubling) -> None:
    batcher = Batcher(classifier(session), max_wait_ms=0)
    second: list[Future[dict[str, Array]]] = []
    done = threading.Event()

    def on_first(_: object) -> None:
        second.append(batcher.submit_feeds(row(5)))
        second[0].add_done_callback(on_second)

    def on_second(_: object) -> None:
        batcher.close()
        done.set()

    batcher.submit_feeds(row(1)).add_done_callback(on_first)
    assert done.wait(SOON_S)
    assert second[0].result(0)["y"][0, 0] == 10
    batcher.close()


def test_callbacks_of_two_workers_may_close_at_the_same_time(session: Doubling) -> None:
    batcher = Batcher(classifier(session), max_batch=1, max_wait_ms=0, workers=2)
    both = threading.Barrier(2)
    closed = threading.Semaphore(0)

    def close(_: object) -> None:
        both.wait(SOON_S)
        batcher.close()
        closed.release()

    for value in (1.0, 2.0):
        batcher.submit_feeds(row(value)).add_done_callback(close)
    assert closed.acquire(timeout=SOON_S)
    assert closed.acquire(timeout=SOON_S)
    batcher.close()


@pytest.mark.parametrize("workers", [1, 3])
def test_nothing_is_lost_and_nothing_answered_twice(workers: int) -> None:
    """Eight threads submit, cancel, set deadlines and bring the engine to fail, while the batcher is being closed."""
    session = Doubling()
    batcher = Batcher(classifier(session), max_batch=4, max_wait_ms=0.5, queue_size=6, workers=workers)
    calls: list[int] = []
    asked: list[tuple[float, Future[dict[str, Array]]]] = []

    def client(seed: int) -> int:
        rng = random.Random(seed)
        refused = 0
        for i in range(150):
            value = float("nan") if rng.random() < 0.02 else float(1000 * seed + i)
            deadline_s = rng.choice([None, 0.001, 5.0])
            try:
                future = batcher.submit_feeds(
                    row(value, rng.randint(1, 4)), deadline_s=deadline_s, block_s=rng.choice([0, 0.01, None])
                )
            except Overloaded:
                refused += 1
                continue
            except RuntimeError:
                break
            future.add_done_callback(lambda _: calls.append(1))
            asked.append((value, future))
            if rng.random() < 0.1:
                future.cancel()
        return refused

    with ThreadPoolExecutor(9) as threads:
        clients = [threads.submit(client, seed) for seed in range(8)]
        until(lambda: batcher.stats().submitted > 600 or all(one.done() for one in clients))
        batcher.close()
        refused = sum(one.result(SOON_S) for one in clients)
    outcomes = {"answered": 0, "failed": 0, "expired": 0, "cancelled": 0}
    for value, future in asked:
        assert future.done()
        outcomes[_outcome(value, future)] += 1
    stats = batcher.stats()
    assert balanced(stats)
    assert {name: getattr(stats, name) for name in outcomes} == outcomes
    assert (stats.submitted, stats.refused, stats.queued, stats.running) == (len(asked), refused, 0, 0)
    assert len(calls) == len(asked)
    assert sum(stats.sizes.values()) == stats.batches == len(session.batches)
    assert max(stats.sizes) <= 4
    assert outcomes["answered"]


def _outcome(value: float, future: Future[dict[str, Array]]) -> str:
    try:
        answer = future.result(0)["y"]
    except CancelledError:
        return "cancelled"
    except DeadlineExceeded:
        return "expired"
    except EdgecnnError:
        return "failed"
    assert (answer == 2 * value).all()
    return "answered"


def test_a_process_that_forgets_to_close_ends() -> None:
    code = (
        "import numpy, edgecnn\n"
        "from edgecnn.testing.models import TINY\n"
        "batcher = edgecnn.Batcher(edgecnn.load(TINY), max_wait_ms=60000)\n"
        "future = batcher.submit(numpy.zeros((8, 8), numpy.uint8))\n"
        "future.add_done_callback(lambda one: print('cancelled' if one.cancelled() else 'answered'))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "cancelled\n"
    assert done.stderr == ""
