"""Backends ort:<Provider>: names, packages with providers, and what is said where one cannot run."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgecnn.artifacts import load_artifact
from edgecnn.errors import Contradiction, ProviderFallback, RuntimeUnavailable, UnknownName
from edgecnn.runtimes import OpenOptions, backend_names, get_runtime, open_session, ort_provider
from edgecnn.runtimes.ort import plugins
from edgecnn.runtimes.ort.plugins import ProviderPackage, plugin_devices, provider_packages
from edgecnn.runtimes.ort_provider import PROVIDERS, OrtProviderRuntime, provider_named
from edgecnn.testing.fakeort import FakeOrt
from edgecnn.testing.models import TINY

onnxruntime = pytest.importorskip("onnxruntime")

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install a package with a provider, as pip would lay it out."""
    before = set(sys.modules)

    def make(
        distribution: str = "onnxruntime-ep-toy", *, provider: str = "ToyExecutionProvider", text: str = ""
    ) -> Path:
        module = distribution.replace("-", "_")
        folder = tmp_path / "site" / module
        folder.mkdir(parents=True)
        library = folder / "libtoy.so"
        library.write_bytes(b"\0toy_speed\0")
        body = f"def get_library_path(): return {str(library)!r}\ndef get_ep_names(): return [{provider!r}]\n"
        (folder / "__init__.py").write_text(text or body)
        info = folder.parent / f"{module}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
        (info / "RECORD").write_text(f"{module}/__init__.py,,\n{info.name}/METADATA,,\n{info.name}/RECORD,,\n")
        monkeypatch.syspath_prepend(str(folder.parent))
        return library

    monkeypatch.setattr(plugins, "_registered", {})
    yield make
    for name in set(sys.modules) - before:
        if name.startswith("onnxruntime_ep_"):
            del sys.modules[name]


class PluginOrt(FakeOrt):
    """An engine that takes provider libraries; they claim one device each, unless `claims` is off."""

    claims = True

    def __init__(self, folder: Path, **named: Any) -> None:
        super().__init__(folder, providers=["CPUExecutionProvider"], **named)
        self.registered: dict[str, str] = {}
        self.added: list[Any] = []

    def register_execution_provider_library(self, name: str, path: str) -> None:
        self.calls.append(("register", name, path))
        if name in self.registered:
            raise RuntimeError(f"[ONNXRuntimeError] : 1 : FAIL : EP library is already registered under {name}")
        self.registered[name] = path

    def get_ep_devices(self) -> list[Any]:
        hardware = SimpleNamespace(type=SimpleNamespace(name="NPU"))
        return [
            SimpleNamespace(ep_name=name, ep_vendor="Toys", device=hardware, ep_metadata={"library_path": path})
            for name, path in self.registered.items()
            if self.claims
        ]

    def SessionOptions(self) -> Any:  # noqa: N802
        chosen = super().SessionOptions()
        chosen.add_provider_for_devices = lambda devices, options: self.added.append((devices, options))
        return chosen


@pytest.mark.parametrize("text", ["XnnpackExecutionProvider", "XNNPACKExecutionProvider", "xnnpack", "XNNPACK"])
def test_a_provider_has_one_name_however_it_is_written(text: str) -> None:
    assert get_runtime(f"ort:{text}").name == "ort:XnnpackExecutionProvider"


def test_every_name_of_the_engine_is_known() -> None:
    elsewhere = {"CUDAExecutionProvider", "TensorrtExecutionProvider", "AzureExecutionProvider"}
    browsers = {"JsExecutionProvider", "WebNNExecutionProvider"}
    assert set(onnxruntime.get_all_providers()) - elsewhere - browsers <= set(PROVIDERS)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("opnvino", r"did you mean ort:openvino\?"),
        ("CPUExecutionProviderx", r"did you mean ort:CPUExecutionProvider\?"),
        ("cuda", "--backend cuda"),
        ("tensorrt", "--backend ort-trt"),
        ("azure", "computes on this machine"),
        ("", "ort:xnnpack for example"),
    ],
)
def test_other_names_are_refused_with_what_was_meant(text: str, hint: str) -> None:
    with pytest.raises(UnknownName, match=hint):
        provider_named(text)


def test_a_provider_that_the_package_was_built_without() -> None:
    for name, fix in (
        ("xnnpack", "built with XnnpackExecutionProvider"),
        ("openvino", "pip install onnxruntime-ep-openvino"),
    ):
        if any(name in package.distribution for package in provider_packages()):
            pytest.skip(f"a package with {name} is installed")
        with pytest.raises(RuntimeUnavailable, match="as installed has no") as caught:
            get_runtime(f"ort:{name}").check()
        assert fix in caught.value.hint


def test_the_cpu_provider_by_this_door_gives_what_backend_cpu_gives() -> None:
    images = np.random.default_rng(0).random((3, 1, 8, 8), np.float32)
    options = OpenOptions(threads=1, spinning=False, engine={"session.set_denormal_as_zero": True})
    answers = []
    for backend in ("cpu", "ort:CPUExecutionProvider"):
        with open_session(load_artifact(TINY), backend=backend, options=options) as session:
            answers.append(session.run({"input": images})["logits"])
            info = session.info()
    np.testing.assert_array_equal(*answers)
    assert info.backend == "ort:CPUExecutionProvider"
    assert info.options["session.set_denormal_as_zero"] is True


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"engine": {"device_id": 0}}, UnknownName),
        ({"engine": {"session.no_such": 1}}, UnknownName),
        ({"engine": {"session.intra_op.allow_spinning": 0}}, Contradiction),
        ({"cache": True}, Contradiction),
    ],
)
def test_options_that_the_cpu_provider_does_not_have(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        open_session(load_artifact(TINY), backend="ort:cpu", options=OpenOptions(**options))


def test_installed_packages_are_found_and_listed(install: Install) -> None:
    install()
    assert "ort:ToyExecutionProvider" in backend_names()
    assert get_runtime("ort:toy").name == "ort:ToyExecutionProvider"


def test_other_packages_of_that_name_are_not_imported(install: Install) -> None:
    install("onnxruntime-extensions", text="raise RuntimeError('imported')\ndef get_library_path(): ...\n")
    assert not [one for one in provider_packages() if one.distribution == "onnxruntime-extensions"]


def test_what_packages_of_other_names_say_about_themselves_is_not_read(install: Install) -> None:
    site = install().parents[1]
    other = site / "other-1.0.dist-info"
    other.mkdir()
    (other / "METADATA").write_bytes(b"Name: \xff\xfe")  # no UTF-8, which would end the reading
    assert [one.title for one in provider_packages() if "toy" in one.distribution] == ["onnxruntime-ep-toy 1.2"]


def test_of_two_installations_the_one_that_an_import_finds_counts(install: Install, tmp_path: Path) -> None:
    install()
    later = tmp_path / "later" / "onnxruntime_ep_toy-0.9.dist-info"
    shutil.copytree(tmp_path / "site", later.parent)
    (later.parent / "onnxruntime_ep_toy-1.2.dist-info").rename(later)
    (later / "METADATA").write_text("Metadata-Version: 2.1\nName: onnxruntime-ep-toy\nVersion: 0.9\n")
    sys.path.append(str(later.parent))  # the fixture puts the path back as it was
    assert [one.version for one in provider_packages() if "toy" in one.distribution] == ["1.2"]


def test_a_package_that_cannot_be_imported_hides_no_other(install: Install) -> None:
    install(
        "onnxruntime-ep-broken", text="def get_library_path(): ...\ndef get_ep_name(): ...\nraise OSError('no lib')\n"
    )
    install()
    assert "ort:ToyExecutionProvider" in backend_names()
    broken = next(one for one in provider_packages() if one.distribution == "onnxruntime-ep-broken")
    with pytest.raises(RuntimeUnavailable, match=r"onnxruntime-ep-broken 1\.2 cannot be used: OSError: no lib"):
        broken.provider_names()


def opened(ort: PluginOrt, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Any:
    monkeypatch.setattr(ort_provider, "import_engine", lambda **_: ort)
    runtime = get_runtime("ort:toy")
    runtime.check()
    return runtime.open(load_artifact(TINY), OpenOptions(threads=1, **options))


def test_a_packages_provider_gets_its_devices_and_is_registered_once(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = install()
    engine = PluginOrt(tmp_path, active=["ToyExecutionProvider", "CPUExecutionProvider"])
    for _ in range(2):
        with opened(engine, monkeypatch, engine={"toy_speed": 3}) as session:
            assert session.info().providers_asked == ("ToyExecutionProvider",)
            assert session.info().options["provider_device"] == "Toys NPU"
    assert [call for call in engine.calls if call[0] == "register"] == [
        ("register", "ToyExecutionProvider", str(library))
    ]
    devices, options = engine.added[0]
    assert [one.ep_name for one in devices] == ["ToyExecutionProvider"]
    assert options == {"toy_speed": "3"}
    with pytest.raises(UnknownName, match="toy_sped"):
        opened(engine, monkeypatch, engine={"toy_sped": 3})


def test_nodes_that_a_packages_provider_leaves_are_named(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install()
    placed = {"ToyExecutionProvider": ["c1"], "CPUExecutionProvider": ["pool"]}
    engine = PluginOrt(tmp_path, active=["ToyExecutionProvider", "CPUExecutionProvider"], placed=placed)
    with pytest.raises(ProviderFallback, match="1 of 2 nodes on CPUExecutionProvider: pool"):
        opened(engine, monkeypatch)


def test_a_package_that_claims_no_device(install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install()
    engine = PluginOrt(tmp_path)
    engine.claims = False
    with pytest.raises(RuntimeUnavailable) as caught:
        opened(engine, monkeypatch)
    wanted = f"onnxruntime-ep-toy 1.2 is installed and claims no device on this machine ({platform.machine()})"
    assert caught.value.message == wanted


@pytest.mark.parametrize(("own", "works"), [(True, True), (False, False)])
def test_a_library_that_the_program_registered_itself(own: bool, works: bool, install: Install, tmp_path: Path) -> None:
    library = install()
    engine = PluginOrt(tmp_path)
    engine.registered["ToyExecutionProvider"] = str(library) if own else "/elsewhere/libtoy.so"
    package = ProviderPackage(distribution="onnxruntime-ep-toy", version="1.2", module="onnxruntime_ep_toy")
    if works:
        assert len(plugin_devices(engine, package, "ToyExecutionProvider")) == 1
    else:
        with pytest.raises(RuntimeUnavailable, match="already registered"):
            plugin_devices(engine, package, "ToyExecutionProvider")


def test_the_real_engine_says_what_is_no_library(install: Install) -> None:
    if not hasattr(onnxruntime, "register_execution_provider_library"):
        pytest.skip("this engine is older than provider packages")
    install()
    with pytest.raises(RuntimeUnavailable, match=r"onnxruntime-ep-toy 1\.2 cannot be loaded") as caught:
        get_runtime("ort:toy").check()
    assert caught.value.hint == "pip install --upgrade onnxruntime onnxruntime-ep-toy"


def test_engines_before_packages_say_so(install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install()
    monkeypatch.setattr(ort_provider, "import_engine", lambda **_: FakeOrt(tmp_path))
    with pytest.raises(RuntimeUnavailable, match="does not take onnxruntime-ep-toy"):
        get_runtime("ort:toy").check()


def test_xnnpack_gets_the_threads_and_the_engine_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeOrt(tmp_path, providers=["XnnpackExecutionProvider"])
    monkeypatch.setattr(ort_provider, "import_engine", lambda **_: engine)
    with OrtProviderRuntime("XnnpackExecutionProvider").open(load_artifact(TINY), OpenOptions(threads=3)) as session:
        assert session.info().threads == 3
        assert session.info().options["spinning"] is False
    assert engine.sessions[0].options == {"XnnpackExecutionProvider": {"intra_op_num_threads": "3"}}
    assert engine.sessions[0].sess_options.intra_op_num_threads == 1
    assert engine.sessions[0].sess_options.entries["session.intra_op.allow_spinning"] == "0"


@pytest.mark.slow
def test_what_is_installed_here_runs_or_says_why(tmp_path: Path) -> None:
    packages = provider_packages()
    if not packages:
        pytest.skip("needs a package with a provider, onnxruntime-ep-openvino for example")
    code = (
        "import sys, numpy as np\n"
        "from edgecnn.artifacts import load_artifact\n"
        "from edgecnn.errors import EdgecnnError\n"
        "from edgecnn.runtimes import open_session\n"
        "from edgecnn.testing.models import TINY\n"
        "try:\n"
        "    with open_session(load_artifact(TINY), backend=sys.argv[1]) as session:\n"
        "        session.run({'input': np.ones((1, 1, 8, 8), np.float32)})\n"
        "except EdgecnnError as error:\n"
        "    assert error.hint, error\n"
    )
    for name in (f"ort:{provider}" for package in packages for provider in package.provider_names()):
        done = subprocess.run([sys.executable, "-c", code, name], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{name}: {done.stderr}"
        assert done.stdout == ""
