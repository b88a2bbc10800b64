from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn.devices import DeviceState, detect, device_profiles, host_id, read_state
from edgecnn.results import Device

TREES = Path(__file__).parent / "trees"
GIB = 1 << 30

X86_ALDER_LAKE = ("sse4_1", "avx", "avx2", "fma", "f16c", "avx_vnni")
X86_ZEN5 = (*X86_ALDER_LAKE, "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16")
ARM_V8_2 = ("asimd", "fphp", "asimdhp", "asimddp")

EXPECTED = {
    "pc": Device(
        profile="x86-64",
        board="ASUSTeK COMPUTER INC. PRIME B660M-A D4",
        cpu="12th Gen Intel(R) Core(TM) i3-12100",
        arch="x86_64",
        features=X86_ALDER_LAKE,
        cores=8,
        cores_usable=8,
        memory_bytes=32656384 * 1024,
        os="Ubuntu 24.04.1 LTS",
        kernel="6.8.0-45-generic",
        governor="powersave",
        frequency_max_khz=4_300_000,
        hypervisor=False,
        gpu="NVIDIA GeForce RTX 3060",
        gpu_driver="550.120",
    ),
    "rpi4": Device(
        profile="rpi4",
        board="Raspberry Pi 4 Model B Rev 1.4",
        cpu="Cortex-A72",
        arch="aarch64",
        features=("asimd",),
        cores=4,
        cores_usable=4,
        memory_bytes=7999784 * 1024,
        os="Debian GNU/Linux 12 (bookworm)",
        kernel="6.6.31+rpt-rpi-v8",
        governor="ondemand",
        frequency_max_khz=1_800_000,
        hypervisor=False,
    ),
    "rpi5": Device(
        profile="rpi5",
        board="Raspberry Pi 5 Model B Rev 1.0",
        cpu="Cortex-A76",
        arch="aarch64",
        features=ARM_V8_2,
        cores=4,
        cores_usable=4,
        memory_bytes=8256656 * 1024,
        os="Debian GNU/Linux 12 (bookworm)",
        kernel="6.12.25+rpt-rpi-2712",
        governor="ondemand",
        frequency_max_khz=2_400_000,
        hypervisor=False,
    ),
    "jetson_orin_nano": Device(
        profile="jetson-orin-nano",
        board="NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
        cpu="Cortex-A78AE",
        arch="aarch64",
        features=ARM_V8_2,
        cores=6,
        cores_usable=6,
        memory_bytes=7802880 * 1024,
        os="Ubuntu 22.04.5 LTS, L4T R36.4.3",
        kernel="5.15.148-tegra",
        governor="schedutil",
        frequency_max_khz=1_728_000,
        power_mode="MAXN_SUPER",
        hypervisor=False,
        gpu="Orin",
        gpu_driver="540.4.0",
    ),
    "jetson_nano": Device(
        profile="jetson-nano",
        board="NVIDIA Jetson Nano Developer Kit",
        cpu="Cortex-A57",
        arch="aarch64",
        features=("asimd",),
        cores=2,
        cores_usable=2,
        memory_bytes=4059392 * 1024,
        os="Ubuntu 18.04.6 LTS, L4T R32.7.1",
        kernel="4.9.253-tegra",
        governor="schedutil",
        frequency_max_khz=918_000,
        power_mode="5W",
        hypervisor=False,
        gpu="Tegra X1",
    ),
    "big_little": Device(
        board="Radxa ROCK Pi 4B",
        cpu="4x Cortex-A53 + 2x Cortex-A72",
        arch="aarch64",
        features=("asimd",),
        cores=6,
        cores_usable=2,
        memory_bytes=3911712 * 1024,
        os="Armbian 24.11.1 bookworm",
        kernel="6.6.63-current-rockchip64",
        governor="schedutil,performance",
        frequency_max_khz=1_800_000,
        hypervisor=False,
    ),
    "container": Device(
        profile="x86-64",
        cpu="AMD EPYC",
        arch="x86_64",
        features=X86_ZEN5,
        cores=2,
        cores_usable=2,
        cgroup_quota=1.5,
        memory_bytes=24684092 * 1024,
        memory_limit_bytes=GIB // 2,
        os="Debian GNU/Linux 12 (bookworm)",
        kernel="6.1.0-28-cloud-amd64",
        hypervisor=True,
    ),
}


@pytest.mark.parametrize("tree", EXPECTED)
def test_recorded_machine(tree: str) -> None:
    assert detect(TREES / tree) == EXPECTED[tree]


def test_every_tree_is_expected() -> None:
    assert {folder.name for folder in TREES.iterdir() if folder.is_dir()} == set(EXPECTED)


def test_empty_root_is_all_unknown(tmp_path: Path) -> None:
    assert detect(tmp_path) == Device()


def test_missing_root_is_all_unknown(tmp_path: Path) -> None:
    assert detect(tmp_path / "nothing") == Device()


@contextmanager
def _forbidden(folder: Path) -> Iterator[None]:
    """Take the right to enter a folder away, from the superuser as well."""
    user = os.geteuid()
    folder.chmod(0)
    try:
        if user == 0:
            os.seteuid(65534)
        yield
    finally:
        if user == 0:
            os.seteuid(user)
        folder.chmod(0o700)


def test_forbidden_files_are_unknown() -> None:
    device_profiles()  # read before the rights go
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        root = Path(folder, "root")
        shutil.copytree(TREES / "rpi4", root)
        with _forbidden(root / "sys"):
            device, state = detect(root), read_state(root)
        with _forbidden(root):
            nothing = [(detect(path), read_state(path)) for path in (root, root / "sys")]
    assert (device.cpu, device.memory_bytes) == ("Cortex-A72", 7999784 * 1024)
    assert (device.board, device.governor, device.frequency_max_khz) == ("Raspberry Pi 4 Model B Rev 1.4", None, None)
    assert state == DeviceState(load_average=0.52)
    assert nothing == [(Device(), DeviceState())] * 2


def test_folders_and_broken_links_in_place_of_files_are_unknown(tmp_path: Path) -> None:
    for name in ("proc/cpuinfo", "proc/meminfo", "sys/devices/system/cpu/online", "etc/os-release"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "proc/self").mkdir()
    (tmp_path / "proc/self/cgroup").symlink_to("cgroup")
    assert detect(tmp_path) == Device()


def test_cores_fall_back_to_cpuinfo(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    shutil.copy(TREES / "rpi5/proc/cpuinfo", tmp_path / "proc/cpuinfo")
    assert detect(tmp_path).cores == 4


def test_board_from_cpuinfo_without_device_tree(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    shutil.copy(TREES / "rpi5/proc/cpuinfo", tmp_path / "proc/cpuinfo")
    assert detect(tmp_path).board == "Raspberry Pi 5 Model B Rev 1.0"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("PRETTY_NAME='Alpine Linux v3.20'\n", "Alpine Linux v3.20"),
        ("NAME=Void\nPRETTY_NAME=Void\n", "Void"),
        ("NAME=Void\n", None),
    ],
)
def test_os_name(tmp_path: Path, text: str, name: str | None) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text(text)
    assert detect(tmp_path).os == name


def test_host_id_is_the_salted_hash(tmp_path: Path) -> None:
    # printf edgecnn.host0123456789abcdef0123456789abcdef | sha256sum | cut -c1-12
    assert host_id(TREES / "pc") == "948d5d9c27bc"
    (tmp_path / "var/lib/dbus").mkdir(parents=True)
    (tmp_path / "var/lib/dbus/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    assert host_id(tmp_path) == "948d5d9c27bc"


@pytest.mark.parametrize("text", ["", "uninitialized\n", "0123456789abcdef\n", "0123456789ABCDEF0123456789ABCDEG\n"])
def test_no_machine_id_is_no_host_id(tmp_path: Path, text: str) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/machine-id").write_text(text)
    assert host_id(tmp_path) is None


FILES = sorted({str(file.relative_to(tree)) for tree in TREES.iterdir() for file in tree.rglob("*") if file.is_file()})


WORDS = (
    "0-3",
    "-1",
    "max",
    "100000",
    ":",
    "\t",
    "\n",
    "\n\n",
    "\0",
    "processor",
    "CPU part",
    "0xzz",
    "pmode:",
    "Model:",
)
CONTENTS = st.one_of(st.binary(max_size=30), st.lists(st.sampled_from(WORDS), max_size=8).map("".join))


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.sampled_from(FILES), CONTENTS, max_size=12))
def test_no_content_of_a_file_is_an_exception(files: dict[str, bytes | str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            file = Path(folder, name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content if isinstance(content, bytes) else content.encode())
        detect(Path(folder))
        read_state(Path(folder))
        host_id(Path(folder))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and /sys")
def test_this_machine() -> None:
    device = detect()
    assert device.arch == platform.machine()
    assert device.kernel == platform.release()
    assert device.cores_usable == len(os.sched_getaffinity(0))
    assert device.cores is not None
    assert device.cores >= device.cores_usable
    assert device.memory_bytes is not None
    assert device.memory_bytes > GIB // 8
    assert device.cpu
    assert host_id() == host_id()


def test_import_stays_light() -> None:
    code = (
        "import sys, edgecnn.devices, edgecnn.runtimes.threads;"
        "print(sorted({'torch', 'onnx', 'onnxruntime', 'PIL', 'click', 'rich'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
