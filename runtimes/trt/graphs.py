"""A CUDA graph: the copies and kernels of one run, recorded once and started again by one call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgecnn.runtimes.nvidia.cudart import check


class CudaGraph:
    """Work of one stream that can be started again as a whole; the addresses are those at its capture.

    Args:
        cudart: the CUDA runtime.
        stream: a stream that is not the default one.
        enqueue: puts the work on that stream; must have run there once before, outside a capture, because an engine
            prepares itself on the first run of a shape.

    Raises:
        EdgecnnError: the work cannot be captured; the stream is as it was before.
    """

    def __init__(self, cudart: Any, stream: Any, enqueue: Callable[[], None]) -> None:
        self._cudart = cudart
        self._stream = stream
        graph = _capture(cudart, stream, enqueue)
        try:
            self._executable = check(cudart.cudaGraphInstantiate(graph, 0), "cudaGraphInstantiate", cudart)
        finally:
            cudart.cudaGraphDestroy(graph)

    def launch(self) -> None:
        """Start the work on the stream and return without waiting.

        Raises:
            EdgecnnError: it could not be started.
        """
        check(self._cudart.cudaGraphLaunch(self._executable, self._stream), "cudaGraphLaunch", self._cudart)

    def close(self) -> None:
        """Destroy the graph; a graph that is still running ends first."""
        self._cudart.cudaGraphExecDestroy(self._executable)


def _capture(cudart: Any, stream: Any, enqueue: Callable[[], None]) -> Any:
    # Thread local: what other threads of the app do with CUDA meanwhile neither lands in the graph nor breaks it.
    mode = cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
    check(cudart.cudaStreamBeginCapture(stream, mode), "cudaStreamBeginCapture", cudart)
    try:
        enqueue()
    except BaseException:
        _abandon(cudart, stream)
        raise
    ended = cudart.cudaStreamEndCapture(stream)
    if ended[0]:
        cudart.cudaGetLastError()
    return check(ended, "cudaStreamEndCapture", cudart)


def _abandon(cudart: Any, stream: Any) -> None:
    """End a capture that failed, so that the stream works again, and forget its error."""
    ended = cudart.cudaStreamEndCapture(stream)
    if not ended[0] and ended[1]:
        cudart.cudaGraphDestroy(ended[1])
    cudart.cudaGetLastError()
