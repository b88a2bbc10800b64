"""Options that mean the same for every verb."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from edgecnn.errors import BadInput, Contradiction

Command = TypeVar("Command", bound="Callable[..., Any] | click.Command")

_SPANS = {"s": 1.0, "m": 60.0, "h": 3600.0}

MODELS = Path("models")
"""Where artifacts go and are looked for when nothing else is said."""


class Numbers(click.ParamType):  # type: ignore[type-arg] # older versions of click have no type parameter here
    """A comma-separated list of whole numbers of at least 1, "1,4,16"."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Return the numbers, in order, each once."""
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(dict.fromkeys(int(part) for part in str(value).split(",")))
        except ValueError:
            self.fail(f"expected whole numbers such as 1,4,16, got {value!r}", param, ctx)
        if min(numbers) < 1:
            self.fail(f"expected numbers of at least 1, got {value!r}", param, ctx)
        return numbers


class Span(click.ParamType):  # type: ignore[type-arg] # as above
    """A length of time, "20s", "10m" or "1h"; a bare number is seconds."""

    name = "span"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the seconds, above 0."""
        if isinstance(value, float):
            return value
        text = str(value).strip()
        factor = _SPANS.get(text[-1:], 1.0)
        try:
            seconds = float(text[:-1] if text[-1:] in _SPANS else text) * factor
        except ValueError:
            self.fail(f"expected a length of time such as 20s, 10m or 1h, got {value!r}", param, ctx)
        if not 0 < seconds < float("inf"):
            self.fail(f"expected a length of time above 0, got {value!r}", param, ctx)
        return seconds


def backend_option(command: Command) -> Command:
    """Add --backend."""
    return click.option(
        "--backend",
        default="cpu",
        show_default=True,
        metavar="NAME",
        help="What runs the model; strict, never another. auto: the fastest that is measured here, once per model.",
    )(command)


def refuse_null(backend: str) -> None:
    """Raise BadInput for the backend that computes nothing, where answers are looked at."""
    if backend == "null":
        raise BadInput("backend", "--backend cpu", expected="one that computes", got="null, which answers with zeros")


def threads_option(command: Command) -> Command:
    """Add --threads."""
    return click.option(
        "--threads",
        type=click.IntRange(1),
        help="Threads of one operator.  [default: large cores that affinity and container quota allow]",
    )(command)


def preset_option(command: Command) -> Command:
    """Add --preset."""
    return click.option(
        "--preset",
        default="latency",
        show_default=True,
        metavar="NAME",
        help="How the session is opened: latency, embedded or shared.",
    )(command)


def cache_option(command: Command) -> Command:
    """Add --cache/--no-cache."""
    return click.option(
        "--cache/--no-cache",
        default=None,
        help="Keep what takes long to make, an optimised model or a built engine.  [default: the preset's or backend's]",
    )(command)


def trust_engine_option(command: Command) -> Command:
    """Add --trust-engine."""
    return click.option(
        "--trust-engine", is_flag=True, help="Load a built engine that is given as a file; it is executable code."
    )(command)


def json_option(command: Command) -> Command:
    """Add --json."""
    return click.option("--json", "as_json", is_flag=True, help="JSON on standard output and nothing else there.")(
        command
    )


def data_option(command: Command) -> Command:
    """Add --data."""
    return click.option(
        "--data",
        metavar="NAME|FOLDER",
        help="Labelled images: fashion-mnist or a folder with class/name.jpg.  [default: what the model was trained on]",
    )(command)


def output_option(text: str) -> Callable[[Command], Command]:
    """Return a decorator that adds -o/--output with this help text."""
    return click.option("-o", "--output", type=click.Path(path_type=Path), help=text)


def check_onnx_name(path: Path) -> Path:
    """Return the path of a file to write; BadInput unless it is a file name that ends in .onnx."""
    if path.is_dir() or path.suffix != ".onnx":
        raise BadInput("output", expected="a file name that ends in .onnx", got=str(path))
    return path


def pairs_option(command: Command) -> Command:
    """Add -O/--option, whose values `with_pairs` takes."""
    return click.option(
        "--option", "-O", "pairs", metavar="NAME=VALUE", multiple=True, help="Any other option of the network."
    )(command)


def with_pairs(asked: Mapping[str, Any], pairs: Sequence[str]) -> dict[str, Any]:
    """Return what was asked for, with the NAME=VALUE pairs of --option.

    Args:
        asked: values of the options of their own, None where they were not given.
        pairs: as typed.

    Raises:
        BadInput: not NAME=VALUE.
        Contradiction: a name that has an option of its own, or one that is given twice.
    """
    together = dict(asked)
    for pair in pairs:
        name, equals, value = pair.partition("=")
        name = name.replace("-", "_")
        if not (name and equals and value):
            raise BadInput("--option", expected="NAME=VALUE, stride_in=1x1 for example", got=pair)
        if together.get(name) is not None or (name in together and name != "width"):
            raise Contradiction(f"--option {pair}", f"give --{name.replace('_', '-')} once")
        together[name] = value
    return together
