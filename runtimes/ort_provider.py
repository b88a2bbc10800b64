"""Backends `ort:<Provider>`: any other execution provider of ONNX Runtime, compiled in or from a package of its own."""

from __future__ import annotations

import mmap
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from edgecnn.errors import BadInput, RuntimeUnavailable, UnknownName
from edgecnn.runtimes.base import OpenOptions, Session, check_honoured
from edgecnn.runtimes.ort.entries import ENGINE_KEYS, check_entry
from edgecnn.runtimes.ort.gpu import provider_errors
from edgecnn.runtimes.ort.plugins import package_of, plugin_devices, provider_packages
from edgecnn.runtimes.ort.session import (
    CPU_PROVIDER,
    OrtSession,
    Providers,
    check_system,
    forbid_cpu,
    import_engine,
    session_options,
)
from edgecnn.runtimes.threads import usable_threads
from edgecnn.specs import Artifact, Scalar

PREFIX = "ort:"

# As `onnxruntime.get_all_providers()` has them, and those that come as packages only.
PROVIDERS = (
    "ACLExecutionProvider",
    "CANNExecutionProvider",
    "CPUExecutionProvider",
    "CoreMLExecutionProvider",
    "DmlExecutionProvider",
    "DnnlExecutionProvider",
    "MIGraphXExecutionProvider",
    "NnapiExecutionProvider",
    "NvTensorRTRTXExecutionProvider",
    "OpenVINOExecutionProvider",
    "QNNExecutionProvider",
    "RknpuExecutionProvider",
    "VSINPUExecutionProvider",
    "VitisAIExecutionProvider",
    "WebGpuExecutionProvider",
    "XnnpackExecutionProvider",
)
"""Providers that are known by name; installed packages may have others."""

# Providers that are asked for by another name, and why.
_ELSEWHERE = {
    "CUDAExecutionProvider": "that provider is --backend cuda",
    "TensorrtExecutionProvider": "that provider is --backend ort-trt",
    "AzureExecutionProvider": "that provider sends its inputs to a service; edgecnn computes on this machine",
}

# Provider -> the package that brings it to the plain engine.
_PACKAGES = {
    "NvTensorRTRTXExecutionProvider": "onnxruntime-ep-nv-tensorrt-rtx",
    "OpenVINOExecutionProvider": "onnxruntime-ep-openvino",
    "QNNExecutionProvider": "onnxruntime-qnn",
    "WebGpuExecutionProvider": "onnxruntime-ep-webgpu",
}

_XNNPACK = "XnnpackExecutionProvider"

# Compiled-in providers without an option that a user sets, so that none can be misspelt.
_WITHOUT_OPTIONS = (CPU_PROVIDER, _XNNPACK)

# There is more to these than the engine's own entry.
_CPU_ONLY = ("session.enable_mem_pattern", "session.intra_op_thread_affinities")

_SUFFIX = "executionprovider"


class OrtProviderRuntime:
    """One execution provider of ONNX Runtime.

    Engine options: the entries of `edgecnn.runtimes.ort.entries`, and the provider's own, which are those that stand in
    its library.

    Args:
        provider: its full name, "XnnpackExecutionProvider" for example; see `provider_named`.
    """

    formats: tuple[str, ...] = ("onnx",)

    def __init__(self, provider: str) -> None:
        self.provider = provider
        self.name = PREFIX + provider

    def check(self) -> None:
        """Return if the engine has this provider and, where it is a package of its own, a device for it.

        Raises:
            MissingDependency: onnxruntime is not installed.
            RuntimeUnavailable: the engine lacks the provider, its library does not load, or it claims no device here.
        """
        self._devices(self._engine())

    def open(self, artifact: Artifact, options: OpenOptions) -> Session:
        """Return a session whose every node runs on this provider.

        Raises:
            BadInput: the engine does not read this file, or the provider refuses the value of an option.
            UnknownName: an engine option that neither engine nor provider have.
            Contradiction: an option that this backend cannot honour, or one that OpenOptions has a field for.
            ProviderFallback: nodes would run elsewhere; they are named.
            MissingDependency, RuntimeUnavailable: see `check`.
        """
        if artifact.format not in self.formats:
            raise BadInput(str(artifact.path), expected="an .onnx file", got=artifact.format)
        check_honoured(self.name, options, ("threads", "spinning", "arena", "allow_fallback"))
        engine = self._engine()
        devices = self._devices(engine)
        entries, own = self._split(engine, options, plugin=bool(devices))
        threads = options.threads or usable_threads()
        pool, described = threads, _described(devices)
        if self.provider == _XNNPACK:
            # It has a pool of its own, and two that spin fight over the cores (onnxruntime.ai, XNNPACK provider).
            own, pool = {**own, "intra_op_num_threads": str(threads)}, 1
            entries = {**entries, "session.intra_op.allow_spinning": False}
            described = {**described, "spinning": False}
        chosen = session_options(engine, options, pool, entries)
        if self.provider != CPU_PROVIDER:
            forbid_cpu(engine, chosen, options)
        if devices:
            chosen.add_provider_for_devices(list(devices[:1]), own)
        providers = [] if devices else [(self.provider, own)]
        return self._create(engine, artifact, options, providers, chosen, threads, described)

    def _create(
        self,
        engine: Any,
        artifact: Artifact,
        options: OpenOptions,
        providers: Providers,
        chosen: Any,
        threads: int,
        described: Mapping[str, Scalar],
    ) -> Session:
        hint = f"the documentation of {self.provider} lists the engine options that it needs"
        with provider_errors(self.name, hint=hint):
            return OrtSession(
                engine,
                artifact,
                options,
                backend=self.name,
                providers=providers,
                asked=(self.provider,),
                chosen=chosen,
                threads=threads,
                described={**described, **options.engine},
            )

    def _engine(self) -> Any:
        check_system()
        return import_engine(backend=self.name)

    def _devices(self, engine: Any) -> tuple[Any, ...]:
        """Return the devices of a provider from a package; none for one that is compiled in."""
        package = package_of(self.provider)
        if package is None:
            if self.provider in engine.get_available_providers():
                return ()
            had = ", ".join(engine.get_available_providers())
            raise RuntimeUnavailable(
                f"onnxruntime {engine.__version__} as installed has no {self.provider}; it has {had}", self._fix()
            )
        devices = plugin_devices(engine, package, self.provider)
        if not devices:
            raise RuntimeUnavailable(
                f"{package.title} is installed and claims no device on this machine ({platform.machine()})",
                f"{package.distribution} says which hardware and drivers it needs; --backend cpu runs here",
            )
        return devices

    def _fix(self) -> str:
        package = _PACKAGES.get(self.provider)
        if package:
            return f"pip install {package}"
        return f"install a package of onnxruntime that was built with {self.provider}, or take --backend cpu"

    def _split(self, engine: Any, options: OpenOptions, *, plugin: bool) -> tuple[dict[str, Scalar], dict[str, str]]:
        """Return session entries and the provider's own options, the latter as text."""
        entries: dict[str, Scalar] = {}
        own: dict[str, str] = {}
        for key, value in options.engine.items():
            if key in ENGINE_KEYS or key.startswith(("session.", "mlas.", "optimization.")):
                if key in _CPU_ONLY:
                    raise UnknownName(f"engine option of backend {self.name}", key, (), hint="backend cpu has it")
                check_entry(key, value, version=engine.__version__)
                entries[key] = value
            elif self.provider in _WITHOUT_OPTIONS:
                raise UnknownName(f"engine option of backend {self.name}", key, sorted(ENGINE_KEYS))
            elif not _stands_in(key, self._libraries(engine, plugin)):
                hint = f"its library has no such name; the documentation of {self.provider} lists its options"
                raise UnknownName(f"engine option of backend {self.name}", key, (), hint=hint)
            else:
                own[key] = str(int(value) if isinstance(value, bool) else value)
        return entries, own

    def _libraries(self, engine: Any, plugin: bool) -> Iterable[Path]:
        package = package_of(self.provider) if plugin else None
        if package is not None:
            return (package.library_path(),)
        return (Path(engine.__file__).parent / "capi").glob("*onnxruntime*.so*")


def provider_named(text: str) -> str:
    """Return the provider that is meant by what stands behind "ort:".

    Args:
        text: its full name or that without "ExecutionProvider", in any capitals: "XNNPACKExecutionProvider", "xnnpack".

    Raises:
        UnknownName: neither known nor installed, or one that has a backend of its own.
    """
    wanted = _short(text)
    for name, why in _ELSEWHERE.items():
        if _short(name) == wanted:
            raise UnknownName("backend", PREFIX + text, [PREFIX + one for one in PROVIDERS], hint=why)
    for name in PROVIDERS:
        if _short(name) == wanted:
            return name
    installed = installed_providers()
    for name in installed:
        if _short(name) == wanted:
            return name
    known = list(dict.fromkeys((*PROVIDERS, *installed)))
    raise UnknownName(
        "backend",
        PREFIX + text,
        [PREFIX + name for name in known],
        [PREFIX + _short(name) for name in known],
        hint="" if wanted else f"name a provider: {PREFIX}xnnpack for example",
    )


def installed_providers() -> tuple[str, ...]:
    """Return the providers of the installed packages; those of packages that cannot say are left out."""
    names: list[str] = []
    for package in provider_packages():
        try:
            names += package.provider_names()
        except RuntimeUnavailable:
            continue
    return tuple(dict.fromkeys(names))


def _short(name: str) -> str:
    return name.casefold().removesuffix(_SUFFIX)


def _described(devices: tuple[Any, ...]) -> dict[str, Scalar]:
    if not devices:
        return {}
    return {"provider_device": f"{devices[0].ep_vendor} {devices[0].device.type.name}".strip()}


def _stands_in(key: str, libraries: Iterable[Path]) -> bool:
    """Tell whether a library has this text; providers ignore options that they do not know."""
    for library in libraries:
        with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if key.isascii() and data.find(key.encode()) >= 0:
                return True
    return False
