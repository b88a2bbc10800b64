"""A lane: an execution context that is set to one set of input shapes, with the CUDA graph of its run.

A captured graph is good only as long as its context is not touched (TensorRT documentation, "CUDA Graphs"), so every shape
that has a graph has a context of its own. All contexts share one piece of scratch memory; the session's lock and its one
stream see to it that only one works at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from edgecnn.errors import BadInput, EdgecnnError, InferenceError, UnsupportedOp, first_line
from edgecnn.runtimes.base import Array
from edgecnn.runtimes.nvidia.cudart import check
from edgecnn.runtimes.trt.buffers import DeviceBuffer, HostBuffer, size_bytes
from edgecnn.runtimes.trt.graphs import CudaGraph
from edgecnn.runtimes.trt.tensors import EngineTensor

Shapes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """An input or output of the engine and its memory, large enough for the largest shape."""

    tensor: EngineTensor
    host: HostBuffer
    device: DeviceBuffer


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """What all lanes of a session share.

    Attributes:
        cudart: the CUDA runtime.
        stream: not the default one, because TensorRT synchronises the device around every run on that.
        inputs: in the order of a lane's shapes.
        outputs: in the order of the answer.
        scratch: device memory for one context's activations.
        complain: returns an error's text with what the engine logged last.
    """

    cudart: Any
    stream: Any
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    scratch: DeviceBuffer
    complain: Callable[[str], str]


def new_context(trt: Any, engine: Any, scratch: DeviceBuffer, complain: Callable[[str], str]) -> Any:
    """Return an execution context that works in the given scratch memory.

    Raises:
        InferenceError: the engine gives none, for want of memory most often.
    """
    context = engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
    if context is None:
        raise InferenceError(
            complain("TensorRT gives no execution context"),
            "the GPU's memory may be full: a smaller max_batch, or end other programs (nvidia-smi lists them)",
        )
    context.set_device_memory(scratch.address, scratch.size_bytes)
    return context


def check_shapes(inputs: Iterable[EngineTensor], shapes: Shapes) -> None:
    """Raise BadInput unless the engine was built for these shapes of its inputs."""
    for tensor, shape in zip(inputs, shapes, strict=True):
        if not tensor.holds(shape):
            raise _outside(tensor, shape)


def _outside(tensor: EngineTensor, shape: tuple[int, ...]) -> BadInput:
    wider = "OpenOptions(max_batch={}) builds one for larger batches".format(*shape) if shape else ""
    return BadInput(f"input {tensor.name} of the engine", wider, expected=tensor.accepted, got=str(list(shape)))


def set_shapes(context: Any, inputs: Iterable[EngineTensor], shapes: Shapes, complain: Callable[[str], str]) -> None:
    """Set a context's input shapes.

    Raises:
        BadInput: a shape that the engine was not built for.
        InferenceError: the engine does not know its outputs' shapes from them.
    """
    for tensor, shape in zip(inputs, shapes, strict=True):
        if not context.set_input_shape(tensor.name, shape):
            raise _outside(tensor, shape)
    unresolved = context.infer_shapes()
    if unresolved:
        raise InferenceError(complain(f"TensorRT misses the shape or value of {', '.join(unresolved)}"))


def output_shape(context: Any, tensor: EngineTensor) -> tuple[int, ...]:
    """Return an output's shape for the input shapes that are set.

    Raises:
        UnsupportedOp: its size depends on the data.
    """
    shape = tuple(context.get_tensor_shape(tensor.name))
    if any(size < 0 for size in shape):
        raise UnsupportedOp(
            f"the size of output {tensor.name} depends on the data, {list(shape)}", "backend cpu runs this model"
        )
    return shape


class Lane:
    """One execution context, its shapes, and its graph once there is one.

    Args:
        lines: what it shares with the session's other lanes.
        context: an execution context of its own, of `new_context`.

    Attributes:
        runs: since its shapes were set.
    """

    def __init__(self, lines: Lines, context: Any) -> None:
        self._lines = lines
        self.context = context
        self.graph: CudaGraph | None = None
        self.runs = 0
        self._inputs: list[tuple[str, Array]] = []
        self._outputs: list[tuple[str, Array]] = []
        self._copies_in: list[tuple[int, int, int]] = []
        self._copies_out: list[tuple[int, int, int]] = []

    def reshape(self, shapes: Shapes) -> None:
        """Set the lane to other input shapes; its graph is dropped.

        Raises:
            BadInput: shapes that the engine was not built for.
            InferenceError: TensorRT refuses.
        """
        self.close()
        self.runs = 0
        lines = self._lines
        set_shapes(self.context, tuple(port.tensor for port in lines.inputs), shapes, lines.complain)
        self._inputs, self._copies_in = [], []
        self._outputs, self._copies_out = [], []
        for port, shape in zip(lines.inputs, shapes, strict=True):
            self._inputs.append((port.tensor.name, port.host.view(shape, port.tensor.dtype)))
            self._copies_in.append((port.device.address, port.host.address, self._bind(port, shape)))
        for port in lines.outputs:
            shape = output_shape(self.context, port.tensor)
            self._outputs.append((port.tensor.name, port.host.view(shape, port.tensor.dtype)))
            self._copies_out.append((port.host.address, port.device.address, self._bind(port, shape)))

    def _bind(self, port: Port, shape: tuple[int, ...]) -> int:
        """Tell the context where a tensor lies; return how many bytes it has."""
        needed = size_bytes(shape, port.tensor.dtype)
        if needed > port.device.size_bytes:
            raise InferenceError(f"{port.tensor.name} {list(shape)} needs {needed} bytes, more than its largest shape")
        if not self.context.set_tensor_address(port.tensor.name, port.device.address):
            raise InferenceError(self._lines.complain(f"TensorRT takes no address for {port.tensor.name}"))
        return needed

    def fill(self, feeds: Mapping[str, Array]) -> None:
        """Copy the inputs to page-locked memory."""
        for name, view in self._inputs:
            view[...] = feeds[name]

    def leave_copies_out(self) -> None:
        """Enqueue the engine's work alone from now on, until the shapes are set again; a graph must be closed before."""
        self._copies_in, self._copies_out = [], []

    def start(self) -> None:
        """Put copies in, the engine's work and copies out on the stream, by the graph where there is one.

        Raises:
            EdgecnnError: CUDA or TensorRT refuses.
        """
        if self.graph is not None:
            self.graph.launch()
        else:
            self.enqueue()

    def enqueue(self) -> None:
        """Put copies and the engine's work on the stream one by one; also what a graph is captured from."""
        lines = self._lines
        cudart, kind = lines.cudart, lines.cudart.cudaMemcpyKind
        for target, source, count in self._copies_in:
            copied = cudart.cudaMemcpyAsync(target, source, count, kind.cudaMemcpyHostToDevice, lines.stream)
            check(copied, "copy to the GPU", cudart)
        if not self.context.execute_async_v3(int(lines.stream)):
            raise InferenceError(lines.complain("TensorRT could not start the run"))
        for target, source, count in self._copies_out:
            copied = cudart.cudaMemcpyAsync(target, source, count, kind.cudaMemcpyDeviceToHost, lines.stream)
            check(copied, "copy from the GPU", cudart)

    def capture(self) -> str:
        """Make the graph of this lane's run; return the reason where that cannot be, and else "".

        The engine must have run once since the shapes were set.
        """
        try:
            self.graph = CudaGraph(self._lines.cudart, self._lines.stream, self.enqueue)
        except EdgecnnError as error:
            return error.message
        except Exception as error:
            return first_line(error)
        return ""

    def answer(self) -> dict[str, Array]:
        """Return copies of the outputs, which are complete once the stream has been waited for."""
        return {name: view.copy() for name, view in self._outputs}

    def close(self) -> None:
        """Destroy the graph, which must not outlive what its context is set to."""
        graph, self.graph = self.graph, None
        if graph is not None:
            graph.close()
