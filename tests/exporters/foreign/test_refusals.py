"""What cannot be handled is said in one line that names it, and nothing is left behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch")

import onnx
from onnx import TensorProto, helper

from edgecnn.errors import BadInput, EdgecnnError, ExportError, UnsupportedOp
from edgecnn.exporters.foreign.file import export_file
from edgecnn.exporters.foreign.options import ForeignOptions, Meaning, read_labels

Array = NDArray[Any]
Save = Callable[..., Path]

HEAD = "g (float[1,3,8,8] image) => (float[1,3] scores)"
BODY = "p = GlobalAveragePool(image)  scores = Flatten(p)"


def refuse(path: Path, kind: type[EdgecnnError], text: str, options: ForeignOptions | None = None) -> None:
    before = sorted(path.parent.iterdir())
    with pytest.raises(kind, match=text) as caught:
        export_file(path, path.parent / "new.onnx", options or ForeignOptions())
    assert "\n" not in str(caught.value)
    assert sorted(path.parent.iterdir()) == before


@pytest.mark.parametrize(
    ("opset", "body", "kind", "text"),
    [
        (11, "[lost] s = NonZero(image)", UnsupportedOp, r"'lost' \(NonZero\) of operator set 11 is of a size"),
        (11, "[dice] s = RandomNormalLike(image)", UnsupportedOp, r"'dice' \(RandomNormalLike\) of operator set 11"),
        (11, "[both] s = SequenceConstruct(image, image)", UnsupportedOp, r"'both' \(SequenceConstruct\).*a sequence"),
        (11, "[odd] s = Swirl(image)", UnsupportedOp, r"'odd' \(Swirl\) is not in operator set 11"),
        (
            11,
            "[own] s = my.domain.Swirl(image)",
            UnsupportedOp,
            r"'own' \(my.domain.Swirl\) is of the domain my.domain",
        ),
        (
            15,
            "[bn] s = BatchNormalization<training_mode=1>(image, o, o, o, o)",
            UnsupportedOp,
            r"'bn' \(BatchNormalization\) is in training mode",
        ),
        (
            7,
            "[bn] s = BatchNormalization<spatial=0>(image, o, o, o, o)",
            UnsupportedOp,
            r"'bn' \(BatchNormalization\) normalises every pixel",
        ),
        (
            13,
            "[drop] s = Dropout(image, half, yes)",
            UnsupportedOp,
            r"'drop' \(Dropout\) is, or can be switched to, training",
        ),
    ],
)
def test_operators(save: Save, opset: int, body: str, kind: type[EdgecnnError], text: str) -> None:
    path = save(
        f"{HEAD} {{ {body}  {BODY} }}",
        opset=opset,
        o=np.ones(3, np.float32),
        half=np.array(0.5, np.float32),
        yes=np.array(True),
    )
    refuse(path, kind, text)


def test_control_flow(save: Save) -> None:
    branch = "{name} () => (float[1,3,8,8] {name}_y) {{ {name}_y = Identity(image) }}"
    text = f"""{HEAD} {{
        [choose] s = If<then_branch = {branch.format(name="t")}, else_branch = {branch.format(name="e")}>(yes)
        p = GlobalAveragePool(s)
        scores = Flatten(p)
    }}"""
    refuse(
        save(text, opset=11, yes=np.array(True)), UnsupportedOp, r"'choose' \(If\) of operator set 11 is control flow"
    )


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (
            "g (float[1,3,8,8] a, float[1,3,8,8] b) => (float[1,3] y) { s = Add(a, b)  p = MaxPool(s)  y = Flatten(p) }",
            "one image, got a, b",
        ),
        ("g (double[1,3,8,8] a) => (double[1,3] y) { p = GlobalAveragePool(a) y = Flatten(p) }", "float32, got double"),
        ("g (float[1,3] a) => (float[1,3] y) { y = Relu(a) }", r"\[N, channels, height, width\], got \[1, 3\]"),
        (
            "g (float[1,3,h,w] a) => (float[1,3] y) { p = GlobalAveragePool(a) y = Flatten(p) }",
            r"fixed size.*got \[\?, 3, \?, \?\].*--input-shape",
        ),
        ("g (float[1,3,8,8] a) => (float[1,3,8,8] y) { y = Relu(a) }", r"\[N, classes\], got \[N, 3, 8, 8\]"),
    ],
)
def test_what_is_no_classifier_of_images(save: Save, text: str, wrong: str) -> None:
    refuse(save(text, opset=11, unused=np.ones(1, np.float32)), BadInput, wrong)


def test_an_open_size_is_set_by_the_input_shape(save: Save, tmp_path: Path) -> None:
    text = "g (float[n,3,h,w] a) => (float[n,3] y) { p = GlobalAveragePool(a) y = Flatten(p) }"
    path = save(text, opset=11, unused=np.ones(1, np.float32))
    artifact = export_file(path, tmp_path / "new.onnx", ForeignOptions(input_shape=(3, 16, 24)))
    assert artifact.spec.inputs[0].shape == ("N", 3, 16, 24)
    refuse(path, BadInput, "expected 1,16,24, got", ForeignOptions(input_shape=(1, 16, 24)))


def test_half_precision_weights(save: Save) -> None:
    text = f"{HEAD} {{ h = Cast<to=10>(image) m = Mul(h, w) f = Cast<to=1>(m) p = GlobalAveragePool(f) scores = Flatten(p) }}"
    refuse(save(text, opset=11, w=np.ones(1, np.float16)), BadInput, "weights w of .*expected float32, got float16")


@pytest.mark.parametrize(("opset", "text"), [(6, "expected 7 to"), (999, "expected 7 to")])
def test_operator_sets_that_are_too_old_or_too_new(save: Save, opset: int, text: str) -> None:
    path = save()
    proto = onnx.load(path)
    proto.opset_import[0].version = opset
    onnx.save(proto, path)
    refuse(path, BadInput, text)


def test_weights_that_would_not_fit_into_a_file(save: Save) -> None:
    text = f"{HEAD} {{ w = ConstantOfShape(sizes) m = Mul(image, w) p = GlobalAveragePool(m) scores = Flatten(p) }}"
    path = save(text, opset=11, sizes=np.array([100_000, 100_000], np.int64))
    refuse(path, BadInput, r"make weights of 37.3 GiB: expected less than 2 GiB")


def test_a_file_over_the_limit_is_not_even_read(tmp_path: Path, save: Save) -> None:
    path = save()
    with path.open("rb+") as file:
        # Field 100 of the message, of 2 GiB, which is a hole in the file.
        file.seek(0, 2)
        file.write(b"\xa2\x06\x80\x80\x80\x80\x08")
        file.truncate(file.tell() + (2 << 30))
    refuse(path, BadInput, "expected less than 2 GiB, got 2.0 GiB")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a model", b"\x08\x04"])
def test_what_is_not_onnx(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    refuse(path, BadInput, "empty|not an ONNX model")


def external(path: Path, location: str, *, offset: int = 0, length: int | None = None) -> None:
    """Move the largest weight of a file into another."""
    proto = onnx.load(path)
    tensor = max(proto.graph.initializer, key=lambda one: one.ByteSize())
    content = onnx.numpy_helper.to_array(tensor).tobytes()
    place = path.parent / location
    if not place.exists():
        place.write_bytes(content)
    for field in ("raw_data", "float_data"):
        tensor.ClearField(field)
    tensor.data_location = TensorProto.EXTERNAL
    entries = {"location": location, "offset": str(offset), "length": str(len(content) if length is None else length)}
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    onnx.save(proto, path)


def test_weights_beside_the_file_are_taken_in(save: Save, tmp_path: Path) -> None:
    path = save(name="whole")
    whole = export_file(path, tmp_path / "a.onnx", ForeignOptions())
    external(path, "weights.bin")
    apart = export_file(path, tmp_path / "b.onnx", ForeignOptions())
    weights = [
        sorted(one.SerializeToString() for one in onnx.load(found.path).graph.initializer) for found in (whole, apart)
    ]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("location", ["../outside.bin", "/etc/hostname", "link.bin"])
def test_weights_outside_of_the_folder(tmp_path: Path, save: Save, location: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    path = save().rename(folder / "net.onnx")
    (tmp_path / "outside.bin").write_bytes(bytes(10_000))
    (folder / "link.bin").symlink_to(tmp_path / "outside.bin")
    external(path, location, length=100)
    refuse(path, BadInput, f"lie in {location}, outside of its folder")


def test_weights_that_are_missing_or_cut_short(save: Save) -> None:
    path = save()
    external(path, "weights.bin", offset=8)
    refuse(path, BadInput, "weights.bin is cut short")
    (path.parent / "weights.bin").unlink()
    refuse(path, BadInput, "weights.bin, which is no file beside it")


def test_a_sequence_as_input(tmp_path: Path) -> None:
    value = helper.make_tensor_sequence_value_info("images", TensorProto.FLOAT, [1, 3, 8, 8])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 3])
    node = helper.make_node("ConcatFromSequence", ["images"], ["scores"], axis=0, name="join")
    graph = helper.make_graph([node], "g", [value], [scores])
    path = tmp_path / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)]), path)
    refuse(path, UnsupportedOp, "'join'.*a sequence")


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"mean": (0.5,)}, "--mean without --std"),
        ({"fit": "pad"}, "--fit without --mean"),
        ({"mean": (123.0,), "std": (58.0,)}, r"mean: expected values on the 0..1 scale, from 0 to 1, got 123"),
        ({"mean": (0.5,), "std": (0.0,)}, r"std: expected values on the 0..1 scale, above 0"),
        ({"mean": (float("nan"),), "std": (1.0,)}, "got nan"),
        ({"name": "a/b"}, "name: expected letters"),
    ],
)
def test_a_meaning_that_makes_no_sense(given: dict[str, Any], text: str) -> None:
    with pytest.raises(EdgecnnError, match=text):
        Meaning(**given)


def test_labels_and_values_that_do_not_fit(save: Save) -> None:
    path = save()
    refuse(path, BadInput, "labels: expected 5 names.*got 2", ForeignOptions(meaning=Meaning(labels=("a", "b"))))
    grey = Meaning(mean=(0.5,), std=(0.5,))
    refuse(path, BadInput, "mean: expected 3 values, one per channel, got 1", ForeignOptions(meaning=grey))


@pytest.mark.parametrize(
    ("content", "text"),
    [(b"a\n\nb\n", "an empty line 2"), (b"\n", "an empty file"), (b"\xff\xfe", "UTF-8"), (None, "No such file")],
)
def test_labels_files(tmp_path: Path, content: bytes | None, text: str) -> None:
    path = tmp_path / "labels.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInput, match=text):
        read_labels(path)
    path.write_text("cat\nbig dog\n")
    assert read_labels(path) == ("cat", "big dog")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (
            "[first] c = Conv(image, w) p = GlobalAveragePool(c)",
            r"node first \(Conv\) has weights that are not finite: w",
        ),
        (
            "c = Relu(image) [bad] d = Log(c) p = GlobalAveragePool(d)",
            r"node bad \(Log\) gives values .* on random images",
        ),
    ],
)
def test_an_original_that_is_not_finite_names_its_node(save: Save, body: str, text: str) -> None:
    weights = {"w": np.full((3, 3, 1, 1), np.nan, np.float32)} if " w)" in body else {}
    refuse(save(f"{HEAD} {{ {body} scores = Flatten(p) }}", opset=13, **weights), ExportError, text)


@pytest.mark.parametrize(
    "mixing", ["m = ReduceMean<axes=[0], keepdims=1>(f)", "m = ReduceMax<axes=[0], keepdims=1>(f)"]
)
def test_a_file_of_any_batch_must_not_mix_its_images(save: Save, mixing: str) -> None:
    body = f"p = GlobalAveragePool(image) f = Flatten(p) {mixing} scores = Sub(f, m)"
    path = save(f"g (float[N,3,8,8] image) => (float[N,3] scores) {{ {body} }}", opset=13)
    refuse(path, BadInput, "other scores when other images are in the batch.*alone, got a difference of .*--batch 1")
    single = export_file(path, path.parent / "single.onnx", ForeignOptions(batch=1))
    assert single.spec.inputs[0].shape == (1, 3, 8, 8)
