"""Options that mean the same for every verb."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from edgecnn.cli.output import say
from edgecnn.errors import BadInput, Contradiction
from edgecnn.files import check_writable
from edgecnn.runtimes.threads import usable_processors
from edgecnn.units import count_of

Command = TypeVar("Command", bound="Callable[..., Any] | click.Command")

_NANOSECONDS = {"ns": 1.0, "us": 1e3, "ms": 1e6, "s": 1e9, "m": 60e9, "h": 3600e9}

MOST_THREADS = 4
"""Threads for each processor that may be tried."""

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
    """A length of time, "500ms", "20s", "10m" or "1h"; a bare number is in the option's own unit.

    Args:
        unit: of the value and of a bare number, "s", "ms" or "us".
        zero: no time at all is one too.
        most: longest that there may be, in the unit.
    """

    name = "span"

    def __init__(self, unit: str = "s", *, zero: bool = False, most: float = float("inf")) -> None:
        self.unit = unit
        self.zero = zero
        self.most = most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the length in the unit."""
        if isinstance(value, float):
            return value
        text = str(value).strip()
        number = text.rstrip("hmsu")
        try:
            length = float(number) * (_NANOSECONDS[text[len(number) :] or self.unit] / _NANOSECONDS[self.unit])
        except (ValueError, KeyError):
            self.fail(f"expected a length of time such as 20s, 10m or 1h, got {value!r}", param, ctx)
        if not 0 <= length < float("inf") or (length == 0 and not self.zero):
            self.fail(
                f"expected a length of time {'of at least' if self.zero else 'above'} 0, got {value!r}", param, ctx
            )
        if length > self.most:
            self.fail(f"expected a length of time of at most {self.most:g} {self.unit}, got {value!r}", param, ctx)
        return length


class WholeSpan(Span):
    """A length of time in whole units."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the length in the unit."""
        length = value if isinstance(value, int) else super().convert(value, param, ctx)
        whole = round(length)
        # 2.01 ms are 2009.9999999999998 us in floating point.
        if abs(length - whole) > 1e-9 * max(1, whole):
            self.fail(f"expected whole {self.unit}, got {value!r}", param, ctx)
        return whole


class Latency(click.ParamType):  # type: ignore[type-arg] # as above
    """A latency with its unit, "20ms" or "500us"."""

    name = "latency"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the nanoseconds, above 0."""
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*(ns|us|ms|s)\s*", str(value))
        # A bare number could be milliseconds as well as seconds.
        if found is None or not float(found[1]):
            self.fail(f"expected a latency above 0 with its unit, such as 20ms or 500us, got {value!r}", param, ctx)
        return float(found[1]) * _NANOSECONDS[found[2]]


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
    """Add --threads, whose number `check_threads` looks at."""
    return click.option(
        "--threads",
        type=click.IntRange(1),
        callback=_checked_threads,
        help="Threads of one operator.  [default: large cores that affinity and container quota allow]",
    )(command)


def check_threads(threads: int | None, root: Path = Path("/")) -> None:
    """Return if a machine can run so many threads; warn where they are more than affinity and quota let run at once.

    Args:
        threads: as asked for; None is the default, which never is too many.
        root: folder that stands for "/".

    Raises:
        BadInput: more than `MOST_THREADS` for each processor: a run would wait for turns of the scheduler for seconds.
    """
    if threads is None:
        return
    usable = usable_processors(root)
    advice = f"--threads {usable}, that is what this process may use at once"
    if threads > MOST_THREADS * usable:
        raise BadInput("threads", advice, expected=f"at most {MOST_THREADS} for each processor", got=str(threads))
    if threads > usable:
        say(f"{threads} threads on {count_of(usable, 'processor')} take each other's time: {advice}")


def threads_list_option(text: str) -> Callable[[Command], Command]:
    """Return a decorator that adds a --threads of several numbers with this help text; `check_threads` looks at the largest."""
    return click.option("--threads", type=Numbers(), callback=_checked_threads, help=text)


def _checked_threads(
    ctx: click.Context, param: click.Parameter, value: int | tuple[int, ...] | None
) -> int | tuple[int, ...] | None:
    check_threads(max(value) if isinstance(value, tuple) else value)
    return value


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


def check_onnx_output(path: Path) -> Path:
    """Return the path of a file that is to be written; said before anything is made.

    Raises:
        BadInput: it is no file name that ends in .onnx.
        UnavailableError: the folder that it lies in cannot be written to.
    """
    if path.is_dir() or path.suffix != ".onnx":
        raise BadInput("output", expected="a file name that ends in .onnx", got=str(path))
    return check_writable(path)


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
