"""State dicts of others: what a rule makes of them, which file is recognised, and what is said about one that is not."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from edgecnn.errors import BadInput
from edgecnn.zoo import Form, Network, build, find, load_weights, make_form, networks
from edgecnn.zoo.catalog import FAMILIES, read_networks
from edgecnn.zoo.checkpoints import choose_among, load_state, preprocess_by, translate
from edgecnn.zoo.choice import choose_form
from edgecnn.zoo.network import Checkpoint
from edgecnn.zoo.options import TrainingOption

FILE = Path("x.pth")
LENET = make_form("lenet5")


def state_of(form: Form) -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {key: torch.rand_like(tensor.float()) for key, tensor in build(form).state_dict().items()}


def with_rules(monkeypatch: pytest.MonkeyPatch, name: str, *rules: Checkpoint) -> Network:
    """Give a network of the registry these rules for the test."""
    network = replace(find(name), checkpoints=rules)
    others = {other.name: other for other in networks()}
    monkeypatch.setattr("edgecnn.zoo.registry._own", lambda: {**others, name: network})
    return network


def theirs(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict as another package would name it: features.0.weight is body.0.w, an extra head beside it."""
    renamed = {key.replace("weight", "w").replace("conv", "body."): tensor for key, tensor in state.items()}
    return {**renamed, "aux.w": torch.zeros(3)}


RULE = Checkpoint(
    source="theirs lenet",
    rename=((r"^body\.(\d)", r"conv\1"), (r"\.w$", ".weight")),
    drop=(r"^aux\.",),
    mean=(0.5,),
    std=(0.5,),
    crop_fraction=0.75,
)


def test_a_rule_drops_and_then_renames_in_order() -> None:
    rule = Checkpoint(source="s", rename=(("a", "b"), ("^bb", "c")), drop=("z$",))
    assert translate(rule, {"ab": 1, "bz": 2, "x": 3}) == {"c": 1, "x": 3}


def test_keys_that_become_one_are_not_lost() -> None:
    rule = Checkpoint(source="s", rename=(("[ab]", "c"),))
    assert sorted(translate(rule, {"a": 1, "b": 2}).items()) == [("b", 2), ("c", 1)]


def test_a_foreign_file_is_recognised_and_brings_its_preprocessing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with_rules(monkeypatch, "lenet5", Checkpoint(source="other", rename=(("layer", "conv"),)), RULE)
    state, path = state_of(LENET), tmp_path / "theirs.safetensors"
    save_file(theirs(state), path)
    model = build(LENET)
    loaded = load_weights(model, LENET, path)
    assert all(torch.equal(tensor, state[key]) for key, tensor in model.state_dict().items())
    assert loaded.preprocess is not None
    assert (loaded.preprocess.mean, loaded.preprocess.std, loaded.preprocess.crop_fraction) == ((0.5,), (0.5,), 0.75)
    assert (loaded.preprocess.size, loaded.preprocess.fit) == ((32, 32), "pad")
    assert (loaded.dataset, loaded.labels) == (None, ())


def test_our_own_names_go_first_and_belong_to_who_uses_them(monkeypatch: pytest.MonkeyPatch) -> None:
    state = state_of(LENET)
    with_rules(monkeypatch, "lenet5", RULE)
    assert load_state(build(LENET), LENET, state, FILE) is None
    namesake = Checkpoint(source="same names", drop=("^aux",), mean=(0.1,))
    with_rules(monkeypatch, "lenet5", RULE, namesake)
    assert load_state(build(LENET), LENET, state, FILE) == namesake
    assert load_state(build(LENET), LENET, {**state, "aux.0": torch.zeros(1)}, FILE) == namesake


def test_preprocessing_of_a_rule_in_gray_is_its_luma() -> None:
    network, rule = find("squeezenet1_1"), Checkpoint(source="s", mean=(0.1, 0.2, 0.3), std=(0.5, 0.5, 0.5))
    spec = preprocess_by(rule, network, make_form(network, channels=1, input_size=64))
    assert spec.mean == pytest.approx((0.299 * 0.1 + 0.587 * 0.2 + 0.114 * 0.3,))
    assert (spec.std, spec.size, spec.channels, spec.interpolation) == ((0.5,), (64, 64), 1, "bilinear")


@pytest.mark.parametrize("to_convolution", [True, False])
def test_a_linear_layer_and_a_1x1_convolution_are_the_same_weights(to_convolution: bool) -> None:
    form = make_form("squeezenet1_1" if not to_convolution else "resnet20", input_size=32)
    key = "classifier.1.weight" if not to_convolution else "fc.weight"
    state = state_of(form)
    plain = state[key]
    state[key] = plain[:, :, None, None] if to_convolution else plain[:, :, 0, 0]
    model = build(form)
    load_state(model, form, state, FILE)
    assert torch.equal(model.state_dict()[key], plain)


@pytest.mark.parametrize(
    ("asked", "found", "expected", "got", "hint"),
    [
        ({}, {"classes": 7}, "resnet20 with 10 classes", "7 classes instead of 10", "give --classes 7"),
        ({}, {"channels": 1}, "resnet20 with 3 input channels", "1 input channels instead of 3", "give --channels 1"),
    ],
)
def test_other_ends_are_said(asked: Any, found: Any, expected: str, got: str, hint: str) -> None:
    form = make_form("resnet20", **asked)
    with pytest.raises(BadInput) as caught:
        load_state(build(form), form, state_of(make_form("resnet20", **found)), Path("x.pth"))
    assert (caught.value.expected, caught.value.got, caught.value.hint) == (expected, got, hint)
    assert caught.value.message == f"weights file x.pth: expected {expected}, got {got}"


@pytest.mark.slow
def test_a_file_of_another_network_is_named_and_changes_nothing() -> None:
    form = make_form("resnet20")
    with torch.device("meta"):
        state = build(make_form("squeezenet1_1", classes=7)).state_dict()
    model = build(form)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    with pytest.raises(BadInput) as caught:
        load_state(model, form, state, Path("x.pth"))
    assert (
        caught.value.message == "weights file x.pth: expected resnet20 with 10 classes, got a squeezenet1_1 state dict"
    )
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


def test_the_depth_of_a_family_is_told_apart() -> None:
    form = make_form("resnet20")
    with torch.device("meta"):
        state = build(make_form("resnet32")).state_dict()
    with pytest.raises(BadInput) as caught:
        load_state(build(form), form, state, FILE)
    assert caught.value.got == "a resnet32 state dict"


def test_a_file_decides_the_options_that_are_not_given(tmp_path: Path) -> None:
    path = tmp_path / "half.safetensors"
    save_file(state_of(make_form("mobilenet_v1", width=0.5)), path)
    form, _ = choose_form("mobilenet_v1", str(path))
    assert form == make_form("mobilenet_v1", width=0.5)
    kept, _ = choose_form("mobilenet_v1", str(path), width=0.25)
    assert kept == make_form("mobilenet_v1", width=0.25)


def test_a_rule_decides_the_input_size_that_is_not_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    form = make_form("squeezenet1_1")
    path = tmp_path / "theirs.safetensors"
    save_file({f"body.{key}": tensor for key, tensor in state_of(form).items()}, path)
    rule = Checkpoint(source="theirs", rename=((r"^body\.", ""),), input_size=299)
    with_rules(monkeypatch, "squeezenet1_1", rule)
    chosen, _ = choose_form("squeezenet1_1", str(path))
    assert chosen.title == "squeezenet1_1_299"
    given, _ = choose_form("squeezenet1_1", str(path), input_size=64)
    assert given.input_size == 64


@pytest.mark.slow
def test_a_rule_decides_the_options_that_do_not_show_in_the_keys(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rule = Checkpoint(source="theirs", rename=((r"^body\.", ""),), options={"stride_in": "1x1"})
    with_rules(monkeypatch, "resnet50", rule)
    path = tmp_path / "theirs.safetensors"
    state = {f"body.{key}": tensor for key, tensor in build(make_form("resnet50")).state_dict().items()}
    save_file(state, path)
    form, _ = choose_form("resnet50", str(path))
    assert form == make_form("resnet50", stride_in="1x1")
    assert load_state(build(form), form, state, path) == rule
    asked, _ = choose_form("resnet50", str(path), stride_in="3x3")
    with pytest.raises(BadInput, match="expected resnet50 with stride_in=1x1, got resnet50"):
        load_state(build(asked), asked, state, path)


def test_the_form_that_fits_but_for_its_classes_is_chosen_so_that_the_classes_are_said() -> None:
    forms = [make_form("mobilenet_v1"), make_form("mobilenet_v1", width=0.5)]
    with torch.device("meta"):
        state = build(make_form("mobilenet_v1", width=0.5, classes=7)).state_dict()
    assert choose_among(forms, {key: tuple(tensor.shape) for key, tensor in state.items()}) == (forms[1], None)
    assert choose_among(forms, {"weight": (1,)}) == (forms[0], None)


FAMILY = """
family = "A"
[paper]
title = "T"
authors = "X"
year = 2000
venue = "V"
[networks.a]
title = "A"
builder = "a:a"
dataset = "imagenet-1k"
{entry}
"""


RULE_S = '[[networks.a.checkpoints]]\nsource = "s"\ndrop = ["x"]\n'
DROP_PATH = TrainingOption(low=0, below=1, help="dropped paths")


def read(folder: Path, entry: str) -> Network:
    (folder / "datasets.toml").write_text((FAMILIES / "datasets.toml").read_text())
    (folder / "a.toml").write_text(FAMILY.format(entry=entry))
    (folder / "published.csv").write_text("network\n")
    (network,) = read_networks(families=folder, published=folder / "published.csv", weights=folder / "none")
    return network


def test_rules_and_training_options_are_read_from_the_catalogue(tmp_path: Path) -> None:
    network = read(
        tmp_path,
        'small = "a"\ntraining_options = { drop_path = { low = 0, below = 1, help = "dropped paths" } }\n'
        '[[networks.a.checkpoints]]\nsource = "timm a"\nrename = [["^x", "y"]]\ndrop = ["aux"]\n'
        'mean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]\ninterpolation = "bicubic"\ncrop_fraction = 0.9\ninput_size = 299\n',
    )
    assert (network.small, dict(network.training_options)) == ("a", {"drop_path": DROP_PATH})
    assert network.checkpoints == (
        Checkpoint(
            source="timm a",
            rename=(("^x", "y"),),
            drop=("aux",),
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            interpolation="bicubic",
            crop_fraction=0.9,
            input_size=299,
        ),
    )


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ('training_options = { p = { high = 1, help = "h" } }', "p.interval: expected low, and high or below, got 1"),
        ('training_options = { p = { low = 0, help = "h" } }', "p.interval: expected low, and high or below, got 0"),
        (
            'training_options = { p = { switch = true, high = 1, help = "h" } }',
            "p.switch: expected no low, high or below",
        ),
        ('small = "b"', "small of a: expected one of the catalogue, got b"),
        ('[[networks.a.checkpoints]]\nsource = "s"\ndrop = ["("]', "a.toml: checkpoint 's' of a: expected a regular"),
        ('[[networks.a.checkpoints]]\nsource = "s"\nrename = [["[", ""]]', "expected a regular expression, got '['"),
        (
            '[[networks.a.checkpoints]]\nsource = "s"\nrename = [["a", "\\\\2"]]',
            "expected a replacement for its pattern",
        ),
        (
            f'{RULE_S}[[networks.a.checkpoints]]\nsource = "t"\ndrop = ["x"]\nmean = [0.5]',
            "checkpoint 't' of a: expected another rename, drop or options, got those of 's' of a",
        ),
        (
            f'{RULE_S}[networks.b]\ntitle = "B"\nbuilder = "b:b"\ndataset = "imagenet-1k"\n{RULE_S.replace("s.a", "s.b")}',
            "checkpoint 's' of b: expected another rename, drop or options, got those of 's' of a",
        ),
        ('[[networks.a.checkpoints]]\nsource = "s"\noptions = { width = 1.0 }', "expected options of , got width"),
        ('[[networks.a.checkpoints]]\nsource = "s"\nrenames = []', "unknown keys"),
        ('[[networks.a.checkpoints]]\nsource = "s"\ninterpolation = "cubic"', "'bicubic'"),
    ],
)
def test_a_mistake_in_a_rule_is_named(tmp_path: Path, entry: str, message: str) -> None:
    with pytest.raises(BadInput, match=re.escape(message)):
        read(tmp_path, entry)


def test_the_small_form_stands_for_a_network_without_weights_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = replace(find("resnet18"), small="resnet20", bundled=None)
    form, source = choose_form(plain, None)
    assert (form, source) == (make_form("resnet20", channels=1), "bundled")
    assert form.title == "resnet20"
    assert choose_form(plain, "random")[0] == make_form("resnet18")
