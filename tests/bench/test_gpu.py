from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgecnn.bench.gpu import Gpu, engine_gpu
from edgecnn.bench.gpuclock import REASONS_FILE, read_gpu_reasons
from edgecnn.bench.gpumemory import read_gpu_bytes
from edgecnn.specs import EngineInfo
from edgecnn.testing.fakenvml import FakeGpu, FakeNvml
from edgecnn.testing.fakes import FakeClock, write_tree


def _info(backend: str, **options: int) -> EngineInfo:
    return EngineInfo(backend=backend, engine="x", engine_version="1", options=options)


def _nvml(*gpus: FakeGpu) -> FakeNvml:
    return FakeNvml(gpus, FakeClock().now_ns)


def _gpu(gpu: FakeGpu) -> Gpu:
    found = engine_gpu(_info("cuda"), nvml=_nvml(gpu))
    assert found is not None
    return found


@pytest.mark.parametrize(("text", "bits"), [("0x24\n", 0x24), ("36\n", 36), ("0\n", 0), ("N/A\n", None), ("", None)])
def test_bits_from_a_file(tmp_path: Path, text: str, bits: int | None) -> None:
    root = write_tree(tmp_path, {REASONS_FILE: text})
    assert read_gpu_reasons(_info("cuda"), None, root=root) == bits


def test_bits_from_the_driver(tmp_path: Path) -> None:
    assert read_gpu_reasons(_info("cuda"), _gpu(FakeGpu(clock_reasons=0x44)), root=tmp_path) == 0x44


def test_an_engine_without_a_gpu_is_not_asked(tmp_path: Path) -> None:
    root = write_tree(tmp_path, {REASONS_FILE: "4"})
    assert read_gpu_reasons(_info("cpu"), None, root=root) is None
    assert engine_gpu(_info("cpu"), nvml=_nvml(FakeGpu())) is None


def test_a_recorded_tree_asks_no_driver_of_this_machine(tmp_path: Path) -> None:
    assert engine_gpu(_info("trt"), root=tmp_path) is None


def test_of_several_gpus_it_is_the_one_at_cudas_address() -> None:
    nvml = _nvml(FakeGpu(clock_reasons=0x4), FakeGpu(clock_reasons=0x8))
    cuda_order = ("00000000:02:00.0", "00000000:01:00.0")
    for ordinal, bits in ((0, 0x8), (1, 0x4)):
        info = _info("trt", device_id=ordinal)
        assert read_gpu_reasons(info, engine_gpu(info, nvml=nvml, address=cuda_order.__getitem__)) == bits


def test_of_several_gpus_without_an_address_nothing_is_said() -> None:
    assert engine_gpu(_info("cuda"), nvml=_nvml(FakeGpu(), FakeGpu()), address=lambda _: None) is None


def test_a_driver_that_refuses_is_unknown() -> None:
    gpu = FakeGpu(clock_reasons=0x4, processes={os.getpid(): 7})
    found = _gpu(gpu)
    gpu.lost = True
    assert read_gpu_reasons(_info("cuda"), found) is None
    assert read_gpu_bytes(found) is None
    assert engine_gpu(_info("cuda"), nvml=FakeNvml([], FakeClock().now_ns, driver=False)) is None


@pytest.mark.parametrize(
    ("processes", "held"),
    [({41: 10, 42: 500_000_000}, 500_000_000), ({42: None}, None), ({41: 10}, None), ({}, None)],
)
def test_memory_of_this_process_alone(processes: dict[int, int | None], held: int | None) -> None:
    assert read_gpu_bytes(_gpu(FakeGpu(processes=processes)), pid=42) == held


def test_without_a_gpu_its_memory_is_unknown_and_not_none_of_it() -> None:
    assert read_gpu_bytes(None) is None
