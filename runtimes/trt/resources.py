"""What a session holds of the GPU, and the order in which it gives it back."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from typing import Any

from edgecnn.runtimes.nvidia.cudart import check
from edgecnn.runtimes.trt.buffers import Memory, size_bytes
from edgecnn.runtimes.trt.lanes import Lane, Lines, Port, Shapes, new_context, output_shape, set_shapes
from edgecnn.runtimes.trt.tensors import EngineTensor

# How long the end of the interpreter waits for a run of a daemon thread.
_PATIENCE_S = 10.0


class Resources:
    """Engine, contexts, graphs, stream and memory of one session.

    `release` runs when the session is closed, when it is collected, or when the interpreter ends, whichever is first:
    TensorRT's objects must be gone before CUDA unloads.

    Args:
        cudart: the CUDA runtime.
        ordinal: the GPU's number.
        engine: an ICudaEngine.
        keeps: what must outlive the engine.

    Attributes:
        cudart: the CUDA runtime.
        engine: until it is released.
        lock: held by whoever works with any of this.
        released: nothing is left.
        memory: all buffers.
        lanes: by input shapes, the least recently used first.
        spare: contexts without shapes.
    """

    def __init__(self, cudart: Any, ordinal: int, engine: Any, keeps: tuple[Any, ...]) -> None:
        self.cudart = cudart
        self._ordinal = ordinal
        self._pid = os.getpid()
        self._keeps = keeps
        self.engine: Any = engine
        self.lock = threading.RLock()
        self.released = False
        self._stream: Any = None
        self.memory = Memory(cudart)
        self.lanes: dict[Shapes, Lane] = {}
        self.spare: list[Any] = []

    def make_stream(self) -> Any:
        """Return the session's stream; it does not wait for the default stream of other code in this process.

        Raises:
            InferenceError: CUDA gives none.
        """
        made = self.cudart.cudaStreamCreateWithFlags(self.cudart.cudaStreamNonBlocking)
        self._stream = check(made, "cudaStreamCreateWithFlags", self.cudart)
        return self._stream

    def release(self) -> None:
        """Give everything back: graphs, contexts, engine, memory, stream. Raises nothing.

        In the child of a fork nothing can be given back and nothing may be destroyed, because CUDA does not work there.
        """
        if os.getpid() != self._pid:
            self._abandon()
            return
        # Whoever closes has the lock. A daemon thread may still run when the interpreter ends: it is waited for, not for ever.
        held = self.lock.acquire(timeout=_PATIENCE_S)
        self.released = True
        try:
            self._release_on_device()
        finally:
            if held:
                self.lock.release()

    def _release_on_device(self) -> None:
        try:
            before = self.cudart.cudaGetDevice()[1]
            self.cudart.cudaSetDevice(self._ordinal)
        except Exception:
            before = self._ordinal  # a CUDA that cannot even be asked frees nothing, but the references go
        self._release()
        if before != self._ordinal:
            self.cudart.cudaSetDevice(before)

    def _release(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            self.cudart.cudaStreamSynchronize(stream)
        while self.lanes:
            self.lanes.popitem()[1].close()
        self.spare.clear()
        self.engine = None
        self._keeps = ()
        self.memory.close()
        if stream is not None:
            self.cudart.cudaStreamDestroy(stream)

    def _abandon(self) -> None:
        """Keep all native objects alive for ever, so that no destructor calls CUDA in the child of a fork."""
        for native in (*self._keeps, self.engine, *self.spare, *(lane.context for lane in self.lanes.values())):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(native))


def lay_out(
    resources: Resources,
    trt: Any,
    sources: list[EngineTensor],
    targets: list[EngineTensor],
    complain: Callable[[str], str],
) -> Lines:
    """Return a stream and all memory that runs need, made once for the largest shapes.

    Args:
        resources: take what is made; the one context that tells the outputs' sizes becomes a spare one.
        trt: the module that the engine comes from.
        sources: the inputs, in the order of a lane's shapes.
        targets: the outputs, in the order of the answer.
        complain: returns an error's text with what the engine logged last.

    Raises:
        EdgecnnError: no memory, no context, or an output whose size depends on the data.
    """
    stream = resources.make_stream()
    scratch = resources.memory.device(max(1, int(resources.engine.device_memory_size_v2)))
    context = new_context(trt, resources.engine, scratch, complain)
    resources.spare.append(context)
    set_shapes(context, sources, tuple(tensor.largest for tensor in sources), complain)
    largest = [output_shape(context, tensor) for tensor in targets]
    return Lines(
        cudart=resources.cudart,
        stream=stream,
        inputs=tuple(_port(resources.memory, tensor, tensor.largest) for tensor in sources),
        outputs=tuple(_port(resources.memory, *one) for one in zip(targets, largest, strict=True)),
        scratch=scratch,
        complain=complain,
    )


def _port(memory: Memory, tensor: EngineTensor, shape: tuple[int, ...]) -> Port:
    count = size_bytes(shape, tensor.dtype)
    return Port(tensor=tensor, host=memory.host(count), device=memory.device(count))
