"""The zoo: networks by name, their published numbers, their forms, their layers and their trained weights.

    form = make_form("mobilenet", width=0.25, input_size=32, channels=1, classes=10)
    module = build(form)
    load_weights(module, form, "bundled")

Names and numbers need no torch; it is imported when a network is built, loaded or walked (PEP 562).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from edgecnn.zoo.network import Bundled, Form, Network, Paper, Published
from edgecnn.zoo.options import Option
from edgecnn.zoo.registry import broken, build, bundled_form, find, make_form, networks

if TYPE_CHECKING:
    from edgecnn.zoo.layers import Layer, layer_table
    from edgecnn.zoo.weights import Loaded, load_weights, save_weights

_HOMES = {
    "Layer": "edgecnn.zoo.layers",
    "Loaded": "edgecnn.zoo.weights",
    "layer_table": "edgecnn.zoo.layers",
    "load_weights": "edgecnn.zoo.weights",
    "save_weights": "edgecnn.zoo.weights",
}

__all__ = [
    "Bundled",
    "Form",
    "Layer",
    "Loaded",
    "Network",
    "Option",
    "Paper",
    "Published",
    "broken",
    "build",
    "bundled_form",
    "find",
    "layer_table",
    "load_weights",
    "make_form",
    "networks",
    "save_weights",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'edgecnn.zoo' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
