from __future__ import annotations

from pathlib import Path

import pytest

from edgecnn.devices.board import board_name, tree_strings, virtual_machine

X86 = ({"processor": "0", "flags": "fpu lm"},)
ARM = ({"processor": "0", "Features": "fp asimd"},)


def _write(root: Path, **files: str) -> Path:
    for name, text in files.items():
        file = root / "sys/class/dmi/id" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    return root


def _tree(root: Path, name: str, *strings: str) -> Path:
    file = root / "proc/device-tree" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(text + "\0" for text in strings))
    return root


@pytest.mark.parametrize(
    ("vendor", "product", "name"),
    [
        ("LENOVO", "20XW004AGE", "LENOVO 20XW004AGE"),
        ("Dell Inc.", "Dell Pro Max", "Dell Pro Max"),
        ("To Be Filled By O.E.M.", "NUC 13", "NUC 13"),
        ("ASUS", "To be filled by O.E.M.", None),
        ("System manufacturer", "System Product Name", None),
        ("Default string", "Default string", None),
    ],
)
def test_dmi_product(tmp_path: Path, vendor: str, product: str, name: str | None) -> None:
    assert board_name(_write(tmp_path, sys_vendor=vendor, product_name=product), X86) == name


def test_dmi_board_where_the_product_is_not_filled_in(tmp_path: Path) -> None:
    _write(tmp_path, sys_vendor="Default string", product_name="Default string", board_vendor="AZW", board_name="SER")
    assert board_name(tmp_path, X86) == "AZW SER"


def test_device_tree_goes_before_dmi(tmp_path: Path) -> None:
    _write(_tree(tmp_path, "model", "Some Board"), sys_vendor="Maker", product_name="Product")
    assert board_name(tmp_path, ARM) == "Some Board"


def test_device_tree_strings_of_both_places(tmp_path: Path) -> None:
    base = tmp_path / "sys/firmware/devicetree/base"
    base.mkdir(parents=True)
    (base / "compatible").write_bytes(b"maker,board\0maker,soc\0")
    assert tree_strings(tmp_path, "compatible") == ("maker,board", "maker,soc")
    assert tree_strings(tmp_path, "model") == ()


@pytest.mark.parametrize(
    ("vendor", "product"),
    [
        ("QEMU", "Standard PC (Q35 + ICH9, 2009)"),
        ("VMware, Inc.", "VMware Virtual Platform"),
        ("innotek GmbH", "VirtualBox"),
        ("Microsoft Corporation", "Virtual Machine"),
        ("Amazon EC2", "c7g.xlarge"),
        ("Google", "Google Compute Engine"),
        ("Apple Inc.", "Apple Virtualization Generic Platform"),
    ],
)
def test_virtual_machines_by_dmi(tmp_path: Path, vendor: str, product: str) -> None:
    assert virtual_machine(_write(tmp_path, sys_vendor=vendor, product_name=product), ARM) is True


@pytest.mark.parametrize(
    ("vendor", "product"),
    [("Microsoft Corporation", "Surface Pro"), ("Amazon EC2", "c7g.metal"), ("Ampere(R)", "Mt. Jade Platform")],
)
def test_real_machines_by_dmi(tmp_path: Path, vendor: str, product: str) -> None:
    assert virtual_machine(_write(tmp_path, sys_vendor=vendor, product_name=product), ARM) is False


def test_a_hidden_flag_is_found_by_dmi(tmp_path: Path) -> None:
    assert virtual_machine(tmp_path, X86) is False
    assert virtual_machine(_write(tmp_path, sys_vendor="QEMU"), X86) is True


def test_virtual_machines_by_device_tree(tmp_path: Path) -> None:
    assert virtual_machine(_tree(tmp_path / "virt", "compatible", "linux,dummy-virt"), ARM) is True
    assert virtual_machine(_tree(tmp_path / "xen", "hypervisor/compatible", "xen,xen-4.17", "xen,xen"), ARM) is True
    assert virtual_machine(_tree(tmp_path / "board", "compatible", "maker,board"), ARM) is False


def test_virtual_machine_by_hypervisor_type(tmp_path: Path) -> None:
    (tmp_path / "sys/hypervisor").mkdir(parents=True)
    (tmp_path / "sys/hypervisor/type").write_text("xen\n")
    assert virtual_machine(tmp_path, ARM) is True


def test_nothing_told_is_unknown(tmp_path: Path) -> None:
    assert virtual_machine(tmp_path, ARM) is None
