"""All rewrites before int8, over whole networks: exact, switchable, and nothing left that they are for."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from edgecnn.errors import UnknownName
from edgecnn.exporters.passes.catalog import INT8_NAMES
from edgecnn.exporters.passes.int8 import prepare_for_int8

RELATIVE = 1e-5

# Network and options -> what must have changed, and operators of which none may be left.
NETWORKS: dict[str, tuple[str, dict[str, Any], set[str], set[str]]] = {
    "densenet": (
        *("densenet121", {"input_size": 32}),
        *({"norm-to-conv", "average-to-conv"}, {"BatchNormalization", "AveragePool"}),
    ),
    "preact_resnet": ("preact_resnet20", {}, {"norm-to-conv"}, {"BatchNormalization"}),
    "shufflenet_v1": (
        *("shufflenet_v1", {"input_size": 32, "width": 0.5}),
        *({"fold-shuffle", "average-to-conv"}, {"Transpose"}),
    ),
    "shufflenet_v2": ("shufflenet_v2_x0_5", {"input_size": 32}, {"align-depthwise"}, set()),
    "mobilenet_v3": (
        *("mobilenet_v3_small", {"input_size": 32}),
        *({"fold-hard-sigmoid", "split-hard-swish", "align-depthwise"}, {"HardSwish", "HardSigmoid"}),
    ),
    "googlenet": ("googlenet", {"input_size": 64}, {"expand-response-norm"}, {"LRN"}),
    "resnet": ("resnet18", {"input_size": 32}, set(), set()),
}
SLOW = {name: NETWORKS.pop(name) for name in tuple(NETWORKS) if name != "preact_resnet"}
LARGE = {
    **{
        f"shufflenet_v1 of {groups}": ("shufflenet_v1", {"groups": groups}, {"average-to-conv"}, {"AveragePool"})
        for groups in (1, 2, 3, 4, 8)
    },
    "inception_v3": ("inception_v3", {"input_size": 139}, {"average-to-conv"}, {"AveragePool"}),
    "densenet121 at 224": ("densenet121", {}, {"norm-to-conv", "average-to-conv"}, {"BatchNormalization"}),
    "mobilenet_v3_large at 224": ("mobilenet_v3_large", {}, {"split-hard-swish"}, {"HardSwish"}),
    "shufflenet_v2 at 224": ("shufflenet_v2", {}, {"align-depthwise"}, set()),
    "resnext50": ("resnext50_32x4d", {}, {"widen-groups"}, set()),
}


def traced(network: str, options: dict[str, Any]) -> Any:
    """Return a network with random weights, and batch statistics and scales that are not those of a fresh one."""
    torch = pytest.importorskip("torch")
    from edgecnn.exporters.network import ExportOptions, trace
    from edgecnn.exporters.passes import run_passes
    from edgecnn.zoo.registry import build, make_form

    form = make_form(network, **options)
    torch.manual_seed(0)
    module = build(form).eval()
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.train()
            layer.momentum = 1.0
            layer.weight.data.uniform_(0.5, 1.5)
            layer.bias.data.normal_(0, 0.3)
    with torch.no_grad():
        module(torch.randn(2, *form.input_shape))
    model = trace(module.eval(), form, ExportOptions(weights="random"))
    run_passes(model)
    return model


def open_fp32(model: Any) -> Any:
    import onnx_ir as ir
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"])


def check(network: str, options: dict[str, Any], changed: set[str], gone: set[str]) -> None:
    model = traced(network, options)
    before = open_fp32(model)
    found = prepare_for_int8(model, wanted=INT8_NAMES)
    assert changed <= set(found)
    assert not gone & set(Counter(node.op_type for node in model.graph))
    after = open_fp32(model)
    source = before.get_inputs()[0]
    generator = np.random.default_rng(5)
    for batch in (1, 3):
        x = generator.standard_normal((batch, *source.shape[1:])).astype(np.float32)
        one, other = (session.run(None, {source.name: x})[0] for session in (before, after))
        assert one.shape == other.shape
        assert np.abs(one - other).max() <= RELATIVE * np.abs(one).max()
    assert prepare_for_int8(model, wanted=INT8_NAMES) == ()


@pytest.mark.slow
@pytest.mark.parametrize("case", NETWORKS)
def test_a_network_computes_the_same(case: str) -> None:
    check(*NETWORKS[case])


@pytest.mark.slow
@pytest.mark.parametrize("case", SLOW)
def test_a_slower_network_computes_the_same(case: str) -> None:
    check(*SLOW[case])


@pytest.mark.zoo
@pytest.mark.parametrize("case", LARGE)
def test_a_large_network_computes_the_same(case: str) -> None:
    check(*LARGE[case])


POOLED = (
    "g (float[N,16,8,8] x) => (float[N,16,4,4] y) "
    "{ c = Conv(x, k) h = HardSwish(c) y = AveragePool<kernel_shape=[2,2], strides=[2,2]>(h) }"
)


@pytest.mark.parametrize(
    ("wanted", "off", "changed"),
    [
        (INT8_NAMES, (), ("average-to-conv", "split-hard-swish")),
        (tuple(reversed(INT8_NAMES)), (), ("average-to-conv", "split-hard-swish")),
        (INT8_NAMES, ("average-to-conv",), ("split-hard-swish",)),
        (("average-to-conv",), (), ("average-to-conv",)),
        (("average-to-conv",), ("average-to-conv",), ()),
        ((), (), ()),
    ],
)
def test_only_what_is_wanted_and_not_off_runs(
    parse: Any, random: Any, wanted: tuple[str, ...], off: tuple[str, ...], changed: tuple[str, ...]
) -> None:
    model = parse(POOLED, k=random(16, 16, 1, 1))
    assert prepare_for_int8(model, wanted=wanted, off=off) == changed


def test_no_weight_is_left_that_nothing_reads(parse: Any, random: Any) -> None:
    model = parse(POOLED, k=random(16, 16, 1, 1))
    prepare_for_int8(model, wanted=INT8_NAMES)
    assert all(value.uses() for value in model.graph.initializers.values())


@pytest.mark.parametrize("where", ["wanted", "off"])
def test_an_unknown_name_is_refused(parse: Any, random: Any, where: str) -> None:
    model = parse(POOLED, k=random(16, 16, 1, 1))
    with pytest.raises(UnknownName, match="average-to-conv"):
        prepare_for_int8(model, **{"wanted": (), "off": ()} | {where: ("averge-to-conv",)})
