"""Foreign .onnx files for the tests: written from ONNX's text form, as old exporters left them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

try:
    import onnx
    import onnxruntime as ort
except ImportError:  # an installation without edgecnn[export,cpu] has nothing here to test
    collect_ignore_glob = ["*"]

Array = NDArray[Any]
Save = Callable[..., Path]
Answer = Callable[..., Array]

SMALL_CNN = """g (float[1,3,8,8] image) => (float[1,5] scores) {
    c = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(image, w)
    n = BatchNormalization<epsilon=1e-3>(c, scale, shift, mean, variance)
    r = Relu(n)
    p = GlobalAveragePool(r)
    f = Reshape(p, target)
    scores = Gemm<transB=1>(f, v, b)
}"""
"""8 x 8 RGB to 5 classes, with the number of images, 1, built into its Reshape; for `small_cnn()`."""


def small_cnn() -> dict[str, Array]:
    """The constants of SMALL_CNN."""
    rng = np.random.default_rng(5)
    return {
        "w": rng.standard_normal((6, 3, 3, 3)).astype(np.float32),
        "scale": rng.random(6).astype(np.float32) + 0.5,
        "shift": rng.standard_normal(6).astype(np.float32),
        "mean": rng.standard_normal(6).astype(np.float32),
        "variance": rng.random(6).astype(np.float32) + 0.5,
        "target": np.array([1, -1], np.int64),
        "v": rng.standard_normal((5, 6)).astype(np.float32),
        "b": rng.standard_normal(5).astype(np.float32),
    }


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """`save(text, opset=9, weights_are_inputs=True, w=array, ...)`: the path of a file made of ONNX's text form."""

    def save(
        text: str = SMALL_CNN,
        *,
        opset: int = 9,
        weights_are_inputs: bool = False,
        name: str = "net",
        **constants: Array,
    ) -> Path:
        proto = onnx.parser.parse_model(f'<ir_version: {4 if opset < 18 else 8}, opset_import: ["": {opset}]>\n{text}')
        for key, array in (constants or small_cnn()).items():
            tensor = onnx.numpy_helper.from_array(array, key)
            proto.graph.initializer.append(tensor)
            if weights_are_inputs:
                value = onnx.helper.make_tensor_value_info(key, tensor.data_type, tensor.dims)
                proto.graph.input.append(value)
        path = tmp_path / f"{name}.onnx"
        onnx.save(proto, path)
        return path

    return save


@pytest.fixture
def answer() -> Answer:
    """`answer(path, images)`: the first output of a file as [N, classes], run image by image where its batch is 1."""

    def answer(path: Path, images: Array) -> Array:
        session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        source = session.get_inputs()[0]
        size = source.shape[0] if isinstance(source.shape[0], int) else len(images)
        parts = [images[start : start + size] for start in range(0, len(images), size)]
        return np.concatenate([session.run(None, {source.name: part})[0].reshape(size, -1) for part in parts])

    return answer


@pytest.fixture
def images() -> Array:
    """float32 [4, 3, 8, 8]."""
    return np.random.default_rng(1).standard_normal((4, 3, 8, 8)).astype(np.float32)
