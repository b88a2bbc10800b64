import gc
import os
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest

from edgecnn.errors import BadInput, EdgecnnError, InferenceError, RuntimeUnavailable, UnsupportedOp
from edgecnn.specs import ModelSpec, TensorSpec
from edgecnn.testing.fakecuda import FakeDevice, Fault
from edgecnn.testing.fakecudatypes import cudaError_t
from edgecnn.testing.faketrtmodel import FakeTensor

pytestmark = pytest.mark.usefixtures("few_objects")

WORK = (
    *("set_input_shape", "infer_shapes", "set_tensor_address", "cudaMemcpyAsync", "execute_async_v3"),
    *("cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate", "cudaGraphDestroy", "cudaGraphLaunch"),
    *("cudaStreamSynchronize", "cudaGraphExecDestroy", "cudaMalloc", "cudaHostAlloc", "create_execution_context"),
)
COPIES_AND_RUN = [*["cudaMemcpyAsync"] * 2, "execute_async_v3", *["cudaMemcpyAsync"] * 2]


def calls_of(bench, action):
    """Return the names of the calls that an action makes."""
    before = len(bench.cuda.calls)
    action()
    return [name for name, _ in bench.cuda.calls[before:] if name in WORK]


def test_first_run_sets_shapes_then_addresses_then_works(kit, bench):
    with bench.open() as session:
        calls = calls_of(bench, lambda: session.run(kit.feeds(2)))
    assert calls == [
        *["set_input_shape"] * 2,
        "infer_shapes",
        *["set_tensor_address"] * 4,
        *COPIES_AND_RUN,
        "cudaStreamSynchronize",
    ]


def test_second_run_captures_and_later_ones_only_launch(kit, bench):
    with bench.open() as session:
        session.run(kit.feeds(2))
        second = calls_of(bench, lambda: session.run(kit.feeds(2)))
        third = calls_of(bench, lambda: session.run(kit.feeds(2)))
    capture = ["cudaStreamBeginCapture", *COPIES_AND_RUN, "cudaStreamEndCapture", "cudaGraphInstantiate"]
    assert second == [*capture, "cudaGraphDestroy", "cudaGraphLaunch", "cudaStreamSynchronize"]
    assert third == ["cudaGraphLaunch", "cudaStreamSynchronize"]


@pytest.mark.parametrize(("cuda_graph", "work"), [(True, "cudaGraphLaunch"), (False, "execute_async_v3")])
def test_a_resident_run_copies_nothing(kit, bench, cuda_graph, work):
    with bench.open(cuda_graph=cuda_graph) as session:
        run = session.resident(kit.feeds(2))
        assert calls_of(bench, lambda: (run(), run())) == [work, "cudaStreamSynchronize"] * 2


def test_captures_are_of_this_thread_alone(kit, bench):
    with bench.open() as session:
        for _ in range(2):
            session.run(kit.feeds(1))
    (mode,) = [arguments[1] for name, arguments in bench.cuda.calls if name == "cudaStreamBeginCapture"]
    assert mode == bench.cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal


@pytest.mark.parametrize("cuda_graph", [True, False])
def test_answers_are_the_functions(kit, bench, cuda_graph):
    with bench.open(cuda_graph=cuda_graph) as session:
        for seed, batch in enumerate((1, 2, 16, 1, 1, 2, 2, 16, 16, 3, 1)):
            given = kit.feeds(batch, seed)
            assert kit.same(session.run(given), kit.answer(given))


def test_one_stream_and_the_same_addresses_for_every_run(kit, bench):
    with bench.open() as session:
        for batch in (1, 1, 4, 4, 16, 1, 4):
            session.run(kit.feeds(batch))
    copies = [arguments for name, arguments in bench.cuda.calls if name == "cudaMemcpyAsync"]
    assert len({(target, source) for target, source, *_ in copies}) == 4
    assert len({arguments[-1] for arguments in copies}) == 1
    assert copies[0][-1] != 0
    allocations = bench.cuda.named("cudaMalloc", "cudaHostAlloc")
    assert allocations == ["cudaMalloc"] + ["cudaHostAlloc", "cudaMalloc"] * 4


def test_memory_is_for_the_largest_shape(kit, bench):
    with bench.open() as session:
        facts = session.info().options
        held = bench.cuda.live()
    assert facts["host_bytes"] == 16 * 3 * 4 * 5 * 4 + 3 * 4 + 16 * 3 * 4 + 16 * 8
    assert facts["device_bytes"] == facts["host_bytes"] + 4096
    assert "host memory of 3840 bytes" in held


def test_many_shapes_keep_a_bounded_number_of_contexts(kit, bench):
    with bench.open() as session:
        for _ in range(3):
            for batch in range(1, 17):
                given = kit.feeds(batch, batch)
                assert kit.same(session.run(given), kit.answer(given))
        assert bench.trt.live_contexts() == 8
        # Twelve shapes in turn never come back to a lane that is still theirs: nothing is captured in vain.
        assert bench.cuda.named("cudaStreamBeginCapture") == []


def test_the_least_recently_used_shape_gives_way(kit, bench):
    with bench.open() as session:
        for batch in (1, 1, 2, 3, 4, 5, 6, 7, 1, 8, 9, 1):
            session.run(kit.feeds(batch))
        assert calls_of(bench, lambda: session.run(kit.feeds(1))) == ["cudaGraphLaunch", "cudaStreamSynchronize"]
        assert "set_input_shape" in calls_of(bench, lambda: session.run(kit.feeds(2)))


def test_a_lane_that_changes_its_shape_drops_its_graph(kit, bench):
    with bench.open() as session:
        for turn in range(2):
            for batch in range(1, 13):
                for again in range(3):
                    given = kit.feeds(batch, 100 * turn + again)
                    assert kit.same(session.run(given), kit.answer(given))
        assert bench.cuda.live().count("executable graph") == 8
        assert bench.trt.live_contexts() == 8


def test_without_graphs_one_context_serves_all_shapes(kit, bench):
    with bench.open(cuda_graph=False) as session:
        for batch in (1, 1, 2, 2, 1):
            given = kit.feeds(batch, batch)
            assert kit.same(session.run(given), kit.answer(given))
        assert bench.trt.live_contexts() == 1
        info = session.info().options
    assert bench.cuda.named("cudaStreamBeginCapture") == []
    assert (info["cuda_graph"], info["cuda_graph_reason"]) == (False, "option cuda_graph is off")


@pytest.mark.parametrize(
    "failing", ["capture", "cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate"]
)
def test_what_cannot_be_captured_runs_without_and_info_says_why(kit, bench, failing):
    if failing == "capture":
        bench.trt.fail(failing)
    else:
        bench.cuda.fail(failing, 900, at=0)
    with bench.open() as session:
        assert session.info().options["cuda_graph"] is True
        for seed in range(4):
            given = kit.feeds(2, seed)
            assert kit.same(session.run(given), kit.answer(given))
        facts = session.info().options
    assert facts["cuda_graph"] is False
    assert ("capturing" if failing == "capture" else "900") in facts["cuda_graph_reason"]
    assert len(bench.cuda.named("cudaStreamBeginCapture")) == 1
    # The error of the failed capture is taken off, so that no later call of the app reports it.
    if failing != "cudaStreamBeginCapture":
        assert bench.cuda.named("cudaGraphLaunch") == []


@pytest.mark.parametrize(
    "failing",
    [
        *("cudaMalloc", "cudaHostAlloc", "cudaStreamCreateWithFlags", "cudaGetDevice"),
        *(
            "create_execution_context",
            "set_input_shape",
            "infer_shapes",
            "get_tensor_shape",
            "get_tensor_profile_shape",
        ),
    ],
)
@pytest.mark.parametrize("at", [1, 2])
def test_failures_while_opening_leave_nothing_behind(kit, bench, failing, at):
    if failing.startswith("cuda"):
        bench.cuda.fail(failing, 2, at=at if failing in ("cudaMalloc", "cudaHostAlloc") else 1)
    else:
        bench.trt.fail(failing)
    with pytest.raises(EdgecnnError) as caught:
        bench.open()
    assert caught.value.hint or failing in ("infer_shapes", "cudaGetDevice")
    del caught
    gc.collect()
    bench.clean()


@pytest.mark.parametrize("graph", [True, False], ids=["graph", "plain"])
@pytest.mark.parametrize("warm", [0, 1, 2])
@pytest.mark.parametrize(
    "failing",
    [
        *("cudaMemcpyAsync", "cudaStreamSynchronize", "cudaGraphLaunch", "cudaGetDevice"),
        *("execute_async_v3", "set_tensor_address", "set_input_shape", "infer_shapes"),
    ],
)
def test_failures_while_running_are_errors_and_the_next_run_works(kit, bench, failing, warm, graph):
    with bench.open(cuda_graph=graph) as session:
        for _ in range(warm):
            session.run(kit.feeds(2))
        if failing.startswith("cuda"):
            bench.cuda.fail(failing, 719)
        else:
            bench.trt.fail(failing, times=1)
        before = len(bench.cuda.calls)
        try:
            session.run(kit.feeds(2))
        except InferenceError as error:
            assert "719" in error.message or "TensorRT" in error.message
            if failing == "execute_async_v3":
                assert "invalid argument" in error.message  # what TensorRT's logger got
            if failing != "cudaGetDevice":
                # Nothing that the failed run left on the stream works on beside the next one.
                assert [name for name, _ in bench.cuda.calls if name in WORK][-1] == "cudaStreamSynchronize"
        except BadInput:
            assert failing == "set_input_shape"
        else:
            # The run did not make this call, or made it in a capture, without which it goes on.
            made = [name for name, _ in bench.cuda.calls[before:]]
            assert failing not in made or "cudaStreamBeginCapture" in made
        bench.cuda.mend()
        bench.trt.mend()
        for seed in range(3):
            given = kit.feeds(2, seed)
            assert kit.same(session.run(given), kit.answer(given))


@pytest.mark.parametrize("warm", [1, 2], ids=["plain", "graph"])
def test_a_fault_of_a_kernel_is_an_error_of_every_later_run(kit, warm):
    broken = []

    def answer(feeds):
        if broken:
            raise Fault(cudaError_t.cudaErrorIllegalAddress, "a kernel reads elsewhere")
        return kit.answer(feeds)

    bench = kit.Bench(model=replace(kit.MODEL, function=answer))
    with bench.open() as session:
        for _ in range(warm):
            session.run(kit.feeds(2))
        broken.append(True)
        for _ in range(2):
            with pytest.raises(InferenceError, match="CUDA error 700") as caught:
                session.run(kit.feeds(2))
            assert "start the process again" in caught.value.hint
    assert bench.cuda.faults == ["a kernel reads elsewhere"]
    assert bench.cuda.live() == []


def test_exceptions_of_the_bindings_are_inference_errors(kit, bench, monkeypatch):
    from edgecnn.testing.faketrtengine import FakeContext

    def refuse(self, stream):
        raise TypeError("incompatible function arguments")

    with bench.open() as session:
        with monkeypatch.context() as patch:
            patch.setattr(FakeContext, "execute_async_v3", refuse)
            with pytest.raises(InferenceError, match="incompatible") as caught:
                session.run(kit.feeds(1))
            assert isinstance(caught.value.__cause__, TypeError)
            del caught  # its traceback holds the context
        session.run(kit.feeds(1))


@pytest.mark.parametrize("batch", [0, 17, 1000])
def test_batches_that_the_engine_was_not_built_for_are_bad_input(kit, bench, batch):
    with bench.open() as session:
        for _ in range(2):
            session.run(kit.feeds(1))
        with pytest.raises(BadInput) as caught:
            session.run(kit.feeds(batch))
        if batch:
            assert "shape [1, 3, 4, 5] to [16, 3, 4, 5]" in caught.value.message
            assert "max_batch" in caught.value.hint
        # The graph of the other shape is still there.
        assert calls_of(bench, lambda: session.run(kit.feeds(1))) == ["cudaGraphLaunch", "cudaStreamSynchronize"]


def test_a_full_gpu_goes_on_with_the_contexts_that_it_has(kit, bench):
    with bench.open() as session:
        session.run(kit.feeds(1))
        bench.trt.fail("create_execution_context")
        for seed, batch in enumerate((2, 3, 2, 1, 1, 1)):
            given = kit.feeds(batch, seed)
            assert kit.same(session.run(given), kit.answer(given))
        assert bench.trt.live_contexts() == 1


@pytest.mark.parametrize("cuda_graph", [True, False])
def test_eight_threads_get_their_own_answers(kit, bench, cuda_graph):
    wrong = []
    with bench.open(cuda_graph=cuda_graph) as session:

        def work(number):
            for step in range(30):
                given = kit.feeds(1 + (number + step) % 5, 100 * number + step)
                if not kit.same(session.run(given), kit.answer(given)):
                    wrong.append((number, step))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_answers_belong_to_the_caller(kit, bench):
    with bench.open() as session:
        first = [session.run(kit.feeds(2, 1)) for _ in range(3)]
        kept = [{name: value.copy() for name, value in one.items()} for one in first]
        session.run(kit.feeds(2, 2))
    bench.clean()
    assert all(kit.same(one, old) for one, old in zip(first, kept, strict=True))
    assert all(value.flags.owndata for one in first for value in one.values())


def test_the_threads_own_gpu_stays_current(kit):
    bench = kit.Bench(devices=[FakeDevice(), FakeDevice(name=b"Second")])
    with bench.open(ordinal=1) as session:
        assert bench.cuda.cudaGetDevice()[1] == 0
        before = len(bench.cuda.calls)
        session.run(kit.feeds(1))
        calls = [one for one in bench.cuda.calls[before:] if one[0] in ("cudaSetDevice", "cudaMemcpyAsync")]
        assert calls[0] == ("cudaSetDevice", (1,))
        assert calls[-1] == ("cudaSetDevice", (0,))
        assert session.info().options["gpu"] == "Second"
    assert bench.cuda.cudaGetDevice()[1] == 0
    bench.clean()


def test_a_gpu_that_is_lost_is_unavailable(kit, bench):
    with bench.open() as session:
        bench.cuda.fail("cudaGetDevice", 46)
        with pytest.raises(RuntimeUnavailable):
            session.run(kit.feeds(1))


def test_a_session_that_nobody_closes_is_released_when_it_is_collected(kit, bench):
    session = bench.open()
    for _ in range(2):
        session.run(kit.feeds(1))
    assert bench.cuda.live()
    del session
    gc.collect()
    bench.clean()


def test_close_waits_for_a_run_however_long_it_takes(kit, bench, monkeypatch):
    from edgecnn.runtimes.trt import resources

    started, go_on, answers = threading.Event(), threading.Event(), []

    def answer(feeds):
        started.set()
        go_on.wait(10)
        return kit.answer(feeds)

    monkeypatch.setattr(resources, "_PATIENCE_S", 0.01)
    session = bench.open()
    session.run(kit.feeds(2))
    bench.trt.engines.__iter__().__next__().model = replace(kit.MODEL, function=answer)
    runner = threading.Thread(target=lambda: answers.append(session.run(kit.feeds(2))))
    runner.start()
    assert started.wait(10)
    closer = threading.Thread(target=session.close)
    closer.start()
    closer.join(0.1)
    assert closer.is_alive()
    go_on.set()
    runner.join()
    closer.join()
    assert kit.same(answers[0], kit.answer(kit.feeds(2)))


def test_release_has_an_order(kit, bench):
    with bench.open() as session:
        for _ in range(2):
            session.run(kit.feeds(1))
        before = len(bench.cuda.calls)
    names = [name for name, _ in bench.cuda.calls[before:]]
    groups = (
        ("cudaStreamSynchronize",),
        ("cudaGraphExecDestroy",),
        ("~IExecutionContext",),
        ("~ICudaEngine",),
        ("cudaFree", "cudaFreeHost"),
        ("cudaStreamDestroy",),
    )
    positions = [[i for i, name in enumerate(names) if name in group] for group in groups]
    assert [len(one) for one in positions] == [1, 1, 1, 1, 9, 1]
    order = [i for one in positions for i in one]
    assert order == sorted(order)


@pytest.mark.parametrize("failing", ["cudaFree", "cudaFreeHost", "cudaStreamDestroy", "cudaGraphExecDestroy"])
def test_closing_frees_the_rest_in_spite_of_a_failure(kit, failing):
    bench = kit.Bench()
    session = bench.open()
    for _ in range(2):
        session.run(kit.feeds(1))
    bench.cuda.fail(failing, 719)
    session.close()
    assert len(bench.cuda.live()) == 1
    assert list(bench.trt.engines) == []


def test_closing_frees_the_rest_in_spite_of_an_exception(kit):
    bench = kit.Bench()
    session = bench.open()
    free = bench.cuda.cudaFree

    def raise_once(address):
        bench.cuda.cudaFree = free
        raise RuntimeError("the driver's library is gone")

    bench.cuda.cudaFree = raise_once
    session.close()
    assert len(bench.cuda.live()) == 1


def test_after_the_interpreters_end_released_it_a_session_is_closed(kit, bench):
    session = bench.open()
    session._release()
    bench.clean()
    with pytest.raises(RuntimeError, match="closed"):
        session.run(kit.feeds(1))
    bench.clean()


def test_info(kit, bench):
    with bench.open() as session:
        info = session.info()
        closed = session
    assert (info.backend, info.engine, info.engine_version) == ("trt", "tensorrt", "11.4.0.106")
    assert info.providers_asked == info.providers_active == ("TensorRT",)
    assert dict(info.nodes) == {"TensorRT": 4}
    assert info.threads is None
    expected = {"tf32": False, "engine_from": "build", "gpu": "Fake GPU", "compute_capability": "8.6", "int8_layers": 2}
    assert expected.items() <= info.options.items()
    for call in (closed.info, closed.inspect, lambda: closed.run_profiled(kit.feeds(1), 1, print)):
        with pytest.raises(RuntimeError, match="closed"):
            call()


def test_engines_of_other_models_are_bad_input(kit, bench):
    spec = kit.SPEC
    for inputs, outputs in (
        ((replace(spec.inputs[0], shape=("N", 3, 8, 8)), spec.inputs[1]), spec.outputs),
        ((replace(spec.inputs[0], dtype="uint8"), spec.inputs[1]), spec.outputs),
        (spec.inputs, (replace(spec.outputs[0], name="other"), spec.outputs[1])),
        (spec.inputs, (*spec.outputs, TensorSpec(name="more", dtype="float32", shape=(1,)))),
    ):
        with pytest.raises(BadInput, match=r"known.onnx"):
            bench.open(replace(kit.ARTIFACT, spec=replace(spec, inputs=inputs, outputs=outputs)))
    gc.collect()


def test_an_engine_without_a_model_names_its_own_tensors(kit, bench):
    nameless = replace(kit.ARTIFACT, spec=ModelSpec(network="engine", inputs=(), outputs=()))
    with bench.open(nameless) as session:
        assert session.inputs == kit.SPEC.inputs
        assert session.outputs == kit.SPEC.outputs


def test_types_that_numpy_does_not_have_are_named(kit, bench):
    bench.model = replace(
        kit.MODEL,
        outputs=(FakeTensor(name="sum", dtype="bfloat16", shape=(-1, 3)), kit.MODEL.outputs[1]),
    )
    with pytest.raises(UnsupportedOp, match="output sum of the engine has type BF16"):
        bench.open()
    gc.collect()


def test_outputs_whose_size_depends_on_the_data_are_refused(kit, bench):
    bench.trt.fail("get_tensor_shape")
    with pytest.raises(UnsupportedOp, match="depends on the data"):
        bench.open()
    gc.collect()


@pytest.mark.parametrize("value", [1, "on", None])
def test_the_option_is_a_bool(bench, value):
    with pytest.raises(BadInput, match="cuda_graph"):
        bench.open(cuda_graph=value)
    gc.collect()


SCRIPT = """
import atexit, os, sys
cuda = None
def look():
    if os.getpid() == parent:
        print("live", cuda.live(), "faults", cuda.faults, flush=True)
parent = os.getpid()
atexit.register(look)  # registered first, so it runs last
sys.path.insert(0, sys.argv[1])
import conftest as kit
bench = kit.Bench()
cuda = bench.cuda
session = bench.open()
for _ in range(3):
    session.run(kit.feeds(2))
{action}
"""

FORK = """
child = os.fork()
if child == 0:
    from edgecnn.errors import InferenceError
    try:
        session.run(kit.feeds(2))
        print("ran")
    except InferenceError as error:
        print("spawn" in error.hint, cuda.faults)
    {close}
    sys.stdout.flush()
    atexit.register(lambda: print(cuda.faults, len(bench.trt.engines), flush=True))
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
given = kit.feeds(2, 5)
assert kit.same(session.run(given), kit.answer(given))
"""


def run_script(action):
    script = SCRIPT.format(action=action)
    here = os.path.dirname(__file__)  # noqa: PTH120
    done = subprocess.run([sys.executable, "-c", script, here], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.slow
def test_the_end_of_the_interpreter_releases_what_nobody_closed():
    assert run_script("") == ["live [] faults []"]


@pytest.mark.parametrize(
    "close",
    ["", *(pytest.param(close, marks=pytest.mark.slow) for close in ("session.close()", "del session, bench.model"))],
)
def test_the_child_of_a_fork_touches_nothing(close):
    lines = run_script(FORK.format(close=close))
    # In the child no call reaches CUDA and the engine is not destroyed; the parent's session goes on.
    assert lines == ["True []", "[] 1", "live [] faults []"]


@pytest.mark.slow
def test_a_daemon_thread_may_still_run_at_the_end():
    action = """
import threading
def work():
    while True:
        try:
            session.run(kit.feeds(2))
        except RuntimeError:
            return
threading.Thread(target=work, daemon=True).start()
"""
    assert run_script(action) == ["live [] faults []"]


def test_feeds_are_copied_before_run_returns(kit, bench):
    with bench.open() as session:
        given = kit.feeds(4)
        wanted = kit.answer(given)
        for _ in range(3):
            got = session.run(given)
            assert kit.same(got, wanted)
        given["x"][...] = np.nan
        assert kit.same(got, wanted)
