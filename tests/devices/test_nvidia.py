from __future__ import annotations

from pathlib import Path

import pytest

from edgecnn.devices.nvidia import driver_version, gpu_name, l4t_release, power_mode


def _write(root: Path, name: str, text: str) -> None:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def _gpus(root: Path, *models: str) -> Path:
    for number, model in enumerate(models):
        _write(
            root, f"proc/driver/nvidia/gpus/0000-0{number}-00.0/information", f"Model: \t\t {model}\nIRQ:   \t\t 35\n"
        )
    return root


@pytest.mark.parametrize(
    ("models", "name"),
    [
        (["NVIDIA H200"], "NVIDIA H200"),
        (["Tesla T4", "Tesla T4"], "2x Tesla T4"),
        (
            ["NVIDIA GeForce RTX 5090", "NVIDIA GeForce RTX 3080"],
            "1x NVIDIA GeForce RTX 5090 + 1x NVIDIA GeForce RTX 3080",
        ),
        (["Unknown"], None),
        ([], None),
    ],
)
def test_gpu_name(tmp_path: Path, models: list[str], name: str | None) -> None:
    assert gpu_name(_gpus(tmp_path, *models)) == name


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  384.81  Wed Aug 17 22:24:07 PDT 2016\n", "384.81"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  555.42.06  Release Build  (a@b)\n", "555.42.06"),
        ("NVRM version: something else\n", None),
    ],
)
def test_driver_version(tmp_path: Path, text: str, version: str | None) -> None:
    _write(tmp_path, "proc/driver/nvidia/version", text)
    assert driver_version(tmp_path) == version


CONF = "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=2 NAME=MODE_15W_6CORE >\n# < POWER_MODEL ID=3 >\n"


@pytest.mark.parametrize(
    ("status", "conf", "mode"),
    [
        ("pmode:0002 fmode:quiet", CONF, "MODE_15W_6CORE"),
        ("pmode:0000\n", CONF, "MAXN"),
        ("pmode:0005", CONF, "mode 5"),
        ("pmode:0002", None, "mode 2"),
        ("nothing", CONF, None),
        (None, CONF, None),
    ],
)
def test_power_mode(tmp_path: Path, status: str | None, conf: str | None, mode: str | None) -> None:
    for name, text in {"var/lib/nvpmodel/status": status, "etc/nvpmodel.conf": conf}.items():
        if text is not None:
            _write(tmp_path, name, text)
    assert power_mode(tmp_path) == mode


def test_l4t_release(tmp_path: Path) -> None:
    assert l4t_release(tmp_path) is None
    _write(tmp_path, "etc/nv_tegra_release", "# R39 (release), REVISION: 2.1, GCID: 46426093, BOARD: generic\n")
    assert l4t_release(tmp_path) == "R39.2.1"
