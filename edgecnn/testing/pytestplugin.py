"""Adds `--backend` to `pytest --pyargs edgecnn.testing.conformance --backend NAME`, and to no other run of pytest.

pytest reads options before it looks for conftest.py files inside installed packages, so this is an entry point of the group
pytest11. It keeps quiet elsewhere, because another project may have an option of that name.
"""

from __future__ import annotations

import sys

import pytest


def _is_public_run() -> bool:
    return any(argument.startswith("edgecnn.testing.conformance") for argument in sys.argv)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that names the backend under test."""
    if _is_public_run():
        parser.addoption("--backend", default="cpu", help="backend that the conformance suite runs against")


def pytest_configure(config: pytest.Config) -> None:
    """End with one line for a backend that does not exist, or cannot run here: nothing would have been tested.

    Only in runs of the public suite by its module name; a project that takes its tests over has its own fixtures.
    """
    name = config.getoption("--backend", default=None) if _is_public_run() else None
    if name is None:
        return
    from edgecnn.errors import EdgecnnError  # noqa: PLC0415 (pytest loads this file in every project)
    from edgecnn.runtimes import get_runtime  # noqa: PLC0415

    try:
        get_runtime(name).check()
    except EdgecnnError as error:
        raise pytest.UsageError(f"backend {name} cannot be tested here: {error}") from None
