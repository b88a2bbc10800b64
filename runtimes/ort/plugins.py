"""Execution providers of ONNX Runtime that come as packages of their own, next to the plain engine.

Such a package has a function that gives the path of its library and one that gives the names of its providers (ONNX
Runtime, "Plugin Execution Provider Libraries"). It is found by its distribution's name, onnxruntime-ep-openvino for
example; a module is imported only where its text has those functions, and a library is loaded when it is asked for.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecnn.errors import RuntimeUnavailable, first_line
from edgecnn.runtimes.ort.installed import PREFIX, engine_folders

# Provider name -> path of the library that this process registered; the engine keeps it until the process ends.
_registered: dict[str, str] = {}
_registering = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderPackage:
    """An installed package with execution providers.

    Attributes:
        distribution: "onnxruntime-ep-openvino" for example.
        version: of the package.
        module: its import name.
    """

    distribution: str
    version: str
    module: str

    @property
    def title(self) -> str:
        """Distribution and version, for messages."""
        return f"{self.distribution} {self.version}"

    def provider_names(self) -> tuple[str, ...]:
        """Return the names of its execution providers.

        Raises:
            RuntimeUnavailable: its module cannot be imported or does not say.
        """
        names = self._ask("get_ep_names", "get_ep_name", "EP_NAME")
        return (names,) if isinstance(names, str) else tuple(names)

    def library_path(self) -> Path:
        """Return the library that the engine registers.

        Raises:
            RuntimeUnavailable: the package has none for this system.
        """
        return Path(self._ask("get_library_path", "library_path"))

    def _ask(self, *attributes: str) -> Any:
        try:
            module = importlib.import_module(self.module)
            found = next(getattr(module, name) for name in attributes if hasattr(module, name))
            return found() if callable(found) else found
        except (Exception, SystemExit) as error:
            raise RuntimeUnavailable(
                f"{self.title} cannot be used: {type(error).__name__}: {first_line(error)}",
                f"pip install --force-reinstall {self.distribution}, or remove it",
            ) from error


def provider_packages() -> tuple[ProviderPackage, ...]:
    """Return the installed packages with execution providers, by name."""
    found: dict[str, ProviderPackage] = {}
    for distribution in engine_folders():
        name = (distribution.name or "").lower().replace("_", "-")
        if name.startswith(PREFIX + "-"):
            for module in _modules(distribution):
                # What comes first on the path is what an import finds.
                found.setdefault(name, ProviderPackage(distribution=name, version=distribution.version, module=module))
    return tuple(found[name] for name in sorted(found))


def package_of(provider: str) -> ProviderPackage | None:
    """Return the installed package that has a provider; None where there is none. Packages that fail are passed over."""
    for package in provider_packages():
        try:
            if provider in package.provider_names():
                return package
        except RuntimeUnavailable:
            continue
    return None


def plugin_devices(engine: Any, package: ProviderPackage, provider: str) -> tuple[Any, ...]:
    """Return the devices that a provider claims on this machine, its library registered once per process.

    Args:
        engine: the module onnxruntime.
        package: that has the provider.
        provider: its name.

    Raises:
        RuntimeUnavailable: the engine is older than such packages, the library does not load, or another one is
            registered under this name.
    """
    if not hasattr(engine, "register_execution_provider_library"):
        raise RuntimeUnavailable(
            f"onnxruntime {engine.__version__} does not take {package.title}", "pip install 'onnxruntime>=1.24'"
        )
    path = str(package.library_path())
    with _registering:
        if _registered.get(provider) != path:
            _register(engine, package, provider, path)
            _registered[provider] = path
    return _devices(engine, provider)


def _register(engine: Any, package: ProviderPackage, provider: str, path: str) -> None:
    # Under the provider's own name, because some libraries call their provider by the name that they are registered under.
    try:
        engine.register_execution_provider_library(provider, path)
    except Exception as error:
        # The program that embeds us may have registered the same library already.
        libraries = {str(dict(one.ep_metadata).get("library_path", path)) for one in _devices(engine, provider)}
        if "already registered" in str(error) and libraries <= {path}:
            return
        raise RuntimeUnavailable(
            f"{package.title} cannot be loaded: {first_line(error)}",
            f"pip install --upgrade onnxruntime {package.distribution}",
        ) from error


def _devices(engine: Any, provider: str) -> tuple[Any, ...]:
    return tuple(one for one in engine.get_ep_devices() if one.ep_name == provider)


def _modules(distribution: importlib.metadata.Distribution) -> Iterator[str]:
    """Yield the import names of a distribution that has execution providers; the engine's own folder is none."""
    for file in distribution.files or ():
        if len(file.parts) == 2 and file.name == "__init__.py" and file.parts[0] != PREFIX:
            try:
                text = Path(str(file.locate())).read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
            if "library_path" in text and ("get_ep_name" in text or "EP_NAME" in text):
                yield file.parts[0]
