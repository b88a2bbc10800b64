from __future__ import annotations

from pathlib import Path

import pytest

from edgecnn.bench.gpuclock import REASONS_FILE, read_gpu_reasons
from edgecnn.specs import EngineInfo
from edgecnn.testing.fakes import write_tree


def _info(backend: str) -> EngineInfo:
    return EngineInfo(backend=backend, engine="x", engine_version="1")


@pytest.mark.parametrize(("text", "bits"), [("0x24\n", 0x24), ("36\n", 36), ("0\n", 0), ("N/A\n", None), ("", None)])
def test_bits_from_a_file(tmp_path: Path, text: str, bits: int | None) -> None:
    root = write_tree(tmp_path, {REASONS_FILE: text})
    assert read_gpu_reasons(_info("cuda"), root=root) == bits


def test_an_engine_without_a_gpu_is_not_asked(tmp_path: Path) -> None:
    root = write_tree(tmp_path, {REASONS_FILE: "4"})
    assert read_gpu_reasons(_info("cpu"), root=root) is None


def test_no_file_and_no_driver_is_unknown(tmp_path: Path) -> None:
    assert read_gpu_reasons(_info("trt"), root=tmp_path) is None
