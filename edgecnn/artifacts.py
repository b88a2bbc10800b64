"""Opening a model file as an Artifact: what it is, without running it."""

from __future__ import annotations

import json
import math
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgecnn.errors import BadInput
from edgecnn.jsonform import from_json
from edgecnn.onnxmodel.header import OnnxHeader, read_header
from edgecnn.specs import LINEAGE_KEY, SPEC_KEY, Artifact, ModelSpec, Precision, Step

ENGINE_SUFFIXES = (".engine", ".plan")
"""Of files that hold a built TensorRT engine; what it is lies beside it, see `edgecnn.runtimes.trt.engine_file`."""

_QUANTIZED_OPS = {"QuantizeLinear", "QLinearConv", "ConvInteger", "MatMulInteger", "QLinearMatMul"}


def load_artifact(path: str | Path, *, checksum: bool = True) -> Artifact:
    """Return what a model file says about itself; inputs and outputs are those of its graph.

    Args:
        path: the .onnx file, or a built TensorRT engine.
        checksum: read the whole file for its SHA-256; without it, only the outline is read.

    Raises:
        BadInput: the file is missing, empty, cut short, not ONNX, keeps weights in other files, or its edgecnn metadata
            is damaged or does not fit its graph.
    """
    path = Path(path)
    _check_kind(path)
    if path.suffix in ENGINE_SUFFIXES:
        from edgecnn.runtimes.trt.engine_file import load_engine_artifact  # noqa: PLC0415 (it imports this module)

        return load_engine_artifact(path)
    header = read_header(path)
    if header.external_data:
        raise BadInput(
            f"{path}: the weights lie in other files", "save it as one file: onnx.save(onnx.load(SOURCE), TARGET)"
        )
    return Artifact(
        path=path,
        format="onnx",
        precision=_precision(header),
        sha256=file_sha256(path) if checksum else None,
        size_bytes=path.stat().st_size,
        spec=_spec(path, header),
        lineage=_lineage(path, header),
        opset=header.opsets.get(""),
        ir_version=header.ir_version,
    )


def _check_kind(path: Path) -> None:
    """Raise BadInput for a folder, and for pipes and devices, of which reading may never end."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return  # whoever opens it says why
    if stat.S_ISDIR(mode) or path.suffix == ".toml":
        from edgecnn.deployment import instead_of  # noqa: PLC0415 (it imports this module)

        kind = "a folder" if stat.S_ISDIR(mode) else "no model file"
        raise BadInput(f"{path} is {kind}", instead_of(path) or "give the .onnx file in it")
    if not stat.S_ISREG(mode):
        raise BadInput(f"{path} is no plain file", "give an .onnx file")


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    import hashlib  # noqa: PLC0415 (it loads OpenSSL, which an app that opens a file does not need)

    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _spec(path: Path, header: OnnxHeader) -> ModelSpec:
    if SPEC_KEY not in header.metadata:
        return ModelSpec(network=path.stem, inputs=header.inputs, outputs=header.outputs)
    where = f"{path}: {SPEC_KEY}"
    spec = from_json(ModelSpec, _metadata(path, header, SPEC_KEY), where=where, ignore_unknown=True)
    if spec.preprocess is not None:
        try:
            spec.preprocess.check()
        except BadInput as error:
            raise BadInput(f"{where}.{error.message}", "export it again") from None
    spec = replace(spec, inputs=header.inputs, outputs=header.outputs)
    classes = _classes(spec)
    if spec.labels and classes not in (None, len(spec.labels)):
        raise BadInput(f"{where}.labels", "export it again", expected=f"{classes} names", got=str(len(spec.labels)))
    return spec


def _classes(spec: ModelSpec) -> int | None:
    """Return how many classes the first output, [N, classes, ...], has; None where the graph does not say."""
    sizes = spec.outputs[0].shape[1:] if spec.outputs else ()
    fixed = [size for size in sizes if isinstance(size, int)]
    return math.prod(fixed) if sizes and len(fixed) == len(sizes) else None


def _lineage(path: Path, header: OnnxHeader) -> tuple[Step, ...]:
    if LINEAGE_KEY not in header.metadata:
        return ()
    steps = _metadata(path, header, LINEAGE_KEY)
    if not isinstance(steps, list):
        raise BadInput(f"{path}: {LINEAGE_KEY}", expected="a list", got=type(steps).__name__)
    return tuple(from_json(Step, step, where=f"{path}: {LINEAGE_KEY}", ignore_unknown=True) for step in steps)


def _metadata(path: Path, header: OnnxHeader, key: str) -> Any:
    try:
        return json.loads(header.metadata[key])
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: {key} is not JSON: {error}", "export it again") from None


def _precision(header: OnnxHeader) -> Precision:
    if header.op_types & _QUANTIZED_OPS:
        return "int8"
    if "float16" in header.weight_dtypes:
        return "fp16"
    return "bf16" if "bfloat16" in header.weight_dtypes else "fp32"
