"""The layer table: exact against published numbers, and against networks whose costs are worked out here."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgecnn.errors import BadInput, UnsupportedOp
from edgecnn.zoo import Form, Layer, Published, build, find, layer_table, make_form, networks
from edgecnn.zoo.layers import IMAGE, layers_of, totals
from edgecnn.zoo.network import Totals
from edgecnn.zoo.sizes import known_forms, known_sizes

_WALKED: dict[tuple[str, int, int], Totals] = {}

# The cheapest form of every family; all others are walked in the slow tests.
QUICK = {
    family: min(
        (form for form in known_forms() if find(form.network).family == family), key=lambda form: known_sizes(form).macs
    )
    for family in {find(form.network).family for form in known_forms()}
}


def row_of(value: Form | Published, name: str, form: Form) -> Any:
    """Return a parameter that is slow unless the form is the cheapest of its family."""
    quick = QUICK.get(find(form.network).family) == form
    return pytest.param(value, id=name, marks=() if quick else pytest.mark.slow)


FORMS = [row_of(form, form.title, form) for form in known_forms()]
PUBLISHED = [row_of(row, row.id, row.form) for network in networks() for row in network.published]


def walked(form: Form) -> Totals:
    """Return the totals of a form, walked once for all tests of this file."""
    key = (form.title, form.channels, form.classes)
    if key not in _WALKED:
        _WALKED[key] = totals(layers_of(form))
    return _WALKED[key]


@pytest.mark.parametrize("form", FORMS)
def test_totals_equal_the_table_that_is_read_without_torch(form: Form) -> None:
    assert known_sizes(form) == walked(form), "run python -m edgecnn.zoo.sizes"


@pytest.mark.parametrize("row", PUBLISHED)
def test_totals_equal_what_is_published(row: Published) -> None:
    sizes = walked(row.form)
    assert row.params in (None, sizes.params)
    if row.macs is not None:
        # Derived figures are rounded to a thousand; other sources count batch norm or round.
        tolerance = 500 if "layer by layer" in row.macs_source else 0.01 * row.macs
        assert abs(sizes.macs - row.macs) <= tolerance


def test_nearly_every_published_row_has_a_count_to_compare() -> None:
    rows = [row for network in networks() for row in network.published]
    assert sum(row.params is not None for row in rows) >= 120
    assert sum(row.macs is not None for row in rows) >= 120


def test_the_stride_of_a_bottleneck_moves_the_cost_and_not_the_parameters() -> None:
    ours, paper = (totals(layers_of(make_form("resnet50", stride_in=stride))) for stride in ("3x3", "1x1"))
    assert (ours.params, ours.macs) == (25_557_032, 4_089_184_256)
    assert (paper.params, paper.macs) == (25_557_032, 3_857_973_248)


def test_lenet_is_walked_layer_by_layer() -> None:
    walk = [(layer.kind, layer.output_shape, layer.params, layer.macs) for layer in layers_of(make_form("lenet"))]
    assert walk == [
        ("conv", (6, 28, 28), 156, 117_600),
        ("tanh", (6, 28, 28), 0, 0),
        ("average pool", (6, 14, 14), 0, 0),
        ("conv", (16, 10, 10), 2_416, 240_000),
        ("tanh", (16, 10, 10), 0, 0),
        ("average pool", (16, 5, 5), 0, 0),
        ("linear", (120,), 48_120, 48_000),
        ("tanh", (120,), 0, 0),
        ("linear", (84,), 10_164, 10_080),
        ("tanh", (84,), 0, 0),
        ("linear", (10,), 850, 840),
    ]


def test_a_row_has_name_window_groups_and_activation() -> None:
    rows = layers_of(make_form("mobilenet", width=0.5))
    assert rows[0] == Layer(
        name="stem.conv",
        kind="conv",
        kernel=(3, 3),
        stride=(2, 2),
        groups=1,
        output_shape=(16, 112, 112),
        params=432,
        macs=432 * 112 * 112,
        activation_bytes=4 * 16 * 112 * 112,
        inputs=(IMAGE,),
    )
    assert [row.inputs for row in rows[1:4]] == [(0,), (1,), (2,)]
    assert (rows[1].name, rows[1].kind, rows[1].params, rows[1].activation_bytes) == ("stem.bn", "batch norm", 32, 0)
    assert (rows[2].kind, rows[2].activation_bytes) == ("relu", 0)
    depthwise = rows[3]
    assert (depthwise.name, depthwise.kind, depthwise.groups) == ("blocks.0.depthwise.conv", "depthwise", 16)
    assert (depthwise.params, depthwise.macs) == (16 * 9, 16 * 9 * 112 * 112)


def test_what_a_block_runs_itself_is_seen() -> None:
    rows = {layer.name: layer for layer in layers_of(make_form("resnet20"))}
    assert rows["layer1.0.add"].activation_bytes == 4 * 16 * 32 * 32
    assert (rows["layer2.0.downsample"].kind, rows["layer2.0.downsample"].output_shape) == ("pad", (32, 16, 16))
    pool = rows["pool.pool"]
    assert (pool.kind, pool.kernel, pool.output_shape) == ("average pool", (8, 8), (64, 1, 1))
    squeeze = {layer.name: layer for layer in layers_of(make_form("squeezenet"))}
    assert (squeeze["features.2"].kind, squeeze["features.2"].kernel, squeeze["features.2"].stride) == (
        "max pool",
        (3, 3),
        (2, 2),
    )
    assert squeeze["features.3.concat"].output_shape == (128, 55, 55)


def test_a_block_tells_which_layers_it_adds_and_which_it_concatenates() -> None:
    rows = layers_of(make_form("resnet50"))
    at = {layer.name: index for index, layer in enumerate(rows)}
    adds = [layer for layer in rows if layer.kind == "add"]
    assert adds[0].inputs == (at["layer1.0.bn3"], at["layer1.0.downsample.1"])
    # The identity of the second block is what the last relu of the first one made.
    first_relu = max(index for index, layer in enumerate(rows) if layer.name == "layer1.0.relu")
    assert adds[1].inputs == (first_relu, at["layer1.1.bn3"])
    fire = {layer.name: layer for layer in layers_of(make_form("squeezenet1_1"))}
    assert len(fire["features.3.concat"].inputs) == 2
    assert all(0 <= index < position or index == IMAGE for position, row in enumerate(rows) for index in row.inputs)


def test_local_response_norm_is_one_layer() -> None:
    rows = layers_of(make_form("alexnet_grouped"))
    norms = [(index, layer) for index, layer in enumerate(rows) if layer.kind == "local response norm"]
    assert [layer.output_shape for _, layer in norms] == [(96, 55, 55), (256, 27, 27)]
    assert [layer.activation_bytes for _, layer in norms] == [4 * 96 * 55 * 55, 4 * 256 * 27 * 27]
    assert all(layer.inputs == (index - 1,) for index, layer in norms)
    assert all(rows[index + 1].inputs == (index,) for index, _ in norms)


def test_vgg16_has_the_activations_that_its_paper_form_has() -> None:
    # VGG-16 at 224: 138,357,544 parameters; outputs of convolutions, poolings and linear layers are 15,087,080 values
    # (15,237,608 with the input).
    with torch.device("meta"):
        layers: list[nn.Module] = []
        channels = 3
        for width in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0):
            if width:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
                channels = width
            else:
                layers.append(nn.MaxPool2d(2))
        layers.append(nn.Flatten())
        for inputs in (25088, 4096):
            layers += [nn.Linear(inputs, 4096), nn.ReLU(inplace=True), nn.Dropout()]
        sizes = totals(layer_table(nn.Sequential(*layers, nn.Linear(4096, 1000)), (3, 224, 224)))
    assert (sizes.params, sizes.macs) == (138_357_544, 15_470_264_320)
    assert sizes.activation_bytes == 4 * (15_237_608 - 3 * 224 * 224)


class Awkward(nn.Module):
    """Functional convolution, a shared layer, a layer that inference does not run, grouped and transposed convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(4, 3, 3, 3))
        self.shared = nn.Conv2d(4, 4, 1)
        self.grouped = nn.Conv2d(4, 8, (1, 3), groups=2, stride=(1, 2))
        self.up = nn.ConvTranspose2d(8, 2, 2, stride=2, bias=False)
        self.auxiliary = nn.Linear(4, 10)
        self.head = nn.Linear(2, 5, bias=False)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv2d(x, self.kernel, padding=1)
        x = self.shared(self.shared(x))
        x = self.norm(torch.relu(x))
        if self.training:
            return self.auxiliary(x.mean((2, 3)))  # type: ignore[no-any-return]
        x = self.up(self.grouped(x))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))  # type: ignore[no-any-return]


def test_functional_shared_unused_grouped_and_transposed_layers() -> None:
    model = Awkward()
    rows = layer_table(model, (3, 8, 8))
    by_name: dict[str, list[Layer]] = {}
    for row in rows:
        by_name.setdefault(row.name, []).append(row)
    (first,) = by_name["conv"]
    assert (first.params, first.macs) == (108, 108 * 64)
    assert [(row.params, row.macs) for row in by_name["shared"]] == [(20, 16 * 64), (0, 16 * 64)]
    (grouped,) = by_name["grouped"]
    assert (grouped.kind, grouped.kernel, grouped.stride, grouped.groups) == ("conv", (1, 3), (1, 2), 2)
    assert (grouped.output_shape, grouped.params, grouped.macs) == ((8, 8, 3), 48 + 8, 48 * 24)
    (up,) = by_name["up"]
    assert (up.output_shape, up.params, up.macs) == ((2, 16, 6), 64, 64 * 24)
    assert "auxiliary" not in by_name
    (norm,) = by_name["norm"]
    # Not behind a convolution: it cannot be folded and has an output of its own.
    assert norm.activation_bytes == 4 * 4 * 64
    assert totals(rows).params == 108 + 20 + 56 + 64 + 8 + 10


def test_the_model_is_left_as_it_was() -> None:
    model = build(make_form("resnet20"))
    model.get_submodule("layer1").eval()
    flags = [module.training for module in model.modules()]
    weights = {name: (id(tensor), tensor.clone()) for name, tensor in model.state_dict(keep_vars=True).items()}
    layer_table(model, (3, 32, 32))
    assert [module.training for module in model.modules()] == flags
    for name, tensor in model.state_dict(keep_vars=True).items():
        assert id(tensor) == weights[name][0]
        assert torch.equal(tensor, weights[name][1])
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_failing_walk_leaves_the_model_as_it_was() -> None:
    model = build(make_form("lenet")).train()
    with pytest.raises(BadInput, match=r"cannot run on an input of \(1, 20, 20\)"):
        layer_table(model, (1, 20, 20))
    assert model.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_shapes_are_those_of_a_real_run() -> None:
    model = build(make_form("squeezenet", input_size=67)).eval()
    shapes: dict[str, tuple[int, ...]] = {}
    for name, module in model.named_modules():
        if not list(module.children()):
            module.register_forward_hook(
                lambda module, args, out, name=name: shapes.__setitem__(name, tuple(out.shape[1:]))
            )
    rows = layer_table(model, (3, 67, 67))
    shapes.clear()
    with torch.inference_mode():
        model(torch.zeros(1, 3, 67, 67))
    walked = {row.name: row.output_shape for row in rows if row.name in shapes}
    assert len(walked) > 50
    assert walked == {name: shapes[name] for name in walked}


def test_half_precision_models_are_counted_like_others() -> None:
    model = build(make_form("resnet20"))
    assert layer_table(model.half(), (3, 32, 32)) == layers_of(make_form("resnet20"))


def test_an_input_that_is_not_one_image_is_refused() -> None:
    with pytest.raises(BadInput, match=r"expected \(channels, height, width\), got \(1, 3, 32, 32\)"):
        layer_table(nn.Identity(), (1, 3, 32, 32))


def test_an_operation_that_looks_at_values_is_unsupported() -> None:
    class Looks(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[x > 0]

    with pytest.raises(UnsupportedOp, match="no shape without data"):
        layer_table(Looks(), (3, 4, 4))
