"""The command `edgecnn`: verbs are imported when they are used, errors become one line, a hint and an exit code here only."""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import FrameType
from typing import Any

import click

import edgecnn
from edgecnn.errors import EdgecnnError, MissingDependency, UnknownName

# Verb -> module, attribute and the line that `edgecnn --help` shows.
VERBS = {
    "zoo": ("edgecnn.cli.zoo:zoo", "Networks, their parameters, cost and accuracy; the layer table of one."),
    "train": ("edgecnn.cli.train:train", "Train a network by the recipe behind its bundled weights."),
    "export": ("edgecnn.cli.export:export", "Write a network as an ONNX file, checked against torch."),
    "quantize": ("edgecnn.cli.quantize:quantize", "Make an int8 file whose accuracy is measured."),
    "verify": ("edgecnn.cli.verify:verify", "Hold files against the accuracy they state, and against another form."),
    "predict": ("edgecnn.cli.predict:predict", "Labels and probabilities of images."),
    "serve": ("edgecnn.cli.serve:serve", "A model behind HTTP: Open Inference Protocol, images, metrics."),
    "bench": ("edgecnn.cli.bench:bench", "Latency, throughput and memory, with a verdict."),
    "profile": ("edgecnn.cli.profile:profile", "Each layer's time, work, and share of this machine's roofline."),
    "devices": ("edgecnn.cli.devices:devices", "This machine, and what it can do at most (calibrate)."),
    "backends": ("edgecnn.cli.backends:backends", "What can run models here, and why another cannot."),
    "doctor": ("edgecnn.cli.doctor:doctor", "What this machine can do, and the exact fix for what it cannot."),
    "cache": ("edgecnn.cli.cache:cache", "What optimised models and built engines take on the disk; --clear."),
    "tune": ("edgecnn.cli.tune:tune", "The precision, backend and options that fit a budget, as a deployment."),
    "compare": ("edgecnn.cli.compare:compare", "Old results against new ones, with limits that fail a build."),
    "results": ("edgecnn.cli.results:results", "SQL over results files; a fleet's files into one."),
    "package": ("edgecnn.cli.package:package", "A Triton model repository, or a folder for an application."),
}

_ELSEWHERE = "free space or choose another place with --output"
_SYSTEM_HINTS = {
    errno.ENOSPC: _ELSEWHERE,
    errno.EROFS: _ELSEWHERE,
    errno.EDQUOT: _ELSEWHERE,
    errno.EFBIG: _ELSEWHERE,
    errno.EACCES: "check the permissions of the file and its folder",
}

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT, as shells have it."""

CLOSED = 141
"""Exit code where the reader of standard output is gone, as with `| head`: 128 + SIGPIPE, as shells have it."""


class ReaderGone(Exception):
    """What reads the output is gone. Not an OSError: click ends the process on those, each version in its own way."""


@contextmanager
def _reader_gone() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise ReaderGone from None
    except SystemExit as error:
        # What rich makes of it.
        if isinstance(error.__context__, BrokenPipeError):
            raise ReaderGone from None
        raise


# A group without a verb, whose message is its help; older versions of click print that themselves.
_NOTHING_ASKED: tuple[type[click.UsageError], ...] = tuple(
    filter(None, [getattr(click.exceptions, "NoArgsIsHelpError", None)])
)


class LazyGroup(click.Group):
    """A group whose verbs are imported on use; one whose packages are missing stays visible."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the options before the verb; --help and --version print here."""
        with _reader_gone():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb."""
        with _reader_gone():
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order of the work."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a verb's command, imported now."""
        if cmd_name not in VERBS:
            return None
        module, _, attribute = VERBS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the verb that was typed.

        Raises:
            UnknownName: no such verb; the nearest is suggested.
        """
        name = args[0]
        if name not in VERBS and not name.startswith("-"):
            raise UnknownName("command", name, VERBS)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the verbs and their lines, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in VERBS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(edgecnn.__version__, prog_name="edgecnn")
@click.option("--debug", is_flag=True, help="Show the whole traceback of an error.")
@click.option("--quiet", is_flag=True, help="No progress on standard error.")
@click.pass_context
def cli(ctx: click.Context, debug: bool, quiet: bool) -> None:
    """Take a trained CNN to the device it will run on, and tell the truth about how it does there.

    \b
    Example:
      edgecnn export mobilenet
      edgecnn quantize models/mobilenet_v1_0.25_32.onnx --max-drop 0.5
      edgecnn bench
    """
    ctx.obj = {"quiet": quiet}


def main() -> None:
    """Run the command line of this process and end it with its exit code."""
    signal.signal(signal.SIGTERM, _end)
    code = run(sys.argv[1:])
    if code == INTERRUPTED:
        # Not sys.exit: where a package ran code of its own while Ctrl-C came, Python would end with the signal instead.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _end(number: int, frame: FrameType | None) -> None:
    """Unwind on SIGTERM, so that temporary files are removed; 143 is 128 + SIGTERM, as shells have it."""
    sys.exit(128 + number)


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; errors are printed, not raised.

    Args:
        arguments: what follows `edgecnn`; --debug and --quiet are taken before and after the verb alike.
    """
    early = [name for name in ("--debug", "--quiet") if name in arguments]
    try:
        return _run(early + [argument for argument in arguments if argument not in early], "--debug" in early)
    except (ReaderGone, BrokenPipeError):
        return _closed()


def _closed() -> int:
    """Send what is still unwritten nowhere, so that Python's last flush finds no closed pipe; return the exit code."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in filter(None, (sys.__stdout__, sys.__stderr__)):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
    return CLOSED


def _run(arguments: list[str], debug: bool) -> int:
    try:
        cli.main(args=arguments, prog_name="edgecnn", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as error:
        return error.exit_code
    except _NOTHING_ASKED as error:
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except click.UsageError as error:
        verb = error.ctx.command_path if error.ctx else "edgecnn"
        _say(f"error: {error.format_message().rstrip('.')}", f"{verb} --help")
        return error.exit_code
    except click.ClickException as error:
        _say(f"error: {error.format_message()}", "")
        return error.exit_code
    except (click.exceptions.Abort, KeyboardInterrupt):
        _say("error: interrupted; nothing half-written is left behind", "")
        return INTERRUPTED
    except EdgecnnError as error:
        return _fail(error, debug)
    except ModuleNotFoundError as error:
        return _fail(_missing(error), debug)
    except OSError as error:
        if error.errno not in _SYSTEM_HINTS:
            raise
        _say(f"error: {error.filename or 'a file'}: {error.strerror}", _SYSTEM_HINTS[error.errno])
        return 4
    return 0


def _fail(error: EdgecnnError, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    _say(f"error: {error.message}", error.hint)
    return error.exit_code


def _say(line: str, hint: str) -> None:
    click.echo(line, err=True)
    if hint:
        click.echo(f"hint: {hint}", err=True)


def _missing(error: ModuleNotFoundError) -> EdgecnnError:
    """Turn the absence of an optional package into the pip command that brings it; anything else is a bug and raised."""
    package = (error.name or "").partition(".")[0]
    extras = {
        "torch": "export",
        "onnx": "export",
        "onnx_ir": "export",
        "onnxscript": "export",
        "safetensors": "export",
        "tomli_w": "export",
        "onnxruntime": "cpu",
        "PIL": "images",
        "duckdb": "query",
        "matplotlib": "report",
        "starlette": "serve",
        "uvicorn": "serve",
        "python_multipart": "serve",
        "prometheus_client": "serve",
    }
    if package not in extras:
        raise error
    return MissingDependency(package, extras[package], "this command")


if __name__ == "__main__":
    main()
