"""What a shared library of Linux says about itself, read from the file: nothing of it is loaded or run.

An engine's GPU part is loaded by the engine without a word where it fails, so what it needs is asked before.
Layout: Tool Interface Standard, Executable and Linking Format 1.2, and its 64-bit form in the System V ABI.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgecnn.errors import BadInput

_PT_LOAD, _PT_DYNAMIC = 1, 2
_DT_NULL, _DT_NEEDED, _DT_STRTAB, _DT_STRSZ = 0, 1, 5, 10

# Of the header of a container of GPU code and of an entry of it: magic number, and where the architecture stands
# (CUDA toolkit, fatbinary_section.h and the output of cuobjdump).
_FATBIN_MAGIC = 0xBA55ED50
_FATBIN_SECTIONS = (b".nv_fatbin", b"__nv_relfatbin")
_ARCHITECTURE_AT = 28
_KINDS = {1: "ptx", 2: "sm"}

# More than any library has; a damaged file can claim anything.
_MOST_HEADERS = 4096
_MOST_ENTRIES = 4096


def needed_libraries(path: Path) -> tuple[str, ...]:
    """Return the libraries that a 64-bit shared library needs, in its order, "libcudart.so.13" for example.

    Raises:
        BadInput: not such a file.
    """
    with _mapped(path) as data, _errors(path):
        segments = _segments(data)
        at, size = next(((offset, size) for kind, offset, _, size in segments if kind == _PT_DYNAMIC), (0, 0))
        entries = [struct.unpack_from("<qQ", data, at + i) for i in range(0, min(size // 16, _MOST_ENTRIES) * 16, 16)]
        tags = dict(reversed(entries))
        if _DT_STRTAB not in tags:
            return ()
        strings = _file_offset(segments, tags[_DT_STRTAB])
        limit = min(strings + tags.get(_DT_STRSZ, 0), len(data))
        names = []
        for tag, value in entries:
            if tag == _DT_NULL:
                break
            if tag == _DT_NEEDED:
                names.append(_text(data, strings + value, limit))
        return tuple(names)


def gpu_architectures(path: Path) -> tuple[str, ...]:
    """Return what GPU code a library holds, sorted: "sm_90" is machine code, "ptx_90" is compiled by the driver.

    Empty where it holds none. Only the headers are read, the code between them stays on the disk.

    Raises:
        BadInput: not a 64-bit shared library.
    """
    found: set[tuple[str, int]] = set()
    with _mapped(path) as data, _errors(path):
        for begin, end in _sections(data, _FATBIN_SECTIONS):
            found.update(_containers(data, begin, end))
    return tuple(f"{kind}_{number}" for kind, number in sorted(found))


def runs_on(architectures: tuple[str, ...], compute_capability: tuple[int, int]) -> bool:
    """Tell whether GPU code runs on a GPU; True where there is none to judge by.

    Machine code runs on GPUs of its own major compute capability with an equal or greater minor one, PTX on any that is
    not older (CUDA C++ Programming Guide, "Binary Compatibility" and "PTX Compatibility").

    Args:
        architectures: what `gpu_architectures` gave.
        compute_capability: of the GPU, major and minor.
    """
    major, minor = compute_capability
    for name in architectures:
        kind, _, number = name.partition("_")
        own = divmod(int(number), 10)
        if (kind == "ptx" and own <= (major, minor)) or (kind == "sm" and own[0] == major and own[1] <= minor):
            return True
    return not architectures


@contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data
    except (OSError, ValueError) as error:
        raise BadInput(str(path), expected="a shared library", got=str(error)) from error


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (struct.error, IndexError, UnicodeDecodeError, OverflowError) as error:
        raise BadInput(str(path), expected="a whole 64-bit shared library", got=f"a damaged one ({error})") from error


def _check(data: mmap.mmap) -> None:
    # Class 2 is 64 bits, data 1 is little endian.
    if data[:6] != b"\x7fELF\x02\x01":
        raise struct.error("no little-endian 64-bit ELF header")


def _segments(data: mmap.mmap) -> list[tuple[int, int, int, int]]:
    """Return kind, file offset, address and size in the file of each segment."""
    _check(data)
    (table,) = struct.unpack_from("<Q", data, 0x20)
    size, count = struct.unpack_from("<HH", data, 0x36)
    found = []
    for i in range(min(count, _MOST_HEADERS)):
        kind, _, offset, address, _, length = struct.unpack_from("<IIQQQQ", data, table + i * size)
        found.append((kind, offset, address, length))
    return found


def _file_offset(segments: list[tuple[int, int, int, int]], address: int) -> int:
    for kind, offset, begin, size in segments:
        if kind == _PT_LOAD and begin <= address < begin + size:
            return offset + address - begin
    raise struct.error(f"address {address:#x} is in no segment")


def _sections(data: mmap.mmap, names: tuple[bytes, ...]) -> list[tuple[int, int]]:
    """Return begin and end in the file of the sections of these names."""
    _check(data)
    (table,) = struct.unpack_from("<Q", data, 0x28)
    size, count, names_at = struct.unpack_from("<HHH", data, 0x3A)
    headers = [struct.unpack_from("<IIQQQQ", data, table + i * size) for i in range(min(count, _MOST_HEADERS))]
    if not headers:
        return []
    strings = headers[names_at][4]
    found = []
    for name, _, _, _, offset, length in headers:
        if any(data[strings + name : strings + name + len(one) + 1] == one + b"\0" for one in names):
            found.append((offset, min(offset + length, len(data))))
    return found


def _containers(data: mmap.mmap, begin: int, end: int) -> Iterator[tuple[str, int]]:
    """Yield kind and number of each piece of GPU code; containers follow each other, aligned to 8 bytes."""
    at = begin
    while at + 16 <= end:
        magic, _, header, length = struct.unpack_from("<IHHQ", data, at)
        if magic != _FATBIN_MAGIC:
            at += 8
            continue
        stop = min(at + header + length, end)
        entry = at + header
        while entry + _ARCHITECTURE_AT + 4 <= stop:
            kind, _, entry_header, entry_length = struct.unpack_from("<HHIQ", data, entry)
            if kind in _KINDS:
                yield _KINDS[kind], struct.unpack_from("<I", data, entry + _ARCHITECTURE_AT)[0]
            entry += max(entry_header + entry_length, 8)
        at += max(header + length, 16)


def _text(data: mmap.mmap, at: int, limit: int) -> str:
    end = data.find(b"\0", at, limit)
    if end < 0:
        raise struct.error("a name without an end")
    return data[at:end].decode()
