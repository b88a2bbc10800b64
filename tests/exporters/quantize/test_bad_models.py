"""Models that cannot be quantized: one clear error that names what is wrong, and nothing left behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from edgecnn.artifacts import load_artifact
from edgecnn.data.dataset import Split
from edgecnn.errors import BadInput, Contradiction, EdgecnnError, QuantizeError, UnknownName, UnsupportedOp
from edgecnn.exporters.onnxfile import stamp, write_model
from edgecnn.exporters.quantize import QuantizeConfig, quantize

Refused = Callable[..., EdgecnnError]


@pytest.fixture
def calibration(images: NDArray[np.uint8]) -> Split:
    return Split("calibration", images[:16].copy(), np.zeros(16, np.int64), trained=True)


@pytest.fixture
def refused(calibration: Split, tmp_path: Path) -> Refused:
    """`refused(source, error, match)`: quantizing fails so, in one line, and leaves nothing."""

    def refused(
        source: Path, error: type[EdgecnnError], match: str, *, config: QuantizeConfig | None = None, images: Any = None
    ) -> EdgecnnError:
        output = tmp_path / "out" / "x.int8.onnx"
        given = calibration if images is None else images
        with pytest.raises(error, match=match) as caught:
            quantize(source, output, calibration=given, config=config, cache=tmp_path / "cache")
        assert "\n" not in str(caught.value)
        assert not output.parent.exists() or list(output.parent.iterdir()) == []
        assert not (tmp_path / "cache").exists() or list((tmp_path / "cache").iterdir()) == []
        return caught.value

    return refused


@pytest.fixture
def save(parse: Any, tiny: Path, tmp_path: Path) -> Callable[..., Path]:
    """`save(text, w=array, ...)`: a file of that graph with the spec of the tiny one."""

    def save(text: str, **constants: Any) -> Path:
        opset = constants.pop("opset", 18)
        model = parse(text, opset=opset, **{name: np.asarray(array) for name, array in constants.items()})
        stamp(model, replace(load_artifact(tiny).spec, labels=()), ())
        write_model(model, tmp_path / "source.onnx")
        return tmp_path / "source.onnx"

    return save


W = np.ones((16, 1, 3, 3), np.float32)


def test_a_condition_is_named(refused: Refused, tiny: Path, tmp_path: Path) -> None:
    proto = onnx.load(tiny)
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    branches = {
        name: helper.make_graph(
            [helper.make_node("Identity", ["logits"], [name])],
            name,
            [],
            [helper.make_tensor_value_info(name, kind, ["N", 4])],
        )
        for name in ("then", "other")
    }
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array(True), "yes"))
    proto.graph.node.append(
        helper.make_node(
            "If", ["yes"], ["chosen"], "the_if", then_branch=branches["then"], else_branch=branches["other"]
        )
    )
    proto.graph.output[0].name = "chosen"
    onnx.save(proto, tmp_path / "if.onnx")
    refused(tmp_path / "if.onnx", UnsupportedOp, r"node the_if \(If\) of operator set 18 is control flow")


def test_weights_outside_the_folder(refused: Refused, tiny: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.bin"
    folder = tmp_path / "model"
    folder.mkdir()
    proto = onnx.load(tiny)
    weight = proto.graph.initializer[0]
    secret.write_bytes(weight.raw_data)
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../secret.bin")
    (folder / "outside.onnx").write_bytes(proto.SerializeToString())
    refused(folder / "outside.onnx", BadInput, "the weights lie in other files")


def test_a_constant_of_a_node_outside_the_folder(refused: Refused, tiny: Path, tmp_path: Path) -> None:
    proto = onnx.load(tiny)
    tensor = onnx.TensorProto(name="t", data_type=onnx.TensorProto.FLOAT, dims=[4])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    proto.graph.node.append(onnx.helper.make_node("Constant", [], ["unused"], "constant", value=tensor))
    (tmp_path / "constant.onnx").write_bytes(proto.SerializeToString())
    refused(tmp_path / "constant.onnx", BadInput, "lies in another file|is not a readable ONNX graph")


def test_a_file_too_large_for_one_message(refused: Refused, tmp_path: Path) -> None:
    path = tmp_path / "huge.onnx"
    with path.open("wb") as file:
        file.truncate(3 << 30)  # sparse: no disk is taken
    refused(path, BadInput, r"less than 2 GiB, .* got 3221\.2 MB")


def test_an_open_image_size(refused: Refused, save: Any, calibration: Split, tmp_path: Path) -> None:
    source = save("g (float[N,1,h,w] input) => (float[N,16,i,j] logits) { logits = Conv(input, k) }", k=W)
    result = quantize(source, tmp_path / "open.onnx", calibration=calibration)
    assert result.quantized == {"Conv": 1}
    assert result.int8_share is None
    (tmp_path / "open.onnx").unlink()
    error = refused(
        source, Contradiction, "target trt takes files of one image size", config=QuantizeConfig(target="trt")
    )
    assert "--input-size" in error.hint


def test_an_operator_set_that_the_target_does_not_read(refused: Refused, save: Any) -> None:
    source = save("g (float[N,1,8,8] input) => (float[N,16,6,6] logits) { logits = Conv(input, k) }", k=W, opset=23)
    refused(source, Contradiction, "operator set 23 is not for target", config=QuantizeConfig(target="trt"))


@pytest.mark.parametrize(
    ("body", "culprit"),
    [
        ("c = Conv(input, k) d = Sqrt(c) logits = Conv(d, l)", r"sqrt_1 \(Sqrt\) gives .* not finite on the"),
        ("logits = Conv(input, n)", r"conv_0 \(Conv\) has weights that are not finite: n \("),
        (
            "c = Conv(input, n) d = Sqrt(c) logits = Conv(d, l)",
            r"conv_0 \(Conv\) has weights that are not finite: n \(",
        ),
        (
            "c = Conv(input, k) r = Relu(c) d = Log(r) e = Neg(d) logits = Conv(e, l)",
            r"log_2 \(Log\) gives .* not finite on the",
        ),
    ],
)
def test_values_that_are_not_finite(refused: Refused, save: Any, body: str, culprit: str) -> None:
    constants = {"k": -W, "l": np.ones((16, 16, 1, 1), np.float32), "n": np.full_like(W, np.nan)}
    used = {name: array for name, array in constants.items() if f" {name})" in body}
    source = save(f"g (float[N,1,8,8] input) => (float[N,16,6,6] logits) {{ {body} }}", **used)
    refused(source, QuantizeError, f"^node {culprit}")


def test_a_constant_activation_is_held_exactly_and_named(save: Any, calibration: Split, tmp_path: Path) -> None:
    source = save(
        "g (float[N,1,8,8] input) => (float[N,16,6,6] logits) { c = Conv(input, z, b) r = Relu(c) logits = Conv(r, l) }",
        z=0 * W,
        b=np.full(16, 3.7, np.float32),
        l=np.ones((16, 16, 1, 1), np.float32),
    )
    notes: list[str] = []
    result = quantize(source, tmp_path / "out.onnx", calibration=calibration, on_note=notes.append)
    assert result.constant == ("relu_1 (Relu)", "conv_2 (Conv)")
    assert any("relu_1 (Relu)" in note for note in notes)
    from edgecnn.runtimes import open_session

    with open_session(result.artifact) as session:
        answer = session.run({"input": np.ones((1, 1, 8, 8), np.float32)})["logits"]
    assert answer == pytest.approx(np.full((1, 16, 6, 6), 16 * 3.7), rel=1e-4)


@pytest.mark.parametrize(
    ("images", "match"),
    [
        ([], "at least one, got none"),
        (
            np.zeros((4, 8, 8, 5), np.uint8),
            r"image: expected uint8 \[height, width, 1, 3 or 4\], got uint8 \[8, 8, 5\]",
        ),
        (
            np.zeros((4, 1, 9, 9), np.float32),
            r"expected float32 \[1, 8, 8\], as the model's input, got float32 \[1, 9, 9\]",
        ),
        (np.zeros((4, 3, 8, 8), np.float32), r"as the model's input, got float32 \[3, 8, 8\]"),
        (np.full((4, 8, 8, 1), 7, np.uint8), "all 4 calibration images are of one colour throughout"),
        (np.zeros((4, 8, 8, 1)), r"got float64 \[8, 8, 1\]"),
    ],
)
def test_calibration_images_that_do_not_fit(refused: Refused, tiny: Path, images: Any, match: str) -> None:
    refused(tiny, BadInput, match, images=images)


def test_a_pass_that_is_not_known(refused: Refused, tiny: Path) -> None:
    refused(
        tiny, UnknownName, "unknown pass 'fold-batchnorm'", config=QuantizeConfig(without_passes=("fold-batchnorm",))
    )


def test_everything_kept_float(refused: Refused, tiny: Path) -> None:
    names = ("conv_0", "conv_2", "gemm_7")
    refused(tiny, QuantizeError, "no convolution or linear layer", config=QuantizeConfig(keep_float=names))
