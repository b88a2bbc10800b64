"""What is installed: Python, edgecnn's packages and their versions, and wheels that overwrite each other."""

from __future__ import annotations

import os
import platform
import struct
import sys
from collections.abc import Iterator, Mapping

from edgecnn.doctor.finding import Finding
from edgecnn.installed import ENGINE_PACKAGES, installed_versions, version_pair

OLDEST_PYTHON = (3, 10)

ONE_FOLDER = "onnxruntime"
"""Import name that several distributions claim; the one that was installed last wins, in part."""


TELEMETRY_OFF = "ORT_DISABLE_TELEMETRY"

_TELEMETRY_SINCE = (1, 29)


def packages() -> Iterator[Finding]:
    """Yield what is to be said of the interpreter and of the installed packages."""
    yield interpreter(sys.version_info[:2], struct.calcsize("P") * 8, platform.machine())
    versions = installed_versions()
    for name in ENGINE_PACKAGES:
        if name in versions:
            yield Finding(topic="package", name=name, health="ok", message=versions[name])
    yield from conflicts(versions)
    yield from telemetry(versions, os.environ)


def interpreter(version: tuple[int, int], bits: int, machine: str) -> Finding:
    """Return what is to be said of Python.

    Args:
        version: major and minor.
        bits: of a pointer, 32 or 64.
        machine: architecture of the kernel, "aarch64" for example.
    """
    text = f"{version[0]}.{version[1]}, {bits} bit, {machine}"
    if bits != 64:
        fix = "install a 64-bit system; on a Raspberry Pi 3 or later: Raspberry Pi OS (64-bit)"
        message = f"{text}: no engine has a package for 32-bit systems"
        return Finding(topic="package", name="python", health="broken", message=message, fix=fix)
    if version < OLDEST_PYTHON:
        fix = f"install Python {OLDEST_PYTHON[0]}.{OLDEST_PYTHON[1]} or newer"
        return Finding(topic="package", name="python", health="broken", message=f"{text}: too old", fix=fix)
    return Finding(topic="package", name="python", health="ok", message=text)


def conflicts(versions: Mapping[str, str]) -> Iterator[Finding]:
    """Yield the distributions that own the same folder: each overwrote files of the other.

    Args:
        versions: distribution -> version.
    """
    claims = sorted(name for name in versions if name == ONE_FOLDER or _is_flavour(name))
    if len(claims) > 1:
        yield Finding(
            topic="package",
            name="onnxruntime",
            health="broken",
            message=f"{' and '.join(claims)} are both installed and overwrite each other's files",
            fix=f"pip uninstall -y {' '.join(claims)} && pip install 'edgecnn[cpu]', or 'edgecnn[cuda]' for NVIDIA GPUs",
        )


def telemetry(versions: Mapping[str, str], environment: Mapping[str, str]) -> Iterator[Finding]:
    """Yield a note where the installed engine reports to its maker: ONNX Runtime's packages do so from 1.29 on.

    Source: the variable that its library looks for when it is imported (onnxruntime, posix/telemetry_1ds.cc).

    Args:
        versions: distribution -> version.
        environment: the variables of this process.
    """
    for name, version in versions.items():
        talks = version_pair(version) >= _TELEMETRY_SINCE and (name == ONE_FOLDER or _is_flavour(name))
        if talks and environment.get(TELEMETRY_OFF, "0").lower() in ("", "0", "false"):
            yield Finding(
                topic="package",
                name="telemetry",
                health="note",
                message=f"{name} {version} may send what it runs to its maker over the network",
                fix=f"export {TELEMETRY_OFF}=1 before the program starts; edgecnn writes no environment of its own",
            )


def _is_flavour(name: str) -> bool:
    """Tell whether a distribution is another build of the engine, not one of its plug-ins or tools."""
    flavours = ("gpu", "directml", "openvino", "rocm", "migraphx", "silicon", "training", "azure", "cann", "vitisai")
    return any(name == f"{ONE_FOLDER}-{flavour}" for flavour in flavours)
