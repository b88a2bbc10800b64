"""FractalNet: the walk of the authors' generator, blocks against the paper's recursion, drop-path."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from edgecnn.zoo import build, find, make_form
from edgecnn.zoo.families.fractalnet import FractalBlock, FractalNet, Join, fractalnet34, fractalnet_cifar
from edgecnn.zoo.layers import layers_of


def block_of(columns: int, *, pool: bool = True, drop_path: float = 0.0) -> FractalBlock:
    """Return a small block whose batch norms do something."""
    torch.manual_seed(0)
    block = FractalBlock(2, 4, columns=columns, pool=pool, dropout=0.0, drop_path=drop_path)
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return block


def column_alone(block: FractalBlock, column: int, x: Tensor) -> Tensor:
    """Return what one column makes of an image, without joins."""
    units = block.columns[column]
    assert isinstance(units, nn.ModuleList)
    for unit in units:
        x = unit(x)
    return block.pool(x)  # type: ignore[no-any-return]


def fractal(block: FractalBlock, columns: list[int], used: dict[int, int], z: Tensor, *, top: bool) -> list[Tensor]:
    """Return what arrives at the last join of f_(c+1)(z) = join(conv(z), f_c(f_c(z))), adjacent joins merged."""

    def unit(column: int) -> nn.Module:
        used[column] = used.get(column, -1) + 1
        return block.columns[column][used[column]]  # type: ignore[index, return-value, no-any-return]

    shallow = unit(columns[0])(z)
    if len(columns) == 1:
        return [block.pool(shallow) if top else shallow]
    first = torch.stack(fractal(block, columns[1:], used, z, top=False)).mean(0)
    arriving = fractal(block, columns[1:], used, first, top=top)
    return [block.pool(shallow) if top else shallow, *arriving]


@pytest.mark.parametrize("columns", [1, 2, 3, 4])
def test_a_block_is_the_recursion_of_the_paper(columns: int) -> None:
    block = block_of(columns).eval()
    x = torch.randn(2, 2, 8, 8)
    with torch.no_grad():
        expected = torch.stack(fractal(block, list(range(columns)), {}, x, top=True)).mean(0)
        torch.testing.assert_close(block(x), expected)
    assert expected.shape == (2, 4, 4, 4)
    assert [len(units) for units in block.columns] == [2**column for column in range(columns)]  # type: ignore[arg-type]


def test_three_columns_written_out() -> None:
    block = block_of(3).eval()
    (shallow,), middle, deep = block.columns  # type: ignore[misc]
    x = torch.randn(2, 2, 8, 8)
    with torch.no_grad():
        half = (middle[0](x) + deep[1](deep[0](x))) / 2  # type: ignore[has-type]
        ends = (shallow(x), middle[1](half), deep[3](deep[2](half)))  # type: ignore[has-type]
        torch.testing.assert_close(block(x), sum(nn.functional.max_pool2d(end, 2) for end in ends) / 3)


def test_the_small_form_is_the_generators() -> None:
    rows = layers_of(make_form("fractalnet"))
    convolutions = [row for row in rows if row.kind == "conv"]
    assert len(convolutions) == 35
    assert all(row.kernel == (3, 3) for row in convolutions)
    shapes = [row.output_shape for row in convolutions[::7]]
    assert shapes == [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4), (512, 2, 2)]
    # Joins of two and of three per block: one and two additions; batch norm has no parameters.
    assert sum(row.kind == "add" for row in rows) == 15
    assert sum(row.kind == "max pool" for row in rows) == 15
    assert sum(row.params for row in rows if row.kind == "batch norm") == 0
    assert sum(row.params for row in rows) == 33_698_880 + 7 * (64 + 128 + 256 + 512 + 512) + 5_130


@pytest.mark.slow
def test_the_imagenet_form_has_34_layers_between_the_ends_of_resnet() -> None:
    rows = layers_of(make_form("fractalnet34"))
    convolutions = [row for row in rows if row.kind == "conv"]
    assert (convolutions[0].kernel, convolutions[0].output_shape) == ((7, 7), (64, 112, 112))
    shapes = [row.output_shape for row in convolutions[1::15]]
    assert shapes == [(128, 56, 56), (256, 28, 28), (512, 14, 14), (1024, 7, 7)]
    assert len(convolutions) == 1 + 4 * 15
    assert sum(row.name.startswith(("stem", "classifier")) or ".columns.3." in row.name for row in convolutions) == 33
    assert sum(row.params for row in rows) == 164_002_152
    assert layers_of(make_form("fractalnet34", input_size=32, width=0.125))[0].output_shape == (8, 32, 32)


def test_width_narrows_every_layer() -> None:
    narrow = [row for row in layers_of(make_form("fractalnet", width=0.125)) if row.kind == "conv"]
    plain = [row for row in layers_of(make_form("fractalnet")) if row.kind == "conv"]
    assert [row.output_shape[0] * 8 for row in narrow] == [row.output_shape[0] for row in plain]


def test_inference_runs_the_whole_whatever_the_training() -> None:
    models = [
        fractalnet_cifar(width=0.125, in_channels=1, **options).eval()
        for options in ({}, {"drop_path": 0.5, "dropout": 0.4})
    ]
    models[1].load_state_dict(models[0].state_dict())
    x = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(models[0](x), models[1](x))
        models[1].train()
        assert not torch.equal(models[1](x), models[1](x))


def test_without_drop_path_training_draws_nothing() -> None:
    model = fractalnet_cifar(width=0.125, in_channels=1).train()
    x = torch.randn(2, 1, 32, 32)
    state = torch.get_rng_state()
    model(x)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_global_sample_is_one_column_per_image() -> None:
    block = block_of(4, drop_path=0.15).eval()
    x = torch.randn(4, 2, 8, 8)
    with torch.no_grad():
        out = block(x, torch.tensor([2, 0, 3, 1]))
        for image, column in enumerate((2, 0, 3, 1)):
            torch.testing.assert_close(out[image], column_alone(block, column, x)[image])


def test_a_local_sample_keeps_at_least_one_input_and_the_mean_of_what_it_keeps() -> None:
    torch.manual_seed(0)
    images = 20_000
    inputs = [torch.full((images, 1, 1, 1), value) for value in (1.0, 10.0, 100.0)]
    out = Join(0.15)(inputs, (1, 2, 3), torch.full((images,), -1)).flatten()
    subsets = {1.0, 10.0, 100.0, 5.5, 50.5, 55.0, 37.0}
    found = {round(value, 3) for value in out.unique().tolist()}
    assert found == subsets
    assert ((out - 37).abs() < 1e-3).float().mean().item() == pytest.approx(0.85**3, abs=0.012)
    # By symmetry the expected value is the mean of the inputs.
    assert out.mean().item() == pytest.approx(37, rel=0.02)


def test_a_join_that_loses_everything_keeps_one_at_random() -> None:
    torch.manual_seed(0)
    inputs = [torch.full((1000, 1, 1, 1), value) for value in (1.0, 2.0)]
    out = Join(0.9999)(inputs, (0, 1), torch.full((1000,), -1)).flatten()
    assert out.mean().item() == pytest.approx(1.5, abs=0.06)
    assert set(out.tolist()) <= {1.0, 1.5, 2.0}


def test_half_of_the_images_are_sampled_globally() -> None:
    torch.manual_seed(0)
    model = fractalnet_cifar(width=0.125, drop_path=0.15)
    chosen = model._sample(torch.zeros(8_000, 1))
    shares = [(chosen == column).float().mean().item() for column in (-1, 0, 1, 2)]
    assert shares == pytest.approx([1 / 2, 1 / 6, 1 / 6, 1 / 6], abs=0.02)


def test_dropout_rises_from_block_to_block() -> None:
    model = fractalnet_cifar(width=0.125, dropout=0.4)
    rates = [next(module.p for module in block.modules() if isinstance(module, nn.Dropout)) for block in model.blocks]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


def test_names_of_weights_do_not_depend_on_the_training() -> None:
    form = make_form("fractalnet", width=0.125)
    with torch.device("meta"):
        plain = build(form).state_dict()
        trained = build(form, training={"drop_path": 0.15, "dropout": 0.4}).state_dict()
    assert list(plain) == list(trained)
    assert {"blocks.4.columns.2.3.conv.bias", "blocks.0.columns.0.0.bn.running_var", "classifier.weight"} <= set(plain)
    assert "blocks.0.columns.0.0.bn.weight" not in plain
    assert set(find("fractalnet34").training_options) == {"drop_path", "dropout"}


def test_impossible_forms_are_refused() -> None:
    with pytest.raises(ValueError, match=r"width must be at least 0\.125"):
        fractalnet_cifar(width=0.1)
    with pytest.raises(ValueError, match="at least 32 pixels"):
        fractalnet_cifar(input_size=31)
    with pytest.raises(ValueError, match="at least 8 pixels"):
        fractalnet34(input_size=7)
    for options in ({"drop_path": 1.0}, {"drop_path": -0.1}, {"dropout": 1.0}):
        with pytest.raises(ValueError, match="at least 0 and below 1"):
            fractalnet_cifar(width=0.125, **options)


def test_gradients_reach_every_column() -> None:
    model: FractalNet = fractalnet_cifar(width=0.125, in_channels=1, drop_path=0.15).train()
    torch.manual_seed(0)
    model(torch.randn(32, 1, 32, 32)).square().sum().backward()
    grads = [weight.grad for name, weight in model.named_parameters() if name.endswith("conv.weight")]
    assert len(grads) == 35
    assert all(grad is not None and bool(grad.abs().sum() > 0) for grad in grads)
