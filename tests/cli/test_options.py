"""Options that mean the same for every verb: the bound of --threads, and lengths of time."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator

import click
import pytest

from edgecnn.cli.main import VERBS, cli
from edgecnn.cli.options import Latency, Span, WholeSpan

Run = Callable[..., "subprocess.CompletedProcess[str]"]

# Other programs on other machines: so many threads of a server, so many queries per second.
_NOT_HERE = {("package", "threads")}

_TIME_WORDS = ("seconds", "sustain", "deadline", "drain", "delay", "timeout", "wait", "bound")


def commands() -> Iterator[tuple[str, click.Command]]:
    """Yield every command with its words: verbs, and those within them."""
    context = click.Context(cli)
    for verb in VERBS:
        command = cli.get_command(context, verb)
        assert command is not None
        yield verb, command
        if isinstance(command, click.Group):
            yield from ((f"{verb} {name}", inner) for name, inner in command.commands.items())


@pytest.fixture(scope="module")
def every_verb_can_be_imported() -> None:
    for package in ("torch", "onnx_ir"):
        pytest.importorskip(package)


def options(words: tuple[str, ...]) -> list[tuple[str, click.Parameter]]:
    return [
        (name, param)
        for name, command in commands()
        for param in command.params
        if param.name and any(word in param.name for word in words) and (name, param.name) not in _NOT_HERE
    ]


@pytest.mark.usefixtures("every_verb_can_be_imported")
def test_more_threads_than_can_run_are_refused_by_every_verb_before_it_looks_at_anything(run_edgecnn: Run) -> None:
    verbs = [name for name, param in options(("threads",)) if "--threads" in param.opts]
    assert set(verbs) >= {"bench", "profile", "tune", "predict", "verify", "serve", "devices calibrate"}
    for verb in verbs:
        names = [] if verb.startswith("devices") else ["x.onnx"]
        done = run_edgecnn(*verb.split(), *names, "--threads", "1,99999" if verb == "tune" else "99999")
        assert done.returncode == 2, verb
        assert "error: threads: expected at most 4 for each processor, got 99999" in done.stderr, verb


@pytest.mark.usefixtures("every_verb_can_be_imported")
def test_every_length_of_time_takes_the_same_form() -> None:
    found = options(_TIME_WORDS)
    assert {name for name, _ in found} >= {"bench", "profile", "tune", "serve", "package"}
    others = [(name, param.opts) for name, param in found if not isinstance(param.type, (Span, Latency, click.Choice))]
    assert others == []


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Span(), "500ms", 0.5),
        (Span(), "0.25", 0.25),
        (Span(), "1m", 60.0),
        (Span("ms", zero=True), "2", 2.0),
        (Span("ms", zero=True), "500us", 0.5),
        (Span("ms", zero=True), "1s", 1000.0),
        (Span(zero=True), "0", 0.0),
        (WholeSpan("us", zero=True), "100", 100),
        (WholeSpan("us", zero=True), "2ms", 2000),
        (WholeSpan("us", zero=True), "2.01ms", 2010),
        (WholeSpan("us", zero=True), "4.06ms", 4060),
    ],
)
def test_a_bare_number_is_in_the_options_unit_and_a_unit_in_any(kind: Span, text: str, value: float) -> None:
    found = kind.convert(text, None, None)
    assert found == pytest.approx(value, rel=1e-12)
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("kind", "text", "reason"),
    [
        (Span(), "0", "above 0"),
        (Span(zero=True), "-1s", "at least 0"),
        (Span("ms", zero=True, most=60_000), "2m", "at most 60000 ms"),
        (WholeSpan("us", zero=True), "0.5", "whole us"),
    ],
)
def test_lengths_that_an_option_does_not_take(kind: Span, text: str, reason: str) -> None:
    with pytest.raises(click.BadParameter, match=reason):
        kind.convert(text, None, None)


def test_a_profile_takes_a_length_of_time(run_edgecnn: Run) -> None:
    done = run_edgecnn("profile", "x.onnx", "--seconds", "50ms")
    assert "x.onnx does not exist" in done.stderr
    done = run_edgecnn("profile", "x.onnx", "--seconds", "2h")
    assert "seconds: expected above 0, at most 3600, got 7200" in done.stderr
