"""Who issues the queries of a scenario and times them: edgecnn itself, or MLCommons' load generator where it is installed."""

from __future__ import annotations

import math
from typing import Any

from edgecnn.errors import BadInput, MissingDependency, UnavailableError, UnknownName, first_line

OWN = "own"
MLCOMMONS = "mlcommons"

GENERATORS = (OWN, MLCOMMONS)
"""Who issues the queries of a scenario and times them: edgecnn itself, or MLCommons' load generator."""

CLOCK = "system_clock"
"""The clock that MLCommons' load generator looks at, where its C++ library is GNU's."""

PACKAGE = "mlcommons-loadgen"
"""What brings MLCommons' load generator."""


def generator_version(name: str) -> str | None:
    """Return the version of a load generator that can run here, None for our own.

    Args:
        name: one of `GENERATORS`.

    Raises:
        UnknownName: no such load generator.
        MissingDependency: its package is not installed.
        UnavailableError: its package does not work here.
    """
    if name not in GENERATORS:
        raise UnknownName("load generator", name, GENERATORS)
    if name == OWN:
        return None
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 (slow to load, and rarely needed)

    load_mlcommons()
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return None


def check_load(scenario: str, *, seconds: float, qps: float | None) -> None:
    """Return if MLCommons' load generator can be asked for a scenario.

    Raises:
        BadInput: at such a rate it would wait for a second query far beyond the time asked for.
    """
    if scenario == "server" and qps is not None and qps * seconds < 1 - 1e-9:
        raise BadInput(
            "qps",
            f"--qps {_rounded_up(1 / seconds)}, or --seconds {_rounded_up(1 / qps)}",
            expected="at least one query within the seconds, as this load generator goes on to the first one after them",
            got=f"{qps:g} a second for {seconds:g} s",
        )


def _rounded_up(value: float) -> str:
    """Return a figure of three digits that is not below a value above 0."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 2)
    return f"{math.ceil(value / unit - 1e-9) * unit:.4g}"


def load_mlcommons() -> Any:
    """Return the module of MLCommons' load generator.

    Raises:
        MissingDependency: it is not installed.
        UnavailableError: it does not work here.
    """
    try:
        import mlperf_loadgen
    except ModuleNotFoundError:
        raise MissingDependency(PACKAGE, "loadgen", f"--load-generator {MLCOMMONS}") from None
    except ImportError as error:
        raise UnavailableError(
            f"the package {PACKAGE} does not work here: {first_line(error)}",
            f"pip install --force-reinstall --no-binary {PACKAGE} {PACKAGE}",
        ) from error
    return mlperf_loadgen
