"""The pictures' structure: text that is there, one mark per layer, the same bytes each time."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from edgecnn.artifacts import load_artifact
from edgecnn.bench.peaks.calibration import Bandwidth, Calibration, Limit
from edgecnn.devices.detect import detect
from edgecnn.errors import BadInput
from edgecnn.profiling.layers import analyse
from edgecnn.profiling.matching import EngineNode
from edgecnn.profiling.profile import assemble
from edgecnn.profiling.values import LayerProfile, Profile
from edgecnn.profiling.worker import RawProfile
from edgecnn.specs import EngineInfo
from edgecnn.testing.models import TINY

pytest.importorskip("matplotlib")
from edgecnn.profiling.pictures import MOST_BARS, write_pictures
from edgecnn.profiling.picturestyle import KINDS, caption, kind_of

SVG = "{http://www.w3.org/2000/svg}"


def calibration() -> Calibration:
    limits = {"fp32": Limit(value=100.0, unit="GFLOP/s"), "int8": Limit(value=300.0, unit="GOP/s")}
    bandwidths = [(1 << 18, 50.0), (1 << 27, 10.0)]
    return Calibration(
        backend="cpu",
        engine="onnxruntime",
        engine_version="1.31.1",
        threads=1,
        device=detect(),
        peaks=limits,
        bandwidths=tuple(Bandwidth(size_bytes=s, limit=Limit(value=v, unit="GB/s")) for s, v in bandwidths),
        verdict="suspect",
        seconds=1.0,
        time_utc="2026-01-01T00:00:00+00:00",
        edgecnn="0",
    )


def profile(*, calibrated: bool = True) -> Profile:
    names = (
        ("fused c1", "FusedConv"),
        ("p1", "MaxPool"),
        ("fused c2", "FusedConv"),
        ("ReorderOutput", "ReorderOutput"),
    )
    nodes = [*names, ("g", "GlobalAveragePool"), ("f", "Flatten"), ("logits", "Gemm")]
    raw = RawProfile(
        info=EngineInfo(backend="cpu", engine="onnxruntime", engine_version="1.31.1", threads=1),
        plain_ns=(10000.0,) * 5,
        profiled_ns=(15000.0,) * 5,
        nodes=tuple(
            EngineNode(name=name, op_type=op, provider="CPUExecutionProvider", time_ns=1000.0 * (place + 1))
            for place, (name, op) in enumerate(nodes)
        ),
        call_ns=500.0,
        resolution_ns=1000,
        node_cost_ns=500.0,
    )
    artifact = load_artifact(TINY)
    found = assemble(
        raw, artifact, analyse(artifact, batch=1), batch=1, calibration=calibration() if calibrated else None
    )
    return replace(found, device=replace(found.device, board="Test Board", cpu="Test CPU"))


def texts(path: Path) -> list[str]:
    return ["".join(one.itertext()).strip() for one in ET.parse(path).getroot().iter(f"{SVG}text")]


def test_both_pictures_are_svg_with_text_as_text(tmp_path: Path) -> None:
    layers, roofline = write_pictures(profile(), tmp_path / "out")
    assert [layers.name, roofline.name] == ["tiny.fp32.batch1.layers.svg", "tiny.fp32.batch1.roofline.svg"]
    for path in (layers, roofline):
        said = texts(path)
        assert any("Test Board · Test CPU · onnxruntime 1.31.1, 1 thread" in one for one in said), said
        assert any("verdict suspect" in one for one in said)
        assert "convolution" in said
    assert {"conv1", "conv2", "fc", "ReorderOutput", "call of the engine"} <= set(texts(layers))
    assert any(re.fullmatch(r"\d+\.\d %, \d+ % of roof", one) for one in texts(layers))
    assert "time in one run, microseconds" in texts(layers)
    said = texts(roofline)
    assert {"fp32 peak", "100 GFLOP/s", "50 GB/s with 262 kB", "10 GB/s with 134.2 MB"} <= set(said)
    assert not any("int8" in one for one in said)  # nothing computes with it
    assert any(one.startswith("operations per byte") for one in said)


@pytest.mark.slow
def test_there_is_a_bar_and_a_mark_of_its_colour_for_each_layer(tmp_path: Path) -> None:
    found = profile()
    layers, roofline = (path.read_text() for path in write_pictures(found, tmp_path))
    for kind in {kind_of(layer) for layer in found.layers}:
        colour = KINDS[kind][0].lower()
        bars = sum(kind_of(layer) == kind for layer in found.layers)
        assert layers.count(f"fill: {colour}") >= bars + 1, kind  # the bars, and the legend
    marks = sum(layer.gops is not None for layer in found.layers)
    assert marks == 3
    assert roofline.count('<use xlink:href="#') >= marks


@pytest.mark.slow
def test_the_same_profile_gives_the_same_bytes_without_a_date(tmp_path: Path) -> None:
    found = profile()
    first, second = write_pictures(found, tmp_path / "a"), write_pictures(found, tmp_path / "b")
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
        assert "<dc:date>" not in one.read_text()


def test_without_a_calibration_there_is_no_roofline_and_the_reason(tmp_path: Path) -> None:
    (layers,) = write_pictures(profile(calibrated=False), tmp_path)
    assert any("edgecnn devices calibrate" in one for one in texts(layers))
    assert not any("of roof" in one for one in texts(layers))


@pytest.mark.slow
def test_many_steps_share_a_bar(tmp_path: Path) -> None:
    found = profile()
    step = found.layers[0]
    many = tuple(replace(step, name=f"layer{place}", time_ns=1000.0 + place) for place in range(MOST_BARS + 20))
    layers, _ = write_pictures(replace(found, layers=many), tmp_path)
    said = texts(layers)
    assert "21 shorter steps" in said
    assert f"layer{MOST_BARS + 19}" in said
    assert "layer0" not in said


def test_kinds_are_told_by_operators() -> None:
    layer = LayerProfile(
        name="x", kind="layer", op_type="Conv+Relu", engine_op="", provider="", time_ns=1.0, share=1.0, macs=5
    )
    assert kind_of(layer) == "conv"
    assert kind_of(replace(layer, op_type="depthwise Conv")) == "depthwise"
    assert kind_of(replace(layer, op_type="Gemm")) == "linear"
    assert kind_of(replace(layer, op_type="MaxPool", macs=0)) == "other"
    assert kind_of(replace(layer, kind="engine")) == "engine"
    assert len({colour for colour, _, _ in KINDS.values()}) == len(KINDS)
    assert len({marker for _, marker, _ in KINDS.values()}) == len(KINDS)


def test_long_captions_are_folded() -> None:
    found = profile()
    assert max(map(len, caption(replace(found, device=replace(found.device, board="B" * 140))))) <= 150


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(BadInput, match="--svg"):
        write_pictures(profile(), tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"
