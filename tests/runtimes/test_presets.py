"""Presets: what they set, that what is asked for wins, and that the engine gets it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecnn.artifacts import load_artifact
from edgecnn.errors import BadInput, UnknownName
from edgecnn.runtimes import OpenOptions, open_session
from edgecnn.runtimes.presets import PRESETS, preset_options
from edgecnn.testing.models import TINY

AFFINITIES = "session.intra_op_thread_affinities"


@pytest.fixture
def alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgecnn.runtimes.presets.usable_big_cores", lambda: ())


@pytest.fixture
def big_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgecnn.runtimes.presets.usable_big_cores", lambda: (4, 5))


@pytest.mark.usefixtures("alike")
def test_what_each_preset_sets() -> None:
    assert preset_options("latency") == OpenOptions()
    assert preset_options("embedded") == OpenOptions(spinning=False, arena=False, cache=True)
    assert preset_options("shared") == OpenOptions(spinning=False, threads=1)


@pytest.mark.usefixtures("big_little")
def test_embedded_keeps_workers_on_large_cores() -> None:
    assert preset_options("embedded").engine == {AFFINITIES: "big"}
    assert preset_options("latency").engine == preset_options("shared").engine == {}


@pytest.mark.usefixtures("big_little")
def test_what_is_asked_for_wins() -> None:
    options = preset_options(
        "embedded", spinning=True, cache=None, threads=3, engine={AFFINITIES: "1;2", "session.disable_prepacking": 1}
    )
    assert options == OpenOptions(
        spinning=True, arena=False, threads=3, engine={AFFINITIES: "1;2", "session.disable_prepacking": 1}
    )


def test_a_wrong_name_is_told_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean embedded") as caught:
        preset_options("embeded")
    assert caught.value.known == tuple(PRESETS)
    with pytest.raises(BadInput, match="threads"):
        preset_options("shared", threads=0)


@pytest.mark.usefixtures("alike")
@pytest.mark.parametrize("name", PRESETS)
def test_the_session_tells_what_was_chosen(name: str, tmp_path: Path) -> None:
    options = preset_options(name, cache_folder=tmp_path / "kept")
    with open_session(load_artifact(TINY), options=options) as session:
        info = session.info()
    chosen = {key: info.options[key] for key in ("spinning", "arena", "mem_pattern", "optimised_model")}
    assert (
        chosen
        == {
            "latency": {"spinning": True, "arena": True, "mem_pattern": True, "optimised_model": "off"},
            "embedded": {"spinning": False, "arena": False, "mem_pattern": False, "optimised_model": "made"},
            "shared": {"spinning": False, "arena": True, "mem_pattern": True, "optimised_model": "off"},
        }[name]
    )
    assert info.threads == 1 if name == "shared" else info.threads is not None
