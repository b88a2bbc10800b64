"""Engine nodes find the layers of the file: names as ONNX Runtime, OpenVINO and TensorRT were seen to give them."""

from __future__ import annotations

from edgecnn.onnxmodel.graph import OnnxConstant, OnnxGraph, OnnxNode
from edgecnn.profiling.matching import EngineNode, match
from edgecnn.profiling.trttimer import fused_names


def node(op_type: str, inputs: str, output: str, name: str = "") -> OnnxNode:
    return OnnxNode(
        name=name or f"node_{output}", op_type=op_type, domain="", inputs=tuple(inputs.split()), outputs=(output,)
    )


def graph(*nodes: OnnxNode) -> OnnxGraph:
    names = {name for one in nodes for name in one.inputs if name.startswith("w")}
    return OnnxGraph(
        nodes=nodes, constants={name: OnnxConstant(dtype="float32", shape=(1,), values=None) for name in names}
    )


def ran(name: str, op_type: str, *outputs: str, originals: tuple[str, ...] = ()) -> EngineNode:
    return EngineNode(name=name, op_type=op_type, provider="P", time_ns=1.0, originals=originals, outputs=outputs)


def found(of: OnnxGraph, *engine: EngineNode) -> list[tuple[list[str], list[str]]]:
    return [([one.outputs[0] for one in g.nodes], [one.name for one in g.engine]) for g in match(of, engine).groups]


def test_a_convolution_is_found_behind_the_activation_it_was_fused_with() -> None:
    plain = graph(node("Conv", "x w1", "c"), node("Tanh", "c", "t"), node("AveragePool", "t", "p"))
    engine = (
        ran("t_nchwc", "Conv", "r1"),
        ran("ReorderOutput", "ReorderOutput", "t"),
        ran("node_p", "AveragePool", "p"),
    )
    assert found(plain, *engine) == [
        (["c", "t"], ["t_nchwc"]),
        ([], ["ReorderOutput"]),
        (["p"], ["node_p"]),
    ]


def test_a_layer_without_a_name_is_found_by_its_output() -> None:
    plain = graph(node("Gemm", "x w1", "g"), node("Relu", "g", "r"))
    assert found(plain, ran("fused ", "FusedGemm", "r")) == [(["g", "r"], ["fused "])]


def test_a_sum_belongs_to_the_branch_that_ends_last() -> None:
    plain = graph(
        node("Conv", "x w1", "a"),
        node("Conv", "a w2", "b"),
        node("Add", "b a", "s"),
        node("Relu", "s", "r"),
        node("Slice", "r", "z"),
    )
    engine = (ran("a_nchwc", "Conv"), ran("b_nchwc", "Conv"), ran("node_z", "Slice", "z"))
    assert found(plain, *engine) == [(["a"], ["a_nchwc"]), (["b", "s", "r"], ["b_nchwc"]), (["z"], ["node_z"])]


def test_quantizers_go_with_the_layer_before_and_dequantizers_with_the_one_behind() -> None:
    plain = graph(
        node("QuantizeLinear", "x w0", "xq"),
        node("DequantizeLinear", "xq w0", "xd"),
        node("DequantizeLinear", "w1q w0", "w1d"),
        node("Conv", "xd w1d", "c"),
        node("QuantizeLinear", "c w0", "cq"),
        node("DequantizeLinear", "cq w0", "cd"),
        node("GlobalAveragePool", "cd", "g"),
        node("QuantizeLinear", "g w0", "gq"),
        node("DequantizeLinear", "gq w0", "gd"),
    )
    engine = (
        ran("xq", "QuantizeLinear", "xq"),
        ran("Transpose", "Transpose", "t"),
        ran("node_c_token_6", "QLinearConv", "node_c"),
        ran("node_g", "QLinearGlobalAveragePool", "node_g"),
        ran("Transpose_token_80", "Transpose", "gq"),
    )
    assert found(plain, *engine) == [
        (["xq"], ["xq"]),
        ([], ["Transpose"]),
        (["xd", "w1d", "c", "cq"], ["node_c_token_6"]),
        (["cd", "g", "gq", "gd"], ["node_g"]),
        ([], ["Transpose_token_80"]),
    ]


def test_openvino_names_the_nodes_itself() -> None:
    plain = graph(node("Conv", "x w1", "c"), node("Relu", "c", "r"))
    engine = (
        ran("x_f32_abcd", "Reorder"),
        ran("k", "Convolution", originals=("node_c/WithoutBiases", "node_c", "node_r")),
    )
    assert found(plain, *engine) == [([], ["x_f32_abcd"]), (["c", "r"], ["k"])]


def test_a_function_that_runs_in_two_steps_is_one_layer() -> None:
    plain = graph(node("HardSwish", "x", "h"))
    engine = (ran("a", "HardSigmoid", originals=("node_h",)), ran("b", "Mul", originals=("node_h",)))
    assert found(plain, *engine) == [(["h"], ["a", "b"])]


def test_what_no_engine_node_stands_for_is_listed() -> None:
    plain = graph(node("Identity", "x", "i"), node("Conv", "y w1", "c"))
    result = match(plain, (ran("node_c", "Conv", "c"),))
    assert [one.outputs[0] for one in result.unmapped] == ["i"]


def test_every_node_is_in_one_group_at_most_and_every_engine_node_in_one() -> None:
    plain = graph(*(node("Relu", f"t{i}", f"t{i + 1}") for i in range(6)))
    engine = (ran("node_t2", "Relu", "t2"), ran("node_t2", "Relu", "t2"), ran("node_t5", "Relu", "t5"))
    result = match(plain, engine)
    names = [one.name for group in result.groups for one in group.nodes] + [one.name for one in result.unmapped]
    assert sorted(names) == sorted(one.name for one in plain.nodes)
    assert sum(len(group.engine) for group in result.groups) == len(engine)


def test_names_of_tensorrt_layers_are_taken_apart() -> None:
    assert fused_names("node_conv + node_relu") == ("node_conv", "node_relu")
    assert set(fused_names("PWN(PWN(node_sigmoid), node_mul)")) == {"PWN", "node_sigmoid", "node_mul"}
    assert fused_names("Reformatting CopyNode for Input Tensor 0 to node_conv") == (
        "Reformatting CopyNode for Input Tensor 0 to node_conv",
    )
