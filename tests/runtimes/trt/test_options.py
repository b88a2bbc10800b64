from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgecnn.artifacts import load_artifact
from edgecnn.errors import BadInput, Contradiction, UnknownName
from edgecnn.runtimes import OpenOptions
from edgecnn.runtimes.nvidia.cudart import CudaDevice
from edgecnn.runtimes.trt.options import build_options, check_options, device_ordinal, timing_cache_wanted
from edgecnn.specs import Artifact, TensorSpec
from edgecnn.testing.models import TINY, TINY_BATCH1

ORIN = CudaDevice(
    ordinal=0,
    name="Orin",
    compute_capability=(8, 7),
    multiprocessors=8,
    memory_bytes=2 << 30,
    integrated=True,
    pci_bus_id="0000:00:00.0",
    driver_version="12.6",
    runtime_version="12.6",
)


@pytest.fixture
def artifact() -> Artifact:
    return load_artifact(TINY)


def test_all_is_stated_by_default(artifact: Artifact) -> None:
    chosen = build_options(artifact, OpenOptions())
    assert (chosen.max_batch, chosen.opt_batch) == (1, 1)
    assert chosen.workspace_bytes == 1 << 30
    assert chosen.tf32 is False
    assert chosen.optimization_level == 3
    assert chosen.profiling_verbosity == "detailed"


def test_a_small_gpu_gets_a_small_workspace(artifact: Artifact) -> None:
    assert build_options(artifact, OpenOptions(), ORIN).workspace_bytes == 512 << 20
    asked = OpenOptions(engine={"workspace_mib": 2048})
    assert build_options(artifact, asked, ORIN).workspace_bytes == 2 << 30
    with pytest.raises(BadInput, match="1 to 2048"):
        build_options(artifact, OpenOptions(engine={"workspace_mib": 2049}), ORIN)


def test_options_reach_the_build(artifact: Artifact) -> None:
    engine: dict[str, Any] = {
        "opt_batch": 4,
        "workspace_mib": 64,
        "tf32": True,
        "optimization_level": 5,
        "profiling_verbosity": "none",
    }
    chosen = build_options(artifact, OpenOptions(max_batch=16, engine=engine))
    assert (chosen.max_batch, chosen.opt_batch, chosen.workspace_bytes) == (16, 4, 64 << 20)
    assert (chosen.tf32, chosen.optimization_level, chosen.profiling_verbosity) == (True, 5, "none")


def test_the_batch_of_a_file_of_one_image_stays() -> None:
    artifact = load_artifact(TINY_BATCH1)
    chosen = build_options(artifact, OpenOptions(max_batch=1, engine={"opt_batch": 1}))
    assert (chosen.max_batch, chosen.opt_batch) == (None, None)
    # max_batch promises no larger batches than that, which a file of one image keeps anyway.
    assert build_options(artifact, OpenOptions(max_batch=8)) == chosen
    with pytest.raises(Contradiction, match="fixed batch 1"):
        build_options(artifact, OpenOptions(engine={"opt_batch": 2}))


@pytest.mark.parametrize(
    ("engine", "word"),
    [
        ({"opt_batch": 9}, "1 to 8"),
        ({"opt_batch": 0}, "1 to 8"),
        ({"opt_batch": True}, "whole number"),
        ({"optimization_level": 6}, "0 to 5"),
        ({"optimization_level": 2.5}, "whole number"),
        ({"workspace_mib": "1"}, "whole number"),
        ({"tf32": 1}, "True or False"),
        ({"profiling_verbosity": "loud"}, "layer_names_only"),
    ],
)
def test_values_that_cannot_be(artifact: Artifact, engine: dict[str, Any], word: str) -> None:
    with pytest.raises(BadInput, match=word):
        build_options(artifact, OpenOptions(max_batch=8, engine=engine))


def test_free_sizes_besides_the_batch_are_refused(artifact: Artifact) -> None:
    for shape, word in ((("N", 3, "H", "W"), "H, W"), (("N", "C", 8, 8), "C")):
        spec = replace(artifact.spec, inputs=(TensorSpec(name="input", dtype="float32", shape=shape),))
        with pytest.raises(BadInput, match=f"input input has a free size besides the batch: {word}"):
            build_options(replace(artifact, spec=spec), OpenOptions())
    two = (
        TensorSpec(name="a", dtype="float32", shape=("N", 8)),
        TensorSpec(name="b", dtype="float32", shape=(2, 8)),
    )
    with pytest.raises(BadInput, match="several batch sizes"):
        build_options(replace(artifact, spec=replace(artifact.spec, inputs=two)), OpenOptions())


@pytest.mark.parametrize(
    "options",
    [
        OpenOptions(arena=False),
        OpenOptions(spinning=False),
        OpenOptions(cache=False, cache_folder=Path("x")),
    ],
)
def test_what_cannot_be_honoured_is_refused(options: OpenOptions) -> None:
    with pytest.raises(Contradiction):
        check_options(options)


def test_misspelt_options_are_named() -> None:
    with pytest.raises(UnknownName, match="workspace_mb") as caught:
        check_options(OpenOptions(engine={"workspace_mb": 1}))
    assert caught.value.suggestion == "workspace_mib"


def test_gpu_and_timing_cache() -> None:
    assert device_ordinal(OpenOptions()) == 0
    assert device_ordinal(OpenOptions(engine={"device": 3})) == 3
    with pytest.raises(BadInput, match="device"):
        device_ordinal(OpenOptions(engine={"device": -1}))
    assert timing_cache_wanted(OpenOptions())
    assert not timing_cache_wanted(OpenOptions(cache=False))
    assert not timing_cache_wanted(OpenOptions(engine={"timing_cache": False}))
