"""Backend `null`: answers with zeros and does no work; it measures the harness itself and stands in for an engine in tests."""

from __future__ import annotations

import time

import numpy as np

import edgecnn
from edgecnn.errors import BadInput, UnknownName
from edgecnn.runtimes.base import Array, Feeds, OpenOptions, Session, check_honoured
from edgecnn.runtimes.threads import usable_threads
from edgecnn.specs import Artifact, EngineInfo


class NullRuntime:
    """See the module's docstring. Engine option `delay_us` makes each run wait that long.

    It stands in for engines with threads and an arena, so it takes what they take, and `info` says that.
    """

    name = "null"
    formats = ("onnx",)

    def check(self) -> None:
        """Return: it runs everywhere."""

    def open(self, artifact: Artifact, options: OpenOptions) -> Session:
        """Return a session that answers with zeros.

        Raises:
            Contradiction: an option that means nothing here.
            UnknownName: an engine option other than `delay_us`.
            BadInput: a delay that is not a number of at least 0.
        """
        check_honoured("null", options, ("threads", "spinning", "arena", "allow_fallback"))
        for key in options.engine:
            if key != "delay_us":
                raise UnknownName("engine option of backend null", key, ["delay_us"])
        delay_us = options.engine.get("delay_us", 0)
        if not isinstance(delay_us, (int, float)) or isinstance(delay_us, bool) or delay_us < 0:
            raise BadInput("delay_us", expected="a number of at least 0", got=repr(delay_us))
        return _NullSession(artifact, options, float(delay_us))


class _NullSession(Session):
    def __init__(self, artifact: Artifact, options: OpenOptions, delay_us: float) -> None:
        super().__init__(artifact.spec.inputs, artifact.spec.outputs)
        self._threads = options.threads or usable_threads()
        self._taken = {"spinning": options.spinning, "arena": options.arena}
        self._delay_us = delay_us

    def _run(self, feeds: Feeds) -> dict[str, Array]:
        if self._delay_us:
            time.sleep(self._delay_us / 1e6)
        return zeros_for(self, feeds)

    def _info(self) -> EngineInfo:
        return EngineInfo(
            backend="null",
            engine="null",
            engine_version=edgecnn.__version__,
            providers_asked=("null",),
            providers_active=("null",),
            threads=self._threads,
            options={"delay_us": self._delay_us, **self._taken},
        )


def zeros_for(session: Session, feeds: Feeds) -> dict[str, Array]:
    """Return zeros of the shapes that a session's outputs have for these inputs; sizes that do not follow are 1."""
    sizes: dict[str, int] = {}
    for spec in session.inputs:
        sizes.update({d: n for d, n in zip(spec.shape, feeds[spec.name].shape, strict=True) if isinstance(d, str)})
    return {
        spec.name: np.zeros([sizes.get(d, 1) if isinstance(d, str) else d for d in spec.shape], spec.dtype)
        for spec in session.outputs
    }
