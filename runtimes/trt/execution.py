"""Running an engine: memory for its largest shapes, a stream, and a lane (`lanes.py`) per set of input shapes.

A TensorRT execution context does one thing at a time and all lanes share their memory, so runs of one session come one
after the other, whatever the number of threads: a lock sees to it. `edgecnn.Pool` opens several sessions where a GPU is
large enough for more.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from edgecnn.errors import BadInput, EdgecnnError, InferenceError, first_line
from edgecnn.runtimes.base import Array, Feeds, OpenOptions, Session, check_feeds
from edgecnn.runtimes.nvidia.cudart import CudaDevice, check, probe
from edgecnn.runtimes.trt.lanes import Lane, Lines, Shapes, check_shapes, new_context
from edgecnn.runtimes.trt.layers import int8_proof, new_profiler
from edgecnn.runtimes.trt.logger import complaints
from edgecnn.runtimes.trt.resources import Resources, lay_out
from edgecnn.runtimes.trt.tensors import engine_tensors, session_specs
from edgecnn.specs import Artifact, EngineInfo, Scalar

PROVIDER = "TensorRT"

# So many sets of input shapes keep a context and a graph of their own: the batch sizes that a Batcher makes by default.
_KEPT_LANES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """How an engine came to be, as `TrtSession.info` tells it.

    Attributes:
        from_cache: it was loaded, not built now.
        options: what it was built with: tf32, workspace_bytes, build_seconds and so on.
        keeps: what must live as long as the engine, the trt.Runtime for one.
    """

    from_cache: bool
    options: Mapping[str, Scalar] = field(default_factory=dict)
    keeps: tuple[Any, ...] = ()


class TrtSession(Session):
    """An engine that is ready to run.

    Runs of several threads are safe and come one after the other. A session that was opened before a fork cannot run in
    the child; closing it there does nothing.

    Args:
        engine: an ICudaEngine.
        trt: the module that it comes from, `tensorrt` or `tensorrt_rtx`.
        cudart: the CUDA runtime, see `edgecnn.runtimes.nvidia.cudart.load_cudart`.
        artifact: the model file that it was built from.
        options: how to open; of `engine`, this class takes `cuda_graph` (True: runs are replayed as CUDA graphs).
        built: how the engine came to be.
        device: the GPU that it lies on; None asks CUDA for GPU 0.

    Raises:
        BadInput: the engine is of another model, or `cuda_graph` is no bool.
        UnsupportedOp: an input or output that this class cannot serve.
        InferenceError: no memory, or TensorRT gives no execution context.
        RuntimeUnavailable: the GPU cannot be used.
    """

    def __init__(
        self,
        engine: Any,
        trt: Any,
        cudart: Any,
        artifact: Artifact,
        options: OpenOptions,
        built: Built,
        *,
        device: CudaDevice | None = None,
    ) -> None:
        self._tensors = engine_tensors(engine, trt)
        super().__init__(*session_specs(self._tensors, artifact))
        self._graph_wanted = _graph_option(options)
        self._graph_reason = "" if self._graph_wanted else "option cuda_graph is off"
        self._most_lanes = _KEPT_LANES if self._graph_wanted else 1
        self._trt, self._cudart, self._built = trt, cudart, replace(built, keeps=())
        self._layers = int(engine.num_layers)
        self._complain = complaints(trt)
        self._device = device or probe(cudart)
        self._names = [spec.name for spec in self.inputs]
        self._pid = os.getpid()
        self._int8: int | None = None
        self._inspected = False
        self._resources = Resources(cudart, self._device.ordinal, engine, built.keeps)
        self._release = weakref.finalize(self, self._resources.release)
        try:
            with self._on_device():
                self._lines = self._laid_out()
        except BaseException:
            self._release()
            raise

    def _laid_out(self) -> Lines:
        """Make the stream and all memory, with inputs and outputs in the order of the model file."""
        by_name = {tensor.name: tensor for tensor in self._tensors}
        sources = [by_name[spec.name] for spec in self.inputs]
        targets = [by_name[spec.name] for spec in self.outputs]
        return lay_out(self._resources, self._trt, sources, targets, self._complain)

    @contextmanager
    def _on_device(self) -> Iterator[None]:
        """Make this session's GPU the thread's current one, and give the thread its own back."""
        cudart, wanted = self._cudart, self._device.ordinal
        current = check(cudart.cudaGetDevice(), "cudaGetDevice", cudart)
        if current != wanted:
            check(cudart.cudaSetDevice(wanted), "cudaSetDevice", cudart)
        try:
            yield
        finally:
            if current != wanted:
                cudart.cudaSetDevice(current)

    @contextmanager
    def _in_turn(self) -> Iterator[None]:
        """Wait for the other threads' runs; raise what goes wrong inside as errors of edgecnn."""
        if os.getpid() != self._pid:
            raise InferenceError(
                "this session was opened before a fork, and CUDA does not outlive one",
                "open the session in the child, or start worker processes with the method 'spawn'",
            )
        with self._resources.lock:
            if self._closed or self._resources.released:
                raise RuntimeError("this session is closed")
            with self._on_device():
                try:
                    yield
                except EdgecnnError:
                    self._settle()
                    raise
                except Exception as error:
                    self._settle()
                    raise InferenceError(self._complain(f"TensorRT failed: {first_line(error)}")) from error

    def _settle(self) -> None:
        """Wait for what a failed run left on the stream, so that it does not write into a later one."""
        self._cudart.cudaStreamSynchronize(self._lines.stream)

    def _run(self, feeds: Feeds) -> dict[str, Array]:
        shapes = tuple([feeds[name].shape for name in self._names])
        with self._in_turn():
            lane = self._lane(shapes)
            lane.fill(feeds)
            if self._graph_wanted and lane.graph is None and lane.runs:
                self._capture(lane)
            lane.start()
            self._wait()
            lane.runs += 1
            return lane.answer()

    def _wait(self) -> None:
        check(self._cudart.cudaStreamSynchronize(self._lines.stream), "the run on the GPU", self._cudart)

    def _capture(self, lane: Lane) -> None:
        reason = lane.capture()
        if reason:
            self._graph_wanted, self._graph_reason = False, reason

    def _lane(self, shapes: Shapes) -> Lane:
        """Return the lane of these shapes, the least recently used one set to them where there are enough already."""
        lanes = self._resources.lanes
        lane = lanes.pop(shapes, None)
        if lane is None:
            check_shapes((port.tensor for port in self._lines.inputs), shapes)
            lane = self._free_lane()
            try:
                lane.reshape(shapes)
            except BaseException:
                lane.close()
                self._resources.spare.append(lane.context)
                raise
        lanes[shapes] = lane
        return lane

    def _free_lane(self) -> Lane:
        lanes, spare = self._resources.lanes, self._resources.spare
        if spare:
            return Lane(self._lines, spare.pop())
        if len(lanes) < self._most_lanes:
            try:
                return Lane(self._lines, self._new_context())
            except InferenceError:
                self._most_lanes = len(lanes)  # no memory for one more: those that there are must do
                if not lanes:
                    raise
        return lanes.pop(next(iter(lanes)))

    def _new_context(self) -> Any:
        return new_context(self._trt, self._resources.engine, self._lines.scratch, self._complain)

    def _checked_shapes(self, feeds: Feeds) -> tuple[tuple[int, ...], ...]:
        check_feeds(self.inputs, feeds)
        return tuple([feeds[name].shape for name in self._names])

    def run_profiled(self, feeds: Feeds, runs: int, take: Callable[[str, float], object]) -> None:
        """Run in a context of its own that reports every layer's time; see `layers.layer_times`.

        Args:
            feeds: as for `run`.
            runs: how often.
            take: gets (name, milliseconds) of every layer of every run.

        Raises:
            BadInput: the feeds do not fit.
            InferenceError: the engine failed.
            RuntimeError: the session is closed.
        """
        shapes = self._checked_shapes(feeds)
        with self._in_turn():
            check_shapes((port.tensor for port in self._lines.inputs), shapes)
            lane = Lane(self._lines, self._new_context())
            profiler = new_profiler(self._trt, take)
            lane.context.profiler = profiler
            lane.reshape(shapes)
            for _ in range(runs):
                lane.fill(feeds)
                lane.start()
                self._wait()

    def resident(self, feeds: Feeds) -> Callable[[], None]:
        """Return a run whose inputs lie on the GPU already and whose outputs stay there: what a run is without copies.

        It holds for as long as the session is run with no more shapes than it keeps contexts for.

        Args:
            feeds: as for `run`; they are copied once, now.

        Raises:
            BadInput: the feeds do not fit.
            InferenceError: the engine failed.
            RuntimeError: the session is closed.
        """
        shapes = self._checked_shapes(feeds)
        with self._in_turn():
            lane = self._lane(shapes)
            lane.fill(feeds)
            lane.start()
            self._wait()
            lane.close()
            lane.leave_copies_out()
            lane.start()
            self._wait()
            if self._graph_wanted:
                self._capture(lane)

        def run() -> None:
            with self._in_turn():
                lane.start()
                self._wait()

        return run

    def inspect(self) -> str:
        """Return the engine inspector's JSON, for the shapes that ran last, or the largest.

        Raises:
            InferenceError: the engine gives none.
            RuntimeError: the session is closed.
        """
        with self._in_turn():
            return self._inspect()

    def _inspect(self) -> str:
        lanes = self._resources.lanes
        shapes = next(reversed(lanes), tuple(port.tensor.largest for port in self._lines.inputs))
        inspector = self._resources.engine.create_engine_inspector()
        if inspector is None:
            raise InferenceError(self._complain("TensorRT gives no engine inspector"))
        # Without shapes it says "N/A due to dynamic shapes" instead of types.
        inspector.execution_context = self._lane(shapes).context
        return str(inspector.get_engine_information(self._trt.LayerInformationFormat.JSON))

    def _count_int8(self) -> int | None:
        """Return how many layers work on int8, None where the engine was built without such details."""
        if not self._inspected:
            try:
                proof = int8_proof(self.inspect())
            except InferenceError:
                proof = None
            self._int8, self._inspected = None if proof is None else len(proof.int8), True
        return self._int8

    def _info(self) -> EngineInfo:
        facts: dict[str, Scalar] = {
            **self._built.options,
            "engine_from": "cache" if self._built.from_cache else "build",
            "gpu": self._device.name,
            "compute_capability": "{}.{}".format(*self._device.compute_capability),
            "integrated": self._device.integrated,
            "int8_layers": self._count_int8(),
            "cuda_graph": self._graph_wanted,
            "device_bytes": self._resources.memory.device_bytes,
            "host_bytes": self._resources.memory.host_bytes,
        }
        if self._graph_reason:
            facts["cuda_graph_reason"] = self._graph_reason
        return EngineInfo(
            backend="trt",
            engine=str(getattr(self._trt, "__name__", "tensorrt")),
            engine_version=str(self._trt.__version__),
            providers_asked=(PROVIDER,),
            providers_active=(PROVIDER,),
            nodes={PROVIDER: self._layers},
            threads=None,
            options=facts,
        )

    def _close(self) -> None:
        if os.getpid() != self._pid:
            self._release()  # a thread of the parent may have held the lock when the process forked
            return
        with self._resources.lock:
            self._release()


def _graph_option(options: OpenOptions) -> bool:
    value = options.engine.get("cuda_graph", True)
    if not isinstance(value, bool):
        raise BadInput("engine option cuda_graph", expected="True or False", got=repr(value))
    return value
