"""Adds `--backend` to `pytest --pyargs edgecnn.testing.conformance --backend NAME`, and to no other run of pytest.

pytest reads options before it looks for conftest.py files inside installed packages, so this is an entry point of the group
pytest11. It keeps quiet elsewhere, because another project may have an option of that name.
"""

from __future__ import annotations

import sys

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that names the backend under test."""
    if any(argument.startswith("edgecnn.testing.conformance") for argument in sys.argv):
        parser.addoption("--backend", default="cpu", help="backend that the conformance suite runs against")
