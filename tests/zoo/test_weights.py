"""Loading and saving weights: what fits, what is refused, what is kept."""

from __future__ import annotations

import hashlib
import os
import pickle
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from edgecnn.errors import BadInput, Contradiction, UnavailableError, UnknownName, UsageError
from edgecnn.zoo import Bundled, Form, build, find, load_weights, make_form, networks, save_weights
from edgecnn.zoo.catalog import preprocess_of
from edgecnn.zoo.choice import choose_form
from edgecnn.zoo.sizes import known_sizes
from edgecnn.zoo.statedict import read_shapes
from edgecnn.zoo.weights import Origin, load_bundled, read_origin

LENET = make_form("lenet")
RESNET = make_form("resnet20")


def trained(form: Form, seed: int = 1) -> nn.Module:
    """Return a network whose every tensor differs from a fresh one's."""
    torch.manual_seed(seed)
    model = build(form)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.add_(torch.rand_like(tensor))
        else:
            tensor.fill_(1234)
    return model.eval()


def same(one: nn.Module, other: nn.Module) -> bool:
    others = other.state_dict()
    return all(torch.equal(tensor, others[name]) for name, tensor in one.state_dict().items())


def test_saved_weights_come_back(tmp_path: Path) -> None:
    model, path = trained(RESNET), tmp_path / "resnet20.safetensors"
    save_weights(model.to(memory_format=torch.channels_last), path)  # type: ignore[call-overload]
    back = build(RESNET).eval()
    load_weights(back, RESNET, path)
    for name, tensor in back.state_dict().items():
        before = model.state_dict()[name]
        assert tensor.dtype == before.dtype
        if tensor.ndim > 1:
            assert torch.equal(tensor, before.half().float())
        else:
            assert torch.equal(tensor, before)
    assert [entry.name for entry in tmp_path.iterdir()] == ["resnet20.safetensors"]


def test_kernels_are_stored_in_half_and_nothing_that_matters_is_lost(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 2))
    with torch.no_grad():
        model.get_buffer("1.running_var").fill_(1e-9)
        model.get_parameter("2.weight").fill_(1e6)
    path = tmp_path / "model.safetensors"
    save_weights(model, path)
    stored = load_file(path)
    assert stored["0.weight"].dtype == torch.float16
    assert stored["1.running_var"].tolist() == pytest.approx([1e-9] * 2)
    assert stored["1.num_batches_tracked"].dtype == torch.int64
    # Beyond the range of float16.
    assert stored["2.weight"].dtype == torch.float32
    assert stored["2.weight"][0, 0] == 1e6


def test_a_folder_that_cannot_be_written_is_said_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UnavailableError, match="cannot write"):
        save_weights(build(LENET), tmp_path / "file" / "lenet5.safetensors")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_random_weights_depend_on_the_seed_and_on_nothing_else() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    models = [trained(LENET, seed=3), trained(LENET, seed=4), trained(LENET, seed=4)]
    torch.random.set_rng_state(before)
    loaded = [load_weights(model, LENET, "random", seed=seed) for model, seed in zip(models, (7, 7, 8), strict=True)]
    assert loaded[0].description == "random"
    assert (loaded[0].dataset, loaded[0].preprocess) == (None, None)
    assert same(models[0], models[1])
    assert not same(models[0], models[2])
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"epoch": 3, "state_dict": state},
        lambda state: {"model": state, "best": 0.5},
        lambda state: {f"module.{key}": tensor for key, tensor in state.items()},
        lambda state: {"state_dict": {f"module._orig_mod.{key}": tensor for key, tensor in state.items()}},
        lambda state: {key: tensor for key, tensor in state.items() if "num_batches" not in key},
    ],
)
def test_a_state_dict_is_found_where_training_scripts_keep_it(wrap: Callable[[Any], Any], tmp_path: Path) -> None:
    model, path = trained(RESNET), tmp_path / "resnet20.pth"
    torch.save(wrap(model.state_dict()), path)
    back = build(RESNET)
    description = load_weights(back, RESNET, str(path)).description
    assert description == f"resnet20.pth sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    for name, tensor in back.named_parameters():
        assert torch.equal(tensor, model.get_parameter(name))


def test_old_pytorch_files_are_read(tmp_path: Path) -> None:
    model, path = trained(LENET), tmp_path / "lenet5.pt"
    torch.save(model.state_dict(), path, _use_new_zipfile_serialization=False)
    back = build(LENET)
    load_weights(back, LENET, path)
    assert same(model, back)


def quantized() -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.quantize_per_tensor(torch.ones(10), 0.1, 0, torch.qint8)


def compressed() -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.eye(10).to_sparse_csr()


@pytest.mark.parametrize(
    ("key", "make", "got"),
    [
        ("fc.bias", lambda: torch.tensor([0.0] * 9 + [float("nan")]), "1 of 10 values NaN or infinite"),
        ("fc.bias", lambda: torch.full((10,), float("-inf")).half(), "10 of 10 values NaN or infinite"),
        ("fc.bias", lambda: torch.full((10,), 1e300, dtype=torch.float64), "10 of 10 values NaN or infinite"),
        ("fc.bias", lambda: torch.ones(10, dtype=torch.complex64), "complex numbers, torch.complex64"),
        ("fc.bias", quantized, "a quantized tensor, torch.qint8"),
        ("fc.weight", lambda: torch.ones(10, 64).to_sparse(), "a sparse_coo tensor"),
        ("fc.weight", compressed, "a sparse_csr tensor"),
        ("fc.bias", lambda: torch.ones(10, device="meta"), "a tensor without values (device meta)"),
    ],
    ids=["nan", "inf", "beyond float32", "complex", "quantized", "sparse", "compressed", "meta"],
)
def test_what_cannot_be_a_weight_is_named_with_its_key(
    key: str, make: Callable[[], torch.Tensor], got: str, tmp_path: Path
) -> None:
    model, path = trained(RESNET), tmp_path / "resnet20.pth"
    torch.save(
        {"state_dict": {f"module.{k}": v for k, v in model.state_dict().items()} | {f"module.{key}": make()}}, path
    )
    back = trained(RESNET, seed=2)
    with pytest.raises(BadInput) as caught:
        load_weights(back, RESNET, path)
    assert caught.value.message == f"{path}: {key}: expected a dense tensor of finite real numbers, got {got}"
    assert same(back, trained(RESNET, seed=2))


def test_safetensors_are_checked_as_well(tmp_path: Path) -> None:
    path = tmp_path / "lenet5.safetensors"
    state = trained(LENET).state_dict()
    name = next(iter(state))
    state[name].view(-1)[3] = float("inf")
    save_file(state, path)
    with pytest.raises(BadInput, match=rf"{name}: expected a dense tensor of finite real numbers, got 1 of"):
        load_weights(build(LENET), LENET, path)


def bytes_read() -> int:
    return int(Path("/proc/self/io").read_text().split()[1])


@pytest.mark.skipif(not os.access("/proc/self/io", os.R_OK), reason="the system does not count what a process reads")
def test_the_values_of_a_file_are_read_once_however_many_forms_it_could_be_of(tmp_path: Path) -> None:
    form, path = make_form("mobilenet_v1", width=0.5), tmp_path / "half.pth"
    torch.save({"state_dict": {f"module.{key}": value for key, value in build(form).state_dict().items()}}, path)
    before = bytes_read()
    assert choose_form("mobilenet_v1", str(path)) == (form, str(path))
    assert bytes_read() - before < path.stat().st_size / 10
    assert read_shapes(path) == {key: tuple(value.shape) for key, value in build(form).state_dict().items()}


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_shapes_are_those_of_the_tensors(tmp_path: Path, suffix: str) -> None:
    state, path = trained(RESNET).state_dict(), tmp_path / f"x{suffix}"
    if suffix == ".safetensors":
        save_file({f"module.{key}": value for key, value in state.items()}, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=suffix == ".pth")
    assert read_shapes(path) == {key: tuple(value.shape) for key, value in state.items()}
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(BadInput, match="is cut short or"):
        read_shapes(path)


def test_what_does_not_fit_is_named_and_changes_nothing(tmp_path: Path) -> None:
    model, path = trained(RESNET), tmp_path / "resnet20.safetensors"
    state = dict(model.state_dict())
    for name in ("conv1.weight", "bn1.weight", "bn1.bias", "fc.bias"):
        del state[name]
    state["fc.weight"] = torch.zeros(1000, 64)
    state["head.weight"] = torch.zeros(3)
    save_file(state, path)
    fresh = build(RESNET)
    before = {name: tensor.clone() for name, tensor in fresh.state_dict().items()}
    with pytest.raises(BadInput) as caught:
        load_weights(fresh, RESNET, path)
    message = caught.value.message
    assert "4 missing: conv1.weight, bn1.weight, bn1.bias, ...;" in message
    assert "1 unexpected: head.weight;" in message
    assert message.endswith("1 of another shape: fc.weight [1000, 64] instead of [10, 64]")
    assert all(torch.equal(tensor, before[name]) for name, tensor in fresh.state_dict().items())


class Dangerous:
    """A pickle of this would make a folder when it is loaded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


def _module(path: Path) -> None:
    torch.save(build(LENET), path)


def _old_module(path: Path) -> None:
    torch.save(build(LENET), path, _use_new_zipfile_serialization=False)


def _script(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), path)


def _dangerous(path: Path) -> None:
    torch.save({"state_dict": Dangerous(path.with_name("made"))}, path)


def _bare_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Dangerous(path.with_name("made"))))


@pytest.mark.parametrize("write", [_module, _old_module, _script, _dangerous, _bare_pickle])
def test_a_pickle_with_objects_is_refused_and_never_run(write: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    write(path)
    with pytest.raises(BadInput, match="not a plain state dict: it holds other objects") as caught:
        load_weights(build(LENET), LENET, path)
    assert "state_dict()" in caught.value.hint
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("content", "got"),
    [
        ([1, 2], "list"),
        ({}, "an empty dict"),
        ({"epoch": 3, "lr": 0.1}, "no tensor under epoch, lr"),
        ({"state_dict": {"a": 1}}, "no tensor under a"),
    ],
)
def test_a_pickle_of_something_else_is_named(content: object, got: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    with pytest.raises(BadInput) as caught:
        load_weights(build(LENET), LENET, path)
    assert (caught.value.expected, caught.value.got) == ("a state dict of tensors", got)


def _saved(path: Path) -> bytes:
    if path.suffix == ".safetensors":
        save_weights(build(LENET), path)
    else:
        torch.save(build(LENET).state_dict(), path)
    return path.read_bytes()


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_file_that_is_cut_short_is_said(name: str, share: float, tmp_path: Path) -> None:
    path = tmp_path / name
    content = _saved(path)
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(BadInput, match="is empty" if share == 0 else "is cut short or not"):
        load_weights(build(LENET), LENET, path)


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth", "weights.pt"])
def test_a_file_of_something_else_is_said(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(b"these are no weights at all, whatever the suffix says" * 20)
    with pytest.raises(BadInput, match="is cut short or not"):
        load_weights(build(LENET), LENET, path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.pth", "none.pth does not exist"),
        ("weights.onnx", "expected one of .safetensors, .pth, .pt, .th, got .onnx"),
        ("folder.pth", "expected a file, got a folder"),
    ],
)
def test_a_path_that_is_no_weights_file_is_said(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "weights.onnx").write_bytes(b"onnx")
    (tmp_path / "folder.pth").mkdir()
    with pytest.raises(BadInput, match=message):
        load_weights(build(LENET), LENET, tmp_path / name)


def test_a_misspelt_word_for_weights_is_not_taken_for_a_file() -> None:
    with pytest.raises(UnknownName) as caught:
        load_weights(build(LENET), LENET, "bundeld")
    assert caught.value.suggestion == "bundled"


def test_a_network_that_no_publisher_has_weights_of_says_which_there_are() -> None:
    with pytest.raises(UsageError, match="no published weights file is registered for lenet5") as caught:
        load_weights(nn.Identity(), LENET, "imagenet")
    assert caught.value.hint.startswith("choose --weights bundled, random or FILE")


def test_published_weights_bring_preprocessing_and_no_labels(tmp_path: Path) -> None:
    form = make_form("squeezenet1_1", input_size=64)
    model, path = trained(form), tmp_path / "squeezenet1_1-b8a52dc0.pth"
    torch.save(model.state_dict(), path)
    back = build(form)
    loaded = load_weights(back, form, "imagenet", fetch=lambda asked: path if asked == form else tmp_path)
    assert same(model, back)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert loaded.description == f"imagenet squeezenet1_1-b8a52dc0.pth sha256:{digest}"
    assert (loaded.dataset, loaded.labels) == ("imagenet-1k", ())
    assert loaded.preprocess is not None
    assert (loaded.preprocess.size, loaded.preprocess.mean) == ((64, 64), (0.485, 0.456, 0.406))


def test_a_network_without_bundled_weights_names_the_choices() -> None:
    (network,) = [network for network in networks() if network.name == "resnet152"]
    assert network.bundled is None
    with pytest.raises(UsageError, match="resnet152 has no bundled weights") as caught:
        load_weights(nn.Identity(), make_form(network), "bundled")
    assert caught.value.hint.startswith("choose --weights imagenet, random or FILE")
    family = [other.name for other in networks() if other.bundled and other.family == "ResNet"]
    assert all(name in caught.value.hint for name in family)


def bundle(folder: Path, form: Form) -> tuple[nn.Module, Bundled]:
    model, path = trained(form), folder / f"{form.title}.safetensors"
    save_weights(model, path)
    preprocess = preprocess_of("fashion-mnist", form.input_size)
    assert preprocess is not None
    return model, Bundled(
        form=form, dataset="fashion-mnist", preprocess=preprocess, top1=0.93, images=10_000, path=path
    )


def test_bundled_weights_bring_their_data_set_along(tmp_path: Path) -> None:
    form = make_form("mobilenet", width=0.25, input_size=32, channels=1, classes=10)
    model, bundled = bundle(tmp_path, form)
    back = build(form).eval()
    loaded = load_bundled(back, form, bundled)
    assert (loaded.description, loaded.dataset, loaded.licence) == ("bundled", "fashion-mnist", "Apache-2.0")
    assert (len(loaded.labels), loaded.labels[8]) == (10, "Bag")
    assert loaded.preprocess == bundled.preprocess
    image = torch.rand(3, 1, 32, 32)
    with torch.inference_mode():
        assert torch.allclose(back(image), model(image), rtol=1e-2, atol=1e-2)


def test_bundled_weights_of_another_form_are_a_contradiction(tmp_path: Path) -> None:
    form = make_form("resnet20", channels=1)
    _, bundled = bundle(tmp_path, form)
    with pytest.raises(Contradiction) as caught:
        load_bundled(build(RESNET), RESNET, bundled)
    assert "for resnet20 with 1 channel and 10 classes, not resnet20 with 3 channels" in caught.value.message


def test_every_bundled_file_fits_its_network() -> None:
    for network in networks():
        if network.bundled:
            form = network.bundled.form
            loaded = load_weights(build(form), form, "bundled")
            assert len(loaded.labels) == form.classes
            without_batch_norm = network.family in ("LeNet", "AlexNet", "ZFNet", "NiN")
            assert network.bundled.top1 >= (0.90 if without_batch_norm else 0.925)
            assert network.bundled.images == 10_000


def test_bundled_weights_are_small() -> None:
    bundled = [network.bundled for network in networks() if network.bundled]
    for one in bundled:
        sizes = known_sizes(one.form)
        assert sizes is not None
        assert (sizes.params <= 1_000_000, sizes.macs <= 80_000_000) == (True, True), one.form.title
    assert sum(one.path.stat().st_size for one in bundled) <= 16 << 20


def test_a_safetensors_file_of_a_wrapped_model_is_unwrapped(tmp_path: Path) -> None:
    form = make_form("lenet")
    state = {f"module.{key}": tensor.contiguous() for key, tensor in trained(form).state_dict().items()}
    save_file(state, tmp_path / "wrapped.safetensors")
    load_weights(build(form), form, tmp_path / "wrapped.safetensors")


def test_a_users_own_form_does_not_take_the_publishers_preprocessing(tmp_path: Path) -> None:
    for options in ({"width": 0.125}, {"norm": "bn", "width": 0.125}):
        form = make_form("googlenet", input_size=32, **options)
        torch.save(trained(form).state_dict(), tmp_path / "mine.pth")
        assert load_weights(build(form), form, tmp_path / "mine.pth").preprocess is None


def test_a_file_says_what_it_was_trained_on(tmp_path: Path) -> None:
    form, path = make_form("lenet", classes=2), tmp_path / "cats.safetensors"
    preprocess = find("lenet").preprocess
    origin = Origin(form=form, dataset="pets", labels=("cat", "dog"), preprocess=preprocess, licence="MIT")
    save_weights(trained(form), path, origin=origin)
    assert read_origin(path) == origin
    loaded = load_weights(build(form), form, path)
    assert (loaded.dataset, loaded.labels, loaded.preprocess, loaded.licence) == (
        "pets",
        ("cat", "dog"),
        preprocess,
        "MIT",
    )
    assert loaded.description.startswith("cats.safetensors sha256:")


def test_a_file_says_nothing_where_it_was_saved_by_others(tmp_path: Path) -> None:
    path = tmp_path / "lenet5.safetensors"
    save_file(build(LENET).state_dict(), path)
    assert read_origin(path) is None
    assert load_weights(build(LENET), LENET, path).dataset is None


def test_damaged_metadata_is_said(tmp_path: Path) -> None:
    path = tmp_path / "lenet5.safetensors"
    save_file(build(LENET).state_dict(), path, metadata={"edgecnn.origin": "{not json"})
    with pytest.raises(BadInput, match=r"edgecnn\.origin is not JSON"):
        read_origin(path)


def test_weights_of_another_precision_are_converted(tmp_path: Path) -> None:
    path = tmp_path / "lenet5.safetensors"
    model = trained(LENET)
    save_file({name: tensor.to(torch.bfloat16) for name, tensor in model.state_dict().items()}, path)
    back = build(LENET)
    load_weights(back, LENET, path)
    assert {tensor.dtype for tensor in back.parameters()} == {torch.float32}
    for name, tensor in back.named_parameters():
        assert torch.equal(tensor, model.get_parameter(name).to(torch.bfloat16).float())


def test_a_form_that_was_not_registered_can_be_loaded_from_a_file(tmp_path: Path) -> None:
    form = make_form("mobilenet", width=0.3, input_size=40, classes=3)
    model, path = trained(form), tmp_path / "own.pth"
    torch.save(model.state_dict(), path)
    back = build(replace(form))
    load_weights(back, form, path)
    assert same(model, back)


def test_an_error_without_words_is_told_by_its_kind(tmp_path: Path) -> None:
    class Mute(nn.Linear):
        def load_state_dict(self, *_: Any, **__: Any) -> Any:
            raise RuntimeError

    path = tmp_path / "linear.safetensors"
    save_file({"weight": torch.zeros(3, 2), "bias": torch.zeros(3)}, path)
    with pytest.raises(BadInput, match=r"cannot be copied: RuntimeError$"):
        load_weights(Mute(2, 3), LENET, path)
