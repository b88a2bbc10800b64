"""Every built-in backend passes the public conformance suite."""

import pytest

from edgecnn.errors import MissingDependency, UnavailableError
from edgecnn.runtimes import PLUGINS, Runtime, get_runtime
from edgecnn.testing.conformance import *


@pytest.fixture(scope="module", params=(*PLUGINS.names(), "ort:CPUExecutionProvider"))
def backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def runtime(backend: str) -> Runtime:
    """The suite's, asked once whether it can run here."""
    runtime = get_runtime(backend)
    try:
        runtime.check()
    except (MissingDependency, UnavailableError) as error:
        pytest.skip(str(error))
    return runtime
