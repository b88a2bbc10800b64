"""`edgecnn serve`: a model behind HTTP."""

from __future__ import annotations

import logging
import socket
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from re import fullmatch
from typing import TYPE_CHECKING, Any

import click

import edgecnn
from edgecnn.cli.auto import chosen_backend
from edgecnn.cli.options import Span, backend_option, refuse_null, threads_option
from edgecnn.cli.output import say
from edgecnn.errors import BadInput, MissingDependency
from edgecnn.runtimes import AUTO
from edgecnn.runtimes.presets import preset_options
from edgecnn.runtimes.threads import usable_threads

if TYPE_CHECKING:
    from edgecnn.batcher import Batcher
    from edgecnn.classifier import Classifier
    from edgecnn.pool import Pool
    from edgecnn.runtimes import OpenOptions

# Backends whose sessions run one request at a time: each worker gets a copy of the model.
_ONE_AT_A_TIME = ("cuda", "ort-trt", "trt")

# Module -> package of the extra "serve".
_PACKAGES = {
    "starlette": "starlette",
    "uvicorn": "uvicorn",
    "python_multipart": "python-multipart",
    "prometheus_client": "prometheus-client",
    "PIL": "pillow",
}

_ABOVE_0 = click.FloatRange(0, min_open=True)


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 is every one.")
@click.option(
    "--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0 takes any that is free."
)
@click.option("--name", help="Of the model, in URLs.  [default: the file's, without .onnx]")
@backend_option
@click.option("--preset", metavar="NAME", help="latency, embedded or shared.  [default: shared on cpu, else latency]")
@threads_option
@click.option(
    "--workers", type=click.IntRange(1, 64), help="Batches that run side by side.  [default: as many as cores allow]"
)
@click.option("--max-batch", default=8, show_default=True, type=click.IntRange(1), help="Rows of one run.")
@click.option(
    "--max-wait-ms",
    default=2.0,
    show_default=True,
    type=Span("ms", zero=True, most=60_000),
    metavar="TIME",
    help="Wait for company: 2, 2ms or 500us.",
)
@click.option(
    "--queue-size", default=64, show_default=True, type=click.IntRange(1), help="Requests that wait; more get 503."
)
@click.option("--max-body-mb", default=32.0, show_default=True, type=_ABOVE_0, help="Of a request; more gets 413.")
@click.option("--max-megapixels", default=16.0, show_default=True, type=_ABOVE_0, help="Of an image; more gets 413.")
@click.option(
    "--max-in-flight", default=128, show_default=True, type=click.IntRange(1), help="At a time; more get 503."
)
@click.option(
    "--deadline",
    default=30.0,
    show_default=True,
    type=Span(),
    metavar="TIME",
    help="For an answer, 30 or 30s; then 504.",
)
@click.option(
    "--drain",
    default=1.0,
    show_default=True,
    type=Span(zero=True, most=3600),
    metavar="TIME",
    help="Between not ready and the end: 1, 1s or 500ms.",
)
def serve(model: Path, **asked: Any) -> None:
    """Answer requests for MODEL over HTTP until SIGTERM or Ctrl-C: Open Inference Protocol (KServe v2), POST /classify.

    \b
    Example:
      edgecnn serve models/mobilenet_v1_0.25_32.int8.onnx
      curl http://127.0.0.1:8000/v2/health/ready
      curl -F image=@shoe.png http://127.0.0.1:8000/classify
    """
    settings = _Settings(**asked)
    if settings.name is not None and not fullmatch(r"[A-Za-z0-9._-]*[A-Za-z0-9_-][A-Za-z0-9._-]*", settings.name):
        raise BadInput("--name", expected="letters, digits, '.', '_' and '-'", got=settings.name)
    refuse_null(settings.backend)
    _check_packages()
    from edgecnn.serve.server import bind

    if settings.backend == AUTO:
        measured = settings.options()
        settings = replace(settings, backend=chosen_backend(AUTO, edgecnn.load_artifact(model), measured))
    options, backend = settings.options(), settings.backend
    workers = settings.workers or _workers(backend, options)
    # Before the model, which may take long to open.
    with (
        bind(settings.host, settings.port) as listening,
        _opened(model, backend, options, workers) as classifier,
        edgecnn.Batcher(classifier, settings.max_batch, settings.max_wait_ms, settings.queue_size, workers) as batcher,
    ):
        _run(classifier, batcher, listening, settings, model, workers)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settings:
    """The options of the command, as typed."""

    host: str
    port: int
    name: str | None
    backend: str
    preset: str | None
    threads: int | None
    workers: int | None
    max_batch: int
    max_wait_ms: float
    queue_size: int
    max_body_mb: float
    max_megapixels: float
    max_in_flight: int
    deadline: float
    drain: float

    def options(self) -> OpenOptions:
        changes = {} if self.threads is None else {"threads": self.threads}
        preset = self.preset or ("shared" if self.backend == "cpu" else "latency")
        return preset_options(preset, max_batch=self.max_batch, **changes)


def _check_packages() -> None:
    for module, package in _PACKAGES.items():
        if find_spec(module) is None:
            raise MissingDependency(package, "serve", "edgecnn serve")


def _workers(backend: str, options: OpenOptions) -> int:
    """Return as many workers as keep the cores busy with the threads that each run has."""
    if backend in _ONE_AT_A_TIME or options.threads is None:
        return 1
    return max(1, usable_threads() // options.threads)


def _opened(model: Path, backend: str, options: OpenOptions, workers: int) -> Classifier | Pool[Classifier]:
    if workers > 1 and backend in _ONE_AT_A_TIME:
        return edgecnn.Pool(model, workers, backend=backend, options=options)
    return edgecnn.load(model, backend=backend, options=options)


def _run(
    classifier: Classifier | Pool[Classifier],
    batcher: Batcher,
    listening: socket.socket,
    settings: _Settings,
    model: Path,
    workers: int,
) -> None:
    from edgecnn.serve.limits import Limits  # noqa: PLC0415 (needs the extra)
    from edgecnn.serve.server import address, is_loopback, serve_until_ended
    from edgecnn.serve.service import Service, model_name, warm_up  # noqa: PLC0415

    limits = Limits(
        body_bytes=max(1, round(settings.max_body_mb * 1e6)),
        pixels=max(1, round(settings.max_megapixels * 1e6)),
        in_flight=settings.max_in_flight,
        deadline_s=settings.deadline,
    )
    warm_up(classifier, max_batch=settings.max_batch, workers=workers)
    service = Service(classifier, batcher, name=settings.name or model_name(model), limits=limits)
    if not is_loopback(settings.host):
        click.echo(
            f"warning: whoever reaches {settings.host} may use this server: it has no TLS and asks for no password; "
            "put a proxy that does in front of it",
            err=True,
        )
    # The parser of forms logs what clients send it; they are told in the answer.
    logging.getLogger("python_multipart").addHandler(logging.NullHandler())
    url = address(listening)
    say(f"{service.name} on {classifier.info().backend}, {url}/v2/models/{service.name}")
    lost = serve_until_ended(service, listening, on_ready=lambda: say(f"ready on {url}"), drain_s=settings.drain)
    say(
        f"ended; requests in flight that had no answer: {lost}"
        if lost
        else "ended; every request that had arrived was answered"
    )
