"""edgecnn takes a trained CNN to the device it will run on and tells the truth about how it does there.

    classifier = edgecnn.load("models/mobilenet_v1_0.25_32.int8.onnx")
    classifier.classify(image)      # uint8 [H, W, C] -> [Prediction(label, index, probability), ...]

Nothing heavy is imported before it is used (PEP 562).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgecnn.answers import Prediction
    from edgecnn.artifacts import load_artifact
    from edgecnn.batcher import Batcher
    from edgecnn.classifier import Classifier
    from edgecnn.errors import EdgecnnError
    from edgecnn.loading import load
    from edgecnn.pool import Pool
    from edgecnn.runtimes.base import OpenOptions
    from edgecnn.specs import Artifact, ModelSpec, Preprocess, TensorSpec

__version__ = "0.1.0"

_HOMES = {
    "Artifact": "edgecnn.specs",
    "Batcher": "edgecnn.batcher",
    "Classifier": "edgecnn.classifier",
    "EdgecnnError": "edgecnn.errors",
    "ModelSpec": "edgecnn.specs",
    "OpenOptions": "edgecnn.runtimes.base",
    "Pool": "edgecnn.pool",
    "Prediction": "edgecnn.answers",
    "Preprocess": "edgecnn.specs",
    "TensorSpec": "edgecnn.specs",
    "load": "edgecnn.loading",
    "load_artifact": "edgecnn.artifacts",
}

__all__ = [
    "Artifact",
    "Batcher",
    "Classifier",
    "EdgecnnError",
    "ModelSpec",
    "OpenOptions",
    "Pool",
    "Prediction",
    "Preprocess",
    "TensorSpec",
    "__version__",
    "load",
    "load_artifact",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'edgecnn' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
