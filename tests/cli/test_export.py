"""`edgecnn export` of networks that are not of the zoo, its targets, and options that do not go together."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch")

import onnx

from edgecnn.artifacts import load_artifact
from edgecnn.cli.export import Common
from edgecnn.cli.foreign import kind_of
from edgecnn.errors import BadInput
from edgecnn.exporters.pixels import Placing

Run = Callable[..., "subprocess.CompletedProcess[str]"]

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"

MODELS = """
from torch import nn


class {name}(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
"""


def fails(done: subprocess.CompletedProcess[str], code: int, *texts: str) -> None:
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    for text in texts:
        assert text in done.stderr


@pytest.mark.slow
def test_a_network_of_ones_own(run_edgecnn: Run, tmp_path: Path) -> None:
    (tmp_path / "my_networks.py").write_text(MODELS.format(name="Mine"))
    (tmp_path / "names.txt").write_text("a\nb\nc\nd\n")
    scale = ("--mean", "0.5,0.5,0.5", "--std", "0.25,0.25,0.25", "--labels", "names.txt", "--fit", "pad")
    asked = ("export", "my_networks:Mine", "--input-shape", "3,20,24", "--target", "cpu-x86,trt", *scale)
    done = run_edgecnn(*asked, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["path"], said["opset"], said["ir_version"]) == ("models/Mine.onnx", 18, 8)
    assert said["spec"]["preprocess"]["size"] == [20, 24]
    assert said["spec"]["labels"] == ["a", "b", "c", "d"]
    assert said["lineage"][0]["options"]["target"] == "cpu-x86,trt"


@pytest.mark.slow
def test_a_file_of_somebody_else(run_edgecnn: Run, tmp_path: Path) -> None:
    done = run_edgecnn("export", str(LIGHT / "light_squeezenet.onnx"), "--name", "light")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("models/light.onnx: 224x224x3 to 1000 classes")
    assert "equals" in done.stdout
    assert "light_squeezenet.onnx" in done.stdout
    assert load_artifact(tmp_path / "models" / "light.onnx").spec.network == "light"
    fails(run_edgecnn("quantize", "models/light.onnx"), 2, "does not say how an image becomes its input", "--mean")


@pytest.mark.parametrize(
    ("arguments", "code", "texts"),
    [
        (("a.b:C", "--width", "0.5"), 2, ("--width is for a network of the zoo, and a.b:C is a network of your own",)),
        (("a.b:C", "-O", "x=1"), 2, ("--option is for a network of the zoo",)),
        (("x.onnx", "--weights", "random"), 2, ("--weights is for", "x.onnx is an .onnx file")),
        (("lenet5", "--input-shape", "1,32,32"), 2, ("--input-shape is for a network of your own or an .onnx file",)),
        (("lenet5", "--mean", "0.5"), 2, ("--mean is for",)),
        (("x.onnx",), 2, ("x.onnx does not exist",)),
        (("models.py:Net",), 2, ("expected pkg.module:name", "models:Net")),
        (("no.such:Net", "--input-shape", "3,8,8"), 2, ("there is no module no", "run edgecnn where")),
        (("a.b:C",), 2, ("--input-shape channels,height,width",)),
        (("a.b:C", "--input-shape", "3,8"), 2, ("expected 3 whole numbers",)),
        (("a.b:C", "--mean", "red"), 2, ("expected numbers separated by commas",)),
        (("lenet5", "--target", "trt", "--opset", "23"), 2, ("operator set 23 is not for target trt", "--opset 20")),
        (("lenet5", "--target", "trtt"), 2, ("unknown target 'trtt'", "did you mean trt?")),
        (("lenet5", "--opset", "17"), 2, ("opset: expected 18 to 23, got 17",)),
        (("x.onnx", "--opset", "17"), 2, ("opset: expected 18 to 23, got 17",)),
        (("x.onnx", "--labels", "none.txt"), 2, ("labels none.txt: No such file",)),
    ],
)
def test_wrong_requests(
    run_edgecnn: Run, tmp_path: Path, arguments: tuple[str, ...], code: int, texts: tuple[str, ...]
) -> None:
    fails(run_edgecnn("export", *arguments), code, *texts)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("lenet5", "zoo"),
        ("ensemble:lenet5+resnet20", "zoo"),
        ("net.onnx", "file"),
        ("some/where/net.ONNX", "file"),
        ("models:Net", "factory"),
        ("pkg.models:Zoo.make", "factory"),
    ],
)
def test_what_an_argument_names(text: str, kind: str) -> None:
    assert kind_of(text) == kind


@pytest.mark.parametrize("text", ["a-b:Net", "a:", ":b", "a..b:c"])
def test_what_an_argument_does_not_name(text: str) -> None:
    with pytest.raises(BadInput, match=r"expected pkg\.module:name, an \.onnx file or a name of the zoo"):
        kind_of(text)


@pytest.mark.slow
def test_the_target_of_a_zoo_network_is_in_its_lineage(run_edgecnn: Run, tmp_path: Path) -> None:
    done = run_edgecnn("export", "lenet5", "--weights", "random", "--target", "openvino", "-o", "net.onnx")
    assert done.returncode == 0, done.stderr
    assert load_artifact(tmp_path / "net.onnx").lineage[0].options["target"] == "openvino"


def test_debug_shows_the_users_traceback(run_edgecnn: Run, tmp_path: Path) -> None:
    (tmp_path / "broken_networks.py").write_text("def make():\n    return [][3]\n")
    asked = ("export", "broken_networks:make", "--input-shape", "3,8,8")
    fails(run_edgecnn(*asked), 5, "failed at broken_networks.py:2: IndexError: list index out of range", "--debug")
    shown = run_edgecnn("--debug", *asked).stderr
    assert "Traceback" in shown
    assert "return [][3]" in shown


@pytest.mark.parametrize(
    ("preprocess", "asked", "name"),
    [
        ("outside", None, "models/net.onnx"),
        ("in-graph", None, "models/net_pixels.onnx"),
        ("in-graph", Path("mine.onnx"), "mine.onnx"),
    ],
)
def test_a_file_of_pixels_does_not_replace_that_of_floats(preprocess: Placing, asked: Path | None, name: str) -> None:
    common = Common(targets=(), opset=None, evaluation=None, output=asked, preprocess=preprocess)
    assert common.place("net") == Path(name)
