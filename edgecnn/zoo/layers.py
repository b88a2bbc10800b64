"""The layer table of a network: what every operation costs, found by running it on torch's meta device.

A meta tensor has a shape and no data, so nothing is computed and no memory is taken, whatever the size of the network.
What runs is recorded below the modules, where torch dispatches single operations; additions, concatenations and
functional calls are seen like layers.

Multiply-adds are those of convolutions, Hout * Wout * Cout * (Cin / groups) * kh * kw, and of linear layers,
inputs * outputs. Biases, batch norm, activations and pooling count zero. Parameters are trained values; running
statistics are not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from edgecnn.errors import BadInput, UnsupportedOp, first_line
from edgecnn.zoo.meta import build_on_meta
from edgecnn.zoo.network import Form, Totals
from edgecnn.zoo.operations import Operation, operation_of

IMAGE = -1
"""What a layer that reads the network's input has among its inputs."""

_FLOAT32_BYTES = 4

# Modules whose operations are one layer, because an exported graph has one node for them.
_WHOLE = {"LocalResponseNorm": "local response norm"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One operation of a network, for one image.

    Attributes:
        name: path of the module that runs it; what a block runs itself has the operation's kind at its end.
        kind: "conv", "depthwise", "linear", "batch norm", "max pool", "average pool", "add", "concat", ...
        kernel: height and width of the window, None where there is none.
        stride: of the window, None where there is none.
        groups: of a convolution, None elsewhere.
        output_shape: without the batch, (channels, height, width) or (features,).
        params: trained values that are read here first.
        macs: multiply-adds.
        activation_bytes: float32 output; 0 where it needs no memory of its own, because it replaces its input (in
            place) or is a batch norm that is folded into the convolution before it.
        inputs: indices of the layers that it reads, in ascending order; `IMAGE` is the network's input.
    """

    name: str
    kind: str
    kernel: tuple[int, ...] | None = None
    stride: tuple[int, ...] | None = None
    groups: int | None = None
    output_shape: tuple[int, ...]
    params: int = 0
    macs: int = 0
    activation_bytes: int = 0
    inputs: tuple[int, ...] = ()


def layer_table(model: nn.Module, input_shape: Sequence[int]) -> tuple[Layer, ...]:
    """Return the operations of a network in the order in which they run, in inference form, without running it.

    The model is not changed; it may live on any device, the meta device included.

    Args:
        model: the network.
        input_shape: (channels, height, width) of one image.

    Raises:
        BadInput: the network cannot take such an input; torch's reason is in the message.
        UnsupportedOp: an operation depends on the data and has no shape without it.
    """
    if len(input_shape) != 3 or min(input_shape) < 1:
        raise BadInput("input shape", expected="(channels, height, width)", got=str(tuple(input_shape)))
    weights = _on_meta(model.named_parameters())
    buffers = _on_meta(model.named_buffers())
    dtype = next((tensor.dtype for tensor in weights.values() if tensor.is_floating_point()), torch.float32)
    image = torch.empty((1, *input_shape), dtype=dtype, device="meta")
    recorder = _Recorder(weights.values(), image)
    try:
        with _inference(model), _watched(model, recorder), torch.no_grad(), recorder:
            torch.func.functional_call(model, {**weights, **buffers}, (image,))
    except NotImplementedError as error:
        raise UnsupportedOp(f"an operation has no shape without data: {first_line(error)}") from error
    except RuntimeError as error:
        raise BadInput(f"the network cannot run on an input of {tuple(input_shape)}: {first_line(error)}") from error
    return tuple(recorder.layers)


def layers_of(form: Form) -> tuple[Layer, ...]:
    """Return the layer table of a form of a zoo network; its weights are never allocated.

    Raises:
        UsageError: the form cannot be built, or its input is too small for it.
    """
    return layer_table(build_on_meta(form), form.input_shape)


def totals(layers: Sequence[Layer]) -> Totals:
    """Return the sums over a layer table."""
    return Totals(
        params=sum(layer.params for layer in layers),
        macs=sum(layer.macs for layer in layers),
        activation_bytes=sum(layer.activation_bytes for layer in layers),
    )


@dataclass(slots=True, kw_only=True)
class _Call:
    """A module that is running: its path, whether it has no children, and what its operations are together."""

    path: str
    is_leaf: bool
    whole: str = ""
    layer: int | None = None


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes every operation that computes something, under the name of the module that runs it.

    Args:
        weights: the trained tensors.
        image: the network's input.
    """

    def __init__(self, weights: Iterable[Tensor], image: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.layers: list[Layer] = []
        self.running: list[_Call] = []
        # A linear layer reads a view of its weight: which weight a tensor stands for, by identity.
        self._weight = {id(weight): id(weight) for weight in weights}
        self._counted: set[int] = set()
        self._kind: dict[int, str] = {}
        self._made_by: dict[int, tuple[int, ...]] = {id(image): (IMAGE,)}
        # Keeps every tensor alive, so that no identity is used twice.
        self._alive: list[Any] = []

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operation on meta tensors and note it."""
        out = func(*args, **(kwargs or {}))
        self._alive.append((args, kwargs, out))
        made = tuple(_tensors(out if isinstance(out, (tuple, list)) else (out,)))
        read = tuple(_tensors((*args, *(kwargs or {}).values())))
        if not made or not read:
            return out
        if func.is_view:
            for view in made:
                self._weight[id(view)] = self._weight.get(id(read[0]), 0)
                self._made_by[id(view)] = self._made_by.get(id(read[0]), ())
        else:
            self._note(operation_of(func), args, read, made[0])
        return out

    def _note(self, operation: Operation, args: tuple[Any, ...], read: tuple[Tensor, ...], result: Tensor) -> None:
        in_place = any(tensor is result for tensor in read)
        folded = operation.kind == "batch norm" and self._kind.get(id(read[0])) == "conv"
        self._kind[id(result)] = operation.kind
        window = operation.window(args, result)
        depthwise = operation.kind == "conv" and window.groups == args[0].shape[1] > 1
        layer = Layer(
            name=self._name(operation.kind),
            kind="depthwise" if depthwise else operation.kind,
            kernel=window.kernel,
            stride=window.stride,
            groups=window.groups,
            output_shape=tuple(result.shape[1:]),
            params=self._new_params(read),
            macs=window.macs,
            activation_bytes=0 if in_place or folded else result.numel() * _FLOAT32_BYTES,
            inputs=self._sources(read),
        )
        self._made_by[id(result)] = (self._add(layer),)

    def _add(self, layer: Layer) -> int:
        """Return the index of a layer that is put at the end, or into the one that its module is as a whole."""
        call = self.running[-1] if self.running else _Call(path="", is_leaf=False)
        if not call.whole:
            self.layers.append(layer)
        elif call.layer is None:
            call.layer = len(self.layers)
            self.layers.append(replace(layer, kind=call.whole, kernel=None, stride=None))
        else:
            before = self.layers[call.layer]
            inputs = {*before.inputs, *layer.inputs} - {call.layer}
            self.layers[call.layer] = replace(
                before,
                output_shape=layer.output_shape,
                params=before.params + layer.params,
                activation_bytes=layer.activation_bytes,
                inputs=tuple(sorted(inputs)),
            )
        return len(self.layers) - 1 if call.layer is None else call.layer

    def _sources(self, read: tuple[Tensor, ...]) -> tuple[int, ...]:
        return tuple(sorted({layer for tensor in read for layer in self._made_by.get(id(tensor), ())}))

    def _name(self, kind: str) -> str:
        call = self.running[-1] if self.running else _Call(path="", is_leaf=False)
        return call.path if call.path and call.is_leaf else f"{call.path}.{kind}".lstrip(".")

    def _new_params(self, read: tuple[Tensor, ...]) -> int:
        """Return how many trained values these tensors have that no earlier layer read."""
        count = 0
        for tensor in read:
            weight = self._weight.get(id(tensor), 0)
            if weight and weight not in self._counted:
                self._counted.add(weight)
                count += tensor.numel()
        return count


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (tuple, list)):
            yield from (item for item in value if isinstance(item, Tensor))


def _on_meta(named: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.empty_like(tensor, device="meta") for name, tensor in named}


@contextmanager
def _inference(model: nn.Module) -> Iterator[None]:
    """Put every module into inference form while the block runs."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def _watched(model: nn.Module, recorder: _Recorder) -> Iterator[None]:
    """Tell the recorder which module runs while the block runs."""
    handles = []
    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(partial(_enter, recorder.running, name)))
        handles.append(module.register_forward_hook(partial(_leave, recorder.running), always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _enter(running: list[_Call], path: str, module: nn.Module, args: Any) -> None:
    is_leaf = next(module.children(), None) is None
    running.append(_Call(path=path, is_leaf=is_leaf, whole=_WHOLE.get(type(module).__name__, "")))


def _leave(running: list[_Call], module: nn.Module, args: Any, out: Any) -> None:
    running.pop()
