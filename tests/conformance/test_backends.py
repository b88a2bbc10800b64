"""Every built-in backend passes the public conformance suite."""

import pytest

from edgecnn.runtimes import PLUGINS
from edgecnn.testing.conformance import *


@pytest.fixture(params=(*PLUGINS.names(), "ort:CPUExecutionProvider"))
def backend(request: pytest.FixtureRequest) -> str:
    return request.param
