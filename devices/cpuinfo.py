"""What /proc/cpuinfo tells, on x86 ("model name", "flags") and on Arm ("CPU implementer", "CPU part", "Features")."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from edgecnn.devices.cputypes import core_name
from edgecnn.procfs import read_text

Block = Mapping[str, str]

FEATURES = (
    *("sse4_1", "avx", "avx2", "fma", "f16c", "avx_vnni", "avx_vnni_int8"),
    *("avx512f", "avx512bw", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
    *("amx_tile", "amx_int8", "amx_bf16", "amx_fp16"),
    *("neon", "asimd", "fphp", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme", "sme2"),
)
"""Instruction sets that inference engines choose their convolution and matrix kernels by, in the order of a record."""


def cpuinfo(root: Path) -> tuple[Block, ...]:
    """Return the blocks of /proc/cpuinfo as key -> value: one per processor, on some boards one about the board."""
    text = read_text(root / "proc/cpuinfo") or ""
    return tuple(block for paragraph in text.split("\n\n") if (block := _block(paragraph)))


def processors(blocks: Iterable[Block]) -> tuple[Block, ...]:
    """Return the blocks that describe a processor."""
    return tuple(block for block in blocks if "processor" in block)


def cpu_name(blocks: Iterable[Block]) -> str | None:
    """Return the processor's name; cores of several kinds are counted, "4x Cortex-A53 + 2x Cortex-A72" for example.

    On Arm the part numbers go before "model name", which some kernels print without saying more than "ARMv8 Processor".
    """
    names = [name for block in processors(blocks) if (name := _core(block) or _model(block))]
    return names[0] if len(set(names)) == 1 else counted(names)


def cpu_arch(blocks: Iterable[Block]) -> str | None:
    """Return the architecture that the form of /proc/cpuinfo tells: x86_64, i686, aarch64, armv7l or riscv64."""
    block = next(iter(processors(blocks)), {})
    if "flags" in block:
        return "x86_64" if "lm" in block["flags"].split() else "i686"
    if block.get("isa", "").startswith("rv64"):
        return "riscv64"
    return {"8": "aarch64", "AArch64": "aarch64", "7": "armv7l"}.get(block.get("CPU architecture", ""))


def cpu_features(blocks: Iterable[Block]) -> tuple[str, ...]:
    """Return the instruction sets that matter here and that every processor has."""
    each = [set(_flags(block)) for block in processors(blocks)]
    common = set.intersection(*each) if each else set()
    return tuple(name for name in FEATURES if name in common)


def cpu_virtual(blocks: Iterable[Block]) -> bool | None:
    """Return whether x86's "hypervisor" flag is set; None on another architecture."""
    flags = [block["flags"].split() for block in processors(blocks) if "flags" in block]
    return any("hypervisor" in each for each in flags) if flags else None


def counted(names: Iterable[str]) -> str | None:
    """Return names joined by " + " in order of appearance, with their counts unless there is but one; None for none."""
    counts = Counter(names)
    if sum(counts.values()) == 1:
        return next(iter(counts))
    return " + ".join(f"{count}x {name}" for name, count in counts.items()) or None


def _block(paragraph: str) -> Block:
    pairs = (line.partition(":") for line in paragraph.splitlines())
    return {key.strip(): " ".join(value.split()) for key, colon, value in pairs if colon}


def _flags(block: Block) -> list[str]:
    return (block.get("flags") or block.get("Features") or "").split()


def _core(block: Block) -> str | None:
    try:
        return core_name(int(block["CPU implementer"], 16), int(block["CPU part"], 16))
    except (KeyError, ValueError):
        return None


def _model(block: Block) -> str | None:
    name = block.get("model name", "")
    return name if name.lower() not in ("", "unknown") else None
