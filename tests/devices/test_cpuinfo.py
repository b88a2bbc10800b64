from __future__ import annotations

from pathlib import Path

import pytest

from edgecnn.devices.cpuinfo import counted, cpu_arch, cpu_features, cpu_name, cpu_virtual, cpuinfo


def _blocks(root: Path, *processors: str) -> tuple[dict[str, str], ...]:
    (root / "proc").mkdir()
    texts = [f"processor\t: {number}\n{text}" for number, text in enumerate(processors)]
    (root / "proc/cpuinfo").write_text("\n\n".join(texts) + "\n\n")
    return tuple(dict(block) for block in cpuinfo(root))


def _arm(implementer: str, part: str, architecture: str = "8", features: str = "fp asimd") -> str:
    return (
        "model name\t: ARMv8 Processor rev 0 (v8l)\n"
        f"Features\t: {features}\nCPU implementer\t: {implementer}\n"
        f"CPU architecture: {architecture}\nCPU part\t: {part}"
    )


def test_parts_are_counted_in_order_of_appearance(tmp_path: Path) -> None:
    a57, denver = _arm("0x41", "0xd07"), _arm("0x4e", "0x003")
    blocks = _blocks(tmp_path, a57, denver, denver, a57, a57, a57)
    assert cpu_name(blocks) == "4x Cortex-A57 + 2x NVIDIA Denver 2"


@pytest.mark.parametrize(
    ("implementer", "part", "name"),
    [
        ("0x41", "0xd0c", "Neoverse-N1"),
        ("0x4e", "0x004", "NVIDIA Carmel"),
        ("0x61", "0x000", "Apple part 0x000"),
        ("0x77", "0x0ab", "implementer 0x77 part 0x0ab"),
        ("what", "0xd0c", "ARMv8 Processor rev 0 (v8l)"),
    ],
)
def test_part_names(tmp_path: Path, implementer: str, part: str, name: str) -> None:
    assert cpu_name(_blocks(tmp_path, _arm(implementer, part))) == name


@pytest.mark.parametrize(
    ("processor", "arch"),
    [
        ("flags\t\t: fpu lm sse2", "x86_64"),
        ("flags\t\t: fpu sse2", "i686"),
        (_arm("0x41", "0xd08"), "aarch64"),
        (_arm("0x41", "0xc07", architecture="7"), "armv7l"),
        ("hart\t\t: 0\nisa\t\t: rv64imafdc", "riscv64"),
        ("cpu\t\t: POWER9", None),
    ],
)
def test_arch(tmp_path: Path, processor: str, arch: str | None) -> None:
    assert cpu_arch(_blocks(tmp_path, processor)) == arch


def test_features_are_those_of_every_core(tmp_path: Path) -> None:
    small = _arm("0x41", "0xd46", features="fp asimd asimddp i8mm bf16 sve sve2")
    large = _arm("0x41", "0xd48", features="sve2 sve fp asimd asimddp i8mm")
    assert cpu_features(_blocks(tmp_path, small, large)) == ("asimd", "asimddp", "i8mm", "sve", "sve2")


def test_model_name_is_one_line_with_single_spaces(tmp_path: Path) -> None:
    assert (
        cpu_name(_blocks(tmp_path, "model name\t: Intel(R) Xeon(R) CPU   @ 2.20GHz"))
        == "Intel(R) Xeon(R) CPU @ 2.20GHz"
    )


def test_unknown_model_name_is_unknown(tmp_path: Path) -> None:
    assert cpu_name(_blocks(tmp_path, "model name\t: unknown")) is None


def test_hypervisor_flag(tmp_path: Path) -> None:
    assert cpu_virtual(_blocks(tmp_path, "flags\t\t: fpu hypervisor", "flags\t\t: fpu hypervisor")) is True
    assert cpu_virtual([{"processor": "0", "flags": "fpu lm"}]) is False
    assert cpu_virtual([{"processor": "0", "Features": "fp asimd"}]) is None


def test_counted() -> None:
    assert counted([]) is None
    assert counted(["a"]) == "a"
    assert counted(["b", "a", "b"]) == "2x b + 1x a"
    assert counted(["a", "a"]) == "2x a"
