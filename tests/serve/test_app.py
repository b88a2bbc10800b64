"""The routes, in this process, with an engine that stands still when the test says so."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("httpx")
pytest.importorskip("PIL")
pytest.importorskip("prometheus_client")
pytest.importorskip("python_multipart")
pytest.importorskip("starlette")

import httpx

from edgecnn.artifacts import load_artifact
from edgecnn.batcher import Batcher
from edgecnn.classifier import Classifier
from edgecnn.errors import InferenceError
from edgecnn.runtimes.base import Array, Feeds
from edgecnn.serve.app import create_app
from edgecnn.serve.limits import Limits
from edgecnn.serve.service import Service, model_name, warm_up
from edgecnn.testing.fakes import FakeSession
from edgecnn.testing.models import TINY

SOON_S = 20
TENSOR = {"name": "input", "datatype": "FP32", "shape": [1, 1, 8, 8], "data": [0.5] * 64}
INFER = "/v2/models/tiny/infer"
LOOK = "GET /v2/models/tiny tells names, datatypes and shapes"
PPM = b"P6 2 2 255\n" + bytes(12)


class Gated(FakeSession):
    """Waits while the gate is closed; fails when told to."""

    def __init__(self) -> None:
        artifact = load_artifact(TINY)
        super().__init__(lambda: None, inputs=artifact.spec.inputs, outputs=artifact.spec.outputs)
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.error: Exception | None = None

    def _run(self, feeds: Feeds) -> dict[str, Array]:
        self.entered.set()
        assert self.gate.wait(SOON_S)
        if self.error:
            raise self.error
        return super()._run(feeds)


class Bench:
    """A service around a gated engine."""

    def __init__(self, **limits: float) -> None:
        self.session = Gated()
        self.batcher = Batcher(Classifier(load_artifact(TINY), self.session), max_batch=1, queue_size=1, max_wait_ms=0)
        self.service = Service(
            Classifier(load_artifact(TINY), self.session),
            self.batcher,
            name="tiny",
            limits=Limits(**limits),  # type: ignore[arg-type]
        )
        self.service.ready = True

    def ask(self, work: Callable[[httpx.AsyncClient], Awaitable[None]]) -> None:
        async def main() -> None:
            transport = httpx.ASGITransport(create_app(self.service))
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                await work(client)

        asyncio.run(main())

    async def occupied(self, client: httpx.AsyncClient, count: int) -> list[asyncio.Task[httpx.Response]]:
        """Close the gate and send requests: one stands in the engine, the others wait."""
        self.session.gate.clear()
        tasks = [asyncio.create_task(client.post(INFER, json={"inputs": [TENSOR]}))]
        await asyncio.to_thread(self.session.entered.wait, SOON_S)
        tasks += [asyncio.create_task(client.post(INFER, json={"inputs": [TENSOR]})) for _ in range(count - 1)]
        while self.service.in_flight.now < count:
            await asyncio.sleep(0.001)
        return tasks


@contextmanager
def bench(**limits: float) -> Iterator[Bench]:
    one = Bench(**limits)
    try:
        yield one
    finally:
        one.session.gate.set()
        one.batcher.close()
        one.service.close()


def test_a_full_queue_is_503_with_retry_after() -> None:
    with bench() as one:

        async def work(client: httpx.AsyncClient) -> None:
            tasks = await one.occupied(client, 2)
            refused = await client.post(INFER, json={"inputs": [TENSOR]})
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            assert refused.json() == {
                "error": "the queue is full: 1 request in it (try again later, or allow a longer queue)"
            }
            image = await client.post("/classify", content=PPM, headers={"content-type": "image/x-portable-pixmap"})
            assert image.status_code == 503
            text = (await client.get("/metrics")).text
            assert "edgecnn_in_flight 2.0" in text
            assert "edgecnn_queue 1.0" in text
            assert 'edgecnn_batcher_requests_total{outcome="refused"} 2.0' in text
            one.session.gate.set()
            assert [(await task).status_code for task in tasks] == [200, 200]

        one.ask(work)


def test_too_many_in_flight_are_503_before_their_body_is_read() -> None:
    with bench(in_flight=1) as one:

        async def work(client: httpx.AsyncClient) -> None:
            (task,) = await one.occupied(client, 1)

            async def never() -> AsyncIterator[bytes]:
                raise AssertionError("the body was read")
                yield b""

            refused = await client.post("/classify", content=never(), headers={"content-type": "image/png"})
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            assert (await client.get("/v2/health/ready")).status_code == 200
            one.session.gate.set()
            assert (await task).status_code == 200
            assert one.service.in_flight.now == 0

        one.ask(work)


def test_no_answer_in_time_is_504() -> None:
    with bench(deadline_s=0.05) as one:

        async def work(client: httpx.AsyncClient) -> None:
            tasks = await one.occupied(client, 2)
            answers = [await task for task in tasks]
            assert [answer.status_code for answer in answers] == [504, 504]
            assert answers[0].json()["error"].startswith("no answer within 0.05 s")
            one.session.gate.set()
            again = await client.post(INFER, json={"inputs": [TENSOR]})
            assert again.status_code == 200

        one.ask(work)
        one.batcher.close()
        assert one.batcher.stats().cancelled + one.batcher.stats().expired == 1


def test_a_request_may_have_less_time_than_the_server_allows() -> None:
    with bench() as one:

        async def work(client: httpx.AsyncClient) -> None:
            one.session.gate.clear()
            late = await client.post(INFER, json={"inputs": [TENSOR], "parameters": {"timeout": 20_000}})
            assert late.status_code == 504
            assert late.json()["error"].startswith("no answer within 0.02 s")

        one.ask(work)


def test_a_body_that_does_not_come_is_408() -> None:
    with bench(deadline_s=0.05) as one:

        async def work(client: httpx.AsyncClient) -> None:
            async def slow() -> AsyncIterator[bytes]:
                yield b"P6"
                await asyncio.sleep(SOON_S)

            late = await client.post("/classify", content=slow(), headers={"content-type": "image/png"})
            assert late.status_code == 408
            assert one.service.in_flight.now == 0

        one.ask(work)


@pytest.mark.slow
def test_the_time_that_a_body_took_is_not_given_again() -> None:
    """The deadline is for all of a request: it does not begin anew once the body is there."""
    with bench(deadline_s=1.0) as one:

        async def work(client: httpx.AsyncClient) -> None:
            one.session.gate.clear()

            async def slow() -> AsyncIterator[bytes]:
                await asyncio.sleep(0.8)
                yield PPM

            start_s = time.monotonic()
            late = await client.post("/classify", content=slow(), headers={"content-type": "image/png"})
            assert late.status_code == 504
            assert late.json()["error"].startswith("no answer within 1 s")
            assert 0.9 < time.monotonic() - start_s < 1.7

        one.ask(work)


def test_failures_of_the_engine_are_500_and_tell_no_more_than_they_should(caplog: pytest.LogCaptureFixture) -> None:
    with bench() as one:

        async def work(client: httpx.AsyncClient) -> None:
            one.session.error = InferenceError("the engine failed")
            told = await client.post(INFER, json={"inputs": [TENSOR]})
            assert (told.status_code, told.json()) == (500, {"error": "the engine failed"})
            one.session.error = KeyError("secret")
            hidden = await client.post(INFER, json={"inputs": [TENSOR]})
            assert hidden.status_code == 500
            assert "secret" not in hidden.text
            one.session.error = None
            assert (await client.post(INFER, json={"inputs": [TENSOR]})).status_code == 200

        one.ask(work)
    assert "secret" in caplog.text


def test_not_ready_is_503_and_requests_are_answered_all_the_same() -> None:
    with bench() as one:

        async def work(client: httpx.AsyncClient) -> None:
            one.service.ready = False
            for path in ("/v2/health/ready", "/v2/models/tiny/ready", "/v2/models/tiny/versions/1/ready"):
                answer = await client.get(path)
                assert (answer.status_code, answer.json()["ready"]) == (503, False)
            assert (await client.get("/v2/health/live")).json() == {"live": True}
            assert (await client.post(INFER, json={"inputs": [TENSOR]})).status_code == 200

        one.ask(work)


def test_large_and_small_bodies_are_read_alike() -> None:
    with bench() as one:

        async def work(client: httpx.AsyncClient) -> None:
            for spaces in (0, 100_000):
                body = json.dumps({"inputs": [TENSOR]}).encode() + b" " * spaces
                answer = await client.post(INFER, content=body)
                assert answer.json()["outputs"][0]["data"] == [0, 0, 0]
                image = await client.post(
                    "/classify?top=1", content=PPM + bytes(spaces), headers={"content-type": "image/x-portable-pixmap"}
                )
                assert len(image.json()["predictions"]) == 1

        one.ask(work)


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("mobilenet_v1_0.25_32.int8.onnx", "mobilenet_v1_0.25_32.int8"),
        ("my model (2).onnx", "my_model_2_"),
        ("..onnx", "model"),
        ("ä/ö.onnx", "_"),
    ],
)
def test_a_model_has_the_name_of_its_file(stem: str, name: str) -> None:
    from pathlib import Path

    assert model_name(Path(stem)) == name


def test_an_infer_request_that_does_not_fit_the_model_is_400() -> None:
    with bench() as one:

        async def work(client: httpx.AsyncClient) -> None:
            for change, text in (
                ({"name": "x"}, f"inputs: expected input, got x ({LOOK})"),
                ({"datatype": "FP64"}, f"input input: datatype: expected FP32, got FP64 ({LOOK})"),
                ({"shape": [64]}, f"input input: shape: expected [-1, 1, 8, 8], got [64] ({LOOK})"),
                ({"shape": [0, 1, 8, 8], "data": []}, "whole numbers of at least 1, got [0, 1, 8, 8]"),
                ({"shape": [2, 1, 8, 8], "data": [0] * 128}, "rows: expected at most 1, got 2 (split the request"),
            ):
                answer = await client.post(INFER, json={"inputs": [{**TENSOR, **change}]})
                assert answer.status_code == 400
                assert text in answer.json()["error"]
            unknown = await client.post(INFER, json={"inputs": [TENSOR], "outputs": [{"name": "z"}]})
            assert (unknown.status_code, unknown.json()) == (400, {"error": "outputs: expected logits, got z"})

        one.ask(work)
        assert one.batcher.stats().submitted == 0


@pytest.mark.parametrize("large", [False, True])
def test_a_model_that_is_about_to_go_is_503_and_not_a_failure(large: bool, caplog: pytest.LogCaptureFixture) -> None:
    """A server that an application ends by itself closes these before the last connection is gone."""
    with bench() as one:
        (one.service if large else one.batcher).close()

        async def work(client: httpx.AsyncClient) -> None:
            padding = b" " * (100_000 if large else 0)
            told = await client.post(INFER, content=json.dumps({"inputs": [TENSOR]}).encode() + padding)
            kind = {"content-type": "image/x-portable-pixmap"}
            image = await client.post("/classify", content=PPM + bytes(3 * len(padding)), headers=kind)
            for answer in (told, image):
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
                assert answer.headers["connection"] == "close"
                assert answer.json()["error"].startswith("this server is shutting down (")

        one.ask(work)
    assert not caplog.records


def test_a_model_that_cannot_name_images_has_no_classify() -> None:
    spec = load_artifact(TINY).spec
    for change, text in (
        ({"preprocess": None}, "this model takes no images: its file does not say how"),
        ({"labels": ("a", "b")}, "this model cannot name classes: its file has 2 labels for 3"),
    ):
        session = Gated()
        artifact = replace(load_artifact(TINY), spec=replace(spec, **change))  # type: ignore[arg-type]
        with Batcher(Classifier(artifact, session), max_wait_ms=0) as batcher:
            one = Bench.__new__(Bench)
            one.service = Service(Classifier(artifact, session), batcher, name="tiny", limits=Limits())

            async def work(client: httpx.AsyncClient, text: str = text) -> None:
                refused = await client.post("/classify", content=PPM, headers={"content-type": "image/x-anything"})
                assert refused.status_code == 404
                assert text in refused.json()["error"]
                assert str(TINY.parent) not in refused.text
                assert (await client.post(INFER, json={"inputs": [TENSOR]})).status_code == 200

            one.ask(work)
            one.service.close()


def test_values_that_json_does_not_have_come_back_as_null() -> None:
    with bench() as one:
        one.session._work = lambda: None
        wide = {"logits": np.array([[np.nan, np.inf, 1.0]], np.float32)}
        one.session._run = lambda feeds: wide  # type: ignore[method-assign]

        async def work(client: httpx.AsyncClient) -> None:
            answer = await client.post(INFER, json={"inputs": [TENSOR]})
            assert answer.json()["outputs"][0]["data"] == [None, None, 1.0]

        one.ask(work)


def test_warming_up_runs_every_size_and_tells_of_a_model_that_cannot_run() -> None:
    session = Gated()
    warm_up(Classifier(load_artifact(TINY), session), max_batch=3, workers=1)
    assert {len(feeds["input"]) for feeds in session.feeds} >= {1, 2, 3}
    session.error = InferenceError("no such kernel")
    with pytest.raises(InferenceError, match="no such kernel"):
        warm_up(Classifier(load_artifact(TINY), session), max_batch=3, workers=1)
