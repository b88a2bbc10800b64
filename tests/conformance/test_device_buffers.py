"""The session that backends cuda and ort-trt share passes the conformance suite with its buffers in host memory.

The same copies, bindings, waits and, as far as the host's provider goes, graph numbers as on a GPU.
"""

import pytest

from edgecnn.errors import BadInput
from edgecnn.runtimes import PLUGINS, OpenOptions, Session
from edgecnn.runtimes.cuda import warm_batches, warmed
from edgecnn.runtimes.ort.device import DeviceOrtSession
from edgecnn.runtimes.ort.gpu import provider_errors
from edgecnn.runtimes.ort.options import CUDA_OPTIONS, encode_options
from edgecnn.runtimes.ort.session import CPU_PROVIDER, import_engine, session_options
from edgecnn.specs import Artifact
from edgecnn.testing.conformance import *

# It asks another process, which does not have these backends.
del test_importing_the_backend_is_light  # noqa: F821 (of the suite)


class HostBuffers:
    """What backend cuda does, with the host for a device."""

    name = "host-buffers"
    formats = ("onnx",)
    graphs = False

    def check(self) -> None:
        import_engine()

    def open(self, artifact: Artifact, options: OpenOptions) -> Session:
        if artifact.format not in self.formats:
            raise BadInput("format")
        encode_options(self.name, options.engine, CUDA_OPTIONS)
        engine = import_engine()
        with provider_errors(self.name):
            session = DeviceOrtSession(
                engine,
                artifact,
                options,
                backend=self.name,
                providers=[(CPU_PROVIDER, {})],
                chosen=session_options(engine, options, options.threads or 1),
                threads=options.threads or 1,
                device="cpu",
                graphs=self.graphs,
            )
        return warmed(session, warm_batches(artifact, options.max_batch))


class HostGraphs(HostBuffers):
    """The same with the numbering of CUDA graphs."""

    name = "host-graphs"
    graphs = True


@pytest.fixture(params=[HostBuffers, HostGraphs], ids=lambda runtime: runtime.name)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    pytest.importorskip("onnxruntime")
    runtime = request.param
    monkeypatch.setitem(PLUGINS._builtins, runtime.name, f"{__name__}:{runtime.__name__}")
    return runtime.name
