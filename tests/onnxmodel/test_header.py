from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgecnn.errors import BadInput
from edgecnn.onnxmodel.header import DTYPES, OnnxHeader, read_header
from edgecnn.specs import TensorSpec

MODELS = sorted((Path(onnx.__file__).parent / "backend/test/data").rglob("*.onnx"))
Dim = int | str | None


def reference(model: onnx.ModelProto) -> OnnxHeader:
    """Make the header that is expected, with the onnx package."""
    graph = model.graph
    names = {weight.name for weight in graph.initializer}
    return OnnxHeader(
        ir_version=model.ir_version,
        opsets={"" if entry.domain == "ai.onnx" else entry.domain: entry.version for entry in model.opset_import},
        producer=f"{model.producer_name} {model.producer_version}".strip(),
        metadata={entry.key: entry.value for entry in model.metadata_props},
        inputs=tuple(_spec(value) for value in graph.input if value.name not in names),
        outputs=tuple(_spec(value) for value in graph.output),
        op_types=frozenset(node.op_type for node in graph.node),
        weight_dtypes=frozenset(_dtype(weight.data_type) for weight in graph.initializer),
        external_data=any(weight.data_location == TensorProto.EXTERNAL for weight in graph.initializer),
    )


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    tensor = value.type.tensor_type
    return TensorSpec(
        name=value.name,
        dtype=_dtype(tensor.elem_type),
        shape=tuple(_dim(dim, f"{value.name}_{index}") for index, dim in enumerate(tensor.shape.dim)),
    )


def _dim(dim: onnx.TensorShapeProto.Dimension, unnamed: str) -> int | str:
    if dim.HasField("dim_value") and dim.dim_value >= 0:
        return int(dim.dim_value)
    return dim.dim_param or unnamed


def _dtype(number: int) -> str:
    return DTYPES.get(number, f"type {number}")


def _model(
    *,
    inputs: dict[str, list[Dim]] | None = None,
    elem_type: int = TensorProto.FLOAT,
    ir_version: int = 8,
    weight: np.ndarray | None = None,
    weight_among_inputs: bool = False,
    metadata: dict[str, str] | None = None,
) -> onnx.ModelProto:
    shapes = {"x": ["N", 3, 8, 8]} if inputs is None else inputs
    values = [helper.make_tensor_value_info(name, elem_type, shape) for name, shape in shapes.items()]
    weights = [numpy_helper.from_array(np.ones((2, 3), np.float32) if weight is None else weight, "w")]
    if weight_among_inputs:
        values.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, weights[0].dims))
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Neg", ["y"], ["z"])]
    result = [helper.make_tensor_value_info("z", elem_type, ["N", None])]
    model = helper.make_model(
        helper.make_graph(nodes, "g", values, result, weights),
        ir_version=ir_version,
        opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)],
        producer_name="maker",
        producer_version="1.2",
    )
    helper.set_model_props(model, {"key": "value"} if metadata is None else metadata)
    return model


def _saved(folder: Path, model: onnx.ModelProto) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


Write = Callable[[bytes], Path]


@pytest.fixture(scope="module")
def write(tmp_path_factory: pytest.TempPathFactory) -> Write:
    path = tmp_path_factory.mktemp("header") / "model.onnx"

    def _write(data: bytes) -> Path:
        path.write_bytes(data)
        return path

    return _write


@pytest.mark.parametrize("path", MODELS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_equals_the_onnx_package_on_its_own_models(path: Path) -> None:
    assert read_header(path) == reference(onnx.load(path, load_external_data=False))


def test_there_are_models_to_compare_with() -> None:
    assert {"light_resnet50.onnx", "light_squeezenet.onnx", "light_densenet121.onnx"} <= {path.name for path in MODELS}
    assert len(MODELS) > 50


def test_outline_of_a_made_model(tmp_path: Path) -> None:
    header = read_header(_saved(tmp_path, _model(metadata={"edgecnn.spec": '{"ü": 1}', "": "empty key"})))
    assert header == OnnxHeader(
        ir_version=8,
        opsets={"": 18, "com.microsoft": 1},
        producer="maker 1.2",
        metadata={"edgecnn.spec": '{"ü": 1}', "": "empty key"},
        inputs=(TensorSpec(name="x", dtype="float32", shape=("N", 3, 8, 8)),),
        outputs=(TensorSpec(name="z", dtype="float32", shape=("N", "z_1")),),
        op_types=frozenset({"Relu", "Neg"}),
        weight_dtypes=frozenset({"float32"}),
        external_data=False,
    )


def test_weights_among_the_inputs_of_an_ir_3_file_are_no_inputs(tmp_path: Path) -> None:
    model = _model(ir_version=3, weight_among_inputs=True)
    assert [value.name for value in model.graph.input] == ["x", "w"]
    header = read_header(_saved(tmp_path, model))
    assert [spec.name for spec in header.inputs] == ["x"]
    assert header.ir_version == 3


@pytest.mark.parametrize(
    ("dim", "seen"),
    [(0, 0), (1 << 40, 1 << 40), ("height", "height"), (-1, "x_0"), (None, "x_0"), ("", "x_0")],
)
def test_dimensions(tmp_path: Path, dim: Dim, seen: int | str) -> None:
    assert read_header(_saved(tmp_path, _model(inputs={"x": [dim, 4]}))).inputs[0].shape == (seen, 4)


@pytest.mark.parametrize("number", [*DTYPES, TensorProto.STRING, TensorProto.INT4, TensorProto.FLOAT8E4M3FN])
def test_dtypes(tmp_path: Path, number: int) -> None:
    header = read_header(_saved(tmp_path, _model(elem_type=number)))
    expected = helper.tensor_dtype_to_np_dtype(number).name if number in DTYPES else f"type {number}"
    assert header.inputs[0].dtype == header.outputs[0].dtype == expected


def test_weights_in_another_file(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    weight = np.zeros((512, 512), np.float16)
    onnx.save(_model(weight=weight), path, save_as_external_data=True, location="model.data", size_threshold=0)
    assert (tmp_path / "model.data").stat().st_size >= weight.nbytes
    header = read_header(path)
    assert header.external_data
    assert header.weight_dtypes == {"float16"}
    assert not read_header(_saved(tmp_path, _model(weight=weight))).external_data


def test_weight_data_is_not_read(tmp_path: Path) -> None:
    """A sparse file of 2 GB: the outline comes at once and takes no memory."""
    data = _model().SerializeToString()
    size = (2 << 30) - 1
    path = tmp_path / "model.onnx"
    with path.open("wb") as file:
        file.write(b"\x7a" + _varint(size))  # field 15 of the model, length-delimited: unknown, to be passed over
        file.seek(size, os.SEEK_CUR)
        file.write(data)
    assert read_header(path) == reference(_model())


def _varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


dimensions = st.one_of(st.none(), st.integers(-(1 << 63), (1 << 63) - 1), st.text(max_size=8))


@settings(deadline=None, max_examples=60)
@given(
    inputs=st.dictionaries(st.text(min_size=1, max_size=8), st.lists(dimensions, max_size=5), min_size=1, max_size=4),
    elem_type=st.sampled_from(sorted(DTYPES)),
    ir_version=st.integers(3, 1 << 62),
    metadata=st.dictionaries(st.text(max_size=20), st.text(max_size=300), max_size=4),
)
def test_equals_the_onnx_package_on_random_models(
    write: Write, inputs: dict[str, list[Dim]], elem_type: int, ir_version: int, metadata: dict[str, str]
) -> None:
    model = _model(inputs=inputs, elem_type=elem_type, ir_version=ir_version, metadata=metadata)
    assert read_header(write(model.SerializeToString())) == reference(model)


def _complete(data: bytes) -> bool:
    """Tell by the onnx package whether these bytes are a message with what every model has."""
    try:
        model = onnx.ModelProto.FromString(data)
    except Exception:
        return False
    return model.HasField("graph") and len(model.opset_import) > 0 and model.ir_version > 0


def test_every_truncation_that_can_be_seen_is_seen(write: Write) -> None:
    data = _model().SerializeToString()
    complete = [length for length in range(len(data)) if _complete(data[:length])]
    # Only after a finished operator set does a shorter file look like a whole one.
    assert len(complete) <= 2
    for length in range(len(data)):
        path = write(data[:length])
        if length in complete:
            assert read_header(path).inputs == reference(_model()).inputs
        else:
            with pytest.raises(BadInput):
                read_header(path)


def test_a_half_copied_file_says_so(write: Write) -> None:
    data = (Path(onnx.__file__).parent / "backend/test/data/light/light_resnet50.onnx").read_bytes()
    path = write(data[: len(data) // 2])
    with pytest.raises(BadInput, match=r"is not an ONNX model or is cut short: .* bytes announced, .* left") as caught:
        read_header(path)
    assert caught.value.hint == "export or copy it again"


@given(
    changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=8),
    cut=st.none() | st.integers(0, 400),
    inserted=st.tuples(st.integers(0, 400), st.binary(max_size=12)),
)
def test_damaged_bytes_give_bad_input_or_a_header(
    write: Write, changes: list[tuple[int, int]], cut: int | None, inserted: tuple[int, bytes]
) -> None:
    data = bytearray(_model(ir_version=4, weight_among_inputs=True).SerializeToString())
    for position, value in changes:
        data[position % len(data)] = value
    position, extra = inserted
    data[position:position] = extra
    _reads_or_refuses(write(bytes(data[:cut])))


@given(data=st.binary(min_size=1, max_size=200))
@example(data=b"\x3a" + b"\xff" * 9 + b"\x01")
@example(data=b"\x3a\xff\xff\xff\xff\x0f")
@example(data=b"\x08" + b"\x80" * 100)
@example(data=b"\x00\x00")
@example(data=b"\x0b\x0b\x0b\x0c")
def test_any_bytes_give_bad_input_or_a_header(write: Write, data: bytes) -> None:
    _reads_or_refuses(write(data))


def _reads_or_refuses(path: Path) -> None:
    try:
        header = read_header(path)
    except BadInput as error:
        assert str(path) in error.message
        assert "\n" not in str(error)
    else:
        assert header.opsets
        assert header.ir_version >= 1


@pytest.mark.parametrize(
    "text", [b"a web page\n", b"<!DOCTYPE html><html></html>", b"PK\x03\x04rest of a zip", b"\x80\x04K"]
)
def test_files_of_other_kinds_are_refused(write: Write, text: bytes) -> None:
    with pytest.raises(BadInput, match="is not an ONNX model or is cut short"):
        read_header(write(text))


def test_a_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="does not exist") as caught:
        read_header(tmp_path / "models" / "lenet5.onnx")
    assert caught.value.hint == f"there is no folder {tmp_path}/models"
    with pytest.raises(BadInput) as caught:
        read_header(tmp_path / "lenet5.onnx")
    assert caught.value.hint == f"{tmp_path} has no models: edgecnn export NAME"
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "c.onnx").touch()
    with pytest.raises(BadInput) as caught:
        read_header(tmp_path / "lenet5.onnx")
    assert caught.value.hint == f"{tmp_path}/models has c.onnx"
    for name in ("b.onnx", "a.onnx", "notes.txt"):
        (tmp_path / name).touch()
    with pytest.raises(BadInput) as caught:
        read_header(tmp_path / "lenet5.onnx")
    assert caught.value.hint == f"{tmp_path} has a.onnx, b.onnx"


def test_an_empty_file_a_folder_and_a_pipe_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.onnx").touch()
    with pytest.raises(BadInput, match=r"empty.onnx is empty"):
        read_header(tmp_path / "empty.onnx")
    with pytest.raises(BadInput, match="cannot be read: Is a directory"):
        read_header(tmp_path)
    reader, writer = os.pipe()
    os.close(writer)
    try:
        with pytest.raises(BadInput, match=r"cannot be read: .+ seek"):
            read_header(Path(f"/dev/fd/{reader}"))
    finally:
        os.close(reader)
