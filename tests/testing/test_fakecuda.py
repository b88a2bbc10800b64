"""The fakes notice what they are there to notice: each rule of CUDA and TensorRT is broken once."""

import threading

import numpy as np
import pytest

from edgecnn.testing.fakecuda import FakeCudart
from edgecnn.testing.fakecudatypes import cudaError_t
from edgecnn.testing.faketrt import FakeTensorRT
from edgecnn.testing.faketrtengine import SCRATCH_BYTES, FakeEngine
from edgecnn.testing.faketrtmodel import FakeModel, FakeTensor

OK = cudaError_t.cudaSuccess
TO_DEVICE, TO_HOST = 1, 2


@pytest.fixture
def cuda():
    return FakeCudart()


@pytest.fixture
def stream(cuda):
    return cuda.cudaStreamCreateWithFlags(1)[1]


def host(cuda, size=16):
    """Return the address of page-locked memory and its bytes as an array."""
    address = cuda.cudaHostAlloc(size, 0)[1]
    return address, np.frombuffer(cuda.memory(address, size, "host"), np.uint8)


def test_fresh_memory_is_rubbish_and_has_real_addresses(cuda):
    import ctypes

    address, content = host(cuda)
    assert (content == 0xCB).all()
    assert address % 256 == 0
    content[3] = 7
    assert ctypes.string_at(address, 16)[3] == 7


def test_work_waits_for_the_stream(cuda, stream):
    source, given = host(cuda)
    target, got = host(cuda)
    device = cuda.cudaMalloc(16)[1]
    given[:] = 5
    assert cuda.cudaMemcpyAsync(device, source, 16, TO_DEVICE, stream) == (OK,)
    assert cuda.cudaMemcpyAsync(target, device, 16, TO_HOST, stream) == (OK,)
    assert (got == 0xCB).all()
    given[:] = 6  # too early: the copy has not been made yet
    assert cuda.cudaStreamSynchronize(stream) == (OK,)
    assert (got == 6).all()


@pytest.mark.parametrize("case", ["beyond", "unknown", "wrong kind", "freed"])
def test_addresses_are_looked_up_when_the_work_is_done(cuda, stream, case):
    source, _ = host(cuda)
    device = cuda.cudaMalloc(16)[1]
    arguments = {
        "beyond": (device, source, 17),
        "unknown": (device + (1 << 40), source, 16),
        "wrong kind": (source, source, 16),
        "freed": (device, source, 16),
    }[case]
    assert cuda.cudaMemcpyAsync(*arguments, TO_DEVICE, stream) == (OK,)
    if case == "freed":
        cuda._table.pop(device)  # cudaFree itself would wait for the copy
    assert cuda.cudaStreamSynchronize(stream) == (cudaError_t.cudaErrorIllegalAddress,)
    assert len(cuda.faults) == 1
    # As on a GPU, nothing works any more.
    assert cuda.cudaMalloc(16)[0] == cudaError_t.cudaErrorIllegalAddress


def test_freed_memory_is_known_as_such(cuda, stream):
    source, _ = host(cuda)
    device = cuda.cudaMalloc(16)[1]
    cuda.cudaFree(device)
    cuda.cudaMemcpyAsync(device, source, 16, TO_DEVICE, stream)
    cuda.cudaStreamSynchronize(stream)
    assert cuda.faults == ["device memory is used after it was freed"]


def test_memory_is_freed_once_and_by_the_right_call(cuda):
    device, (pinned, _) = cuda.cudaMalloc(16)[1], host(cuda)
    assert cuda.cudaFreeHost(device)[0] == cudaError_t.cudaErrorInvalidValue
    assert cuda.cudaFree(pinned)[0] == cudaError_t.cudaErrorInvalidValue
    assert cuda.cudaFree(device) == (OK,)
    assert cuda.cudaFree(device)[0] == cudaError_t.cudaErrorInvalidValue
    assert len(cuda.faults) == 3
    assert cuda.live() == ["host memory of 16 bytes"]


def test_the_default_stream_and_unknown_ones_are_faults(cuda):
    source, _ = host(cuda)
    device = cuda.cudaMalloc(16)[1]
    for stream in (0, 77):
        assert cuda.cudaMemcpyAsync(device, source, 16, TO_DEVICE, stream)[0] != OK
    assert "default stream" in cuda.faults[0]
    assert len(cuda.faults) == 2


def test_graphs_replay_with_the_addresses_at_capture(cuda, stream):
    source, given = host(cuda)
    target, got = host(cuda)
    device = cuda.cudaMalloc(16)[1]
    cuda.cudaStreamBeginCapture(stream, 1)
    cuda.cudaMemcpyAsync(device, source, 16, TO_DEVICE, stream)
    cuda.cudaMemcpyAsync(target, device, 16, TO_HOST, stream)
    graph = cuda.cudaStreamEndCapture(stream)[1]
    executable = cuda.cudaGraphInstantiate(graph, 0)[1]
    assert cuda.cudaGraphDestroy(graph) == (OK,)
    cuda.cudaStreamSynchronize(stream)
    assert (got == 0xCB).all()  # a capture does nothing
    for value in (1, 2):
        given[:] = value
        cuda.cudaGraphLaunch(executable, stream)
        cuda.cudaStreamSynchronize(stream)
        assert (got == value).all()
    assert executable.launches == 2
    assert cuda.cudaGraphExecDestroy(executable) == (OK,)
    assert cuda.cudaGraphExecDestroy(executable)[0] != OK
    assert cuda.cudaGraphLaunch(executable, stream)[0] != OK


@pytest.mark.parametrize("forbidden", ["cudaMalloc", "cudaFree", "cudaStreamSynchronize"])
def test_what_a_capture_forbids_spoils_it(cuda, stream, forbidden):
    device = cuda.cudaMalloc(16)[1]
    cuda.cudaStreamBeginCapture(stream, 1)
    argument = {"cudaMalloc": 16, "cudaFree": device, "cudaStreamSynchronize": stream}[forbidden]
    assert getattr(cuda, forbidden)(argument)[0] == cudaError_t.cudaErrorStreamCaptureUnsupported
    assert cuda.cudaStreamEndCapture(stream) == (cudaError_t.cudaErrorStreamCaptureInvalidated, None)
    assert cuda.cudaStreamSynchronize(stream) == (OK,)
    assert len(cuda.faults) == 1


def test_another_threads_calls_do_not_spoil_a_capture(cuda, stream):
    cuda.cudaStreamBeginCapture(stream, 1)
    thread = threading.Thread(target=cuda.cudaMalloc, args=(16,))
    thread.start()
    thread.join()
    assert cuda.cudaStreamEndCapture(stream)[0] == OK
    assert cuda.faults == []


def test_failures_are_those_that_were_asked_for(cuda):
    cuda.fail("cudaMalloc", 2, at=2)
    assert [int(cuda.cudaMalloc(1)[0]) for _ in range(3)] == [0, 2, 0]
    cuda.fail("cudaHostAlloc", 2, at=0)
    assert [int(cuda.cudaHostAlloc(1, 0)[0]) for _ in range(2)] == [2, 2]
    cuda.mend()
    assert cuda.cudaHostAlloc(1, 0)[0] == OK


DOUBLE = FakeModel(
    inputs=(FakeTensor(name="x", dtype="float32", shape=(-1, 2)),),
    outputs=(FakeTensor(name="y", dtype="float32", shape=(-1, 2)),),
    function=lambda feeds: {"y": feeds["x"] * 2},
)


class Ready:
    """A context by hand, for two rows, with everything that a run needs."""

    def __init__(self, cuda, stream):
        self.cuda, self.stream = cuda, stream
        self.trt = FakeTensorRT(cuda)
        self.engine = FakeEngine(self.trt, DOUBLE, {"x": ((1, 2), (2, 2), (4, 2))}, detailed=True)
        self.scratch = cuda.cudaMalloc(SCRATCH_BYTES)[1]
        self.x, self.y = cuda.cudaMalloc(32)[1], cuda.cudaMalloc(32)[1]
        self.context = self.engine.create_execution_context(self.trt.ExecutionContextAllocationStrategy.USER_MANAGED)

    def prepare(self):
        self.context.set_device_memory(self.scratch, SCRATCH_BYTES)
        assert self.context.set_input_shape("x", (2, 2))
        assert self.context.infer_shapes() == []
        assert self.context.get_tensor_shape("y") == (2, 2)
        assert self.context.set_tensor_address("x", self.x)
        assert self.context.set_tensor_address("y", self.y)

    def start(self):
        return self.context.execute_async_v3(int(self.stream))

    def wait(self):
        return self.cuda.cudaStreamSynchronize(self.stream)[0]

    def capture(self):
        self.cuda.cudaStreamBeginCapture(self.stream, 1)
        started = self.start()
        error, graph = self.cuda.cudaStreamEndCapture(self.stream)
        return started, self.cuda.cudaGraphInstantiate(graph, 0)[1] if not error else None


@pytest.fixture
def ready(cuda, stream):
    return Ready(cuda, stream)


def test_a_context_wants_everything_set_before_it_runs(ready):
    assert not ready.start()
    ready.prepare()
    assert ready.start()
    assert ready.wait() == OK
    assert ready.cuda.faults == []


def test_shapes_outside_the_profile_are_refused(ready):
    assert not ready.context.set_input_shape("x", (5, 2))
    assert not ready.context.set_input_shape("x", (2, 3))
    assert not ready.context.set_input_shape("x", (2,))


def test_the_stream_is_a_number_and_not_the_default_one(ready):
    ready.prepare()
    with pytest.raises(TypeError):
        ready.context.execute_async_v3(ready.stream)
    assert not ready.context.execute_async_v3(0)
    assert len(ready.cuda.faults) == 1


def test_outputs_must_fit_their_memory(ready):
    ready.prepare()
    ready.context.set_tensor_address("y", ready.cuda.cudaMalloc(15)[1])
    assert ready.start()
    assert ready.wait() == cudaError_t.cudaErrorIllegalAddress


def test_scratch_memory_must_live(ready):
    ready.prepare()
    ready.cuda.cudaFree(ready.scratch)
    assert ready.start()
    assert ready.wait() == cudaError_t.cudaErrorIllegalAddress


def test_a_capture_needs_one_run_before(ready):
    ready.prepare()
    assert ready.capture() == (False, None)
    assert ready.start()
    assert ready.wait() == OK
    assert ready.capture()[0]


@pytest.mark.parametrize("change", ["shape", "address", "scratch", "gone", None])
def test_a_graph_is_good_as_long_as_its_context_is_not_touched(ready, change):
    ready.prepare()
    ready.start()
    ready.wait()
    _, executable = ready.capture()
    if change == "shape":
        ready.context.set_input_shape("x", (2, 2))
    elif change == "address":
        ready.context.set_tensor_address("x", ready.x)
    elif change == "scratch":
        ready.context.set_device_memory(ready.scratch, SCRATCH_BYTES)
    elif change == "gone":
        ready.context = None
    ready.cuda.cudaGraphLaunch(executable, ready.stream)
    assert (ready.wait() == OK) == (change is None)
    assert bool(ready.cuda.faults) == (change is not None)


def test_two_threads_in_one_context_are_a_fault(ready):
    ready.prepare()
    with ready.context._busy:
        assert not ready.start()
    assert ready.cuda.faults == ["two threads use one execution context"]


def test_tensorrt_before_cuda_is_a_fault(cuda):
    trt = FakeTensorRT(cuda)
    logger = trt.ILogger()
    trt.Runtime(logger)
    assert "before CUDA" in cuda.faults[0]
    cuda.cudaGetDeviceCount()
    trt.Builder(logger)
    assert len(cuda.faults) == 1


def test_plans_are_of_one_version(cuda):
    cuda.cudaGetDeviceCount()
    plan = FakeTensorRT(cuda, version="10.3.0", load=lambda content: DOUBLE).plan(b"", {}, True)
    for version, loads in (("10.3.0", True), ("11.4.0.106", False)):
        trt = FakeTensorRT(cuda, version=version, load=lambda content: DOUBLE)
        runtime = trt.Runtime(trt.ILogger())
        assert (runtime.deserialize_cuda_engine(plan) is not None) == loads
        for broken in (b"", plan[:-1] + b"x", b"x" + plan, bytes(100)):
            assert runtime.deserialize_cuda_engine(broken) is None


def test_enums_are_those_of_the_version(cuda):
    ten, eleven = FakeTensorRT(cuda, version="10.3.0"), FakeTensorRT(cuda)
    assert int(ten.NetworkDefinitionCreationFlag.STRONGLY_TYPED) == 1
    assert int(eleven.NetworkDefinitionCreationFlag.STRONGLY_TYPED) == 0
    assert not hasattr(eleven.BuilderFlag, "FP16")
    with pytest.raises(TypeError):
        1 << ten.BuilderFlag.TF32
