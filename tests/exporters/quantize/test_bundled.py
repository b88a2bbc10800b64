"""Every network with bundled weights keeps its accuracy in int8, with nine tenths of its multiply-adds in int8."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from edgecnn.data import open_named
from edgecnn.exporters.network import ExportOptions, export_network
from edgecnn.exporters.quantize import QuantizeConfig, quantize
from edgecnn.zoo.registry import bundled_form, networks

MAX_DROP = 0.5
LEAST_INT8 = 0.9
TEST_IMAGES = 10_000


@pytest.mark.zoo
@pytest.mark.parametrize("name", [network.name for network in networks() if network.bundled])
def test_accuracy_is_kept_in_int8(tmp_path: Path, name: str) -> None:
    form = bundled_form(name)
    assert form is not None
    source = export_network(form, tmp_path / "net.onnx", ExportOptions()).path
    data = open_named("fashion-mnist")
    result = quantize(
        source,
        tmp_path / "int8.onnx",
        calibration=data.split("calibration"),
        calibration_name=data.name,
        evaluation=data.split("test"),
        dataset=data.name,
        labels=data.labels,
        config=QuantizeConfig(max_drop=MAX_DROP),
    )
    assert result.int8 is not None
    assert result.int8.images == TEST_IMAGES
    assert result.drop is not None
    assert result.int8_share is not None
    print(f"{name}: lost {result.drop:.2f} points, {result.int8_share:.1%} in int8, {result.recipe}")
    assert result.drop <= MAX_DROP
    assert result.int8_share >= LEAST_INT8
