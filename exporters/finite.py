"""Where a torch network stops giving numbers: the first weight or layer with NaN or infinity in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def weight_not_finite(module: nn.Module) -> str:
    """Return the first parameter or buffer with NaN or infinity in it, and how many it has; empty where all are numbers."""
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        bad = _count(tensor)
        if bad:
            kind = "NaN" if bool(tensor.isnan().any()) else "infinity"
            return f"{kind} in {name}, {bad} of its {tensor.numel()} values"
    return ""


def layer_not_finite(module: nn.Module, images: Tensor) -> str:
    """Return the first layer, in the order of the run, that makes NaN or infinity of these images; empty where none does."""
    found: list[str] = []
    with _watched(module, found), torch.inference_mode():
        module(images)
    return found[0] if found else ""


def _count(tensor: Tensor) -> int:
    return int((~tensor.isfinite()).sum()) if tensor.is_floating_point() else 0


@contextmanager
def _watched(module: nn.Module, found: list[str]) -> Iterator[None]:
    """Note the layers that give what is no number, those without layers of their own, while the block runs."""

    def note(name: str, layer: nn.Module, answer: Any) -> None:
        if isinstance(answer, Tensor) and _count(answer):
            found.append(f"NaN or infinity behind layer {name} ({type(layer).__name__})")

    handles = [
        layer.register_forward_hook(lambda layer, given, answer, name=name: note(name, layer, answer))
        for name, layer in module.named_modules()
        if name and next(layer.children(), None) is None
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
