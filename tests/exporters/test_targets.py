from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.errors import BadInput, Contradiction, UnknownName
from edgecnn.exporters.passes.catalog import PASSES
from edgecnn.exporters.quantize.config import QuantizeConfig
from edgecnn.exporters.targets import (
    IR_OF_OPSET,
    TABLE,
    TARGETS,
    Form,
    choose_opset,
    combine,
    find_target,
    ir_of_opset,
    parse_targets,
)
from edgecnn.exporters.targets_page import targets_page
from edgecnn.toml import read_toml

PAGE = Path(__file__).parents[2] / "docs" / "targets.md"
WITH_INT8 = tuple(name for name in TARGETS if "int8" in find_target(name).takes)
PRECISIONS = {"fp32", "int8", "fp16", "bf16"}


def reasons(entry: Any) -> list[str]:
    if not isinstance(entry, dict):
        return []
    here = [entry["why"]] if "why" in entry else []
    return here + [why for value in entry.values() for why in reasons(value)]


def test_the_table_has_every_target_and_nothing_else() -> None:
    assert set(read_toml(TABLE)) == set(TARGETS)


@pytest.mark.parametrize("name", TARGETS)
def test_every_entry_has_its_reason(name: str) -> None:
    entry = read_toml(TABLE)[name]
    parts = 2 + len(entry["precision"]) + len(entry.get("form", {}))
    found = reasons(entry)
    assert len(found) == parts
    assert all(re.fullmatch(r"[A-Z0-9a-z].{15,}\.", why) for why in found)


@pytest.mark.parametrize("name", TARGETS)
def test_every_precision_is_taken_or_refused(name: str) -> None:
    target = find_target(name)
    assert set(target.takes) | set(target.refuses) == PRECISIONS
    assert not set(target.takes) & set(target.refuses)
    assert "fp32" in target.takes


@pytest.mark.parametrize("name", WITH_INT8)
def test_the_form_is_complete_and_its_passes_exist(name: str) -> None:
    target = find_target(name)
    assert set(target.choices) == set(Form.__dataclass_fields__)
    assert set(target.form.rewrites) <= set(PASSES)


@pytest.mark.parametrize("name", TARGETS)
def test_default_versions_are_read_by_the_target(name: str) -> None:
    target = find_target(name)
    opset, ir_version = choose_opset([target])
    assert opset <= target.max_opset
    assert ir_version <= target.max_ir


def test_what_the_engines_demand() -> None:
    x86, trt = find_target("cpu-x86").form, find_target("trt").form
    assert (x86.activation, x86.symmetric, x86.bias, x86.edges) == ("uint8", False, "int32", "all")
    assert x86.limits == (0, 255)
    assert (trt.activation, trt.symmetric, trt.bias, trt.edges) == ("int8", True, "float", "inputs")
    assert (trt.residual, trt.head) == ("identity", "float")
    assert trt.limits == (-127, 127)
    assert find_target("cpu-arm").form.limits == (-128, 127)


def test_targets_are_parsed_in_their_order_and_once() -> None:
    assert [target.name for target in parse_targets(" openvino, cpu-x86,openvino ")] == ["openvino", "cpu-x86"]


@pytest.mark.parametrize("text", ["", ",", " , "])
def test_no_target_is_an_error(text: str) -> None:
    with pytest.raises(BadInput, match="one or several of cpu-x86"):
        parse_targets(text)


def test_an_unknown_target_suggests_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean cpu-x86"):
        parse_targets("cpu-arm,cpux86")


def test_both_cpus_share_unsigned_activations() -> None:
    form = combine(parse_targets("cpu-arm,cpu-x86"))
    assert form.activation == "uint8"
    assert "widen-groups" not in form.rewrites  # the one does not want it
    assert "norm-to-conv" in form.rewrites


def test_the_greater_least_number_of_channels_holds() -> None:
    assert combine(parse_targets("openvino,cpu-x86")).min_channels == 16


def test_targets_that_differ_are_named_with_what_they_want() -> None:
    with pytest.raises(Contradiction) as caught:
        combine(parse_targets("cpu-x86,openvino,trt"))
    assert "both cpu-x86 and trt" in caught.value.message
    assert "activation is uint8 for the one and int8 for the other" in caught.value.message


def test_a_refused_precision_says_why() -> None:
    with pytest.raises(Contradiction, match=r"int8 is not for target cuda: .*no int8 convolution.*takes fp32, fp16"):
        combine(parse_targets("cuda"))
    with pytest.raises(Contradiction, match=r"fp16 is not for target cpu-x86: .*casts"):
        find_target("cpu-x86").require("fp16")


@given(st.lists(st.sampled_from(WITH_INT8), min_size=1, unique=True))
def test_a_combined_form_suits_every_target(names: list[str]) -> None:
    targets = [find_target(name) for name in names]
    try:
        form = combine(targets)
    except Contradiction as error:
        assert sum(name in error.message for name in names) >= 2
        return
    for target in targets:
        for key, choice in target.choices.items():
            if key == "rewrites":
                assert set(form.rewrites) <= set(choice.values)
            elif key == "min_channels":
                assert form.min_channels >= choice.values[0]
            else:
                assert getattr(form, key) in choice.values


@pytest.mark.parametrize(("one", "other"), list(combinations(WITH_INT8, 2)))
def test_order_decides_no_more_than_preference(one: str, other: str) -> None:
    def possible(text: str) -> bool:
        try:
            combine(parse_targets(text))
        except Contradiction:
            return False
        return True

    assert possible(f"{one},{other}") == possible(f"{other},{one}")


def test_the_operator_set_is_the_one_asked_for_or_an_error() -> None:
    assert choose_opset(parse_targets("cpu-x86"), 20) == (20, 9)
    with pytest.raises(
        Contradiction, match=r"operator set 21 is not for target trt, which reads up to 20: .*--opset 20"
    ):
        choose_opset(parse_targets("cpu-x86,trt"), 21)
    with pytest.raises(BadInput, match="opset: expected 7 to"):
        choose_opset(parse_targets("cpu-x86"), 99)


def test_format_versions_are_those_of_onnx() -> None:
    onnx = pytest.importorskip("onnx")
    by_opset: dict[int, int] = {}
    for _, ir_version, opset, *_ in onnx.helper.VERSION_TABLE:
        by_opset.setdefault(opset, ir_version)
    assert {opset: ir_of_opset(opset) for opset in IR_OF_OPSET} == {opset: by_opset[opset] for opset in IR_OF_OPSET}


def test_a_configuration_checks_its_targets() -> None:
    assert QuantizeConfig(target="cpu-arm").form.activation == "int8"
    assert QuantizeConfig(target="cpu-x86, openvino").options()["target"] == "cpu-x86,openvino"
    assert QuantizeConfig(keep_float=("a", "b")).options()["keep_float"] == "a,b"
    assert QuantizeConfig(target="cuda", precision="fp16").precision == "fp16"
    with pytest.raises(Contradiction, match="int8 is not for target cuda"):
        QuantizeConfig(target="cuda")
    with pytest.raises(Contradiction, match="fp16 is not for target cpu-x86"):
        QuantizeConfig(precision="fp16")


def test_the_page_is_the_table() -> None:
    assert PAGE.read_text(encoding="utf-8") == targets_page(), (
        "python -m edgecnn.exporters.targets_page > docs/targets.md"
    )
