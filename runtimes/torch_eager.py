"""Backend `torch`: PyTorch in eager mode, node by node as the ONNX file says; the reference that others are compared with.

Nothing is fused, reordered or rounded to another type: a quantized file is computed as it is written, every value rounded
where a QuantizeLinear stands. It is slow, and needs the packages torch and onnx (`edgecnn[export]`).
"""

from __future__ import annotations

import importlib.util
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgecnn.errors import BadInput, InferenceError, MissingDependency, RuntimeUnavailable, UnknownName, first_line
from edgecnn.runtimes.base import Array, Feeds, OpenOptions, Session, check_honoured
from edgecnn.runtimes.threads import usable_threads
from edgecnn.specs import Artifact, EngineInfo

DEVICE = "cpu"

# The first operator set in which every operator that is handled has the meaning that it has today.
_OLDEST_OPSET = 13

# The number of threads belongs to the process, so that one run at a time may set it.
_RUNNING = threading.Lock()


class TorchRuntime:
    """PyTorch in eager mode on the CPU. It has no engine options; runs of a process follow each other."""

    name = "torch"
    formats = ("onnx",)

    def check(self) -> None:
        """Return if torch and onnx are installed; importing torch takes seconds, so that is left to `open`.

        Raises:
            MissingDependency: one of them is not installed.
        """
        for package in ("torch", "onnx"):
            if importlib.util.find_spec(package) is None:
                raise MissingDependency(package, "export", "backend torch")

    def open(self, artifact: Artifact, options: OpenOptions) -> Session:
        """Return a session that computes every node with torch.

        Raises:
            BadInput: no ONNX file, an operator set below 13, or a node that is not handled, which is named.
            Contradiction: an option that means nothing here.
            UnknownName: any engine option.
            RuntimeUnavailable: torch or onnx is installed and cannot be imported.
        """
        if artifact.format not in self.formats:
            raise BadInput(str(artifact.path), expected="an .onnx file", got=artifact.format)
        check_honoured("torch", options, ("threads",))
        if options.engine:
            raise UnknownName("engine option of backend torch", next(iter(options.engine)), ())
        return _TorchSession(artifact, options)


@dataclass(frozen=True, slots=True)
class _Step:
    """One node.

    Attributes:
        operator: computes it: attributes and inputs -> outputs.
        attributes: by name, as Python values and numpy arrays; "outputs" is how many the node has.
        inputs: names; empty for one that is left out.
        outputs: names.
        last: inputs that no later node needs.
        title: what errors call it.
    """

    operator: Any
    attributes: dict[str, Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    last: tuple[str, ...]
    title: str


class _TorchSession(Session):
    def __init__(self, artifact: Artifact, options: OpenOptions) -> None:
        super().__init__(artifact.spec.inputs, artifact.spec.outputs)
        self._torch = _import_engine()
        self._threads = options.threads or usable_threads()
        graph = _read(artifact)
        self._constants = {one.name: _tensor(self._torch, _array(one)) for one in graph.initializer}
        self._steps = _steps(graph, keep={spec.name for spec in self.outputs} | set(self._constants), artifact=artifact)

    def _run(self, feeds: Feeds) -> dict[str, Array]:
        values = dict(self._constants)
        values.update({name: _tensor(self._torch, array) for name, array in feeds.items()})
        with _RUNNING, _thread_count(self._torch, self._threads), self._torch.inference_mode():
            for step in self._steps:
                _compute(step, values)
        return {spec.name: _own(self._torch, values[spec.name]) for spec in self.outputs}

    def _info(self) -> EngineInfo:
        return EngineInfo(
            backend="torch",
            engine="torch",
            engine_version=str(self._torch.__version__),
            providers_asked=(DEVICE,),
            providers_active=(DEVICE,),
            nodes={DEVICE: len(self._steps)},
            threads=self._threads,
            options={"mode": "eager"},
        )

    def _close(self) -> None:
        self._constants = {}
        self._steps = ()


def _compute(step: _Step, values: dict[str, Any]) -> None:
    """Compute one node and forget what nobody needs any more."""
    try:
        results = step.operator(step.attributes, *[values[name] if name else None for name in step.inputs])
    except Exception as error:
        raise InferenceError(f"torch failed at {step.title}: {first_line(error)}") from error
    for name, value in zip(step.outputs, results if isinstance(results, tuple) else (results,), strict=False):
        values[name] = value
    for name in step.last:
        values.pop(name, None)


def _import_engine() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import onnx  # noqa: F401
            import torch
    except Exception as error:
        raise RuntimeUnavailable(
            f"torch or onnx is installed but cannot be used: {type(error).__name__}: {first_line(error)}",
            "pip install --force-reinstall 'edgecnn[export]'",
        ) from error
    return torch


@contextmanager
def _thread_count(torch: Any, threads: int) -> Iterator[None]:
    """Run with so many threads; the process has its own number back afterwards."""
    before = torch.get_num_threads()
    if before == threads:
        yield
        return
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _read(artifact: Artifact) -> Any:
    import onnx

    try:
        model = onnx.load(str(artifact.path))
    except Exception as error:
        raise BadInput(f"onnx cannot load {artifact.path}: {first_line(error)}", "export it again") from error
    opset = next((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), 0)
    if opset < _OLDEST_OPSET:
        raise BadInput(
            f"{artifact.path}: operator set",
            "edgecnn export FILE.onnx writes it anew",
            expected=f"at least {_OLDEST_OPSET}",
            got=str(opset),
        )
    return model.graph


def _steps(graph: Any, *, keep: set[str], artifact: Artifact) -> tuple[_Step, ...]:
    """Return the nodes in the order of the file.

    Raises:
        BadInput: an operator that is not handled, a name that nothing makes, or an output that nothing makes.
    """
    from edgecnn.runtimes.torchops import OPERATORS, SEVERAL_OUTPUTS  # noqa: PLC0415 (torch)

    known = {one.name for one in graph.input} | {one.name for one in graph.initializer}
    last = {name: index for index, node in enumerate(graph.node) for name in node.input if name}
    steps = []
    for index, node in enumerate(graph.node):
        title = f"node {node.name or index!r} ({node.domain + '.' if node.domain else ''}{node.op_type})"
        if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
            raise BadInput(f"{artifact.path}: backend torch does not know {title}", "take another backend")
        spare = [name for name in node.output[1:] if name and (name in last or name in keep)]
        if spare and node.op_type not in SEVERAL_OUTPUTS:
            raise BadInput(f"{artifact.path}: backend torch has no second output of {title}", "take another backend")
        missing = [name for name in node.input if name and name not in known]
        if missing:
            raise BadInput(f"{artifact.path}: nothing makes {missing[0]}, which {title} reads", "export it again")
        known = known | set(node.output)
        steps.append(
            _Step(
                OPERATORS[node.op_type],
                {"outputs": len(node.output), **{one.name: _attribute(one) for one in node.attribute}},
                tuple(node.input),
                tuple(node.output),
                tuple({name for name in node.input if name and last[name] == index} - keep),
                title,
            )
        )
    lost = [one.name for one in graph.output if one.name not in known]
    if lost:
        raise BadInput(f"{artifact.path}: nothing makes the output {lost[0]}", "export it again")
    return tuple(steps)


def _attribute(attribute: Any) -> Any:
    """Return an attribute as numbers, texts, a numpy array, or lists of these."""
    import onnx

    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, onnx.TensorProto):
        return _array(value)
    if isinstance(value, bytes):
        return value.decode()
    return list(value) if attribute.type in (attribute.INTS, attribute.FLOATS) else value


def _array(proto: Any) -> Array:
    import onnx

    value: Array = onnx.numpy_helper.to_array(proto)
    return value


def _tensor(torch: Any, array: Array) -> Any:
    """Return a tensor of its own with an array's values; numpy has no bfloat16 of its own, so its bits are taken."""
    own = np.array(array, order="C")
    if own.dtype.name == "bfloat16":
        return torch.from_numpy(own.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(own)


def _own(torch: Any, value: Any) -> Array:
    """Return a tensor's values as an array that belongs to the caller."""
    if value.dtype == torch.bfloat16:
        value = value.float()
    array: Array = np.array(value.numpy(), order="C")
    return array
