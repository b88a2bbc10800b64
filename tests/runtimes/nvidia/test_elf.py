"""Reading what a shared library says about itself."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn.errors import BadInput
from edgecnn.runtimes.nvidia.elf import gpu_architectures, needed_libraries, runs_on

BASE = 0x400000


def fatbin(codes: list[tuple[int, int]]) -> bytes:
    """One container of GPU code: (kind, architecture) of each piece; 2 is machine code, 1 is PTX."""
    pieces = b""
    for kind, architecture in codes:
        body = b"\xaa" * 24
        header = struct.pack("<HHIQ", kind, 0x101, 64, len(body)).ljust(28, b"\0") + struct.pack("<I", architecture)
        pieces += header.ljust(64, b"\0") + body
    return struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(pieces)) + pieces


def library(needed: list[str], containers: list[bytes] | None = None) -> bytes:
    """A 64-bit shared library with these needs and containers of GPU code, and no code."""
    strings = b"\0"
    entries = b""
    for name in needed:
        entries += struct.pack("<qQ", 1, len(strings))
        strings += name.encode() + b"\0"
    code = b"".join(one + b"\0" * (-len(one) % 8) for one in containers or [])
    names = b"\0.shstrtab\0.nv_fatbin\0"
    strings_at = 64 + 2 * 56
    dynamic_at = strings_at + len(strings) + -(strings_at + len(strings)) % 8
    entries += struct.pack("<qQqQqQ", 5, BASE + strings_at, 10, len(strings), 0, 0)
    code_at = dynamic_at + len(entries)
    names_at = code_at + len(code)
    sections_at = names_at + len(names) + -(names_at + len(names)) % 8
    sections = b"\0" * 64
    sections += struct.pack("<IIQQQQIIQQ", 1, 3, 0, 0, names_at, len(names), 0, 0, 1, 0)
    sections += struct.pack("<IIQQQQIIQQ", 11, 1, 0, BASE + code_at, code_at, len(code), 0, 0, 8, 0)
    header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header += struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, sections_at, 0, 64, 56, 2, 64, 3, 1)
    segments = struct.pack("<IIQQQQQQ", 1, 5, 0, BASE, BASE, sections_at, sections_at, 4096)
    segments += struct.pack("<IIQQQQQQ", 2, 6, dynamic_at, BASE + dynamic_at, 0, len(entries), len(entries), 8)
    whole = (header + segments + strings).ljust(dynamic_at, b"\0") + entries + code + names
    return whole.ljust(sections_at, b"\0") + sections


@settings(max_examples=30, deadline=None)
@given(
    needed=st.lists(st.from_regex(r"lib[a-zA-Z_+]{1,20}\.so(\.[0-9]{1,3}){0,2}", fullmatch=True), max_size=12),
    codes=st.lists(st.tuples(st.sampled_from([1, 2]), st.integers(50, 129)), max_size=6),
)
def test_what_was_written_is_read(
    needed: list[str], codes: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("elf") / "lib.so"
    path.write_bytes(library(needed, [fatbin(codes[:2]), fatbin(codes[2:])]))
    assert needed_libraries(path) == tuple(needed)
    assert set(gpu_architectures(path)) == {f"{ {1: 'ptx', 2: 'sm'}[kind] }_{number}" for kind, number in codes}


def test_damaged_files_are_bad_input_or_read_and_never_another_error(tmp_path: Path) -> None:
    whole = library(["libcudart.so.13", "libcuda.so.1"], [fatbin([(2, 90), (1, 90)])])
    random = np.random.default_rng(0)
    path = tmp_path / "lib.so"
    refused = 0
    for trial in range(400):
        data = bytearray(whole)
        if trial % 4 == 0:
            data = data[: int(random.integers(1, len(data)))]
        for at in random.integers(0, len(data), 8):
            data[at] = int(random.integers(0, 256))
        path.write_bytes(data)
        try:
            needed_libraries(path)
            gpu_architectures(path)
        except BadInput:
            refused += 1
    assert refused > 50


@pytest.mark.parametrize("content", [b"", b"hello", b"\x7fELF\x01\x01" + b"\0" * 60], ids=["empty", "text", "32 bits"])
def test_other_files_are_bad_input(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "lib.so"
    path.write_bytes(content)
    for read in (needed_libraries, gpu_architectures):
        with pytest.raises(BadInput):
            read(path)
    with pytest.raises(BadInput):
        needed_libraries(tmp_path / "missing.so")


def test_a_real_library_needs_the_c_library() -> None:
    engine = pytest.importorskip("onnxruntime")
    if not sys.platform.startswith("linux"):
        pytest.skip("shared libraries of Linux")
    path = next((Path(engine.__file__).parent / "capi").glob("onnxruntime_pybind11_state*.so"))
    assert "libc.so.6" in needed_libraries(path)
    assert gpu_architectures(path) == ()


@pytest.mark.parametrize(
    ("architectures", "gpu", "runs"),
    [
        (("sm_75", "sm_80", "sm_86", "sm_90"), (8, 7), True),
        (("sm_89", "sm_90", "sm_120", "sm_121"), (8, 7), False),
        (("sm_90", "sm_120"), (11, 0), False),
        (("sm_90", "sm_120"), (12, 1), True),
        (("sm_90",), (10, 0), False),
        (("ptx_80",), (10, 0), True),
        (("ptx_90",), (8, 9), False),
        ((), (9, 0), True),
    ],
)
def test_code_runs_within_its_major_version_and_ptx_on_newer_gpus(
    architectures: tuple[str, ...], gpu: tuple[int, int], runs: bool
) -> None:
    assert runs_on(architectures, gpu) is runs
