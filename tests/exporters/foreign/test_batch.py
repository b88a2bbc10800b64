"""Graphs with the number of images built in: any number where it can be proved, said where it cannot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

torch = pytest.importorskip("torch")

import onnx  # noqa: E402
import onnx_ir as ir  # noqa: E402

from edgecnn.errors import Contradiction, ParityError  # noqa: E402
from edgecnn.exporters.foreign.batch import any_batch, set_batch  # noqa: E402
from edgecnn.exporters.foreign.file import export_file  # noqa: E402
from edgecnn.exporters.foreign.options import ForeignOptions  # noqa: E402

Array = NDArray[Any]
Save = Callable[..., Path]
Answer = Callable[..., Array]

SHUFFLE = """g (float[{n},6,8,8] image) => (float[{n},6] scores) {{
    a = Reshape(image, apart)
    t = Transpose<perm=[0,2,1,3,4]>(a)
    s = Reshape(t, together)
    p = GlobalMaxPool(s)
    scores = Reshape(p, flat)
}}"""

COMPUTED = """g (float[N,3,8,8] image) => (float[N,3] scores) {
    p = GlobalAveragePool(image)
    shape = Shape(p)
    n = Gather<axis=0>(shape, zero)
    n1 = Unsqueeze<axes=[0]>(n)
    target = Concat<axis=0>(n1, rest)
    scores = Reshape(p, target)
}"""

MERGED = """g (float[1,4,8,8] image) => (float[1,4] scores) {
    p = GlobalAveragePool(image)
    square = Reshape(p, two_by_two)
    m = MatMul(square, w)
    scores = Reshape(m, flat)
}"""

ACROSS = """g (float[1,3,8,8] image) => (float[1,3] scores) {
    p = GlobalAveragePool(image)
    f = Flatten(p)
    scores = LogSoftmax<axis=0>(f)
}"""


def targets(**sizes: list[int]) -> dict[str, Array]:
    return {name: np.array(values, np.int64) for name, values in sizes.items()}


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("flat", [[0, 6], [-1, 6], None])
def test_a_channel_shuffle_with_its_batch_built_in(
    save: Save, answer: Answer, tmp_path: Path, size: int, flat: list[int] | None
) -> None:
    sizes = {"apart": [size, 3, 2, 8, 8], "together": [size, 6, 8, 8], "flat": flat or [size, -1]}
    path = save(SHUFFLE.format(n=size), **targets(**sizes))
    artifact = export_file(path, tmp_path / "new.onnx", ForeignOptions())
    assert artifact.spec.inputs[0].shape == ("N", 6, 8, 8)
    assert artifact.spec.outputs[0].shape == ("N", 6)
    images = np.random.default_rng(0).standard_normal((4, 6, 8, 8)).astype(np.float32)
    assert np.array_equal(answer(artifact.path, images), answer(path, images))
    assert answer(artifact.path, images[:3]).shape == (3, 6)


def test_a_computed_target_becomes_a_constant(save: Save, tmp_path: Path) -> None:
    path = save(COMPUTED, opset=11, zero=np.array(0, np.int64), rest=np.array([-1], np.int64))
    artifact = export_file(path, tmp_path / "new.onnx", ForeignOptions())
    assert [node.op_type for node in onnx.load(artifact.path).graph.node] == ["GlobalAveragePool", "Reshape"]
    assert artifact.spec.outputs[0].shape == ("N", 3)


def test_a_fixed_batch_that_was_asked_for(save: Save, answer: Answer, images: Array, tmp_path: Path) -> None:
    path = save()
    artifact = export_file(path, tmp_path / "new.onnx", ForeignOptions(batch=2))
    assert (artifact.spec.inputs[0].shape[0], artifact.spec.outputs[0].shape) == (2, (2, 5))
    np.testing.assert_allclose(answer(artifact.path, images), answer(path, images), rtol=1e-4, atol=1e-5)


def test_a_graph_that_computes_on_one_image_stays_so_and_says_it(save: Save, tmp_path: Path) -> None:
    w = np.array([[1, 2], [3, 5]], np.float32)
    path = save(MERGED, w=w, **targets(two_by_two=[2, 2], flat=[1, 4]))
    said: list[str] = []
    artifact = export_file(path, tmp_path / "new.onnx", ForeignOptions(), say=said.append)
    assert artifact.spec.inputs[0].shape == (1, 4, 8, 8)
    assert artifact.lineage[0].options["batch"] == 1
    assert any("computes on 1 image at a time" in line for line in said)
    with pytest.raises(Contradiction, match="computes on 1 image at a time, not on 3"):
        export_file(path, tmp_path / "three.onnx", ForeignOptions(batch=3))
    assert not (tmp_path / "three.onnx").exists()


def test_an_operator_that_would_mix_the_images_is_found_by_parity(save: Save, tmp_path: Path) -> None:
    path = save(ACROSS, opset=13)
    with pytest.raises(ParityError, match="batch 2") as caught:
        export_file(path, tmp_path / "new.onnx", ForeignOptions())
    assert "--batch 1, as the file has it" in caught.value.hint
    assert [found.name for found in tmp_path.iterdir()] == ["net.onnx"]
    assert export_file(path, tmp_path / "new.onnx", ForeignOptions(batch=1)).spec.inputs[0].shape[0] == 1


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 5),
    inner=st.permutations([2, 3, 4]).flatmap(lambda sizes: st.tuples(st.just(sizes), st.integers(0, 3))),
    first=st.sampled_from(["batch", "left", "zero"]),
)
def test_a_freed_reshape_gives_the_same_for_any_batch(batch: int, inner: tuple[list[int], int], first: str) -> None:
    sizes, left = inner
    start = {"batch": batch, "left": -1, "zero": 0}[first]
    rest = [-1 if index == left and first != "left" else size for index, size in enumerate(sizes)]
    proto = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["": 18]> g (float[{batch},24] x) => (y) {{ y = Reshape(x, t) }}'
    )
    proto.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array([start, *rest], np.int64), "t"))
    model = ir.from_proto(proto)
    assert any_batch(model, "x")
    set_batch(model, None)
    freed = ir.to_proto(model)
    for count in (batch, 1, 7):
        x = np.arange(count * 24, dtype=np.float32).reshape(count, 24)
        (y,) = onnx.reference.ReferenceEvaluator(freed).run(None, {"x": x})
        assert np.array_equal(y, x.reshape(count, *sizes))
