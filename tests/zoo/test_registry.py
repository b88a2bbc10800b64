"""The registry: names, aliases, networks of other packages, building."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import edgecnn
from edgecnn.errors import BadInput, UnavailableError, UnknownName, UsageError, folded
from edgecnn.zoo import broken, build, bundled_form, find, make_form, networks
from edgecnn.zoo.pages.summary import summarise

NAMES = (
    "lenet5",
    *(f"resnet{depth}" for depth in (18, 34, 50, 101, 152, 20, 32, 44, 56, 110)),
    "squeezenet1_1",
    "mobilenet_v1",
)

GOOD = """
from edgecnn.zoo import Network, find
NETWORK = __import__("dataclasses").replace(find("lenet5"), name="{name}", aliases=("{alias}",), bundled=None)
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a distribution with four entry points on the path: one good, three that cannot be had."""
    (tmp_path / "theirs_good.py").write_text(GOOD.format(name="theirnet", alias="theirs"))
    (tmp_path / "theirs_misnamed.py").write_text(GOOD.format(name="other", alias="others"))
    (tmp_path / "theirs_broken.py").write_text("import a_module_that_is_not_there")
    (tmp_path / "theirs_wrong.py").write_text("NETWORK = 3")
    (tmp_path / "theirs_builtin.py").write_text("raise RuntimeError('the zoo has this name')")
    folder = tmp_path / "theirs-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(
        "[edgecnn.networks]\n"
        "theirnet = theirs_good:NETWORK\n"
        "misnamed = theirs_misnamed:NETWORK\n"
        "brokennet = theirs_broken:NETWORK\n"
        "wrongnet = theirs_wrong:NETWORK\n"
        "resnet50 = theirs_builtin:NETWORK\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_the_zoo_is_listed_oldest_paper_first() -> None:
    own = [network for network in networks() if network.name in NAMES]
    assert {network.name for network in own} == set(NAMES)
    years = [network.paper.year for network in own]
    assert years == sorted(years)
    assert [network.licence for network in own] == ["Apache-2.0"] * len(own)


@pytest.mark.parametrize(
    ("alias", "name"), [("mobilenet", "mobilenet_v1"), ("lenet", "lenet5"), ("squeezenet", "squeezenet1_1")]
)
def test_aliases_find_their_network(alias: str, name: str) -> None:
    assert find(alias).name == name
    assert alias in find(name).aliases


@pytest.mark.parametrize("name", ["ResNet50", "RESNET50", "Inception-V3", "wide-resnet50_2", "ensemble:LeNet+lenet5"])
def test_capitals_and_dashes_are_no_other_name(name: str) -> None:
    plain = name.lower().replace("-", "_")
    if ":" in name:
        with pytest.raises(BadInput, match="lenet5"):
            find(name)
    else:
        assert find(name) is find(plain)
        assert find(name).name == plain


def test_a_familys_short_name_finds_its_trained_member() -> None:
    for family in {network.family for network in networks() if network.bundled}:
        found = find(family)
        trained = [network.name for network in networks() if network.family == family and network.bundled]
        assert found.name in trained or found.small in trained
    assert find("resnet").name == "resnet20"


@pytest.mark.parametrize(
    ("family", "members"),
    [
        ("inception", "inception_v3, inception_v2, inception_v4, inception_resnet_v2, inception_v1"),
        ("Wide_ResNet", "wide_resnet50_2, wide_resnet101_2, wrn_16, wrn_28, wrn_40"),
    ],
)
def test_a_family_without_a_member_of_its_name_says_which_it_has(family: str, members: str) -> None:
    with pytest.raises(UnknownName) as caught:
        find(family)
    assert caught.value.hint.startswith(f"a family, with {members}; edgecnn zoo --family ")


def test_names_and_aliases_are_unique() -> None:
    names = [folded(name) for network in networks() for name in (network.name, *network.aliases)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("typed", "meant"), [("mobilnet", "mobilenet"), ("resnet-152", "resnet152"), ("squeezenet1.1", "squeezenet1_1")]
)
def test_an_unknown_name_suggests_the_nearest_alias_included(typed: str, meant: str) -> None:
    with pytest.raises(UnknownName) as caught:
        find(typed)
    assert caught.value.suggestion == meant
    assert caught.value.exit_code == 2
    assert set(NAMES) <= set(caught.value.known)


def test_networks_of_other_packages_are_found(package: Path) -> None:
    assert find("theirnet").name == "theirnet"
    assert find("theirs").name == "theirnet"
    assert [network.name for network in networks()][-1] == "theirnet"
    form = make_form("theirnet", classes=3)
    assert build(form)(__import__("torch").zeros(2, 1, 32, 32)).shape == (2, 3)


def test_networks_that_cannot_be_had_are_listed_with_the_reason(package: Path) -> None:
    reasons = broken()
    assert set(reasons) == {"misnamed", "brokennet", "wrongnet"}
    assert "a_module_that_is_not_there" in reasons["brokennet"]
    assert "int" in reasons["wrongnet"]
    assert "other" in reasons["misnamed"]
    with pytest.raises(UnavailableError, match="a_module_that_is_not_there"):
        find("BrokenNet")
    with pytest.raises(UnknownName) as caught:
        find("brokenet")
    assert caught.value.suggestion == "brokennet"


def test_a_name_of_the_zoo_is_never_taken_over(package: Path) -> None:
    assert find("resnet50").builder == "edgecnn.zoo.families.resnet:resnet"
    assert find("lenet").name == "lenet5"


# One network of every builder and of every `fixed` choice of words; depth and width of the same builder are the same code.
BUILDERS = {
    (network.builder, *(value for value in network.fixed.values() if isinstance(value, str))): network.name
    for network in sorted(networks(), key=lambda network: -(summarise(network).params or 0))
}


# Of hundreds of layers, a tenth of a second each.
DEEP = (
    "nasnet_a_cifar",
    "nasnet_a_mobile",
    "inception_resnet_v2",
    "inception_v4",
    "senet154",
    "densenet121",
    "densenet_bc",
)


@pytest.mark.parametrize(
    "network",
    [pytest.param(name, marks=pytest.mark.slow) if name in DEEP else name for name in BUILDERS.values()],
)
def test_every_builder_makes_a_network_for_small_images(network: str) -> None:
    torch = pytest.importorskip("torch")
    from edgecnn.zoo.meta import build_on_meta

    form = make_form(network, input_size=32, classes=7, channels=1)
    with torch.device("meta"), torch.inference_mode():
        assert build_on_meta(form).eval()(torch.zeros(2, *form.input_shape)).shape == (2, 7)


@pytest.mark.slow
def test_the_least_input_size_is_the_builders() -> None:
    torch = pytest.importorskip("torch")
    for network in map(find, BUILDERS.values()):
        if network.min_input > 1:
            form = make_form(network, input_size=network.min_input)
            with torch.device("meta"), torch.inference_mode():
                build(form).eval()(torch.zeros(1, *form.input_shape))
                with pytest.raises(UsageError, match="cannot be built"):
                    build(replace(form, input_size=network.min_input - 1))


def test_a_builder_that_refuses_is_a_usage_error_with_its_reason() -> None:
    pytest.importorskip("torch")
    with pytest.raises(UsageError, match="lenet5 reads 32 x 32 images only"):
        build(replace(make_form("lenet"), input_size=28))


def test_bundled_forms_are_those_of_the_networks() -> None:
    for network in networks():
        form = bundled_form(network.name)
        assert form == (network.bundled.form if network.bundled else None)
        if network.bundled:
            assert network.bundled.path.stem == network.bundled.form.title


def test_names_and_numbers_need_no_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from edgecnn.errors import MissingDependency\n"
        "from edgecnn.zoo import build, make_form, networks\n"
        "assert len(networks()) >= 13\n"
        "try:\n"
        "    build(make_form('resnet50'))\n"
        "except MissingDependency as error:\n"
        "    print(error.message, '|', error.hint)\n"
    )
    root = str(Path(edgecnn.__file__).parents[1])
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": root}
    ).stdout
    assert out == "building resnet50 needs the package torch | pip install 'edgecnn[export]'\n"
