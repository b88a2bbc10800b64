from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from edgecnn.errors import ExportError
from edgecnn.exporters.passes import DEFAULT_PASSES, LiftConstants, Pass, StripTraces, run_passes
from edgecnn.exporters.passes.values import add_constant

X = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)


class Renames(Pass):
    name = "renames"

    def apply(self, model: ir.Model) -> bool:
        model.graph.outputs[0].name = "other"
        return True


class Forgets(Pass):
    name = "forgets"

    def apply(self, model: ir.Model) -> bool:
        model.graph.remove(model.graph[0])
        return True


class NeedsNothing(Pass):
    name = "needs-nothing"

    def requires(self, model: ir.Model) -> None:
        raise ExportError("never fit")

    def apply(self, model: ir.Model) -> bool:
        raise AssertionError("not reached")


def chain(parse: Any) -> Any:
    return parse("g (float[N,3] x) => (float[N,3] y) { r = Relu(x) y = Neg(r) }")


@pytest.mark.parametrize(
    ("step", "message"),
    [(Renames(), "inputs or outputs"), (Forgets(), "'r' before it is made"), (NeedsNothing(), "never")],
)
def test_a_pass_is_held_to_its_contract(parse: Any, step: Pass, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        step(chain(parse))


def test_a_malformed_model_is_refused(parse: Any) -> None:
    model = chain(parse)
    model.graph[1].outputs[0].name = "r"
    with pytest.raises(ExportError, match="two values are called 'r'"):
        StripTraces()(model)


def test_constants_become_initialisers(parse: Any, run: Any, ops: Any) -> None:
    model = parse(
        "g (float[N,3] x) => (float[N,3] y) { one = Constant<value = float {1.0}>() "
        "k = Constant<value_floats = [1.0, 2.0, 3.0]>() s = Add(x, one) y = Mul(s, k) }"
    )
    before = run(model, x=X)
    assert LiftConstants()(model)
    assert ops(model) == ["Add", "Mul"]
    assert set(model.graph.initializers) == {"one", "k"}
    assert np.array_equal(before[0], run(model, x=X)[0])


def test_traces_go_and_the_models_metadata_stays(parse: Any) -> None:
    model = chain(parse)
    model.metadata_props["edgecnn.spec"] = "{}"
    model.graph.metadata_props["signature"] = "long"
    model.graph[0].metadata_props["stack_trace"] = "/home/someone/net.py"
    model.graph[0].doc_string = "/home/someone/net.py"
    assert StripTraces()(model)
    assert b"someone" not in ir.to_proto(model).SerializeToString()
    assert model.metadata_props == {"edgecnn.spec": "{}"}
    assert not StripTraces()(model)


def test_run_passes_names_what_changed(parse: Any, run: Any, ops: Any) -> None:
    model = parse(
        "g (float[N,3,4,4] x) => (float[N,3,1,1] y) { axes = Constant<value_ints = [2, 3]>() "
        "i = Identity(x) m = ReduceMean(i, axes) y = Identity(m) }"
    )
    x = np.arange(96, dtype=np.float32).reshape(2, 3, 4, 4)
    before = run(model, x=x)
    assert run_passes(model) == ("lift-constants", "drop-unused", "global-pool")
    assert ops(model) == ["GlobalAveragePool"]
    np.testing.assert_allclose(run(model, x=x)[0], before[0], rtol=1e-6)
    assert run_passes(model) == ()


def test_every_default_pass_has_a_name_of_its_own() -> None:
    kinds = {type(step) for step in DEFAULT_PASSES}
    assert len({step.name for step in DEFAULT_PASSES}) == len(kinds)


def test_a_taken_name_gets_a_number(parse: Any) -> None:
    graph = chain(parse).graph
    names = [add_constant(graph, "k", np.ones((), np.float32)).name for _ in range(3)]
    assert names == ["k", "k_1", "k_2"]
    assert graph.initializers["k_1"].const_value.shape == ()
