"""Shapes as the onnx package infers them, on the ONNX project's own operator tests and on networks."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecnn.onnxmodel.formrules import FORM_RULES
from edgecnn.onnxmodel.graph import read_graph
from edgecnn.onnxmodel.layerrules import LAYER_RULES
from edgecnn.onnxmodel.shapes import TensorType, infer_types
from edgecnn.testing.models import TINY, TINY_INT8

onnx = pytest.importorskip("onnx")
MODELS = sorted((Path(onnx.__file__).parent / "backend/test/data").rglob("*.onnx"))


def fixed_type(info: object) -> TensorType | None:
    tensor = info.type.tensor_type  # type: ignore[attr-defined]
    if not tensor.HasField("shape") or any(not d.HasField("dim_value") for d in tensor.shape.dim):
        return None
    name = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    return TensorType(name, tuple(d.dim_value for d in tensor.shape.dim))


def check_outputs(path: Path) -> tuple[int, set[str]]:
    """Hold the outputs of a model against what it states; return how many could be told, and the operators in it."""
    model = onnx.load(path)
    kinds = {node.op_type for node in model.graph.node}
    if not kinds <= {*LAYER_RULES, *FORM_RULES} or model.opset_import[0].version < 6:
        return 0, set()
    inputs = {info.name: found for info in model.graph.input if (found := fixed_type(info)) is not None}
    graph = read_graph(path)
    bare = type(graph)(nodes=graph.nodes, constants=graph.constants)  # without what the file says of its outputs
    types = infer_types(bare, inputs)
    told = 0
    for info in model.graph.output:
        wanted = fixed_type(info)
        if wanted is not None and info.name in types and wanted.dtype in ("float32", "int64", "uint8", "int8"):
            assert types[info.name] == wanted, (path, info.name)
            told += 1
    return told, kinds


def test_models_of_the_onnx_project_have_the_outputs_they_state() -> None:
    """A tensor that cannot be told (its shape is computed from data) may be missing, never wrong."""
    found = [check_outputs(path) for path in MODELS]
    known = set().union(*(kinds for told, kinds in found if told))
    assert sum(told for told, _ in found) > 50
    assert {"Conv", "MaxPool", "Transpose", "Pad", "Add", "Concat"} <= known


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_every_operator_gives_what_its_own_test_says(tmp_path: Path) -> None:
    """The backend tests of the ONNX specification, one node each."""
    from onnx.backend.test.case.node import collect_testcases

    told, known = 0, set()
    for place, case in enumerate(collect_testcases(None)):
        if case.model is not None:
            path = tmp_path / f"{place}.onnx"
            path.write_bytes(case.model.SerializeToString())
            count, kinds = check_outputs(path)
            told += count
            known |= kinds if count else set()
    assert told > 300
    wanted = {
        "Conv",
        "ConvTranspose",
        "MaxPool",
        "AveragePool",
        "Gemm",
        "MatMul",
        "Concat",
        "Flatten",
        "QuantizeLinear",
        "Split",
    }
    assert wanted <= known


@pytest.mark.parametrize("path", [TINY, TINY_INT8], ids=lambda path: path.name)
def test_a_network_has_the_shapes_that_onnx_infers(path: Path) -> None:
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 5
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    types = infer_types(read_graph(path), {"input": TensorType("float32", (5, 1, 8, 8))})
    checked = 0
    for info in inferred.graph.value_info:
        wanted = fixed_type(info)
        if wanted is not None and "N" not in [d.dim_param for d in info.type.tensor_type.shape.dim]:
            assert types[info.name].shape[1:] == wanted.shape[1:], info.name
            checked += 1
    assert types["logits"] == TensorType("float32", (5, 3))
    assert checked >= 7


def test_an_operator_nobody_knows_is_unknown() -> None:
    graph = read_graph(TINY)
    strange = type(graph.nodes[0])(name="s", op_type="Mystery", domain="", inputs=("input",), outputs=("odd",))
    types = infer_types(type(graph)(nodes=(strange,), constants={}), {"input": TensorType("float32", (1, 2))})
    assert "odd" not in types
    assert types["input"].size_bytes == 8
    assert TensorType("float4", (2,)).size_bytes is None
