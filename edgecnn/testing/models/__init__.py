"""Small models with known answers, for the conformance suite and for the tests of other packages."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_HERE = Path(__file__).parent

TINY = _HERE / "tiny.onnx"
"""float32 [N, 1, 8, 8] -> logits of three classes."""

TINY_INT8 = _HERE / "tiny.int8.onnx"
"""The same, quantized."""

TINY_TRT_INT8 = _HERE / "tiny.trt-int8.onnx"
"""The same, quantized as TensorRT wants it: int8 around zero."""

TINY_BATCH1 = _HERE / "tiny.batch1.onnx"
"""The same with a fixed batch of one."""

REFERENCE = _HERE / "tiny.npz"
"""input; logits, int8_logits and trt_int8_logits (ONNX reference implementation); int8_step and trt_int8_step (scale of
the last int8 activation)."""


def read_reference() -> dict[str, NDArray[np.float32]]:
    """Return "input" and "logits" of `REFERENCE`; its file is closed."""
    with np.load(REFERENCE) as stored:
        return dict(stored)
