"""Networks without weights: built on torch's meta device, where a tensor has a shape and takes no memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from edgecnn.zoo.network import Form
from edgecnn.zoo.registry import build

_DRAWS = (Tensor.normal_, Tensor.uniform_, Tensor.erfinv_)


def build_on_meta(form: Form) -> nn.Module:
    """Return the network of a form with the shapes of its weights and no values.

    Raises:
        UsageError: the form cannot be built.
    """
    with torch.device("meta"), _NoDraws():
        return build(form)


class _NoDraws(TorchFunctionMode):
    """Leaves out random initialisation, which takes most of the time on the meta device and has no result there."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one function, or return the tensor that it would have filled."""
        given = kwargs or {}
        if func in _DRAWS or getattr(func, "__module__", "") == nn.init.__name__:
            return given.get("tensor", next(iter(args), None))
        return func(*args, **given)
