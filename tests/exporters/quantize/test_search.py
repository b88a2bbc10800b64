"""The search for the fastest file that holds a bound, on a network whose sum has one channel that drowns all others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgecnn.artifacts import load_artifact
from edgecnn.data.dataset import Split
from edgecnn.errors import AccuracyError, UnknownName
from edgecnn.exporters.onnxfile import stamp, write_model
from edgecnn.exporters.quantize import QuantizeConfig, QuantizeResult, quantize
from edgecnn.exporters.quantize.judge import Judge
from edgecnn.exporters.quantize.recipe import SearchReport, Trial
from edgecnn.preprocess import prepare
from edgecnn.runtimes import open_session

Images = NDArray[np.uint8]
Go = Callable[..., QuantizeResult]

DROWNED = """g (float[N,1,8,8] input) => (float[N,4] logits) {
    a = Conv<pads=[1,1,1,1]>(input, w1, b1)
    b = Conv<pads=[1,1,1,1]>(input, w2)
    s = Add(a, b)
    c = Conv<pads=[1,1,1,1]>(s, w3)
    r = Relu(c)
    d = Conv<pads=[1,1,1,1]>(r, w4)
    e = Relu(d)
    h = Conv<pads=[1,1,1,1]>(e, w5)
    i = Relu(h)
    p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(i)
    f = Flatten(p)
    logits = Gemm<transB=1>(f, w6)
}"""


def logits(path: Path, images: Images) -> NDArray[np.float32]:
    artifact = load_artifact(path)
    assert artifact.spec.preprocess is not None
    with open_session(artifact) as session:
        answer: NDArray[np.float32] = session.run({"input": prepare(images, artifact.spec.preprocess)})["logits"]
    return answer


@pytest.fixture(scope="module")
def pictures() -> Images:
    """uint8 [600, 8, 8, 1]."""
    coarse = np.random.default_rng(11).integers(0, 256, (600, 4, 4, 1))
    return coarse.repeat(2, axis=1).repeat(2, axis=2).astype(np.uint8)


@pytest.fixture(scope="module")
def drowned(parse: Any, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file whose first sum has a channel that is 2,000 times as wide as the others, and is read with tiny weights."""
    rng = np.random.default_rng(2)

    def weights(*shape: int) -> NDArray[np.float32]:
        return (rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)

    constants = {
        "w1": weights(16, 1, 3, 3),
        "b1": np.zeros(16, np.float32),
        "w2": weights(16, 1, 3, 3),
        "w3": weights(32, 16, 3, 3),
        "w4": weights(32, 32, 3, 3),
        "w5": weights(32, 32, 3, 3),
        "w6": weights(4, 512),
    }
    constants["w1"][0] *= 2000
    constants["w3"][:, 0] /= 2000
    model = parse(DROWNED, **constants)
    stamp(model, load_artifact(tiny).spec, load_artifact(tiny).lineage)
    path = tmp_path_factory.mktemp("drowned") / "drowned.onnx"
    write_model(model, path)
    return path


@pytest.fixture(scope="module")
def quantized(drowned: Path, pictures: Images) -> Go:
    """`quantized(output, max_drop=..., ...)`: quantize the drowned file; its own answers are the labels of 500 images."""
    rest = pictures[100:]
    labels = logits(drowned, rest).argmax(axis=1)

    def quantized(output: Path, **options: Any) -> QuantizeResult:
        return quantize(
            drowned,
            output,
            calibration=Split("calibration", pictures[:100].copy(), np.zeros(100, np.int64), trained=True),
            evaluation=Split("test", rest, labels, trained=False),
            dataset="quarters",
            labels=("a", "b", "c", "d"),
            config=QuantizeConfig(min_channels=1, **options),
        )

    return quantized


@pytest.fixture(scope="module")
def found(quantized: Go, tmp_path_factory: pytest.TempPathFactory) -> QuantizeResult:
    """What a search for a bound that plain int8 misses found; 200 of the 500 images rank."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgecnn.exporters.quantize.judge.SUBSET", 200)
        return quantized(tmp_path_factory.mktemp("found") / "out.onnx", max_drop=4.0)


def report_of(result: QuantizeResult) -> SearchReport:
    assert result.search is not None
    return result.search


def chosen_of(result: QuantizeResult) -> Trial:
    report = report_of(result)
    assert report.chosen is not None
    return report.trials[report.chosen]


def test_the_drowned_nodes_are_left_float(found: QuantizeResult) -> None:
    plain, chosen = report_of(found).trials[1], chosen_of(found)
    assert plain.step == "plain"
    assert report_of(found).drop(plain) > 10  # type: ignore[operator]
    assert found.drop is not None
    assert found.drop <= 4
    assert chosen.recipe == found.recipe
    assert chosen.recipe is not None
    # The sum and what reads it are where the answer is lost.
    sensitivity = report_of(found).sensitivity
    assert {"add_2", "conv_3"} <= {one.node for one in sensitivity[:3]}
    assert sensitivity[0].sqnr_db < sensitivity[-1].sqnr_db - 10  # type: ignore[operator]
    assert {"add_2", "conv_3"} & set(chosen.recipe.keep_float)
    assert found.int8_share is not None
    assert 0.5 <= found.int8_share < 1
    assert [path.name for path in found.artifact.path.parent.iterdir()] == ["out.onnx"]


def test_steps_come_in_the_order_of_what_they_cost(found: QuantizeResult) -> None:
    order = ["fp32", "plain", "repair", "method", "mixed", "give back"]
    steps = [trial.step for trial in report_of(found).trials]
    assert steps == sorted(steps, key=order.index)
    assert steps.count("repair") == 3
    assert steps.count("method") == 4
    assert "mixed" in steps


def test_what_is_stated_is_what_the_file_does(found: QuantizeResult, pictures: Images, drowned: Path) -> None:
    rest = pictures[100:]
    right = logits(found.artifact.path, rest).argmax(axis=1) == logits(drowned, rest).argmax(axis=1)
    assert found.int8 is not None
    assert (found.int8.value, found.int8.images) == (right.mean(), 500)
    assert found.artifact.spec.accuracy[-1] == found.int8
    last = found.artifact.lineage[-1].options
    assert found.recipe is not None
    assert last["keep_float"] == ",".join(found.recipe.keep_float)
    assert str(last["search"]).count("(chosen)") == 1
    assert str(last["search"]).count(";") == len(report_of(found).trials) - 1


def test_every_figure_says_how_many_images_it_is_from(found: QuantizeResult) -> None:
    report = report_of(found)
    wholes = [trial.whole for trial in report.trials if trial.whole]
    parts = [trial.subset for trial in report.trials if trial.subset]
    assert {one.images for one in wholes} == {500}
    assert {one.images for one in parts} == {200}
    assert chosen_of(found).whole is not None
    # Most candidates were ranked on the part alone.
    assert len(wholes) < len(report.trials)
    assert all(trial.latency_ns and trial.ratio for trial in report.trials)
    assert all(report.drop(trial) is not None for trial in report.trials)


def test_a_bound_that_plain_int8_holds_costs_no_search(quantized: Go, tmp_path: Path) -> None:
    report = report_of(quantized(tmp_path / "out.onnx", max_drop=100.0))
    assert [trial.step for trial in report.trials] == ["fp32", "plain"]
    assert report.chosen == 1
    assert report.sensitivity == ()


@pytest.mark.slow
def test_a_bound_that_cannot_be_met_names_the_best(
    quantized: Go, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgecnn.exporters.quantize.search.MAX_FLOAT_SHARE", 0.01)
    with pytest.raises(
        AccuracyError, match=r"fell by \d+\.\d\d points, .* allowed 0; that is the best of \d+ tried \(.+\)"
    ):
        quantized(tmp_path / "out.onnx", max_drop=0.0)
    assert list(tmp_path.iterdir()) == []


def test_nodes_can_be_kept_float_by_name(quantized: Go, tmp_path: Path) -> None:
    result = quantized(tmp_path / "out.onnx", keep_float=("conv_0", "conv_1", "add_2", "conv_3"))
    assert result.left_float["Conv"] == 3
    assert result.drop is not None
    assert result.drop < 5
    with pytest.raises(UnknownName, match="unknown node 'conv_4711'"):
        quantized(tmp_path / "none.onnx", keep_float=("conv_4711",))
    assert not (tmp_path / "none.onnx").exists()


def test_a_part_grants_a_standard_error(drowned: Path, pictures: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgecnn.exporters.quantize.judge.SUBSET", 100)
    labels = logits(drowned, pictures).argmax(axis=1)
    judge = Judge(
        load_artifact(drowned), Split("test", pictures, labels, trained=False), dataset="quarters", max_drop=0.5
    )
    part = judge.subset(load_artifact(drowned))
    assert (part.images, part.value) == (100, 1.0)
    assert judge.holds(replace(part, value=0.995))
    assert not judge.holds(replace(part, value=0.99))
    assert judge.may_hold(replace(part, value=0.99))
    assert not judge.may_hold(replace(part, value=0.97))
    whole = judge.fp32
    assert not judge.may_hold(replace(whole, value=0.99))
    assert judge.holds(replace(whole, value=0.995))
