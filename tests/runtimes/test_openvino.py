"""Backend openvino beyond the conformance suite."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgecnn.artifacts import load_artifact
from edgecnn.errors import BadInput, Contradiction, RuntimeUnavailable, UnknownName
from edgecnn.exporters.quantize import QuantizeConfig, quantize
from edgecnn.runtimes import OpenOptions, get_runtime, open_session
from edgecnn.runtimes.base import Session
from edgecnn.specs import Scalar
from edgecnn.testing.models import TINY, TINY_INT8, read_reference

pytest.importorskip("openvino")


def _open(path: Path, options: OpenOptions | None = None) -> Session:
    return open_session(load_artifact(path), backend="openvino", options=options or OpenOptions(threads=1))


def _convolutions(session: Session) -> list[str]:
    return [precision for kind, precision in session.layers() if kind == "Convolution"]


def _save(
    path: Path, nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray], shape: list[int | str], channels: int
) -> Path:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [shape[0], channels, *shape[2:]])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path)
    return path


def test_what_the_engine_would_choose_in_silence_is_stated() -> None:
    with _open(TINY) as session:
        info = session.info()
        assert _convolutions(session) == ["f32", "f32"]
    assert info.options["inference_precision"] == "f32"
    assert info.options["ENABLE_CPU_PINNING"] is False
    assert info.providers_asked == info.providers_active == ("CPU",)
    assert info.nodes is not None
    assert 5 <= info.nodes["CPU"] <= 12
    assert info.engine_version.count(".") == 2


def _bf16_is_named_or_refused() -> None:
    options = OpenOptions(threads=1, engine={"inference_precision": "bf16"})
    images = read_reference()["input"][:1]
    try:
        session = _open(TINY, options)
    except RuntimeUnavailable as error:
        assert "bf16" in error.message
        return
    with session, _open(TINY) as exact:
        assert session.info().options["inference_precision"] == "bf16"
        assert _convolutions(session) == ["bf16", "bf16"]
        coarse, fine = session.run({"input": images})["logits"], exact.run({"input": images})["logits"]
    assert not np.array_equal(coarse, fine)
    np.testing.assert_allclose(coarse, fine, rtol=0.05, atol=0.05)


@pytest.mark.slow
def test_bf16_is_an_option_that_is_named_or_refused() -> None:
    # In a process of its own: where a fault handler is installed, as pytest does, OpenVINO's bfloat16 kernels leave a
    # process that a later signal ends.
    child = multiprocessing.get_context("spawn").Process(target=_bf16_is_named_or_refused)
    child.start()
    child.join()
    assert child.exitcode == 0


@pytest.mark.parametrize("target", ["", "cpu-x86", "openvino"])
def test_quantized_convolutions_run_in_int8(tmp_path: Path, target: str) -> None:
    path = TINY_INT8
    if target:
        path = tmp_path / "tiny.int8.onnx"
        images = np.random.default_rng(1).integers(0, 256, (16, 8, 8, 1), np.uint8)
        quantize(TINY, path, calibration=list(images), config=QuantizeConfig(target=target, min_channels=1))
    with _open(path) as session:
        precisions = _convolutions(session)
        assert len(precisions) == 2
        assert set(precisions) <= {"i8", "u8"}


@pytest.mark.parametrize(
    ("key", "value", "error", "text"),
    [
        ("fast", True, UnknownName, "unknown engine option of backend openvino 'fast'"),
        ("inference_precison", "f32", UnknownName, "did you mean inference_precision"),
        ("session.dynamic_block_base", 4, UnknownName, "known: inference_precision"),
        ("INFERENCE_NUM_THREADS", 2, Contradiction, "OpenOptions"),
        ("INFERENCE_PRECISION_HINT", "bf16", Contradiction, "inference_precision"),
        ("inference_precision", "fp32", BadInput, "expected f32 or bf16 or f16, got 'fp32'"),
        ("inference_precision", None, BadInput, "got None"),
        ("ENABLE_CPU_PINNING", "maybe", BadInput, "expected true or false"),
        ("SCHEDULING_CORE_TYPE", "BIG", BadInput, "PCORE_ONLY"),
    ],
)
def test_engine_options_that_cannot_be_are_refused(key: str, value: Scalar, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        _open(TINY, OpenOptions(engine={key: value}))


@pytest.mark.parametrize("option", ["spinning", "arena"])
def test_what_the_engine_has_no_switch_for_is_refused(option: str) -> None:
    with pytest.raises(Contradiction, match=f"cannot honour {option}=False"):
        _open(TINY, OpenOptions(**{option: False}))


def test_engine_options_reach_the_engine() -> None:
    given = {"ENABLE_CPU_PINNING": True, "SCHEDULING_CORE_TYPE": "ANY_CORE"}
    with _open(TINY, OpenOptions(threads=1, engine=given)) as session:
        options = session.info().options
    assert {key: options[key] for key in given} == given


def test_the_callers_arithmetic_stays_as_it_was() -> None:
    with pytest.raises(UnknownName):
        _open(TINY, OpenOptions(engine={"CPU_DENORMALS_OPTIMIZATION": True}))
    images = read_reference()["input"][:1]
    with _open(TINY) as session:
        session.run({"input": images})
        assert np.float64(1e-310) * np.float64(0.5) == 5e-311


def test_many_batch_sizes_keep_few_graphs() -> None:
    images = np.tile(read_reference()["input"], (2, 1, 1, 1))
    with _open(TINY) as session:
        whole = session.run({"input": images})["logits"]
        for size in range(1, 20):
            answer = session.run({"input": images[:size]})["logits"]
            np.testing.assert_allclose(answer, whole[:size], rtol=1e-5, atol=1e-6)
        assert len(session._graphs) == 3


def test_a_read_only_array_is_an_input() -> None:
    images = read_reference()["input"][:1].copy()
    with _open(TINY) as session:
        wanted = session.run({"input": images})["logits"]
        images.flags.writeable = False
        np.testing.assert_array_equal(session.run({"input": images})["logits"], wanted)


def test_open_height_and_width(tmp_path: Path) -> None:
    weights = np.random.default_rng(0).normal(size=(2, 1, 3, 3)).astype(np.float32)
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], name="conv", pads=[1, 1, 1, 1])]
    path = _save(tmp_path / "open.onnx", nodes, {"w": weights}, ["N", 1, "H", "W"], 2)
    with _open(path) as session:
        for height, width in ((5, 7), (9, 4), (5, 7)):
            image = np.ones((1, 1, height, width), np.float32)
            answer = session.run({"x": image})["y"]
            assert answer.shape == (1, 2, height, width)
            np.testing.assert_allclose(answer[0, :, 2, 2], weights.sum((1, 2, 3)), rtol=1e-5)


@pytest.mark.parametrize("zero_point", [0, 7])
def test_a_graph_that_would_end_the_process_is_refused(tmp_path: Path, zero_point: int) -> None:
    constants = {
        "s": np.float32(0.1),
        "z": np.uint8(zero_point),
        "z0": np.uint8(0),
        "w": np.arange(-8, 8, dtype=np.int8).reshape(4, 4, 1, 1),
        "ws": np.float32(0.1),
    }
    nodes = [
        helper.make_node("Concat", ["x", "x"], ["c"], name="cat", axis=1),
        helper.make_node("QuantizeLinear", ["c", "s", "z"], ["cq"]),
        helper.make_node("DequantizeLinear", ["cq", "s", "z"], ["cd"]),
        helper.make_node("Relu", ["cd"], ["r"]),
        helper.make_node("QuantizeLinear", ["r", "s", "z0"], ["rq"]),
        helper.make_node("DequantizeLinear", ["rq", "s", "z0"], ["rd"]),
        helper.make_node("DequantizeLinear", ["w", "ws"], ["wd"]),
        helper.make_node("Conv", ["rd", "wd"], ["y"], name="conv"),
    ]
    path = _save(tmp_path / "concat.onnx", nodes, constants, [1, 2, 3, 3], 4)
    if zero_point:
        with pytest.raises(BadInput, match=r"crashes on .*Concat cat.*--target openvino"):
            _open(path)
    else:
        with _open(path) as session:
            assert session.run({"x": np.ones((1, 2, 3, 3), np.float32)})["y"].shape == (1, 4, 3, 3)


def test_without_the_engine_the_reason_is_the_pip_command() -> None:
    code = (
        "import sys\n"
        "import importlib.util\n"
        "found = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'openvino' else found(name, *rest)\n"
        "from edgecnn.runtimes import get_runtime\n"
        "try: get_runtime('openvino').check()\n"
        "except Exception as error: print(type(error).__name__, error.exit_code, error.hint)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "MissingDependency 3 pip install 'edgecnn[openvino]'"


def test_naming_the_backend_loads_no_engine() -> None:
    code = "import sys; from edgecnn.runtimes import get_runtime; get_runtime('openvino'); print('openvino' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    get_runtime("openvino").check()
