"""What a verification is asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from edgecnn.errors import BadInput, Contradiction
from edgecnn.exporters.stated import DEFAULT_POINTS

TORCH, PUBLISHED = "torch", "published"
"""Words that `VerifyOptions.against` takes besides a file."""


_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def is_module_name(text: str) -> bool:
    """Tell whether a reference is "pkg.module:name", and no file is called so."""
    return _MODULE.fullmatch(text) is not None and not Path(text).exists()


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyOptions:
    """What a file is held against, and how far it may be off.

    Attributes:
        against: another .onnx file, "torch" (the network of the zoo that it was exported from), "pkg.module:name" (the user's
            code that it was), "published" (the literature's top-1), or nothing.
        backend: what runs the file; a reference file runs on it, too.
        threads: of the backend; None leaves it to the backend.
        tolerance: greatest difference from the reference, relative to its greatest output; None is 1e-4 between float32
            forms. Others are then judged by signal over noise on images, and not at all on random inputs.
        accuracy_points: greatest difference from a stated top-1, percentage points.
        weights: the weights file for "torch" or the user's code; None takes what the file names.
        seed: of random inputs.
        layers: whether the tensors inside are compared as well, with those of another file.
    """

    against: str = ""
    backend: str = "cpu"
    threads: int | None = None
    tolerance: float | None = None
    accuracy_points: float = DEFAULT_POINTS
    weights: str | None = None
    seed: int = 0
    layers: bool = False

    def __post_init__(self) -> None:
        if self.tolerance is not None and not self.tolerance >= 0:
            raise BadInput("tolerance", expected="at least 0", got=str(self.tolerance))
        if not self.accuracy_points >= 0:
            raise BadInput("accuracy tolerance", expected="points, at least 0", got=str(self.accuracy_points))
        if self.weights is not None and not (self.against == TORCH or is_module_name(self.against)):
            raise Contradiction("weights are for the comparison with torch alone", "give --against torch as well")
        if self.tolerance is not None and not self.has_reference:
            raise Contradiction("a tolerance is of the outputs, beside another form", "give --against FILE or torch")
        if self.layers and (self.against in ("", TORCH, PUBLISHED) or is_module_name(self.against)):
            raise Contradiction("layers are compared with those of another file", "give --against FILE as well")

    @property
    def has_reference(self) -> bool:
        """Whether outputs are compared."""
        return self.against not in ("", PUBLISHED)
