"""A network of the user's own code -> artifact, and how the errors of that code are told."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import onnx  # noqa: E402

from edgecnn.artifacts import file_sha256, load_artifact  # noqa: E402
from edgecnn.errors import BadInput, Contradiction, EdgecnnError, ExportError, UnknownName  # noqa: E402
from edgecnn.exporters.foreign.adapter import as_classifier  # noqa: E402
from edgecnn.exporters.foreign.factory import export_factory  # noqa: E402
from edgecnn.exporters.foreign.options import ForeignOptions, Meaning  # noqa: E402
from edgecnn.exporters.foreign.usercode import find_object, here_importable, make_module  # noqa: E402
from edgecnn.exporters.targets import parse_targets  # noqa: E402
from edgecnn.exporters.verify import VerifyOptions, verify  # noqa: E402
from edgecnn.runtimes import open_session  # noqa: E402
from edgecnn.specs import Artifact  # noqa: E402

Write = Callable[..., str]

SHAPE = (3, 16, 16)

NET = """
import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self, classes=5):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, classes)

    def features(self, x):
        return F.relu(self.norm(self.conv(x))).mean((2, 3))

    def forward(self, x):
        return self.head(self.features(x))
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Write:
    """`write(code)`: the name of a new module of NET and this code in the current folder, a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def write(code: str = "", *, base: str = NET) -> str:
        name = f"models_{abs(hash(request.node.nodeid))}_{len(list(tmp_path.iterdir()))}"
        (tmp_path / f"{name}.py").write_text(base + code)
        return name

    return write


def export(reference: str, folder: Path, weights: Path | None = None, **options: object) -> Artifact:
    given = {"input_shape": SHAPE, **options}
    return export_factory(reference, folder / "net.onnx", ForeignOptions(**given), weights=weights)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_file_is_held_against_the_code_it_was_made_from(write: Write, tmp_path: Path) -> None:
    reference = f"{write()}:Net"
    plain = export(reference, tmp_path, seed=3)
    parity = verify(plain, VerifyOptions(against=reference)).parity
    assert parity is not None
    assert (parity.verdict, parity.reference) == ("ok", reference)
    with pytest.raises(BadInput, match="no network of the zoo") as caught:
        verify(plain, VerifyOptions(against="torch"))
    assert f"--against {reference}" in caught.value.hint

    weights = tmp_path / "net.pth"
    with here_importable():
        torch.save(make_module(find_object(reference), reference).state_dict(), weights)
    assert verify(plain, VerifyOptions(against=reference, weights=str(weights))).verdict == "fail"
    loaded = export(reference, tmp_path, weights)
    assert verify(loaded, VerifyOptions(against=reference)).verdict == "ok"
    weights.rename(tmp_path / "away.pth")
    with pytest.raises(BadInput, match=r"net\.pth .* not beside it \(give --weights FILE\)"):
        verify(loaded, VerifyOptions(against=reference))
    assert verify(loaded, VerifyOptions(against=reference, weights=str(tmp_path / "away.pth"))).verdict == "ok"
    with pytest.raises(Contradiction, match="layers are compared"):
        VerifyOptions(against=reference, layers=True)


def test_a_class_becomes_a_file_of_any_batch(write: Write, tmp_path: Path) -> None:
    before = list(sys.path)
    module = write()
    meaning = Meaning(mean=(0.5,) * 3, std=(0.25,) * 3, labels=tuple("abcde"))
    artifact = export(f"{module}:Net", tmp_path, meaning=meaning, targets=parse_targets("trt"))
    assert sys.path == before
    spec = artifact.spec
    assert (artifact.opset, artifact.ir_version) == (18, 8)
    assert (spec.network, spec.weights, spec.source) == ("Net", "as constructed", f"{module}:Net")
    assert (spec.inputs[0].shape, spec.outputs[0].shape) == (("N", *SHAPE), ("N", 5))
    assert (spec.params, spec.macs) == (8 * 27 + 16 + 45, 8 * 27 * 64 + 40)
    assert spec.preprocess is not None
    assert spec.preprocess.size == (16, 16)
    (step,) = artifact.lineage
    assert (step.options["source"], step.options["target"]) == (f"{module}:Net", "trt")
    assert "BatchNormalization" not in {node.op_type for node in onnx.load(artifact.path).graph.node}


@pytest.mark.slow
def test_a_state_dict_from_a_file(write: Write, tmp_path: Path) -> None:
    module = write()
    namespace: dict[str, object] = {}
    exec(NET, namespace)
    net = namespace["Net"]().eval()  # type: ignore[operator]
    torch.save({"state_dict": net.state_dict()}, tmp_path / "net.pth")
    artifact = export(f"{module}:Net", tmp_path, weights=tmp_path / "net.pth")
    assert artifact.spec.weights == f"net.pth sha256:{file_sha256(tmp_path / 'net.pth')}"
    images = np.random.default_rng(0).standard_normal((3, *SHAPE)).astype(np.float32)
    with torch.inference_mode(), open_session(artifact) as session:
        expected = net(torch.from_numpy(images)).numpy()
        np.testing.assert_allclose(session.run({"input": images})["logits"], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_random_weights_follow_the_seed(write: Write, tmp_path: Path) -> None:
    module = write()
    hashes = [export(f"{module}:Net", tmp_path / str(index), seed=seed).sha256 for index, seed in enumerate((1, 1, 2))]
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize("name", ["ready", "make", "Inner"])
def test_an_instance_a_function_and_a_nested_class(write: Write, name: str) -> None:
    code = """

class Zoo:
    ready = Net(7)

    class Inner(Net):
        pass

    @staticmethod
    def make(classes=7):
        return Zoo.ready
"""
    reference = f"{write(code)}:Zoo.{name}"
    with here_importable():
        made = make_module(find_object(reference), reference)
    assert made.head.out_features == (5 if name == "Inner" else 7)


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ("(y, x)", "of the 2 values that it returns, the first is taken for the scores"),
        ("{'aux': x, 'logits': y}", "of the 2 values that it returns, 'logits' is taken for the scores"),
        ("[y[:, :, None, None]]", ""),
        ("y", ""),
    ],
)
def test_the_scores_among_what_is_returned(write: Write, returned: str, said: str) -> None:
    code = (
        f"\n\nclass Other(Net):\n    def forward(self, x):\n        y = super().forward(x)\n        return {returned}\n"
    )
    reference = f"{write(code)}:Other"
    with here_importable():
        network = make_module(find_object(reference), reference).eval()
    adapted, note = as_classifier(network, SHAPE, reference, batch=None)
    images = torch.randn(4, *SHAPE)
    with torch.inference_mode():
        expected = network.head(network.features(images))
        assert torch.equal(adapted(images), expected)
    assert note == said


@pytest.mark.slow
def test_a_network_of_several_outputs_becomes_a_file_of_one(write: Write, tmp_path: Path) -> None:
    lines: list[str] = []
    reference = f"{write(body('return y[..., None], x'))}:Other"
    artifact = export_factory(reference, tmp_path / "net.onnx", ForeignOptions(input_shape=SHAPE), say=lines.append)
    assert [output.shape for output in artifact.spec.outputs] == [("N", 5)]
    assert "the first is taken" in artifact.lineage[0].options["answer"]
    assert len(lines) == 1


def body(line: str) -> str:
    return f"\n\nclass Other(Net):\n    def forward(self, x):\n        y = super().forward(x)\n        {line}\n"


@pytest.mark.parametrize(
    ("code", "kind", "text"),
    [
        pytest.param(
            body("return y if x.shape[0] == 2 else 2 * y"),
            *(ExportError, "in another way on 2 images"),
            marks=pytest.mark.slow,
        ),
        (body("return y - y.mean(0)"), BadInput, "other scores when other images are in the batch"),
        (body("return F.dropout(y)"), BadInput, "another answer each time"),
        pytest.param(
            body("return y if y.sum() > 0 else -y"),
            ExportError,
            r"at models_\w+.py:24: .*data-dependent.*values of the image",
            marks=pytest.mark.slow,
        ),
        (body("return x"), BadInput, r"\[N, classes\], got \[N, 3, 16, 16\]"),
        (body("return y.double()"), BadInput, "expected float32, got float64"),
        (body("return y / 0"), BadInput, "expected finite scores, got NaN or infinity on random images"),
        (
            "\n\ndef Other():\n    net = Net()\n    net.head.weight.data[2, 1:3] = float('nan')\n    return net\n",
            BadInput,
            "got NaN in head.weight, 2 of its 40 values",
        ),
        (
            "\n\ndef Other():\n    net = Net()\n    net.norm.running_var.fill_(-1)\n    return net\n",
            BadInput,
            r"got NaN or infinity behind layer norm \(BatchNorm2d\)",
        ),
        (body("return {'a': y, 'b': y}"), BadInput, "one tensor .*, got a dict of a, b"),
        (body("return self.lost(y)"), ExportError, r"failed at models_\w+.py:24: AttributeError: .*'lost'"),
        ("\n\ndef Other(width, depth=3):\n    pass\n", BadInput, "needs the argument width .*without arguments"),
        ("\n\ndef Other():\n    return 3\n", BadInput, "expected a torch.nn.Module, got int"),
        ("\n\ndef Other():\n    raise ValueError('boom')\n", ExportError, r"at models_\w+.py:22: ValueError: boom"),
        ("\n\nOther = 3\n", BadInput, "expected a class, function or torch.nn.Module, got int"),
        (
            "\n\ndef Other():\n    return Net().double()\n",
            BadInput,
            "weights conv.weight .*float32 on cpu, got float64",
        ),
    ],
)
def test_networks_that_cannot_be_taken(
    write: Write, tmp_path: Path, code: str, kind: type[EdgecnnError], text: str
) -> None:
    module = write(code)
    with pytest.raises(kind, match=text) as caught:
        export(f"{module}:Other", tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("*.onnx"))


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("import nothing_of_that_name\n", r"models_\w+.py:1: ModuleNotFoundError: .*nothing_of_that_name"),
        ("def f(:\n", r"models_\w+.py:1: SyntaxError"),
        ("import sys\nsys.exit(3)\n", r"models_\w+.py:2: SystemExit: 3"),
    ],
)
def test_modules_that_cannot_be_imported(write: Write, tmp_path: Path, code: str, text: str) -> None:
    with pytest.raises(ExportError, match=text):
        export(f"{write(code, base='')}:Net", tmp_path)


def test_names_that_are_not_there(write: Write, tmp_path: Path) -> None:
    module = write()
    with pytest.raises(UnknownName, match="did you mean Net"):
        export(f"{module}:Nett", tmp_path)
    with pytest.raises(BadInput, match="there is no module no_such_package, neither installed nor in"):
        export("no_such_package.models:Net", tmp_path)
    with pytest.raises(BadInput, match="--input-shape"):
        export_factory(f"{module}:Net", tmp_path / "net.onnx", ForeignOptions())


def test_weights_that_do_not_fit(write: Write, tmp_path: Path) -> None:
    module = write()
    state = {"conv.weight": torch.zeros(8, 3, 3, 3), "other": torch.zeros(1)}
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(BadInput, match=r"lacks norm.weight, norm.bias, .* and has other too many"):
        export(f"{module}:Net", tmp_path, weights=tmp_path / "net.pth")
    torch.save({"anything": object()}, tmp_path / "objects.pth")
    with pytest.raises(BadInput, match="could run code"):
        export(f"{module}:Net", tmp_path, weights=tmp_path / "objects.pth")


@pytest.mark.slow
def test_a_fixed_batch(write: Write, tmp_path: Path) -> None:
    module = write(body("return y - y.mean(0)"))
    artifact = export(f"{module}:Other", tmp_path, batch=2)
    assert load_artifact(artifact.path).spec.inputs[0].shape == (2, *SHAPE)
