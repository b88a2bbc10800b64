"""Adds `--backend` for `pytest --pyargs edgecnn.testing.conformance --backend NAME`."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that names the backend under test."""
    parser.addoption("--backend", default="cpu", help="backend that the conformance suite runs against")
