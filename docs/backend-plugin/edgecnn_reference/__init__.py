"""Backend `onnx-reference`: the reference implementation of ONNX operators, as an example of a backend from outside."""

from __future__ import annotations

import importlib.util
from typing import Any

from edgecnn.errors import BadInput, Contradiction, InferenceError, RuntimeUnavailable, UnknownName, first_line
from edgecnn.runtimes.base import Array, Feeds, OpenOptions, Session, check_honoured
from edgecnn.specs import Artifact, EngineInfo

NAME = "onnx-reference"

_OPSET = 21


class ReferenceRuntime:
    """The reference implementation; slow, one thread, no options."""

    name = NAME
    formats = ("onnx",)

    def check(self) -> None:
        """Return if the package onnx is installed."""
        if importlib.util.find_spec("onnx") is None:
            raise RuntimeUnavailable("backend onnx-reference needs the package onnx", "pip install onnx")

    def open(self, artifact: Artifact, options: OpenOptions) -> Session:
        """Return a session; what this engine cannot do is refused, never passed over."""
        check_honoured(NAME, options, honoured=("threads",))
        if options.threads not in (None, 1):
            raise Contradiction(f"backend {NAME} runs on one thread, not {options.threads}", "leave threads out")
        if options.engine:
            raise UnknownName(f"engine option of backend {NAME}", next(iter(options.engine)), ())
        return _ReferenceSession(artifact)


class _ReferenceSession(Session):
    def __init__(self, artifact: Artifact) -> None:
        # The base class checks feeds against these and keeps the state; a backend writes what is below.
        super().__init__(artifact.spec.inputs, artifact.spec.outputs)
        self._engine = _load(artifact)

    def _run(self, feeds: Feeds) -> dict[str, Array]:
        try:
            values = self._engine.run(None, dict(feeds))
        except Exception as error:
            raise InferenceError(f"onnx failed: {first_line(error)}") from error
        return dict(zip((spec.name for spec in self.outputs), values, strict=True))

    def _info(self) -> EngineInfo:
        import onnx

        return EngineInfo(
            backend=NAME,
            engine="onnx.reference",
            engine_version=onnx.__version__,
            providers_asked=("numpy",),
            providers_active=("numpy",),
            threads=1,
        )

    def _close(self) -> None:
        self._engine = None


def _load(artifact: Artifact) -> Any:
    import onnx
    from onnx import version_converter
    from onnx.reference import ReferenceEvaluator

    try:
        model = onnx.load(str(artifact.path))
        onnx.checker.check_model(model)
        # The quantizers of older operator sets are not in the reference implementation.
        return ReferenceEvaluator(version_converter.convert_version(model, max(_OPSET, artifact.opset or 0)))
    except Exception as error:
        raise BadInput(f"onnx cannot load {artifact.path}: {first_line(error)}", "export it again") from error
