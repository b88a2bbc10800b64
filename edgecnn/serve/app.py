"""The routes of a server: an ASGI application around a `Service`."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

import edgecnn
from edgecnn.errors import BadInput
from edgecnn.jsonform import to_json
from edgecnn.serve.limits import Problem, problem_of, read_body
from edgecnn.serve.metrics import CONTENT_TYPE, Metrics
from edgecnn.serve.service import VERSION, Service

_HEADER_LENGTH = "inference-header-content-length"
_DEFAULT_TOP = 5

_ROUTES = "POST /classify, POST /v2/models/NAME/infer; GET /v2, /v2/models/NAME, /v2/health/ready, /metrics"

# Status of a request whose sender has gone; nobody sees it but the metrics. As nginx has it.
_GONE = 499

Handler = Callable[[Request], Awaitable[Response]]


def create_app(service: Service) -> Starlette:
    """Return the application that serves a model."""
    metrics = Metrics(service)
    routes = _Routes(service, metrics)

    def route(path: str, handler: Handler, method: str = "GET") -> Route:
        return Route(path, _Measured(path, handler, metrics), methods=[method])

    model = "/v2/models/{name}"
    version = f"{model}/versions/{{version}}"
    return Starlette(
        routes=[
            route("/classify", routes.classify, "POST"),
            route(f"{model}/infer", routes.infer, "POST"),
            route(f"{version}/infer", routes.infer, "POST"),
            route("/v2/health/live", routes.live),
            route("/v2/health/ready", routes.ready),
            route("/v2", routes.server),
            route(model, routes.metadata),
            route(version, routes.metadata),
            route(f"{model}/ready", routes.model_ready),
            route(f"{version}/ready", routes.model_ready),
            route("/metrics", routes.metrics),
        ],
        exception_handlers={HTTPException: _http_error},  # type: ignore[dict-item]
    )


class _Routes:
    def __init__(self, service: Service, metrics: Metrics) -> None:
        self._service = service
        self._metrics = metrics

    async def live(self, request: Request) -> Response:
        return _reply({"live": True})

    async def ready(self, request: Request) -> Response:
        ready = self._service.ready
        return _reply({"ready": ready}, 200 if ready else 503)

    async def server(self, request: Request) -> Response:
        return _reply({"name": "edgecnn", "version": edgecnn.__version__, "extensions": ["binary_tensor_data"]})

    async def metadata(self, request: Request) -> Response:
        self._check_model(request)
        return _reply(self._service.metadata())

    async def model_ready(self, request: Request) -> Response:
        self._check_model(request)
        ready = self._service.ready
        return _reply({"name": self._service.name, "ready": ready}, 200 if ready else 503)

    async def infer(self, request: Request) -> Response:
        self._check_model(request)
        header = request.headers.get(_HEADER_LENGTH)
        if header is not None and not (header.isascii() and header.isdecimal() and len(header) < 19):
            raise BadInput(
                "Inference-Header-Content-Length",
                "it is the length of the JSON object at the front",
                expected="a whole number of bytes",
                got=header[:40],
            )
        end_s = self._service.deadline()
        with self._service.in_flight:
            body = await read_body(request, self._service.limits, end_s)
            answer, length = await self._service.infer(body, None if header is None else int(header), end_s)
        if length is None:
            return Response(answer, media_type="application/json")
        return Response(answer, media_type="application/octet-stream", headers={_HEADER_LENGTH: str(length)})

    async def classify(self, request: Request) -> Response:
        top = request.query_params.get("top", str(_DEFAULT_TOP))
        if not (top.isascii() and top.isdecimal() and len(top) < 10):
            raise BadInput("top", expected="a whole number of at least 1", got=top[:40])
        end_s = self._service.deadline()
        with self._service.in_flight:
            body = await read_body(request, self._service.limits, end_s)
            kind = request.headers.get("content-type", "")
            predictions = await self._service.classify(body, kind, int(top), end_s)
        return _reply({"model": self._service.name, "predictions": [to_json(one) for one in predictions]})

    async def metrics(self, request: Request) -> Response:
        return Response(self._metrics.text(), headers={"content-type": CONTENT_TYPE})

    def _check_model(self, request: Request) -> None:
        name, version = request.path_params["name"], request.path_params.get("version", VERSION)
        if name != self._service.name:
            raise Problem(404, f"unknown model {name[:100]!r} (this server has {self._service.name})")
        if version != VERSION:
            raise Problem(404, f"unknown version {version[:100]!r} of {name} (there is {VERSION})")


class _Measured:
    """A handler whose errors become answers, and whose answers are counted. A class: Starlette leaves those alone."""

    def __init__(self, route: str, handler: Handler, metrics: Metrics) -> None:
        self._route = route
        self._handler = handler
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start_ns = time.perf_counter_ns()
        status = _GONE
        try:
            response = await self._respond(Request(scope, receive))
            status = response.status_code
            await response(scope, receive, send)
        except ClientDisconnect:
            pass
        finally:
            self._metrics.observe(self._route, status, (time.perf_counter_ns() - start_ns) / 1e9)

    async def _respond(self, request: Request) -> Response:
        try:
            return await self._handler(request)
        except ClientDisconnect:
            raise
        except Exception as error:
            problem = problem_of(error)
            if problem is None:
                logging.getLogger("edgecnn.serve").exception("%s failed", self._route)
                problem = Problem(500, "internal error; the server's log has the traceback")
            return _reply({"error": problem.text}, problem.status, problem.headers)


async def _http_error(request: Request, error: HTTPException) -> Response:
    """Return the answer to a request for which there is no route."""
    path, headers = request.url.path[:100], dict(error.headers or {})
    text = error.detail
    if error.status_code == 404:
        text = f"there is nothing at {path!r} ({_ROUTES})"
    elif error.status_code == 405:
        allowed = sorted(headers.get("Allow", "another method").split(", "))
        text = f"{path}: expected {' or '.join(allowed)}, got {request.method[:20]}"
    return _reply({"error": text}, error.status_code, headers)


def _reply(data: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    body = json.dumps(data, allow_nan=False, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
    return Response(body, status, headers, "application/json")
