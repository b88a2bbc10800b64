import json
from dataclasses import replace

import pytest

from edgecnn.errors import BadInput, InferenceError
from edgecnn.runtimes.trt.layers import engine_layers, int8_layers, int8_proof, io_names, layer_times


def tensor_of_10(words):
    return {"Name": "t", "Location": "Device", "Dimensions": [1, 8, 4, 4], "Format/Datatype": words}


def tensor_of_11(words):
    return {"Name": "t", "Location": "Device", "Format": "Channel major format (kCHW32)", "Datatype": words}


def report(tensor, words_in, words_out, kind="CaskConvolution", **more):
    layer = {"Name": "conv1 + relu1", "LayerType": kind, "Inputs": [tensor(words_in)], "Outputs": [tensor(words_out)]}
    return json.dumps({"Layers": [{**layer, "TacticName": "sm80_xmma"}], **more})


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("Row major linear FP32", "float32"),
        ("Float", "float32"),
        ("Row major linear FP16 format", "float16"),
        ("Half", "float16"),
        ("Channel major FP16 format where channel % 8 == 0", "float16"),
        ("Thirty-two wide channel vectorized row major Int8 format.", "int8"),
        ("Int8", "int8"),
        ("INT8", "int8"),
        ("Row major linear BFloat16 format", "bfloat16"),
        ("BF16", "bfloat16"),
        ("FP8", "float8"),
        ("UInt8", "uint8"),
        ("Int32", "int32"),
        ("Bool", "bool"),
        ("N/A due to dynamic shapes", ""),
        ("", ""),
    ],
)
@pytest.mark.parametrize("tensor", [tensor_of_10, tensor_of_11])
def test_types_are_read_in_all_their_words(tensor, words, name):
    (layer,) = engine_layers(report(tensor, words, "Int8"))
    assert (layer.inputs, layer.outputs) == ((name,), ("int8",))
    assert (layer.name, layer.kind, layer.tactic) == ("conv1 + relu1", "CaskConvolution", "sm80_xmma")


def test_inputs_and_outputs_of_both_forms():
    assert io_names(json.dumps({"Layers": [], "Bindings": ["input", "logits"]})) == ("input", "logits")
    eleven = {"Layers": [], "I/O Tensors": [{"Name": "input", "IOMode": "Input"}, {"Name": "logits"}]}
    assert io_names(json.dumps(eleven)) == ("input", "logits")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"Layers": 3}', '{"Layers": [{"LayerType": "x"}]}', "null"])
def test_what_is_no_report_is_an_error(text):
    with pytest.raises(InferenceError, match="inspector"):
        engine_layers(text)
    if "Layers" not in text:
        with pytest.raises(InferenceError, match="inspector"):
            io_names(text)


@pytest.mark.parametrize("tensor", [tensor_of_10, tensor_of_11])
def test_conversions_do_not_count_as_int8(tensor):
    for kind in ("Reformat", "QuantizeLinear", "Dequantize", "Cast"):
        proof = int8_proof(report(tensor, "Int8", "FP32", kind))
        assert (proof.int8, proof.other, proof.conversions) == ((), (), ("conv1 + relu1",))
    proof = int8_proof(report(tensor, "Int8", "Int8"))
    assert (proof.int8, proof.other, proof.conversions) == (("conv1 + relu1",), (), ())
    # A layer that only gives int8 away computes on something else.
    proof = int8_proof(report(tensor, "FP32", "Int8"))
    assert (proof.int8, proof.other) == ((), ("conv1 + relu1",))


def test_names_alone_prove_nothing():
    assert int8_proof(json.dumps({"Layers": ["conv1 + relu1", "fc"], "Bindings": []})) is None
    assert int8_proof(report(tensor_of_10, "N/A due to dynamic shapes", "N/A due to dynamic shapes")) is None


@pytest.mark.parametrize("version", ["10.3.0", "11.4.0.106"])
def test_int8_layers_of_a_session(kit, version):
    bench = kit.Bench(version)
    with bench.open() as session:
        proof = int8_layers(session)
        assert proof.int8 == ("conv1 + relu1", "fc")
        assert proof.other == ("softmax",)
        assert proof.conversions == ("quantize",)
        assert io_names(session.inspect()) == ("x", "scale", "sum", "rank")
        # Asking does not disturb what is captured.
        for _ in range(3):
            session.run(kit.feeds(2))
            int8_layers(session)
    bench.clean()


def test_an_engine_without_details_says_so(kit):
    bench = kit.Bench(detailed=False)
    with bench.open() as session:
        with pytest.raises(InferenceError, match="types of its layers") as caught:
            int8_layers(session)
        assert "DETAILED" in caught.value.hint
        assert session.info().options["int8_layers"] is None
    bench.clean()


@pytest.mark.parametrize("failing", ["create_engine_inspector", "get_engine_information"])
def test_a_failing_inspector(kit, bench, failing):
    bench.trt.fail(failing)
    with bench.open() as session:
        with pytest.raises(InferenceError, match="inspector"):
            int8_layers(session)
        assert session.info().options["int8_layers"] is None
        session.run(kit.feeds(1))


def test_layer_times_are_in_order_and_add_up(kit, bench):
    with bench.open() as session:
        for _ in range(2):
            session.run(kit.feeds(2))
        times = layer_times(session, kit.feeds(2), runs=5)
        # The fake's layers take 1, 2, 3, 4 microseconds.
        assert [one.name for one in times] == ["quantize", "conv1 + relu1", "fc", "softmax"]
        assert [one.median_ns for one in times] == pytest.approx([1000, 2000, 3000, 4000])
        assert [one.share for one in times] == pytest.approx([0.1, 0.2, 0.3, 0.4])
        given = kit.feeds(2, 3)
        assert kit.same(session.run(given), kit.answer(given))
        assert bench.trt.live_contexts() == 1  # that of the profile is gone


def test_a_layer_that_runs_twice_is_counted_twice(kit):
    bench = kit.Bench(model=replace(kit.MODEL, layers=(("a", "X", "FP32", "FP32"), ("a", "X", "FP32", "FP32"))))
    with bench.open() as session:
        (one,) = layer_times(session, kit.feeds(1), runs=4)
    assert one.median_ns == pytest.approx(3000)
    assert one.share == 1
    bench.clean()


def test_layer_times_check_what_they_get(kit, bench):
    with bench.open() as session:
        with pytest.raises(BadInput, match="runs"):
            layer_times(session, kit.feeds(1), runs=0)
        with pytest.raises(BadInput, match="inputs"):
            layer_times(session, {"x": kit.feeds(1)["x"]})
        with pytest.raises(BadInput, match="engine"):
            layer_times(session, kit.feeds(17))
    bench.model = replace(kit.MODEL, layers=())
    with bench.open() as session, pytest.raises(InferenceError, match="no layer"):
        layer_times(session, kit.feeds(1))


def test_failures_while_profiling(kit, bench):
    with bench.open() as session:
        for failing in ("execute_async_v3", "create_execution_context"):
            session.run(kit.feeds(1))
            bench.trt.fail(failing, times=1)
            if failing == "create_execution_context":
                session.run(kit.feeds(1))
            with pytest.raises(InferenceError):
                layer_times(session, kit.feeds(1))
            assert layer_times(session, kit.feeds(1))
