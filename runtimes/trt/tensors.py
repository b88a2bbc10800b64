"""The inputs and outputs of an engine: names, numpy dtypes, shapes, and the range of shapes that it was built for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgecnn.errors import BadInput, InferenceError, UnsupportedOp
from edgecnn.onnxmodel.header import unnamed_dimension
from edgecnn.specs import Artifact, TensorSpec

# trt.DataType member -> numpy dtype. `trt.nptype` is not used: it raises TypeError for what numpy does not have.
DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT8": "int8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
    "UINT8": "uint8",
}

# The profile that sessions run; edgecnn builds engines with one.
PROFILE = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineTensor:
    """One input or output of an engine.

    Attributes:
        name: as in the model.
        is_input: or else an output.
        dtype: numpy name.
        shape: -1 where the size is free.
        smallest: of an input, the smallest shape that the engine takes; of an output as `shape`.
        largest: of an input, the largest; of an output as `shape`.
    """

    name: str
    is_input: bool
    dtype: str
    shape: tuple[int, ...]
    smallest: tuple[int, ...]
    largest: tuple[int, ...]

    def holds(self, shape: tuple[int, ...]) -> bool:
        """Tell whether the engine was built for this shape of an input."""
        return len(shape) == len(self.shape) and all(
            low <= size <= high for low, size, high in zip(self.smallest, shape, self.largest, strict=True)
        )

    @property
    def accepted(self) -> str:
        """The accepted shapes in words, "shape [1, 3, 32, 32] to [16, 3, 32, 32]"."""
        if self.smallest == self.largest:
            return f"shape {list(self.largest)}"
        return f"shape {list(self.smallest)} to {list(self.largest)}"


def engine_tensors(engine: Any, trt: Any) -> tuple[EngineTensor, ...]:
    """Return an engine's inputs and outputs in its own order.

    Args:
        engine: an ICudaEngine.
        trt: the module that it comes from.

    Raises:
        UnsupportedOp: a type that numpy does not have, a tensor that lies in host memory, or one that is not row-major.
        InferenceError: the engine says nothing sensible about a tensor.
    """
    return tuple(_engine_tensor(engine, trt, engine.get_tensor_name(i)) for i in range(engine.num_io_tensors))


def _engine_tensor(engine: Any, trt: Any, name: str) -> EngineTensor:
    is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
    what = f"{'input' if is_input else 'output'} {name}"
    if engine.get_tensor_location(name) != trt.TensorLocation.DEVICE:
        raise UnsupportedOp(f"{what} of the engine lies in host memory, as shape tensors do", "backend cpu runs it")
    if engine.get_tensor_format(name) != trt.TensorFormat.LINEAR:
        raise UnsupportedOp(f"{what} of the engine is not row-major", "build the engine with edgecnn")
    shape = tuple(engine.get_tensor_shape(name))
    smallest = largest = shape
    if is_input and -1 in shape:
        smallest, largest = _profile_range(engine, name)
    return EngineTensor(
        name=name, is_input=is_input, dtype=_dtype(engine, name, what), shape=shape, smallest=smallest, largest=largest
    )


def _dtype(engine: Any, name: str, what: str) -> str:
    found = engine.get_tensor_dtype(name)
    label = getattr(found, "name", str(found))
    if label not in DTYPES:
        raise UnsupportedOp(
            f"{what} of the engine has type {label}, which numpy does not have",
            "export the model with float32 inputs and outputs",
        )
    return DTYPES[label]


def _profile_range(engine: Any, name: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    found = engine.get_tensor_profile_shape(name, PROFILE)
    if not found or len(found) != 3:
        raise InferenceError(f"the engine has no range of shapes for input {name}", "build it again")
    return tuple(found[0]), tuple(found[2])


def session_specs(
    tensors: tuple[EngineTensor, ...], artifact: Artifact
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Return inputs and outputs as the model file names them, checked against the engine.

    A file that says nothing about itself (a built engine) gets the engine's own, with "N" for a free first dimension.

    Raises:
        BadInput: the engine is of another model.
    """
    spec = artifact.spec
    declared = {one.name: one for one in (*spec.inputs, *spec.outputs)}
    if not declared:
        own = [(one.is_input, _own_spec(one)) for one in tensors]
        return tuple(one for is_in, one in own if is_in), tuple(one for is_in, one in own if not is_in)
    for tensor in tensors:
        if tensor.name not in declared or not _agree(tensor, declared[tensor.name]):
            raise BadInput(
                f"the engine of {artifact.path} is of another model",
                "drop it from the cache and build again",
                expected=", ".join(f"{one.name} {one.dtype} {list(one.shape)}" for one in declared.values()),
                got=f"{tensor.name} {tensor.dtype} {list(tensor.shape)}",
            )
    if len(tensors) != len(declared):
        missing = set(declared) - {tensor.name for tensor in tensors}
        raise BadInput(f"the engine of {artifact.path} lacks {', '.join(sorted(missing))}", "build it again")
    return spec.inputs, spec.outputs


def _own_spec(tensor: EngineTensor) -> TensorSpec:
    free = ["N" if i == 0 else unnamed_dimension(tensor.name, i) for i in range(len(tensor.shape))]
    shape = tuple(free[i] if size < 0 else size for i, size in enumerate(tensor.shape))
    return TensorSpec(name=tensor.name, dtype=tensor.dtype, shape=shape)


def _agree(tensor: EngineTensor, spec: TensorSpec) -> bool:
    """Tell whether an engine's tensor can be the model's: a size that the model leaves free may be fixed, not the reverse."""
    if tensor.dtype != spec.dtype or len(tensor.shape) != len(spec.shape):
        return False
    return all(isinstance(want, str) or have in (want, -1) for have, want in zip(tensor.shape, spec.shape, strict=True))
