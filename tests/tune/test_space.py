"""The space: what each rule leaves out, and what the user can ask for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.errors import Contradiction, UnknownName
from edgecnn.runtimes.states import BackendState
from edgecnn.tune.candidates import FileForm
from edgecnn.tune.space import Asked, Machine, make_space, openings, target_of, thread_counts

STATES = (
    BackendState(name="cpu", state="ok"),
    BackendState(name="openvino", state="ok"),
    BackendState(name="trt", state="unavailable", reason="no driver"),
    BackendState(name="torch", state="ok"),
    BackendState(name="null", state="ok"),
)
X86 = Machine(arch="x86_64", features=("avx512_vnni",), threads=4, states=STATES)


def test_the_space_of_a_processor() -> None:
    space = make_space(["net"], X86)
    assert {one.backend for one in space.candidates} == {"cpu", "openvino"}
    assert {one.form.stem for one in space.candidates if one.backend == "cpu"} == {"net", "net.int8"}
    assert {one.form.stem for one in space.candidates if one.backend == "openvino"} == {
        "net", "net.openvino.int8", "net.openvino.fp16",
    }  # fmt: skip
    assert space.forms[0] == FileForm(variant="net", precision="fp32")
    assert len(set(space.candidates)) == len(space.candidates)
    assert [(one.what, one.reason) for one in space.left_out] == [("backend trt", "no driver")]


def test_forms_run_on_the_backend_of_their_target_alone() -> None:
    for one in make_space(["net"], X86).candidates:
        assert one.form.precision == "fp32" or one.form.target == target_of(one.backend, "x86_64")


def test_bf16_needs_a_processor_that_has_it() -> None:
    able = Machine(arch="x86_64", features=("avx512_bf16",), threads=1, states=STATES)
    assert "bf16" in {one.form.precision for one in make_space(["net"], able).candidates}
    refused = make_space(["net"], X86, Asked(precisions=("fp32", "bf16")))
    assert "bf16" not in {one.form.precision for one in refused.candidates}
    assert any("bf16 arithmetic" in one.reason for one in refused.left_out)


def test_an_arm_board_gets_its_own_form() -> None:
    board = Machine(arch="aarch64", features=(), threads=4, states=STATES[:1])
    forms = {one.form.stem for one in make_space(["net"], board).candidates}
    assert forms == {"net", "net.cpu-arm.int8", "net.cpu-arm.fp16"}


@given(st.integers(1, 512))
def test_thread_counts_end_at_what_is_usable(usable: int) -> None:
    counts = thread_counts(usable)
    assert counts[0] == usable
    assert sorted(counts, reverse=True) == list(counts)
    assert len(counts) == len(set(counts))
    assert all(count == usable or (count & (count - 1)) == 0 for count in counts)
    assert counts[-1] == 1


@given(st.integers(1, 64))
def test_openings_say_each_thing_once(usable: int) -> None:
    found = list(openings("cpu", usable, Asked()))
    assert len(found) == len(set(found))
    assert ("latency", 1) not in found
    assert all(threads == 1 for preset, threads in found if preset == "shared")
    assert ("shared", 1) in found
    assert usable == 1 or ("latency", usable) in found


def test_openings_of_other_backends() -> None:
    assert list(openings("trt", 8, Asked())) == [("latency", None)]
    assert set(openings("openvino", 2, Asked())) == {("latency", 2), ("latency", 1)}
    assert list(openings("cpu", 4, Asked(presets=("latency",), threads=(1,)))) == [("latency", 1)]


def test_options_are_those_of_the_preset() -> None:
    (one,) = make_space(
        ["net"], X86, Asked(backends=("cpu",), precisions=("fp32",), presets=("embedded",), threads=(2,), batches=(4,))
    ).candidates
    assert (one.options.threads, one.options.spinning, one.options.arena, one.options.max_batch) == (2, False, False, 4)
    assert one.text == "net on cpu, embedded, 2 threads, batch 4"


def test_batches() -> None:
    def batches(asked: Asked, fixed: int | None = None) -> set[int]:
        return {one.batch for one in make_space(["net"], X86, asked, fixed_batch=fixed).candidates}

    assert batches(Asked()) == {1}
    assert batches(Asked(throughput=True)) == {1, 2, 4, 8, 16}
    assert batches(Asked(throughput=True, batches=(3,))) == {3}
    assert batches(Asked(), fixed=7) == {7}
    with pytest.raises(Contradiction, match="batches of 7"):
        batches(Asked(batches=(7, 1)), fixed=7)


def test_a_source_of_fewer_bits_is_all_there_is() -> None:
    space = make_space(["net.int8"], X86, only="int8")
    assert {one.form.precision for one in space.candidates} == {"int8"}
    with pytest.raises(Contradiction, match="is int8"):
        make_space(["net.int8"], X86, Asked(precisions=("fp32",)), only="int8")


def test_what_is_asked_for_and_is_not_there() -> None:
    with pytest.raises(UnknownName, match="openvino"):
        make_space(["net"], X86, Asked(backends=("opnvino",)))
    with pytest.raises(Contradiction, match="zeros"):
        make_space(["net"], X86, Asked(backends=("null",)))
    with pytest.raises(Contradiction, match="no driver"):
        make_space(["net"], X86, Asked(backends=("trt",)))
    with pytest.raises(UnknownName):
        Asked(precisions=("int4",))
    with pytest.raises(UnknownName):
        Asked(presets=("fast",))
    torch = make_space(["net"], X86, Asked(backends=("torch",)))
    assert {one.form.precision for one in torch.candidates} == {"fp32"}


@pytest.mark.parametrize(
    ("asked", "what", "reason"),
    [
        (Asked(presets=("embedded",)), "backend openvino", "it has preset latency alone, asked for was embedded"),
        (
            Asked(presets=("shared",), threads=(2,), backends=("cpu", "openvino")),
            "backend cpu",
            "preset shared is one thread, asked for were 2",
        ),
    ],
)
def test_a_preset_is_never_replaced_by_another(asked: Asked, what: str, reason: str) -> None:
    try:
        space = make_space(["net"], X86, asked)
    except Contradiction as error:
        assert f"{what}: {reason}" in error.message
    else:
        assert {one.preset for one in space.candidates} == set(asked.presets or ())
        assert (what, reason) in [(one.what, one.reason) for one in space.left_out]


def test_a_gpu_backend_is_left_out_where_it_has_no_such_preset() -> None:
    assert list(openings("trt", 4, Asked(presets=("shared",)))) == []
    assert list(openings("trt", 4, Asked(presets=("latency", "shared")))) == [("latency", None)]


def test_a_file_that_names_its_precision_is_called_by_its_name() -> None:
    assert FileForm(variant="net.int8", precision="int8").stem == "net.int8"
    assert FileForm(variant="net", precision="int8", target="cpu-arm").stem == "net.cpu-arm.int8"
