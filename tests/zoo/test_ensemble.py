"""Ensembles: the mean of the members' probabilities, how they are named, and which members go together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402

from edgecnn.artifacts import load_artifact  # noqa: E402
from edgecnn.data import Dataset, open_named  # noqa: E402
from edgecnn.data.dataset import Split  # noqa: E402
from edgecnn.errors import BadInput, Contradiction, UnknownName, UsageError  # noqa: E402
from edgecnn.exporters.network import ExportOptions, export_network  # noqa: E402
from edgecnn.preprocess import prepare  # noqa: E402
from edgecnn.runtimes import open_session  # noqa: E402
from edgecnn.specs import Preprocess  # noqa: E402
from edgecnn.zoo import build, bundled_form, find, load_weights, make_form, networks  # noqa: E402
from edgecnn.zoo.choice import choose_form  # noqa: E402
from edgecnn.zoo.ensemble import Ensemble, Renormalise, load_members  # noqa: E402
from edgecnn.zoo.layers import layers_of, totals  # noqa: E402
from edgecnn.zoo.weights import load_bundled  # noqa: E402

NAME = "ensemble:mobilenet+resnet20"
IMAGES = 200


@dataclass(frozen=True)
class Few:
    """The first test images of a set."""

    whole: Dataset

    @property
    def name(self) -> str:
        return self.whole.name

    @property
    def labels(self) -> tuple[str, ...]:
        return self.whole.labels

    def split(self, name: str) -> Split:
        return self.whole.split(name).take(IMAGES)

    def unlabelled(self) -> Split:
        return self.whole.unlabelled().take(IMAGES)


@pytest.fixture(scope="module")
def few() -> Few:
    return Few(open_named("fashion-mnist"))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, few: Few) -> Path:
    form, source = choose_form(NAME, None)
    path = tmp_path_factory.mktemp("ensemble") / f"{form.title}.onnx"
    return export_network(form, path, ExportOptions(weights=source), evaluation=few).path


class Fixed(nn.Module):
    """Logits that do not depend on the image, and the image as it was given."""

    def __init__(self, *logits: float) -> None:
        super().__init__()
        self.logits = torch.tensor(logits)

    def forward(self, x: Tensor) -> Tensor:
        self.seen = x
        return self.logits.expand(x.shape[0], -1)


def normalised(mean: tuple[float, ...], std: tuple[float, ...]) -> Preprocess:
    return Preprocess(size=(4, 4), channels=len(mean), mean=mean, std=std)


def test_the_output_is_the_logarithm_of_the_mean_probability() -> None:
    pixels = normalised((0.5,), (0.5,))
    members = [Fixed(0.0, 2.0, -1.0), Fixed(3.0, 0.0, 1.0), Fixed(-200.0, 0.0, -200.0)]
    out = Ensemble(members, [pixels] * 3)(torch.zeros(2, 1, 4, 4))
    mean = sum(torch.softmax(member.logits.double(), 0) for member in members) / 3
    assert isinstance(mean, Tensor)
    torch.testing.assert_close(out.double(), mean.log().expand(2, 3), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(out.exp().sum(1), torch.ones(2))


def test_classes_that_no_member_believes_in_stay_finite() -> None:
    pixels = normalised((0.5,), (0.5,))
    out = Ensemble([Fixed(500.0, 0.0), Fixed(400.0, 0.0)], [pixels] * 2)(torch.zeros(1, 1, 4, 4))
    torch.testing.assert_close(out, torch.tensor([[0.0, -400.0 - math.log(2)]]), atol=1e-3, rtol=1e-6)


def test_every_member_gets_the_image_normalised_as_it_was_trained() -> None:
    first = normalised((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    second = normalised((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    members = [Fixed(0.0), Fixed(0.0), Fixed(0.0)]
    image = torch.rand(1, 3, 4, 4)

    def by(spec: Preprocess) -> Tensor:
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (spec.mean, spec.std))
        return (image - mean) / std

    ensemble = Ensemble(members, [first, second, first])
    ensemble(by(first))
    torch.testing.assert_close(members[0].seen, by(first))
    torch.testing.assert_close(members[1].seen, by(second))
    torch.testing.assert_close(members[2].seen, by(first))
    assert [isinstance(one, Renormalise) for one in ensemble.inputs] == [False, True, False]
    assert ensemble.state_dict() == {}


def test_an_ensemble_has_a_name_that_is_a_file_name() -> None:
    network = find(NAME)
    assert network.name == "ensemble_mobilenet_v1+resnet20"
    assert find(network.name) == network
    assert all(find(alias) == network for alias in network.aliases)
    form = bundled_form(NAME)
    assert form is not None
    assert form.title == network.name
    assert (form.input_size, form.channels, form.classes) == (32, 1, 10)
    assert network not in networks()


def test_members_take_their_bundled_forms_or_their_plain_ones() -> None:
    bundled = [bundled_form(name) for name in ("mobilenet", "resnet20")]
    sizes = [totals(layers_of(form)) for form in bundled if form]
    whole = totals(layers_of(choose_form(NAME, "bundled")[0]))
    assert whole.params == sum(size.params for size in sizes)
    assert whole.macs == sum(size.macs for size in sizes)
    form, source = choose_form("ensemble:squeezenet1_0+squeezenet1_1", "random")
    assert (source, form.input_size, form.channels, form.classes) == ("random", 224, 3, 1000)
    plain = sum(totals(layers_of(make_form(name))).params for name in ("squeezenet1_0", "squeezenet1_1"))
    assert totals(layers_of(form)).params == plain


@pytest.mark.slow
def test_size_classes_and_channels_are_those_of_every_member() -> None:
    form = make_form("ensemble:resnet18+mobilenet", forms="plain", input_size=64, classes=7, channels=1)
    assert form.title == "ensemble_resnet18+mobilenet_v1_64"
    with torch.inference_mode():
        assert build(form).eval()(torch.zeros(2, 1, 64, 64)).shape == (2, 7)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "ensemble:resnet50+resnet32",
            "one number of classes.*resnet50 with 224x224x3 and 1000 classes; resnet32 with",
        ),
        ("ensemble:resnet18+nasnet_a_large", "one input size"),
        ("ensemble:resnet20", "two or more networks"),
        ("ensemble:resnet20+", "two or more networks"),
        ("ensemble:mobilenet+mobilenet_v1", "every network once"),
    ],
)
def test_members_that_do_not_go_together_are_refused(name: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        find(name)


def test_a_member_that_there_is_not_is_named() -> None:
    with pytest.raises(UnknownName, match="resnet_20"):
        find("ensemble:mobilenet+resnet_20")


def test_without_bundled_weights_of_every_member_there_are_none() -> None:
    with pytest.raises(UsageError, match="has no bundled weights"):
        choose_form("ensemble:resnet20+resnet110", "bundled")
    form = make_form("ensemble:resnet20+resnet110")
    with pytest.raises(UsageError, match="plain forms"):
        load_members(build(form), form, load_bundled)


def test_a_form_that_was_not_trained_gets_no_bundled_weights() -> None:
    with pytest.raises(Contradiction, match="classes 5"):
        choose_form(NAME, "bundled", classes=5)
    form = make_form(NAME, classes=5)
    with pytest.raises(Contradiction, match=r"mobilenet_v1_0\.25_32"):
        load_members(build(form), form, load_bundled)


def test_the_weights_are_those_of_the_members() -> None:
    form, source = choose_form(NAME, None)
    model = build(form)
    loaded = load_weights(model, form, source)
    assert (loaded.description, loaded.dataset, loaded.licence) == ("bundled", "fashion-mnist", "Apache-2.0")
    assert loaded.preprocess == find(NAME).preprocess
    for name, member in zip(("mobilenet", "resnet20"), model.members, strict=True):
        alone = bundled_form(name)
        assert alone is not None
        network = build(alone)
        load_weights(network, alone, "bundled")
        for key, value in network.state_dict().items():
            assert torch.equal(member.state_dict()[key], value)


def test_random_weights_depend_on_the_seed_alone() -> None:
    form = make_form("ensemble:lenet+resnet20")
    models = [build(form) for _ in range(3)]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        load_weights(model, form, "random", seed=seed)
    first, again, other = (model.members[0].state_dict() for model in models)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def probabilities(few: Few) -> list[np.ndarray]:
    """Return what each member says about the images, float32 [IMAGES, 10] each."""
    images = torch.from_numpy(prepare(list(few.split("test").images), find(NAME).preprocess))
    outputs = []
    for name in ("mobilenet", "resnet20"):
        form = bundled_form(name)
        assert form is not None
        network = build(form)
        load_weights(network, form, "bundled")
        with torch.inference_mode():
            outputs.append(torch.softmax(network.eval()(images), 1).numpy())
    return outputs


@pytest.mark.slow
def test_the_file_gives_the_mean_of_the_members_probabilities_and_their_accuracy(exported: Path, few: Few) -> None:
    artifact, split = load_artifact(exported), few.split("test")
    members = probabilities(few)
    mean = sum(members) / 2
    with open_session(artifact) as session:
        logits = session.run({"input": prepare(list(split.images), find(NAME).preprocess)})["logits"]
    np.testing.assert_allclose(np.exp(logits), mean, atol=1e-4)
    (accuracy,) = artifact.spec.accuracy
    assert (accuracy.dataset, accuracy.images) == ("fashion-mnist", IMAGES)
    assert accuracy.value == np.mean(np.argmax(mean, 1) == split.labels)
    assert accuracy.value >= min(np.mean(member.argmax(1) == split.labels) for member in members) >= 0.9


@pytest.mark.slow
def test_the_file_says_what_it_is(exported: Path, few: Few) -> None:
    spec = load_artifact(exported).spec
    assert spec.title == exported.stem == "ensemble_mobilenet_v1+resnet20"
    assert spec.labels == few.labels
    assert (spec.weights, spec.preprocess) == ("bundled", find(NAME).preprocess)
