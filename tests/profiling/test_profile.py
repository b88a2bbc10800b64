"""Profiles of whole models: work that adds up, time that adds up, and names of the file."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from edgecnn.artifacts import load_artifact
from edgecnn.bench.peaks.calibration import Bandwidth, Calibration, Limit
from edgecnn.bench.peaks.roofline import Roof
from edgecnn.devices.detect import detect
from edgecnn.errors import BadInput, Contradiction
from edgecnn.jsonform import from_json, to_json
from edgecnn.profiling.layers import analyse
from edgecnn.profiling.matching import EngineNode
from edgecnn.profiling.profile import assemble, profile_model
from edgecnn.profiling.values import Profile
from edgecnn.profiling.worker import RawProfile
from edgecnn.runtimes import OpenOptions
from edgecnn.specs import EngineInfo
from edgecnn.testing.models import TINY, TINY_BATCH1, TINY_INT8

ONE = OpenOptions(threads=1)
INFO = EngineInfo(backend="cpu", engine="onnxruntime", engine_version="1", threads=1)


def calibration() -> Calibration:
    return Calibration(
        backend="cpu",
        engine="onnxruntime",
        engine_version="1",
        threads=1,
        device=detect(),
        peaks={"fp32": Limit(value=100.0, unit="GFLOP/s"), "int8": Limit(value=None, unit="GOP/s", reason="not tried")},
        bandwidths=(Bandwidth(size_bytes=1 << 20, limit=Limit(value=10.0, unit="GB/s")),),
        verdict="valid",
        seconds=1.0,
        time_utc="2026-01-01T00:00:00+00:00",
        edgecnn="0",
    )


def raw(*nodes: EngineNode, call_ns: float | None = 1000.0) -> RawProfile:
    return RawProfile(
        info=INFO,
        plain_ns=(9000.0, 10000.0, 12000.0),
        profiled_ns=(15000.0, 16000.0, 15000.0),
        nodes=nodes,
        call_ns=call_ns,
        resolution_ns=1000,
        node_cost_ns=0.0,
    )


def ran(name: str, op_type: str, time_ns: float) -> EngineNode:
    return EngineNode(name=name, op_type=op_type, provider="CPUExecutionProvider", time_ns=time_ns)


NODES = (
    ran("fused c1", "FusedConv", 6000),
    ran("p1", "MaxPool", 1000),
    ran("ReorderInput", "ReorderInput", 500),
    ran("fused c2", "FusedConv", 3000),
    ran("g", "GlobalAveragePool", 1000),
    ran("f", "Flatten", 500),
    ran("logits", "Gemm", 1000),
)


def tiny(**changes: object) -> Profile:
    artifact = load_artifact(TINY)
    return assemble(raw(*NODES), artifact, analyse(artifact, batch=2), batch=2, **{"calibration": None, **changes})  # type: ignore[arg-type]


def test_layers_and_call_make_the_run() -> None:
    found = tiny()
    assert found.total_ns == 10000
    assert found.overhead == 1.5
    assert sum(layer.time_ns for layer in found.layers) == pytest.approx(found.total_ns)
    assert [layer.kind for layer in found.layers] == [
        "layer",
        "layer",
        "engine",
        "layer",
        "layer",
        "layer",
        "layer",
        "call",
    ]
    assert found.layers[0].time_ns == pytest.approx(6000 * 9000 / 13000)
    assert found.layers[-1].time_ns == 1000
    assert found.providers == {"CPUExecutionProvider": 7}
    assert found.unmapped == ()


def test_a_layer_is_named_for_its_weights_and_has_its_fused_operators() -> None:
    first = tiny().layers[0]
    assert (first.name, first.op_type, first.engine_op, first.nodes) == (
        "conv1",
        "Conv+Relu",
        "FusedConv",
        ("c1", "r1"),
    )
    assert first.macs == 2 * 9 * 4 * 64
    assert first.number == "fp32"
    assert first.weight_bytes == 4 * 40
    assert first.activation_bytes == 4 * 2 * (64 + 256)
    assert first.gops == pytest.approx(2 * first.macs / first.time_ns)


def test_without_a_calibration_the_reason_and_the_command_are_told() -> None:
    found = tiny()
    assert all(layer.roof_share is None for layer in found.layers)
    assert "edgecnn devices calibrate --threads 1" in found.no_roofline
    assert found.bandwidth_gbps is None


def test_shares_are_of_the_roofline() -> None:
    found = tiny(calibration=calibration())
    roof = Roof(peak_gops=100, bandwidth_gbps=10)
    for layer in found.layers:
        if layer.kind != "layer":
            assert layer.roof_share is None
            continue
        assert layer.macs is not None
        size = (layer.weight_bytes or 0) + (layer.activation_bytes or 0)
        assert layer.roof_share == roof.share(macs=layer.macs, size_bytes=size, time_ns=layer.time_ns)
    assert found.no_roofline == ""
    assert (found.bandwidth_gbps, found.bandwidth_size_bytes) == (10.0, 1 << 20)


def test_a_peak_that_was_not_measured_gives_no_share() -> None:
    artifact = load_artifact(TINY_INT8)
    nodes = tuple(ran(node.name, node.op_type, 1000) for node in analyse(artifact, batch=1).graph.nodes)
    found = assemble(raw(*nodes), artifact, analyse(artifact, batch=1), batch=1, calibration=calibration())
    of_int8 = [layer for layer in found.layers if layer.number == "int8"]
    assert of_int8
    assert all(layer.roof_share is None and layer.gops is not None for layer in of_int8)


def test_layers_of_two_numbers_in_one_step_have_no_share() -> None:
    """One engine node that stands for an int8 and a float layer: neither peak is its own."""
    artifact = load_artifact(TINY_INT8)
    analysed = analyse(artifact, batch=1)
    names = tuple(node.name for node in analysed.graph.nodes)
    whole = replace(ran("all", "Subgraph", 1000), originals=names)
    found = assemble(raw(whole), artifact, analysed, batch=1, calibration=calibration())
    (layer,) = (layer for layer in found.layers if layer.kind == "layer")
    numbers = {"int8"} if layer.number else {None}
    assert {layer.number} == numbers
    assert (layer.macs, layer.roof_share) == (found.macs, None)


def test_an_engine_that_tells_no_call_has_none() -> None:
    artifact = load_artifact(TINY)
    found = assemble(raw(*NODES, call_ns=None), artifact, analyse(artifact, batch=1), batch=1, calibration=None)
    assert sum(layer.time_ns for layer in found.layers) == pytest.approx(found.total_ns)
    assert "call" not in {layer.kind for layer in found.layers}


def test_a_profile_is_json_and_back() -> None:
    found = tiny(calibration=calibration())
    assert from_json(Profile, to_json(found)) == found


@pytest.mark.parametrize(
    ("path", "batch", "backend"),
    [
        pytest.param(TINY, 3, "cpu", marks=pytest.mark.slow),
        pytest.param(TINY_INT8, 1, "cpu", marks=pytest.mark.slow),
        pytest.param(TINY, 2, "openvino", marks=pytest.mark.slow),
    ],
)
def test_a_model_is_profiled(path: Path, batch: int, backend: str) -> None:
    pytest.importorskip({"cpu": "onnxruntime"}.get(backend, backend))
    artifact = load_artifact(path)
    found = profile_model(artifact, backend=backend, options=ONE, batch=batch, seconds=0.1)
    assert sum(layer.time_ns for layer in found.layers) == pytest.approx(found.total_ns, rel=1e-9)
    assert found.runtime.backend == backend
    assert found.runtime.threads == 1
    # Every multiply-add is in one layer, whatever the engine calls it.
    assert sum(layer.macs or 0 for layer in found.layers) == found.macs
    counted = [layer.name for layer in found.layers if layer.macs]
    assert counted == ["conv1", "conv2", "fc"]
    assert {layer.number for layer in found.layers if layer.macs} <= {"fp32", "int8"}
    assert from_json(Profile, to_json(found)) == found


@pytest.mark.slow
def test_lenet5_is_profiled(lenet5: Path) -> None:
    artifact = load_artifact(lenet5)
    found = profile_model(artifact, options=ONE, batch=4, seconds=0.2)
    assert found.macs == 4 * (artifact.spec.macs or 0)
    assert sum(layer.macs or 0 for layer in found.layers) == found.macs
    assert sum(layer.time_ns for layer in found.layers) == pytest.approx(found.total_ns, rel=1e-9)
    assert [layer.name for layer in found.layers if layer.macs][:2] == ["features.c1", "features.c3"]


def test_what_cannot_be_profiled_is_refused_at_once() -> None:
    artifact = load_artifact(TINY)
    with pytest.raises(Contradiction, match="backend torch does not tell the time of its layers"):
        profile_model(artifact, backend="torch")
    with pytest.raises(BadInput, match="batch built in"):
        profile_model(load_artifact(TINY_BATCH1), batch=2)
    with pytest.raises(BadInput, match="seconds"):
        profile_model(artifact, seconds=math.nan)
    with pytest.raises(BadInput, match="does not exist"):
        profile_model(replace(artifact, path=Path("nothing.onnx")))


@pytest.mark.slow
def test_the_bundled_mobilenet_in_both_precisions(tmp_path: Path) -> None:
    """The work is what `edgecnn zoo show` says, in int8 as well; every step of either engine finds its layer."""
    pytest.importorskip("torch")
    from edgecnn.cli.export import export_bundled
    from edgecnn.cli.quantize import quantize_file
    from edgecnn.zoo.choice import choose_form
    from edgecnn.zoo.layers import layers_of, totals

    source = export_bundled("mobilenet", tmp_path)
    stated = totals(layers_of(choose_form("mobilenet", None)[0])).macs
    for path in (source, quantize_file(source).artifact.path):
        artifact = load_artifact(path)
        found = profile_model(artifact, options=ONE, batch=2, seconds=0.2)
        assert found.macs == 2 * stated
        assert sum(layer.macs or 0 for layer in found.layers) == found.macs
        assert sum(layer.time_ns for layer in found.layers) == pytest.approx(found.total_ns, rel=1e-9)
        names = [layer.name for layer in found.layers if layer.macs]
        assert names[0] == "stem.conv"
        assert names[-1] == "classifier"
        assert len(names) == len(set(names)) == 28
        assert sum(layer.op_type.startswith("depthwise") for layer in found.layers) == 13


@pytest.mark.zoo
@pytest.mark.parametrize(
    "name", ["resnet20", "squeezenet", "shufflenet_v1", "densenet", "seresnet20", "mobilenet_v3_small"]
)
def test_multiply_adds_are_those_of_the_zoo(name: str, tmp_path: Path) -> None:
    """Counted on the exported graph and, by the zoo, on the module."""
    pytest.importorskip("torch")
    from edgecnn.exporters.network import ExportOptions, export_network
    from edgecnn.zoo.choice import choose_form
    from edgecnn.zoo.layers import layers_of, totals

    form, source = choose_form(name, None)
    artifact = export_network(form, tmp_path / "m.onnx", ExportOptions(weights=source))
    analysed = analyse(artifact, batch=1)
    assert analysed.costs.of(analysed.graph.nodes).macs == totals(layers_of(form)).macs
