"""Zoo network -> file: one file, any batch, the same numbers, the description inside."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import onnx  # noqa: E402

import edgecnn  # noqa: E402
from edgecnn.artifacts import load_artifact  # noqa: E402
from edgecnn.data import open_dataset  # noqa: E402
from edgecnn.errors import BadInput, ParityError  # noqa: E402
from edgecnn.exporters.network import ExportOptions, export_network, trace  # noqa: E402
from edgecnn.exporters.parity import check_parity  # noqa: E402
from edgecnn.runtimes import open_session  # noqa: E402
from edgecnn.zoo.choice import choose_form  # noqa: E402
from edgecnn.zoo.registry import bundled_form, find, make_form, networks  # noqa: E402

BEFORE_BATCH_NORM = ("LeNet", "AlexNet", "ZFNet", "NiN")

# Every block of the zoo at the least size that has all of its layers.
SMALL = {
    "lenet5": {},
    "mobilenet_v1": {"width": 0.25, "input_size": 64},
    "squeezenet1_1": {"input_size": 64},
    "resnet18": {"input_size": 64},
    "resnet20": {},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name if name == "lenet5" else pytest.param(name, marks=pytest.mark.slow) for name in SMALL]
)
def test_a_network_becomes_one_file_of_any_batch(tmp_path: Path, name: str) -> None:
    form = make_form(name, **SMALL[name])
    artifact = export_network(form, tmp_path / "net.onnx", ExportOptions(weights="random"))
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]
    assert (artifact.opset, artifact.ir_version, artifact.precision) == (18, 8, "fp32")
    assert artifact.spec.network == name
    assert artifact.spec.inputs[0].shape == ("N", *form.input_shape)
    assert artifact.spec.outputs[0].shape == ("N", form.classes)
    assert artifact.spec.accuracy == ()
    ops = {node.op_type for node in onnx.load(artifact.path).graph.node}
    assert "BatchNormalization" not in ops
    with open_session(artifact) as session:
        for batch in (1, 5):
            feed = np.zeros((batch, *form.input_shape), np.float32)
            assert session.run({"input": feed})["logits"].shape == (batch, form.classes)


def test_the_description_travels_inside(lenet5: Path) -> None:
    metadata = {entry.key: entry.value for entry in onnx.load(lenet5).metadata_props}
    spec = json.loads(metadata["edgecnn.spec"])
    assert spec["labels"][9] == "Ankle boot"
    assert spec["preprocess"]["size"] == [32, 32]
    assert spec["macs"] == 416_520
    # The mean is subtracted from the pixels, and Image.NominalPixelRange has no value for that.
    assert {key: value for key, value in metadata.items() if key.startswith("Image.")} == {
        "Image.BitmapPixelFormat": "Gray8",
        "Image.ColorSpaceGamma": "SRGB",
    }
    (step,) = json.loads(metadata["edgecnn.lineage"])
    assert step["tool"] == "edgecnn export"
    assert (step["options"]["channels"], step["options"]["classes"]) == (1, 10)


@pytest.mark.slow
def test_the_seed_of_random_weights_is_in_the_lineage(tmp_path: Path) -> None:
    form = make_form("lenet5", classes=4)
    files = [
        export_network(form, tmp_path / f"{seed}.onnx", ExportOptions(weights="random", seed=seed)) for seed in (1, 2)
    ]
    assert [file.lineage[0].options["seed"] for file in files] == [1, 2]
    assert files[0].lineage[0].options["classes"] == 4
    assert files[0].sha256 != files[1].sha256


@pytest.mark.slow
def test_accuracy_is_measured_on_the_set_that_is_given(tmp_path: Path) -> None:
    folder = tmp_path / "fashion-mnist"
    for label, value in (("black", 0), ("white", 255)):
        (folder / label).mkdir(parents=True)
        (folder / label / "1.pgm").write_bytes(b"P5\n2 2\n255\n" + bytes([value]) * 4)
    form = make_form("lenet5", classes=2)
    artifact = export_network(
        form, tmp_path / "a.onnx", ExportOptions(weights="random"), evaluation=open_dataset(folder)
    )
    (accuracy,) = artifact.spec.accuracy
    assert (accuracy.dataset, accuracy.split, accuracy.images) == ("folder:fashion-mnist", "test", 2)


@pytest.mark.slow
def test_a_fixed_batch(tmp_path: Path) -> None:
    artifact = export_network(make_form("lenet5"), tmp_path / "a.onnx", ExportOptions(weights="random", batch=3))
    assert artifact.spec.inputs[0].shape == (3, 1, 32, 32)
    with edgecnn.load(artifact.path) as classifier, pytest.raises(BadInput):
        classifier.run({"input": np.zeros((1, 1, 32, 32), np.float32)})


@pytest.mark.slow
@pytest.mark.parametrize(
    "opset", [pytest.param(19, marks=pytest.mark.slow), pytest.param(21, marks=pytest.mark.slow), 23]
)
def test_other_operator_sets(tmp_path: Path, opset: int) -> None:
    artifact = export_network(make_form("lenet5"), tmp_path / "a.onnx", ExportOptions(weights="random", opset=opset))
    assert artifact.opset == opset


def test_parity_finds_a_changed_weight(lenet5: Path) -> None:
    from edgecnn.zoo.registry import build
    from edgecnn.zoo.weights import load_weights

    form, source = choose_form("lenet5", None)
    module = build(form)
    load_weights(module, form, source)
    module.eval()
    artifact = load_artifact(lenet5)
    assert check_parity(module, artifact, (1, 2, 7)) < 1e-5
    with torch.no_grad():
        module.classifier.output.bias[3] += 0.05
    with pytest.raises(ParityError) as caught:
        check_parity(module, artifact, (2,))
    assert caught.value.max_abs == pytest.approx(0.05, rel=1e-3)
    assert "3)" in caught.value.worst


@pytest.mark.slow
@pytest.mark.parametrize("name", [network.name for network in networks() if network.bundled])
def test_bundled_weights_have_the_accuracy_that_the_registry_states(tmp_path: Path, name: str) -> None:
    form = bundled_form(name)
    assert form is not None
    artifact = export_network(form, tmp_path / "net.onnx", ExportOptions())
    stated = next(network.bundled.top1 for network in networks() if network.name == name and network.bundled)
    assert artifact.spec.accuracy[0].value == pytest.approx(stated, abs=5e-4)
    assert stated >= (0.90 if find(name).family in BEFORE_BATCH_NORM else 0.925)


@pytest.mark.slow
@pytest.mark.parametrize("end", [KeyboardInterrupt(), pytest.param(SystemExit(143), marks=pytest.mark.slow)])
def test_an_end_within_the_trace_is_no_export_error(end: BaseException) -> None:
    class Ended(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise end

    with pytest.raises(type(end)):
        trace(Ended(), make_form("lenet5"), ExportOptions())
