"""The errors that edgecnn raises on purpose; each carries what to do next and the exit code of the command line.

    EdgecnnError                    1
    ├── UsageError                  2   the request is wrong
    │   ├── UnknownName                 no such network, backend, option value (did you mean)
    │   ├── BadInput                    a file or array is not what was expected
    │   └── Contradiction               two options exclude each other
    ├── MissingDependency           3   a package is not installed
    ├── UnavailableError            4   this machine cannot do it
    │   ├── RuntimeUnavailable          a backend cannot run here
    │   ├── ProviderFallback            nodes landed on another provider than asked for
    │   ├── SensorUnavailable           a sensor cannot be read
    │   │   └── SensorAbsent                    this kind of machine does not have it
    │   ├── DeviceUnreachable           a remote device does not answer
    │   ├── Overloaded                  a queue is full; try again later
    │   └── DeadlineExceeded            no answer within the time that was given
    ├── ModelError                  5   the model cannot be processed
    │   ├── ExportError
    │   ├── UnsupportedOp
    │   ├── QuantizeError
    │   ├── ParityError                 two forms of a model disagree
    │   └── AccuracyError               accuracy fell below the bound
    ├── InferenceError              6   the engine failed; its exception is the __cause__
    ├── MeasurementError            7   the number would be a lie
    ├── ResultsError                8   a results file cannot be read or written
    └── RegressionError             9   something got worse than a limit allows

Misuse of the programming interface (run after close) is a RuntimeError, outside this tree.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

# Of the names that can be meant, how many are named, how alike they are at least (0..1), and how far behind the nearest.
_GUESSES = 3
_LIKE = 0.6
_BEHIND = 0.05

# Up to so many known names are listed in full.
_LISTED = 12


class EdgecnnError(Exception):
    """Base of all errors that edgecnn raises on purpose.

    Args:
        message: one line: what was expected and what came.
        hint: one line: what to do about it, or empty.

    Attributes:
        exit_code: the status with which the command line ends.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        # The default calls the class with the message alone, which fails for most of this tree; process pools need it.
        return _restore, (type(self), self.args), self.__dict__


def first_line(error: BaseException) -> str:
    """Return the first line of what another library says, at most 300 characters; where it says nothing, the error's kind."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


def _restore(cls: type[EdgecnnError], args: tuple[Any, ...]) -> EdgecnnError:
    return cls.__new__(cls, *args)


class UsageError(EdgecnnError):
    """The request itself is wrong."""

    exit_code = 2


class UnknownName(UsageError):
    """A name that is not in a list of known names; the hint has the nearest, or where to find them.

    Args:
        kind: what the name stands for, "network" for example.
        name: what was given.
        known: the names that would have worked.
        aliases: short forms to match for the suggestion as well.
        listing: command that lists the names, for those that are too many for a line.
        hint: what to do, where more is known about this name than its spelling.
    """

    def __init__(
        self,
        kind: str,
        name: str,
        known: Iterable[str],
        aliases: Iterable[str] = (),
        *,
        listing: str = "",
        hint: str = "",
    ) -> None:
        self.name = name
        self.known = tuple(known)
        near = nearest(name, (*self.known, *aliases))
        self.suggestion = near[0] if near else None
        super().__init__(f"unknown {kind} {name!r}", hint or _names_hint(near, self.known, listing))


def folded(name: str) -> str:
    """Return a name as names are compared: capitals are small letters, "-" is "_"."""
    return name.casefold().replace("-", "_")


def nearest(name: str, known: Iterable[str]) -> tuple[str, ...]:
    """Return at most three known names that a misspelled one can mean, the nearest first; spelled alike, that one alone."""
    from difflib import SequenceMatcher  # noqa: PLC0415 (an app that makes no mistake need not load it)

    candidates = {_letters(candidate): candidate for candidate in reversed(tuple(known))}
    wanted = _letters(name)
    if wanted in candidates:
        return (candidates[wanted],)
    begun = sorted((len(letters), letters) for letters in candidates if len(wanted) > 2 and letters.startswith(wanted))
    if begun:
        return tuple(candidates[letters] for _, letters in begun[:_GUESSES])
    # Sequence 2 is what SequenceMatcher keeps its tables of.
    matcher = SequenceMatcher(b=wanted)
    scores = []
    for letters in candidates:
        matcher.set_seq1(letters)
        if matcher.real_quick_ratio() >= _LIKE and (score := matcher.ratio()) >= _LIKE:
            scores.append((-score, letters))
    scores.sort()
    return tuple(candidates[letters] for score, letters in scores[:_GUESSES] if score <= scores[0][0] + _BEHIND)


def _letters(name: str) -> str:
    letters = "".join(character for character in name.casefold() if character.isalnum())
    return letters or name.casefold()


def _names_hint(near: tuple[str, ...], known: tuple[str, ...], listing: str) -> str:
    guess = f"did you mean {_either(near)}?" if near else ""
    if len(known) > _LISTED and (near or listing):
        return guess or f"{listing} lists them"
    return f"{guess} known: {', '.join(known)}".lstrip()


def _either(names: tuple[str, ...]) -> str:
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))


class BadInput(UsageError):
    """A file, array or option value is not what was expected."""

    def __init__(self, message: str, hint: str = "", *, expected: str = "", got: str = "") -> None:
        self.expected = expected
        self.got = got
        details = f": expected {expected}, got {got}" if expected else ""
        super().__init__(message + details, hint)


class Contradiction(UsageError):
    """Two options that exclude each other."""


class MissingDependency(EdgecnnError):
    """A package is needed and not installed; the hint is the exact pip command."""

    exit_code = 3

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        self.package = package
        super().__init__(f"{purpose} needs the package {package}", f"pip install 'edgecnn[{extra}]'")


class UnavailableError(EdgecnnError):
    """This machine cannot do what was asked."""

    exit_code = 4


class RuntimeUnavailable(UnavailableError):
    """A backend cannot run here; the message has the reason, the hint the exact fix."""


class ProviderFallback(UnavailableError):
    """Nodes of the graph landed on another provider than the one asked for."""


class SensorUnavailable(UnavailableError):
    """A sensor cannot be read here."""


class SensorAbsent(SensorUnavailable):
    """This machine has no such sensor; that is no fault, and nothing on it mends that."""


class DeviceUnreachable(UnavailableError):
    """A remote device does not answer."""


class Overloaded(UnavailableError):
    """More was asked for at once than can wait; nothing was begun, the same request may be made again later."""


class DeadlineExceeded(UnavailableError):
    """The time that was given for an answer passed before the work began; it was not done."""


class ModelError(EdgecnnError):
    """The model cannot be processed."""

    exit_code = 5


class ExportError(ModelError):
    """A network could not be written as an artifact."""


class UnsupportedOp(ModelError):
    """The graph has an operator that cannot be handled."""


class QuantizeError(ModelError):
    """A model could not be quantized."""


class ParityError(ModelError):
    """Two forms of one model disagree on the same input.

    Args:
        what: the two forms, and the input.
        max_abs: the greatest absolute difference.
        tolerance: what was allowed.
        worst: where it is, an output name or index.
    """

    def __init__(self, what: str, *, max_abs: float, tolerance: float, worst: str) -> None:
        self.max_abs = max_abs
        self.tolerance = tolerance
        self.worst = worst
        super().__init__(f"{what} differ by {max_abs:.3g} at {worst}, allowed {tolerance:.3g}")


class AccuracyError(ModelError):
    """Accuracy fell below the bound that was asked for."""


class InferenceError(EdgecnnError):
    """The engine failed while running; its exception is the __cause__."""

    exit_code = 6


class MeasurementError(EdgecnnError):
    """The number that would come out would be a lie."""

    exit_code = 7


class ResultsError(EdgecnnError):
    """A results file cannot be read or written.

    Args:
        message: what is wrong.
        path: the file.
        line: 1-based line number, where one line is at fault.
        key: the key of the record, where one key is at fault.
    """

    exit_code = 8

    def __init__(self, message: str, *, path: str, line: int | None = None, key: str = "", hint: str = "") -> None:
        self.path = path
        self.line = line
        self.key = key
        where = path + (f", line {line}" if line is not None else "") + (f", key {key}" if key else "")
        super().__init__(f"{where}: {message}", hint)


class RegressionError(EdgecnnError):
    """Something got worse than a limit allows."""

    exit_code = 9
