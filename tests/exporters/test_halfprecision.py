"""16-bit files: what stays float32 and why, what the file holds, what is refused, and that a bound holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgecnn.artifacts import load_artifact
from edgecnn.data.dataset import Split
from edgecnn.errors import AccuracyError, BadInput, Contradiction, QuantizeError, UnknownName
from edgecnn.exporters.halfprecision import HalfResult, convert_precision
from edgecnn.exporters.halfprecision.blocklist import choose_nodes, float_values
from edgecnn.exporters.halfprecision.graph import convert_nodes, raise_opset
from edgecnn.exporters.halfprecision.kinds import BF16, FP16, Kind, has_half_form
from edgecnn.exporters.onnxfile import stamp, write_model
from edgecnn.exporters.quantize import QuantizeConfig
from edgecnn.exporters.quantize.calibrate import Calibrator
from edgecnn.exporters.quantize.ranges import Range
from edgecnn.preprocess import prepare
from edgecnn.runtimes import open_session
from edgecnn.specs import ModelSpec

Array = NDArray[Any]
Parse = Callable[..., Any]
Write = Callable[..., Path]
Convert = Callable[..., HalfResult]

WIDE = """wide (float[N,1,8,8] input) => (float[N,4] logits) {
    c = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(input, w1)
    r = Relu(c)
    d = Conv<kernel_shape=[1,1]>(r, w2)
    m = Mul(d, small)
    e = Relu(m)
    g = GlobalAveragePool(e)
    f = Flatten(g)
    logits = Gemm<transB=1>(f, w3, b3)
}"""


def wide(great: float = 3e5, bias: tuple[float, ...] = (0, 0, 0, 0)) -> dict[str, Array]:
    """Return constants for `WIDE` whose second layer is that great, and whose product with a small number is not."""
    rng = np.random.default_rng(5)
    return {
        "w1": rng.standard_normal((16, 1, 3, 3)).astype(np.float32),
        "w2": (great * rng.standard_normal((16, 16, 1, 1))).astype(np.float32),
        "small": np.float32([1 / great]),
        "w3": rng.standard_normal((4, 16)).astype(np.float32) / 4,
        "b3": np.float32(bias),
    }


@pytest.fixture
def write(parse: Parse, tiny: Path, tmp_path: Path) -> Write:
    """`write(text, w=array, ...)`: a file of that graph with the spec of `tiny`."""

    def write(text: str, **constants: Array) -> Path:
        model = parse(text, **constants)
        source = load_artifact(tiny)
        stamp(model, source.spec, source.lineage)
        write_model(model, tmp_path / "net.onnx")
        return tmp_path / "net.onnx"

    return write


@pytest.fixture
def convert(images: Array, tmp_path: Path) -> Convert:
    """`convert(path, ...)`: its fp16 form for cpu-arm, calibrated on every second picture."""

    def convert(source: Path, precision: Any = "fp16", target: str = "cpu-arm", **options: Any) -> HalfResult:
        split = Split("calibration", images[::2], np.zeros(len(images[::2]), np.int64), trained=True)
        evaluation = options.pop("evaluation", None)
        config = QuantizeConfig(target=target, precision=precision, **options)
        return convert_precision(
            source,
            tmp_path / "half.onnx",
            precision=precision,
            calibration=split,
            evaluation=evaluation,
            dataset="quarters",
            labels=("a", "b", "c", "d"),
            config=config,
        )

    return convert


@pytest.fixture
def answered(images: Array) -> Callable[[Path], Split]:
    """`answered(path)`: every other picture with what that file answers as its label."""

    def answered(path: Path) -> Split:
        artifact = load_artifact(path)
        assert artifact.spec.preprocess is not None
        with open_session(artifact) as session:
            logits = session.run({"input": prepare(images[1::2], artifact.spec.preprocess)})["logits"]
        return Split("test", images[1::2], logits.argmax(axis=1), trained=False)

    return answered


def types(path: Path) -> dict[str, str]:
    """Return the type of every value that a node gives, by ONNX's own inference."""
    model = onnx.shape_inference.infer_shapes(onnx.load(path), check_type=True, strict_mode=True)
    values = (*model.graph.value_info, *model.graph.output)
    return {one.name: onnx.TensorProto.DataType.Name(one.type.tensor_type.elem_type) for one in values}


def test_weights_and_inner_tensors_are_fp16_and_the_edges_are_not(tiny: Path, convert: Convert) -> None:
    result = convert(tiny)
    artifact = result.artifact
    assert (artifact.precision, result.blocked, result.half_share) == ("fp16", (), 1.0)
    assert [one.dtype for one in (*artifact.spec.inputs, *artifact.spec.outputs)] == ["float32", "float32"]
    assert {types(artifact.path)[name] for name in "crdespf"} == {"FLOAT16"}
    weights = [one for one in onnx.load(artifact.path).graph.initializer if one.data_type != onnx.TensorProto.INT64]
    assert {one.data_type for one in weights} == {onnx.TensorProto.FLOAT16}
    assert result.backend == "cpu"
    assert result.parity is not None
    assert result.parity.max is not None
    assert 0 < result.parity.max < 5e-3
    assert result.parity.sqnr_db is not None
    assert result.parity.sqnr_db > 50
    casts = [node for node in onnx.load(artifact.path).graph.node if node.op_type == "Cast"]
    assert [casts[0].input[0], casts[-1].output[0], len(casts)] == ["input", "logits", 2]
    step = artifact.lineage[-1]
    assert {
        "precision": "fp16",
        "target": "cpu-arm",
        "kept_fp32": "",
        "half_share": 1.0,
    }.items() <= step.options.items()


def test_what_overflows_stays_float32(write: Write, convert: Convert, images: Array) -> None:
    source = write(WIDE, **wide())
    result = convert(source)
    assert [(one.node, one.op_type) for one in result.blocked] == [("conv_2", "Conv"), ("mul_3", "Mul")]
    assert "w2 reaches" in result.blocked[0].reason
    assert "65504" in result.blocked[0].reason.replace("6.55e+04", "65504")
    found = types(result.artifact.path)
    assert [found[name] for name in "crdm"] == ["FLOAT16", "FLOAT16", "FLOAT", "FLOAT"]
    assert found["e"] == "FLOAT16"
    assert result.parity is not None
    assert result.parity.sqnr_db is not None
    assert result.parity.sqnr_db > 45
    assert result.artifact.lineage[-1].options["kept_fp32"] == "conv_2,mul_3"

    # The same graph without the block list gives nothing that is finite.
    model = ir.load(source)
    convert_nodes(model, list(model.graph), FP16)
    spec = load_artifact(source).spec
    stamp(model, spec, ())
    with np.errstate(over="ignore"):
        write_model(model, source.with_name("naive.onnx"))
    assert spec.preprocess is not None
    with open_session(load_artifact(source.with_name("naive.onnx"))) as session:
        assert not np.isfinite(session.run({"input": prepare(images, spec.preprocess)})["logits"]).all()


pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")


@pytest.mark.parametrize(("great", "count"), [(10.0, 0), (4e4, 3)])
def test_values_that_were_seen_leave_headroom(parse: Parse, great: float, count: int) -> None:
    model = parse(
        "g (float[N,2] x) => (float[N,2] y) { a = Mul(x, big)\n b = Relu(a)\n y = Mul(b, big) }", big=np.float32([2])
    )
    ranges = {name: Range(-1.0, great if name in "ab" else 1.0) for name in "xaby"}
    _, blocked = choose_nodes(model, ranges, FP16)
    assert len(blocked) == count
    assert choose_nodes(model, ranges, BF16)[1] == ()


def test_sums_on_the_way_count_as_well(parse: Parse) -> None:
    text = """g (float[N,2,16,16] x) => (float[N,2,16,16] y) {
        a = GlobalAveragePool(x)
        b = LRN<size=5>(x)
        y = Add(a, b)
    }"""
    for great, names in ((1.0, []), (100.0, ["globalaveragepool_0", "lrn_1"])):
        model = parse(text)
        ranges = {name: Range(0.0, great) for name in "xaby"}
        assert [one.node for one in choose_nodes(model, ranges, FP16)[1]] == names


def test_what_is_too_small_for_all_digits_stays_float32(parse: Parse) -> None:
    model = parse(
        "g (float[N,2] x) => (float[N,2] y) { a = Mul(x, gamma)\n y = Add(a, x) }", gamma=np.float32([1e-6, 2e-6])
    )
    ranges = {"x": Range(-1, 1), "a": Range(-2e-6, 2e-6), "y": Range(-1, 1)}
    _, blocked = choose_nodes(model, ranges, FP16)
    assert [one.node for one in blocked] == ["mul_0", "add_1"]
    assert "loses digits" in blocked[0].reason
    assert choose_nodes(model, ranges, BF16)[1] == ()


def test_lost_digits_of_weights_are_counted(parse: Parse) -> None:
    model = parse("g (float[N,3] x) => (float[N,3] y) { y = Mul(x, w) }", w=np.float32([1.0, 1e-6, 1e-9]))
    weights = convert_nodes(model, list(model.graph), FP16)
    assert (weights.total, weights.subnormal, weights.zeroed) == (3, 2, 1)


@pytest.mark.parametrize(("opset", "kind", "fits"), [(18, FP16, True), (18, BF16, False), (22, BF16, True)])
def test_operators_have_a_form_by_their_specification(parse: Parse, opset: int, kind: Kind, fits: bool) -> None:
    text = "g (float[N,1,4,4] x) => (float[N,2,4,4] y) { y = Conv<kernel_shape=[1,1]>(x, w) }"
    model = parse(text, opset=opset, w=np.ones((2, 1, 1, 1), np.float32))
    assert has_half_form(model.graph[0], kind) is fits


def test_an_operator_without_the_form_is_named(parse: Parse) -> None:
    text = "g (float[N,4] x) => (float[N,1] y) { r = Relu(x)\n y, i = TopK(r, k) }"
    model = parse(text, opset=22, k=np.int64([1]))
    nodes, (blocked,) = choose_nodes(model, {name: Range(0, 1) for name in "xry"}, BF16)
    assert (blocked.op_type, "no bf16 form" in blocked.reason) == ("TopK", True)
    assert [node.op_type for node in nodes] == ["Relu"]


def test_inputs_of_fixed_type_and_integers_stay_what_they_are(parse: Parse, run: Callable[..., list[Array]]) -> None:
    text = """g (float[1,2,4,4] x) => (float[M] y) {
        s = Relu(x)
        u = Resize<mode="nearest">(s, , scales)
        n = Shape(u)
        w = Cast<to=1>(n)
        y = Mul(w, two)
    }"""
    model = parse(text, scales=np.float32([1, 1, 2, 2]), two=np.float32([2]))
    plain = run(model, x=np.ones((1, 2, 4, 4), np.float32))[0]
    nodes, blocked = choose_nodes(model, {name: Range(0, 16) for name in "xsuwy"}, FP16)
    assert blocked == ()
    convert_nodes(model, nodes, FP16)
    assert model.graph.initializers["scales"].dtype == ir.DataType.FLOAT
    np.testing.assert_array_equal(run(model, x=np.ones((1, 2, 4, 4), np.float32))[0], plain)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(first=st.integers(-12, 18), second=st.integers(-12, 18))
def test_whatever_the_scales_the_answer_is_near(
    parse: Parse, run: Callable[..., list[Array]], first: int, second: int
) -> None:
    rng = np.random.default_rng(1)
    text = """g (float[N,4] x) => (float[N,4] y) {
        a = MatMul(x, w1)
        b = Relu(a)
        c = MatMul(b, w2)
        y = MatMul(c, w3)
    }"""
    scales = (2.0**first, 2.0**second, 2.0 ** -(first + second))
    weights = [(scale * rng.standard_normal((4, 4))).astype(np.float32) for scale in scales]
    model = parse(text, **{f"w{index + 1}": weight for index, weight in enumerate(weights)})
    x = rng.standard_normal((16, 4)).astype(np.float32)
    # The engine must not put the layers together before they are observed: each tensor is an output of its own.
    probe = model.clone()
    probe.graph.outputs[:] = [node.outputs[0] for node in probe.graph]
    seen = {"x": x, **dict(zip("abcy", run(probe, x=x), strict=True))}
    nodes, _ = choose_nodes(model, {name: Range.around(a.min(), a.max()) for name, a in seen.items()}, FP16)
    convert_nodes(model, nodes, FP16)
    answer = run(model, x=x)[0]
    assert np.isfinite(answer).all()
    assert np.abs(answer - seen["y"]).max() <= 0.01 * np.abs(seen["y"]).max()


def test_a_bound_that_does_not_hold_leaves_no_file(
    write: Write, convert: Convert, answered: Callable[[Path], Split], tmp_path: Path
) -> None:
    # Between 2048 and 4096 fp16 has even numbers only: 3001.1 becomes 3002, and the others 3000.
    source = write(WIDE, **wide(great=1.0, bias=(3000.9, 3001.1, 3000.9, 3000.9)))
    evaluation = answered(source)
    with pytest.raises(AccuracyError, match=r"fp16 loses .* more than --max-drop 0\.5; nothing was written"):
        convert(source, max_drop=0.5, evaluation=evaluation)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.onnx"]
    free = convert(source, evaluation=evaluation)
    assert free.drop is not None
    assert free.drop > 20
    held = convert(source, max_drop=0.5, keep_float=("gemm_7",), evaluation=evaluation)
    assert [one.reason for one in held.blocked] == ["it was asked to"]
    assert (held.drop, held.not_measured) == (0.0, "")
    assert [(one.precision, one.backend) for one in held.artifact.spec.accuracy] == [("fp32", "cpu"), ("fp16", "cpu")]


@pytest.mark.parametrize(
    ("precision", "target", "why"),
    [
        ("fp16", "cpu-x86", "no fp16 kernels on x86"),
        ("bf16", "cpu-arm", "no bf16 convolution"),
        ("bf16", "trt", "operator set 22"),
        ("bf16", "cuda", "operator set 22"),
        ("fp16", "openvino,cpu-x86", "fp16 is not for target cpu-x86"),
    ],
)
def test_targets_that_gain_nothing_refuse(tiny: Path, convert: Convert, precision: str, target: str, why: str) -> None:
    with pytest.raises(Contradiction, match=why):
        convert(tiny, precision=precision, target=target)


def test_targets_are_held_against_the_precision_that_is_written(tiny: Path, images: Array, tmp_path: Path) -> None:
    split = Split("calibration", images, np.zeros(len(images), np.int64), trained=True)
    with pytest.raises(Contradiction, match="fp16 is not for target cpu-x86"):
        convert_precision(tiny, tmp_path / "x.onnx", precision="fp16", calibration=split, config=QuantizeConfig())
    with pytest.raises(BadInput, match="expected fp16 or bf16, got int8"):
        convert_precision(tiny, tmp_path / "x.onnx", precision="int8", calibration=split)


@pytest.mark.slow
def test_a_bf16_file_is_in_the_operator_set_that_has_it(
    tiny: Path, convert: Convert, answered: Callable[[Path], Split]
) -> None:
    result = convert(tiny, precision="bf16", target="openvino", evaluation=answered(tiny))
    assert (result.artifact.precision, result.artifact.opset, result.artifact.ir_version) == ("bf16", 22, 10)
    assert {types(result.artifact.path)[name] for name in "crdespf"} == {"BFLOAT16"}
    with pytest.raises(BadInput, match="cannot load") as caught:
        open_session(result.artifact, backend="cpu")
    assert caught.value.hint == "--backend openvino runs bf16 files"
    if result.backend is None:
        assert "nothing here runs bf16 for target openvino" in result.not_measured
        return
    assert result.parity is not None
    assert result.parity.sqnr_db is not None
    assert 25 < result.parity.sqnr_db < 60
    assert result.half is not None
    assert (result.half.precision, result.half.backend) == ("bf16", "openvino")
    assert result.half.value > 0.9


def test_an_operator_set_that_cannot_be_raised_is_said(parse: Parse) -> None:
    model = parse("g (float[N,2] x) => (float[N,2] y) { y = Relu(x) }", opset=22)
    assert raise_opset(model, 23).opset_imports[""] == 23
    with pytest.raises(Exception, match="cannot be raised to 999"):
        raise_opset(model, 999)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"method": "mse"}, Contradiction, "method=mse is for int8"),
        ({"reduce_range": True}, Contradiction, "reduce_range=True is for int8"),
        ({"keep_float": ("conv_9",)}, UnknownName, "conv_9"),
        ({"without_passes": ("fold-batchnorm",)}, UnknownName, "fold-batchnorm"),
        ({"max_drop": 1.0}, Contradiction, "accuracy cannot be held"),
    ],
)
def test_wrong_options(
    tiny: Path, convert: Convert, tmp_path: Path, options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        convert(tiny, **options)
    assert not (tmp_path / "half.onnx").exists()


def test_a_file_that_is_16_bit_already_is_refused(tiny: Path, convert: Convert, tmp_path: Path) -> None:
    convert(tiny)
    (tmp_path / "half.onnx").rename(tmp_path / "first.onnx")
    with pytest.raises(QuantizeError, match=r"first\.onnx is fp16"):
        convert(tmp_path / "first.onnx")


def test_where_no_layer_fits_there_is_no_file(write: Write, convert: Convert, tmp_path: Path) -> None:
    text = "g (float[N,1,8,8] input) => (float[N,4] logits) { f = Flatten(input)\n logits = Gemm<transB=1>(f, w) }"
    source = write(text, w=np.full((4, 64), 1e6, np.float32))
    with pytest.raises(QuantizeError, match=r"no layer of .* can run in fp16: gemm_1 \(Gemm\): w reaches 1e\+06"):
        convert(source)
    assert not (tmp_path / "half.onnx").exists()


def test_every_tensor_can_be_observed(tiny: Path, images: Array) -> None:
    model, spec = ir.load(tiny), load_artifact(tiny).spec
    values = float_values(model)
    assert [value.name for value in values] == ["input", *"crdespf", "logits"]
    assert spec.preprocess is not None
    split = Split("calibration", images, np.zeros(len(images), np.int64), trained=True)
    calibrator = Calibrator(source=spec.inputs[0], preprocess=spec.preprocess, images=split)
    table = calibrator.tables(model, values, ("minmax",))["minmax"]
    nodes, blocked = choose_nodes(model, table.ranges, FP16)
    assert (len(nodes), blocked) == (8, ())
    unseen = {name: found for name, found in table.ranges.items() if name != "e"}
    assert [one.reason for one in choose_nodes(model, unseen, FP16)[1]] == ["the range of e is not known"] * 2


def test_a_model_without_a_way_to_prepare_images_is_refused(tiny: Path, convert: Convert, tmp_path: Path) -> None:
    model, spec = ir.load(tiny), load_artifact(tiny).spec
    bare: ModelSpec = replace(spec, preprocess=None)
    stamp(model, bare, ())
    write_model(model, tmp_path / "bare.onnx")
    with pytest.raises(BadInput, match="does not say how an image becomes its input"):
        convert(tmp_path / "bare.onnx")
