"""`edgecnn cache`: what is kept, the limit, the end of it."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edgecnn.cli.main import cli
from edgecnn.runtimes.cache import Cache


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "kept"
    for number in range(2):
        key = {"what": "optimised model", "number": number}
        Cache(folder).put(key, "optimised.onnx", lambda path: path.write_bytes(bytes(1_000_000)))
    Cache(folder).put({"kind": "tensorrt engine"}, "network.engine", lambda path: path.write_bytes(bytes(500_000)))
    return folder


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["cache", *arguments])


def test_kinds_sizes_and_limit_are_shown(folder: Path) -> None:
    shown = " ".join(run("--folder", str(folder)).stdout.split())
    for words in ("optimised model 2.0 MB", "tensorrt engine 500 kB", "all, 3 entries 2.5 MB", "limit "):
        assert words in shown
    found = json.loads(run("--folder", str(folder), "--json").stdout)
    assert found["entries"] == 3
    assert found["size_bytes"] == sum(found["kinds"].values()) == pytest.approx(2_500_000, rel=0.01)


def test_a_limit_is_kept_and_taken_back(folder: Path) -> None:
    before = json.loads(run("--folder", str(folder), "--json").stdout)["limit_bytes"]
    for options, wanted in ((("--limit-mb", "1.5"), 1_500_000), ((), 1_500_000), (("--default-limit",), before)):
        assert json.loads(run("--folder", str(folder), "--json", *options).stdout)["limit_bytes"] == wanted


def test_clearing_leaves_nothing(folder: Path) -> None:
    done = run("--folder", str(folder), "--clear", "--json")
    assert done.stderr == "removed: 3, 2.5 MB\n"
    assert json.loads(done.stdout)["entries"] == 0
    assert Cache(folder).entries() == ()


def test_two_limits_are_refused(folder: Path) -> None:
    assert run("--folder", str(folder), "--limit-mb", "1", "--default-limit").exit_code != 0


def test_the_doctor_tells_what_is_kept(folder: Path) -> None:
    from edgecnn.doctor.cache import cache

    (found,) = cache(folder)
    assert (found.health, found.name) == ("ok", "cache")
    assert found.message.startswith("2.5 MB of at most ")
    folder.chmod(0o777)
    (unsafe,) = cache(folder)
    assert (unsafe.health, unsafe.fix) == ("note", f"chmod 700 {folder}")
    assert list(cache(folder / "none")) == []
