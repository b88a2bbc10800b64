"""Stages: the rows of the papers' tables come out of the layer tables; what surveys state is computed anew."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from edgecnn.errors import BadInput
from edgecnn.zoo import make_form
from edgecnn.zoo.layers import Layer, layers_of, totals
from edgecnn.zoo.network import Form, Totals
from edgecnn.zoo.pages.stages import Stage, stages_of
from edgecnn.zoo.pages.surveys import COMPUTED, Claim, _claims, claims, compute
from edgecnn.zoo.pages.tables import branch_table, family_table, grid
from edgecnn.zoo.registry import networks


@cache
def _walked(network: str, options: tuple[tuple[str, object], ...], size: int) -> tuple[Layer, ...]:
    return layers_of(make_form(network, input_size=size, **dict(options)))  # type: ignore[arg-type]


def walk(form: Form) -> tuple[Layer, ...]:
    """Return the layers of a form, walked once for all tests of this file."""
    return _walked(form.network, tuple(form.options.items()), form.input_size)


def sizes(form: Form) -> Totals:
    return totals(walk(form))


def stages(network: str) -> tuple[Stage, ...]:
    return stages_of(walk(make_form(network)))


def test_resnet50_has_the_stages_of_its_paper() -> None:
    rows = [(stage.name, stage.output_shape, stage.blocks, stage.content) for stage in stages("resnet50")]
    assert rows == [
        ("conv1", (64, 112, 112), 0, "7x7 64"),
        ("layer1", (256, 56, 56), 3, "3 x (1x1 64, 3x3 64, 1x1 256)"),
        ("layer2", (512, 28, 28), 4, "4 x (1x1 128, 3x3 128, 1x1 512)"),
        ("layer3", (1024, 14, 14), 6, "6 x (1x1 256, 3x3 256, 1x1 1024)"),
        ("layer4", (2048, 7, 7), 3, "3 x (1x1 512, 3x3 512, 1x1 2048)"),
        ("pool", (2048, 1, 1), 0, "average pool"),
        ("fc", (1000,), 0, "fc 1000"),
    ]


def test_vgg16_is_grouped_by_size_and_its_classifier_is_one_stage() -> None:
    rows = [(stage.output_shape, stage.layers, stage.content) for stage in stages("vgg16")]
    assert [shape for shape, _, _ in rows] == [
        (64, 224, 224),
        (128, 112, 112),
        (256, 56, 56),
        (512, 28, 28),
        (512, 14, 14),
        (512, 7, 7),
        (1000,),
    ]
    assert [layers for _, layers, _ in rows] == [2, 2, 3, 3, 3, 0, 3]
    assert rows[1][2] == "2 x 3x3 128"
    assert rows[-1][2] == "2 x fc 4096, fc 1000"


@pytest.mark.slow
def test_blocks_are_counted_in_sequences_modules_and_pairs() -> None:
    assert [stage.blocks for stage in stages("googlenet")] == [0, 0, 2, 5, 2, 0, 0]
    assert [stage.blocks for stage in stages("densenet121")] == [0, 6, 0, 12, 0, 24, 0, 16, 0, 0]
    assert [stage.blocks for stage in stages("mobilenet_v1")] == [1, 2, 2, 6, 2, 0, 0]
    assert stages("mobilenet_v1")[0].content == "3x3 32, dw 3x3, 1x1 64"


@pytest.mark.parametrize(
    "network",
    [
        *("lenet5", "alexnet_grouped", "squeezenet1_1", "xception", "seresnet50"),
        pytest.param("nasnet_a_mobile", marks=pytest.mark.slow),
    ],
)
def test_stages_and_their_parts_hold_every_layer_once(network: str) -> None:
    layers = walk(make_form(network))
    found = stages(network)
    assert sum(stage.params for stage in found) == totals(layers).params
    assert sum(stage.macs for stage in found) == totals(layers).macs
    assert sum(stage.activation_bytes for stage in found) == totals(layers).activation_bytes
    assert sum(stage.params_share for stage in found) == pytest.approx(1)
    assert sum(stage.macs_share for stage in found) == pytest.approx(1)
    covered = [index for stage in found for part in stage.parts for index in range(part.first, part.last + 1)]
    assert covered == list(range(len(layers)))


# What every claim's figure must come out as: worked out by hand, by the papers' tables or by the reference counts.
FIGURES = {
    ("lenet5", "parameters"): 61_706,
    ("lenet5", "MACs"): 416_520,
    ("alexnet_grouped", "parameters"): 60_965_224,
    ("alexnet_grouped", "MACs"): 724_406_816,
    ("alexnet_ungrouped", "parameters without the last layer"): 62_378_344 - 4_097_000,
    ("alexnet_ungrouped", "MACs"): 1_135_256_096,
    ("vgg16", "values of all layers, input included"): 15_237_608,
    ("vgg16", "parameters"): 138_357_544,
    ("vgg16", "parameters of the first linear layer"): 25_088 * 4096 + 4096,
    ("vgg16", "MACs"): 15_470_264_320,
    ("googlenet", "AlexNet's parameters over GoogLeNet's"): 60_965_224 / 6_998_552,
    ("googlenet", "parameters"): 6_998_552,
    ("googlenet", "MACs"): 1_582_671_872,
    ("googlenet", "weighted layers on the longest path"): 22,
    ("googlenet", "MACs of a naive module on 28x28x256: 1x1-128, 3x3-192, 5x5-96, pool"): 784 * 256 * 4256,
    ("googlenet", "MACs of the same module with bottlenecks of 64"): 784
    * (256 * (128 + 3 * 64) + 64 * (9 * 192 + 25 * 96)),
    ("resnet18", "MACs"): 1_814_073_344,
    ("resnet34", "MACs"): 3_663_761_408,
    ("resnet50", "MACs"): 3_857_973_248,
    ("resnet50", "MACs per position of a bottleneck 256 - 64 - 64 - 256"): 69_632,
    ("resnet50", "MACs per position of one 3x3 convolution 256 - 256"): 589_824,
    ("resnet101", "MACs"): 7_570_194_432,
    ("resnet152", "MACs"): 11_282_415_616,
    ("densenet121", "channels behind the first dense block"): 64 + 6 * 32,
    ("densenet201", "ResNet-101's parameters over DenseNet-201's"): 44_549_160 / 20_013_928,
    ("squeezenet1_0", "MACs"): 818_924_576,
    ("squeezenet1_0", "parameters"): 1_248_424,
    ("squeezenet1_0", "AlexNet's parameters over SqueezeNet's"): 60_965_224 / 1_248_424,
    ("mobilenet_v1", "share of the MACs in pointwise convolutions"): 539_492_352 / 568_740_352,
    ("mobilenet_v1", "share of the parameters in pointwise convolutions"): 3_139_584 / 4_231_976,
    ("mobilenet_v1", "MACs"): 568_740_352,
    ("shufflenet_v1", "MACs at g = 1"): 143_078_976,
    ("shufflenet_v1", "MACs at g = 2"): 140_836_512,
    ("shufflenet_v1", "MACs at g = 3"): 137_460_672,
    ("shufflenet_v1", "MACs at g = 4"): 134_339_776,
    ("shufflenet_v1", "MACs at g = 8"): 138_365_952,
}


@pytest.mark.parametrize("claim", [pytest.param(claim, id=f"{claim.network}-{claim.quantity}") for claim in claims()])
def test_every_claim_is_computed(claim: Claim) -> None:
    assert compute(claim, walk) == pytest.approx(FIGURES[claim.network, claim.quantity], rel=1e-12)


def test_every_claim_is_about_a_network_of_the_zoo_once() -> None:
    names = {network.name for network in networks()}
    keys = [(claim.network, claim.quantity) for claim in claims()]
    assert {name for name, _ in keys} <= names
    assert len(keys) == len(set(keys)) == len(FIGURES)
    assert {claim.compute for claim in claims()} == set(COMPUTED)


def test_a_claim_that_needs_layers_is_not_computed_without() -> None:
    depth = next(claim for claim in claims("googlenet") if claim.compute == "depth")
    assert compute(depth) is None


def test_an_unknown_way_to_compute_is_named(tmp_path: Path) -> None:
    path = tmp_path / "surveys.toml"
    path.write_text('[[claims]]\nnetwork = "lenet5"\nquantity = "a"\nstated = "1"\nsource = "b"\ncompute = "parms"\n')
    with pytest.raises(BadInput, match=r"lenet5: compute: expected params or .*, got parms"):
        _claims(path)


@pytest.mark.slow
def test_resnets_stand_side_by_side() -> None:
    table = family_table("resnet50", walk)
    assert table is not None
    assert [member.title for member in table.members] == [f"resnet{depth}" for depth in (18, 34, 50, 101, 152)]
    assert [member.macs for member in table.members][::2] == [1_814_073_344, 4_089_184_256, 11_513_626_624]
    blocks = {row.name: row.cells for row in table.rows if row.name.startswith("conv") and row.name != "conv1"}
    assert blocks == {
        "conv2_x": ("2 blocks", "3 blocks", "3 blocks", "3 blocks", "3 blocks"),
        "conv3_x": ("2 blocks", "4 blocks", "4 blocks", "4 blocks", "8 blocks"),
        "conv4_x": ("2 blocks", "6 blocks", "6 blocks", "23 blocks", "36 blocks"),
        "conv5_x": ("2 blocks", "3 blocks", "3 blocks", "3 blocks", "3 blocks"),
    }
    assert [row.size for row in table.rows] == [(112, 112), (56, 56), (28, 28), (14, 14), (7, 7), (1, 1), ()]


@pytest.mark.slow
def test_shufflenets_have_the_channels_and_costs_of_their_groups() -> None:
    table = family_table("shufflenet_v1", walk)
    assert table is not None
    assert [round(member.macs / 1e6) for member in table.members] == [143, 141, 137, 134, 138]
    channels = {row.name: row.cells for row in table.rows}
    assert channels["stage 2"] == ("144", "200", "240", "272", "384")
    assert channels["stage 4"] == ("576", "800", "960", "1088", "1536")


@pytest.mark.slow
def test_vgg_and_densenet_have_their_columns() -> None:
    vgg, densenet = family_table("vgg16", walk), family_table("densenet169", walk)
    assert vgg is not None and densenet is not None
    assert [member.title for member in vgg.members] == ["A", "A-LRN", "B", "C", "D", "E"]
    assert vgg.rows[2].cells[3:] == ("2 x 3x3 256, 1x1 256", "3 x 3x3 256", "4 x 3x3 256")
    cells = {row.name: row.cells for row in densenet.rows}
    assert cells["dense block 3"] == ("24 blocks", "32 blocks", "48 blocks", "64 blocks")
    assert cells["dense block 4"] == ("16 blocks", "32 blocks", "32 blocks", "48 blocks")
    assert family_table("lenet5", walk) is None


@pytest.mark.slow
def test_mobilenet_by_width_and_size() -> None:
    table = grid("mobilenet_v1", sizes)
    assert table is not None
    assert table.input_sizes == (224, 192, 160, 128)
    assert [row.params for row in table.rows] == [4_231_976, 2_585_560, 1_331_592, 470_072]
    assert [round(row.macs[0] / 1e6) for row in table.rows] == [569, 325, 149, 41]
    assert [round(value / 1e6) for value in table.rows[0].macs] == [569, 418, 291, 186]
    assert grid("resnet50", sizes) is None


def test_inception_modules_by_branch() -> None:
    table = branch_table("googlenet", walk(make_form("googlenet")))
    assert table is not None
    assert table.branches == ("1x1", "3x3", "5x5", "pool")
    module = table.modules[0]
    assert (module.name, module.output_shape) == ("inception3a", (256, 28, 28))
    # 192 channels in: 64 | 96 -> 128 | 16 -> 32 | pool -> 32.
    assert module.macs == (
        784 * 192 * 64,
        784 * (192 * 96 + 9 * 96 * 128),
        784 * (192 * 16 + 25 * 16 * 32),
        784 * 192 * 32,
    )
    assert module.total == sum(module.macs)
    assert module.naive == 784 * 192 * (64 + 9 * 128 + 25 * 32)
    assert table.modules[1].naive == 854_196_224
    assert [entry.name for entry in table.modules][-1] == "inception5b"
