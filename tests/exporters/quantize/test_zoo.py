"""Every network of the zoo, with random weights: the engine runs all of it in int8."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

# Options, what may stay float, and how often the engine goes back to float for that: LeNet's tanh and averages, and the
# average behind the last convolution of SqueezeNet, which nothing quantized reads.
NETWORKS: dict[str, tuple[dict[str, Any], dict[str, int], int]] = {
    "lenet5": ({}, {"Tanh": 4, "AveragePool": 2, "Reshape": 1}, 2),
    "mobilenet_v1": ({"input_size": 32, "width": 0.25}, {}, 0),
    "squeezenet1_1": ({"input_size": 32}, {"GlobalAveragePool": 1, "Reshape": 1}, 1),
    "resnet20": ({}, {}, 0),
    "resnet18": ({"input_size": 64}, {}, 0),
    "resnet50": ({"input_size": 64}, {}, 0),
}


def traced(network: str, options: dict[str, Any]) -> Any:
    from edgecnn.exporters.network import ExportOptions, trace
    from edgecnn.exporters.passes import run_passes
    from edgecnn.zoo.registry import build, make_form

    form = make_form(network, **options)
    model = trace(build(form).eval(), form, ExportOptions(weights="random"))
    run_passes(model)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_the_engine_runs_every_layer_in_int8(
    quantize_graph: Any, fused: Callable[[Any], dict[str, int]], network: str
) -> None:
    options, stays, returns = NETWORKS[network]
    model = traced(network, options)
    every = Counter(node.op_type for node in model.graph)
    _, channels, height, width = model.graph.inputs[0].shape
    pictures = np.random.default_rng(0).integers(0, 256, (4, height, width, channels)).astype(np.uint8)

    int8, placement = quantize_graph(model, pictures, min_channels=1)
    quantized = Counter(node.op_type for node in (*placement.nodes, *placement.absorbed))
    assert dict(every - quantized) == stays

    found = fused(int8)
    assert found.get("Conv", 0) + found.get("FusedConv", 0) + found.get("Gemm", 0) + found.get("Relu", 0) == 0
    assert found["QLinearConv"] == every["Conv"]
    assert found.get("QGemm", 0) == every["Gemm"]
    assert found.get("QLinearAdd", 0) == every["Add"]
    assert found.get("QLinearConcat", 0) == every["Concat"]
    assert found.get("DequantizeLinear", 0) == returns
    assert found["QuantizeLinear"] == 1 + every["Tanh"]  # the image, and behind every tanh
