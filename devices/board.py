"""What the firmware tells about the machine: the device tree of a board, the DMI tables of a PC or server."""

from __future__ import annotations

from pathlib import Path

from edgecnn.devices.cpuinfo import Block, cpu_virtual
from edgecnn.procfs import read_text

DEVICE_TREES = ("proc/device-tree", "sys/firmware/devicetree/base")

FILLERS = frozenset(
    {
        "",
        "default string",
        "empty",
        "invalid",
        "none",
        "not applicable",
        "not available",
        "not specified",
        "o.e.m.",
        "oem",
        "system manufacturer",
        "system product name",
        "to be filled by o.e.m.",
        "undefined",
        "unknown",
        "xxxx",
    }
)
"""What makers leave in DMI fields that they do not fill, in lower case."""

VIRTUAL_MACHINES = (
    "kvm",
    "qemu",
    "bochs",
    "openstack",
    "kubevirt",
    "alibaba cloud",
    "amazon ec2",
    "google compute engine",
    "microsoft corporation virtual machine",
    "vmware",
    "vmw",
    "innotek gmbh",
    "virtualbox",
    "xen",
    "parallels",
    "bhyve",
    "apple virtualization",
)
"""Beginnings of a virtual machine's DMI vendor or product. Source: systemd, src/basic/virt.c, dmi_vendor_table."""


def tree_strings(root: Path, name: str) -> tuple[str, ...]:
    """Return the NUL-terminated strings of a device tree property, none when there is no such property."""
    for folder in DEVICE_TREES:
        text = read_text(root / folder / name)
        if text is not None:
            return tuple(part for part in text.split("\0") if part.strip())
    return ()


def tree_model(root: Path) -> str | None:
    """Return the device tree's model, "Raspberry Pi 4 Model B Rev 1.4" for example."""
    return next(iter(tree_strings(root, "model")), None)


def board_name(root: Path, blocks: tuple[Block, ...]) -> str | None:
    """Return what the machine calls itself: device tree model, the "Model" of /proc/cpuinfo, DMI product or DMI board.

    Args:
        root: folder that stands for "/".
        blocks: what `cpuinfo` gave.
    """
    named = next((block["Model"] for block in blocks if block.get("Model") and "processor" not in block), None)
    return tree_model(root) or named or _dmi_pair(root, "sys_vendor", "product_name") or _dmi_board(root)


def virtual_machine(root: Path, blocks: tuple[Block, ...]) -> bool | None:
    """Return whether this is a virtual machine; None when nothing tells.

    A sign of a hypervisor is believed wherever it is found; its absence only where a hypervisor would have left one: in
    the processor's flags, the DMI vendor or the device tree.
    """
    flag, dmi, tree = cpu_virtual(blocks), _dmi_virtual(root), _tree_virtual(root)
    if flag or dmi or tree or (read_text(root / "sys/hypervisor/type") or "").strip():
        return True
    return None if flag is None and dmi is None and tree is None else False


def _dmi(root: Path, field: str) -> str | None:
    text = " ".join((read_text(root / "sys/class/dmi/id" / field) or "").split())
    return None if text.lower() in FILLERS else text


def _dmi_pair(root: Path, vendor_field: str, name_field: str) -> str | None:
    vendor, name = _dmi(root, vendor_field), _dmi(root, name_field)
    if name is None or vendor is None or name.lower().startswith(vendor.split()[0].lower()):
        return name
    return f"{vendor} {name}"


def _dmi_board(root: Path) -> str | None:
    return _dmi_pair(root, "board_vendor", "board_name")


def _dmi_virtual(root: Path) -> bool | None:
    vendor, product = _dmi(root, "sys_vendor"), _dmi(root, "product_name")
    if vendor is None and product is None:
        return None
    # Amazon's machines without a hypervisor keep the vendor name of its virtual ones.
    if product is not None and product.endswith(".metal"):
        return False
    told = (vendor or "", product or "", f"{vendor} {product}")
    return any(text.lower().startswith(VIRTUAL_MACHINES) for text in told)


def _tree_virtual(root: Path) -> bool | None:
    """Source of the two signs: Linux, Documentation/devicetree/bindings/arm/xen.txt; QEMU, hw/arm/virt.c."""
    compatible = tree_strings(root, "compatible")
    if tree_strings(root, "hypervisor/compatible") or "linux,dummy-virt" in compatible:
        return True
    return False if compatible or tree_model(root) else None
