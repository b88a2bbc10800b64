"""Reading a foreign .onnx file: parsed, never run; sizes and places of its data are checked before they are read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx.external_data_helper import ExternalDataInfo, load_external_data_for_tensor

from edgecnn.errors import BadInput, UnsupportedOp, first_line
from edgecnn.onnxmodel.header import read_header

LIMIT_BYTES = 2 << 30
"""What one protobuf message, and so one .onnx file, can hold."""

OLDEST_OPSET = 7
"""From here on, operators broadcast as numpy does; what came before has no converter that can be relied on."""


def read_source(path: Path) -> onnx.ModelProto:
    """Return the model of a file, its weights in it, wherever the file keeps them.

    Raises:
        BadInput: the file is missing, damaged, too large, of an operator set that is too old or too new, or its weights
            lie outside of its folder.
        UnsupportedOp: it has sparse weights.
    """
    if path.is_dir():
        raise BadInput(f"{path} is a folder", "give the .onnx file in it")
    header = read_header(path)
    check_size(path.stat().st_size, str(path))
    check_opset(header.opsets.get("", 0), str(path))
    try:
        proto = onnx.load(path, load_external_data=False)
    except Exception as error:
        raise BadInput(
            f"{path} is not an ONNX model or is cut short: {first_line(error)}", "export it again"
        ) from error
    if proto.graph.sparse_initializer:
        raise UnsupportedOp(f"{path} has sparse weights, {proto.graph.sparse_initializer[0].values.name} for example")
    _bring_in(proto, path)
    return proto


def opset_of(proto: onnx.ModelProto) -> int:
    """Return the version of the default operator set, 0 where there is none."""
    return next((one.version for one in proto.opset_import if one.domain in ("", "ai.onnx")), 0)


def check_opset(opset: int, where: str) -> None:
    """Raise BadInput unless the operator set is one that can be brought to today's."""
    newest = onnx.defs.onnx_opset_version()
    if not OLDEST_OPSET <= opset <= newest:
        hint = "export it again from where it comes from" if opset < OLDEST_OPSET else "pip install --upgrade onnx"
        got = str(opset) if opset else "none"
        raise BadInput(f"operator set of {where}", hint, expected=f"{OLDEST_OPSET} to {newest}", got=got)


def check_size(size_bytes: int, where: str) -> None:
    """Raise BadInput if so much does not fit into one file."""
    if size_bytes >= LIMIT_BYTES:
        raise BadInput(
            where,
            "edgecnn keeps a model in one file",
            expected="less than 2 GiB",
            got=f"{size_bytes / (1 << 30):.1f} GiB",
        )


def _bring_in(proto: onnx.ModelProto, path: Path) -> None:
    """Read weights that lie in other files into the model."""
    tensors = [tensor for tensor in _tensors(proto.graph) if onnx.external_data_helper.uses_external_data(tensor)]
    folder = path.parent.resolve()
    total = path.stat().st_size
    for tensor in tensors:
        total += _external_bytes(tensor, folder, path)
    check_size(total, f"{path} with its weights")
    for tensor in tensors:
        try:
            load_external_data_for_tensor(tensor, str(folder))
        except Exception as error:
            raise BadInput(f"{path}: weights {tensor.name!r} cannot be read: {first_line(error)}") from error
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _external_bytes(tensor: onnx.TensorProto, folder: Path, path: Path) -> int:
    """Return how much of another file a tensor is, after a look at which file that is."""
    try:
        info = ExternalDataInfo(tensor)
        offset, length = int(info.offset or 0), int(info.length or 0)
        place = (folder / info.location).resolve()
    except (ValueError, TypeError, OSError) as error:
        raise BadInput(f"{path}: weights {tensor.name!r} lie in a place that makes no sense: {error}") from None
    if Path(info.location).is_absolute() or not place.is_relative_to(folder):
        raise BadInput(
            f"{path}: weights {tensor.name!r} lie in {info.location}, outside of its folder", "put them beside the file"
        )
    if not place.is_file():
        raise BadInput(f"{path}: weights {tensor.name!r} lie in {info.location}, which is no file beside it")
    size = place.stat().st_size
    if offset < 0 or length < 0 or offset + length > size:
        raise BadInput(f"{path}: {info.location} is cut short", expected=f"{offset + length:,} bytes", got=f"{size:,}")
    return length or size - offset
