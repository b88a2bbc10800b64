from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgecnn.errors import UnavailableError, UnknownName
from edgecnn.plugins import Plugins

GROUP = "edgecnn.test_things"
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Give a function that puts a distribution with entry points, and modules, on sys.path."""

    def _install(entry_points: str, **modules: str) -> None:
        folder = tmp_path / "site"
        info = folder / "third_party_things-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: third-party-things\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{GROUP}]\n{entry_points}\n\n[another.group]\nstranger = a:b\n")
        for name, text in modules.items():
            (folder / f"{name}.py").write_text(text)
            # Registers the module for removal after the test.
            monkeypatch.setitem(sys.modules, name, None)
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.syspath_prepend(str(folder))

    return _install


def _plugins() -> Plugins:
    return Plugins("thing", GROUP, {"pi": "math:pi", "join": "os:path.join"}, {"circle": "pi"})


def test_builtins_load_by_name_alias_and_dotted_attribute() -> None:
    import math
    import os

    plugins = _plugins()
    assert plugins.names() == ("pi", "join")
    assert plugins.load("pi") == plugins.load("circle") == math.pi
    assert plugins.load("join") is os.path.join
    assert plugins.resolve("circle") == "pi"
    assert plugins.broken() == {}


def test_entry_points_follow_the_builtins_in_order_of_name(install: Install) -> None:
    install(
        "zebra = thing_mod_a:VALUE\napple = thing_mod_a:Box.inner [extra]",
        thing_mod_a="VALUE = 7\nclass Box:\n    inner = 8\n",
    )
    plugins = _plugins()
    assert plugins.names() == ("pi", "join", "apple", "zebra")
    assert "thing_mod_a" not in sys.modules
    assert (plugins.load("zebra"), plugins.load("apple")) == (7, 8)


def test_a_builtin_wins_over_an_entry_point_of_its_name(install: Install) -> None:
    install("pi = thing_mod_b:PI", thing_mod_b="PI = 3")
    plugins = _plugins()
    assert plugins.names() == ("pi", "join")
    assert plugins.load("pi") > 3.14
    assert plugins.targets()["pi"] == "math:pi"


@pytest.mark.parametrize(
    ("target", "text", "reason"),
    [
        (
            "thing_mod_c:x",
            "import a_package_that_is_not_there",
            "ModuleNotFoundError: No module named 'a_package_that_is_",
        ),
        ("thing_mod_c:x", "raise RuntimeError('no such chip')", "RuntimeError: no such chip"),
        ("thing_mod_c:x", "import sys; sys.exit('wrong platform')", "SystemExit: wrong platform"),
        ("thing_mod_c:x", "def broken(:", "SyntaxError: "),
        ("thing_mod_c:missing", "x = 1", "AttributeError: "),
        ("thing_mod_c", "x = 1", "AttributeError: "),
        ("not_there_at_all:x", "", "ModuleNotFoundError: "),
    ],
)
def test_a_broken_plugin_is_listed_with_its_reason(install: Install, target: str, text: str, reason: str) -> None:
    install(f"bad = {target}\ngood = math:e", thing_mod_c=text)
    plugins = _plugins()
    assert plugins.names() == ("pi", "join", "bad", "good")
    assert list(plugins.broken()) == ["bad"]
    assert plugins.broken()["bad"].startswith(f"thing bad ({target}) cannot be imported: {reason}")
    with pytest.raises(UnavailableError) as caught:
        plugins.load("bad")
    assert caught.value.message.startswith(f"thing bad ({target}) cannot be imported: {reason}")
    assert caught.value.hint == "reinstall or remove the package that provides it"
    assert caught.value.__cause__ is not None
    assert plugins.load("good") == pytest.approx(2.718281828)


def test_unknown_name_suggests_also_aliases_and_entry_points(install: Install) -> None:
    install("hexagon = math:e")
    with pytest.raises(UnknownName) as caught:
        _plugins().load("hexagn")
    assert caught.value.suggestion == "hexagon"
    assert caught.value.known == ("pi", "join", "hexagon")
    with pytest.raises(UnknownName) as caught:
        _plugins().resolve("circel")
    assert caught.value.suggestion == "circle"
    assert caught.value.message == "unknown thing 'circel'"


def test_listing_and_resolving_imports_nothing(install: Install) -> None:
    install("lazy = thing_mod_d:x", thing_mod_d="raise AssertionError('imported too early')")
    plugins = _plugins()
    assert plugins.resolve("lazy") == "lazy"
    assert plugins.targets()["lazy"] == "thing_mod_d:x"
    assert "thing_mod_d" not in sys.modules
