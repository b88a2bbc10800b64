"""The zoo's tables: what is published equals the reference, bundled weights are found, mistakes are named."""

from __future__ import annotations

import csv
import re
from decimal import Decimal
from pathlib import Path

import pytest

from edgecnn.errors import BadInput
from edgecnn.zoo import find, make_form, networks
from edgecnn.zoo.catalog import FAMILIES, PUBLISHED, preprocess_of, read_networks

REFERENCE = Path(__file__).parents[3] / "shared" / "reference" / "architectures.csv"

# Rows that the reference lacks; their sizes are derived below, their accuracy has its source in the row.
SMALL_IMAGE = {f"resnet{depth}_cifar10": depth for depth in (20, 32, 44, 56, 110)}

NUMBERS = ("params_exact", "macs_M", "top1", "top5", "top1_alt", "top5_alt", "weights_url", "sha_prefix")

RECALLED = {"top1", "top5"}  # the reference has them from memory: left out here
NO_SUCH_FORM = {"params_exact", "macs_M"}  # counted with channels that are no multiple of the groups

# Where our table says something else than the reference, by row.
DIFFERING = {
    "inception_v3": {
        "params_exact",
        "top1_alt",
        "top5_alt",
    },  # without the auxiliary head; the paper's figure is recalled
    "nasnet_a_mobile": {"macs_M"},  # the release's 564 M, which is what the graph has
    "nin_imagenet": {"top1"},  # from memory
    "fractalnet34_imagenet": RECALLED,
    "squeezenet_deepcompressed": RECALLED,
    "squeezenet_1.0": {"top5_alt"},
    **{f"shufflenet_v1_g{groups}_{width}x": NO_SUCH_FORM for groups in (2, 4, 8) for width in (0.5, 0.25)},
}

WEIGHTS = """
[network]
name = "{name}"
input_size = {size}
in_channels = 1
classes = 10
{options}
[recipe]
epochs = 3
[result]
dataset = "fashion-mnist"
split = "test"
images = 10000
top1 = 0.9316
"""


def rows(path: Path) -> dict[str, dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


def weights_folder(folder: Path, stem: str, text: str) -> Path:
    (folder / f"{stem}.toml").write_text(text)
    (folder / f"{stem}.safetensors").write_bytes(b"anything")
    return folder


def test_published_numbers_are_those_of_the_reference() -> None:
    if not REFERENCE.exists():
        pytest.skip(f"the reference table {REFERENCE} is not on this machine")
    reference, ours = rows(REFERENCE), rows(PUBLISHED)
    # The original LeNet-5 is the one row whose network the zoo has not.
    assert reference.keys() - ours.keys() == {"lenet5_original"}
    assert ours.keys() - reference.keys() == SMALL_IMAGE.keys()
    for name in reference.keys() & ours.keys():
        differing = {column for column in NUMBERS if ours[name][column] != reference[name][column]}
        assert differing == DIFFERING.get(name, set()), name


def test_no_published_number_was_recalled_from_memory() -> None:
    assert not [
        name for name, row in rows(PUBLISHED).items() if re.search(r"memory|stored|\bid \d", " ".join(row.values()))
    ]


@pytest.mark.parametrize(("row", "depth"), SMALL_IMAGE.items())
def test_small_image_resnets_have_the_size_that_follows_from_the_paper(row: str, depth: int) -> None:
    blocks = (depth - 2) // 6
    params, macs, before = 3 * 16 * 9 + 32, 3 * 16 * 9 * 32 * 32, 16
    for stage, width in enumerate((16, 32, 64)):
        size = 32 // 2**stage
        for _ in range(blocks):
            weights = before * width * 9 + width * width * 9
            params, macs, before = params + weights + 4 * width, macs + weights * size * size, width
    published = next(one for one in find(f"resnet{depth}").published if one.id == row)
    assert (published.id, published.params) == (row, params + 64 * 10 + 10)
    assert published.macs == round((macs + 640) / 1000) * 1000
    # The paper's Table 6 rounds to two digits.
    assert float(published.params_reported) == pytest.approx((params + 650) / 1e6, rel=0.02)


def test_the_row_that_stands_for_a_form_is_about_that_form() -> None:
    resnet = find("resnet50")
    plain = resnet.published_for(make_form(resnet))
    paper = resnet.published_for(make_form(resnet, stride_in="1x1"))
    assert plain is not None
    assert paper is not None
    assert (plain.id, plain.top1, plain.top5) == ("resnet50_torchvision_v1.5", 0.7613, 0.92862)
    assert (paper.id, paper.macs, paper.top1) == ("resnet50_original", 3_857_973_000, 0.753)
    assert resnet.published_for(make_form(resnet, input_size=160)) is None
    first = find("resnet18").published_for(make_form("resnet18"))
    assert first is not None
    assert first.id == "resnet18_torchvision"
    assert len(find("resnet18").published) == 2


def test_the_accuracy_of_a_published_file_is_its_publishers() -> None:
    vgg16 = find("vgg16").published_for(make_form("vgg16"))
    resnet50 = find("resnet50").published_for(make_form("resnet50"))
    assert vgg16 is not None
    assert resnet50 is not None
    # The paper's figure is of other weights, tested densely.
    assert (vgg16.top1, vgg16.file_top1) == (0.73, 0.71592)
    assert resnet50.file_top1 == resnet50.top1 == 0.7613


def test_every_accuracy_has_its_protocol_and_source() -> None:
    for network in networks():
        for row in network.published:
            assert row.params_source or not row.params
            assert row.macs_source or not row.macs
            if row.top1 is not None:
                assert 0.4 < row.top1 < 1
                assert row.protocol
                assert row.accuracy_source


def test_percent_becomes_a_share_without_rounding() -> None:
    for name, row in rows(PUBLISHED).items():
        (published,) = [one for one in find(row["network"]).published if one.id == name]
        if row["top1"]:
            assert published.top1 == float(Decimal(row["top1"]) / 100)


def test_bundled_weights_are_read_from_the_toml_beside_them(tmp_path: Path) -> None:
    text = WEIGHTS.format(name="mobilenet_v1", size=32, options="width = 0.25")
    folder = weights_folder(tmp_path, "mobilenet_v1_0.25_32", text)
    found = {network.name: network.bundled for network in read_networks(weights=folder)}
    bundled = found.pop("mobilenet_v1")
    assert set(found.values()) == {None}
    assert bundled is not None
    assert bundled.form == make_form("mobilenet", width=0.25, input_size=32, channels=1, classes=10)
    assert (bundled.dataset, bundled.top1, bundled.images) == ("fashion-mnist", 0.9316, 10_000)
    assert bundled.path == folder / "mobilenet_v1_0.25_32.safetensors"
    assert (bundled.preprocess.size, bundled.preprocess.fit, bundled.preprocess.mean) == ((32, 32), "pad", (0.286,))


def test_a_recipe_without_weights_or_without_a_result_is_not_bundled(tmp_path: Path) -> None:
    text = WEIGHTS.format(name="resnet20", size=32, options="")
    (tmp_path / "resnet20.toml").write_text(text)
    weights_folder(tmp_path, "lenet5", text.partition("[result]")[0].replace("resnet20", "lenet5"))
    assert {network.bundled for network in read_networks(weights=tmp_path)} == {None}


def test_a_missing_weights_folder_means_no_bundled_weights(tmp_path: Path) -> None:
    assert {network.bundled for network in read_networks(weights=tmp_path / "none")} == {None}


@pytest.mark.parametrize(
    ("stem", "name", "options", "message"),
    [
        (
            "mobilenet_v1_0.5_32",
            "mobilenet_v1",
            "width = 0.25",
            "expected mobilenet_v1_0.25_32, got mobilenet_v1_0.5_32",
        ),
        ("nonet", "nonet", "", "nonet is missing or unknown"),
        ("lenet5", "lenet5", "width = 0.25", "unknown option of lenet5 'width'"),
    ],
)
def test_a_weights_toml_that_does_not_fit_is_named(
    tmp_path: Path, stem: str, name: str, options: str, message: str
) -> None:
    weights_folder(tmp_path, stem, WEIGHTS.format(name=name, size=32, options=options))
    with pytest.raises(Exception, match=re.escape(message)):
        read_networks(weights=tmp_path)


def family(folder: Path, text: str) -> Path:
    (folder / "datasets.toml").write_text((FAMILIES / "datasets.toml").read_text())
    (folder / "a.toml").write_text(text)
    return folder


PAPER = 'family = "A"\n[paper]\ntitle = "T"\nauthors = "X"\nyear = 2000\nvenue = "V"\n'


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ('title = "A"\nbuilder = "a:a"\ndataset = "mnist"\nsize = 3', "size"),
        ('title = "A"\nbuilder = "a:a"\ndataset = "imagenet"', "expected one of imagenet-1k"),
        ('title = "A"\nbuilder = "a:a"\ndataset = "mnist"\noptions = ["width"]', "option width"),
        ('title = "A"\ndataset = "mnist"', "builder is missing"),
    ],
)
def test_a_mistake_in_a_family_file_is_named(tmp_path: Path, network: str, message: str) -> None:
    folder = family(tmp_path, f"{PAPER}[networks.a]\n{network}\n")
    empty = tmp_path / "published.csv"
    empty.write_text("network\n")
    with pytest.raises(BadInput, match=re.escape(message)):
        read_networks(families=folder, published=empty, weights=tmp_path / "none")


def test_a_published_row_of_a_network_that_there_is_not_is_named(tmp_path: Path) -> None:
    path = tmp_path / "published.csv"
    path.write_text("network,options,input_size\nnonet,,224\n")
    with pytest.raises(BadInput, match="line 2: network: expected one of the catalogue, got nonet"):
        read_networks(published=path)


def test_preprocessing_by_data_set() -> None:
    spec = preprocess_of("fashion-mnist", 32)
    assert spec is not None
    assert (spec.size, spec.channels, spec.std) == ((32, 32), 1, (0.353,))
    assert preprocess_of("holiday-photos", 32) is None
