"""A user's own Python code: found by name, run, and its errors told with the line of their file that they come from."""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

import edgecnn
from edgecnn.errors import BadInput, EdgecnnError, ExportError, UnknownName, first_line

# Python's own modules are not the user's; neither are torch and this package, see `_skipped`.
_WHOLE = "edgecnn --debug export shows the whole traceback"
_STANDARD = Path(inspect.__file__).parent


@contextmanager
def here_importable() -> Iterator[None]:
    """Let modules of the current folder be imported while the block runs, as `python -m` does."""
    before = list(sys.path)
    sys.path.insert(0, str(Path.cwd()))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = before


@contextmanager
def told(what: str) -> Iterator[None]:
    """Turn whatever the user's code raises in the block into one line that says where.

    Args:
        what: what was being done, "importing models" for example.

    Raises:
        ExportError: it raised something.
    """
    try:
        yield
    except EdgecnnError:
        raise
    except (Exception, SystemExit) as error:
        kind = type(error).__name__
        line = first_line(error)
        text = f"{kind}: {line}" if line != kind else kind
        raise ExportError(f"{what} failed{_at(error)}: {text}", _WHOLE) from error


def explained(error: ExportError, what: str) -> ExportError:
    """Return an error of torch's exporter with the reason and the user's line, which lie deep in its causes."""
    root: BaseException = error
    while (cause := root.__cause__ or root.__context__) is not None:
        root = cause
    hint = "what is computed must not depend on the values of the image" if "DataDep" in type(root).__name__ else _WHOLE
    return ExportError(f"torch cannot export {what}{_at(root)}: {first_line(root)}", hint)


def find_object(reference: str) -> object:
    """Return what a reference names; its module is imported, which runs the user's code.

    Args:
        reference: "pkg.module:name" or "pkg.module:Class.name".

    Raises:
        BadInput: there is no such module.
        UnknownName: it has nothing of that name.
        ExportError: importing it failed.
    """
    module_name, _, path = reference.partition(":")
    found: Any = _import(module_name)
    for name in path.split("."):
        if not hasattr(found, name):
            raise UnknownName(f"name in {module_name}", path, _offered(found) or ["nothing"])
        found = getattr(found, name)
    return found


def make_module(found: object, reference: str) -> nn.Module:
    """Return the network that an object is, or makes when it is called without arguments.

    Raises:
        BadInput: it needs arguments, cannot be called, or what it makes is no torch.nn.Module.
        ExportError: it failed.
    """
    if isinstance(found, nn.Module):
        return found
    if not callable(found):
        raise BadInput(reference, expected="a class, function or torch.nn.Module", got=type(found).__name__)
    if needed := _needed_arguments(found):
        name = reference.rpartition(":")[2]
        raise BadInput(
            f"{reference} needs the argument{'s' * (len(needed) > 1)} {', '.join(needed)}",
            f"write a function without arguments that returns {name}({', '.join(f'{one}=...' for one in needed)})",
        )
    with told(f"{reference}()"):
        made = found()
    if not isinstance(made, nn.Module):
        raise BadInput(f"{reference}()", expected="a torch.nn.Module", got=type(made).__name__)
    return made


def _import(name: str) -> ModuleType:
    try:
        with told(f"importing {name}"):
            return importlib.import_module(name)
    except ExportError as error:
        cause = error.__cause__
        missing = cause.name if isinstance(cause, ModuleNotFoundError) else None
        if missing is not None and (name == missing or name.startswith(f"{missing}.")):
            hint = f"run edgecnn where {missing}.py or the folder {missing} lies, or install the package"
            raise BadInput(f"there is no module {missing}, neither installed nor in {Path.cwd()}", hint) from None
        raise


def _offered(found: object) -> list[str]:
    """Return the names that could have been meant: networks, and what makes them."""
    own = getattr(found, "__name__", None)
    names = []
    for name, value in vars(found).items():
        from_here = getattr(value, "__module__", own) == own
        if not name.startswith("_") and from_here and (callable(value) or isinstance(value, nn.Module)):
            names.append(name)
    return sorted(names)


def _needed_arguments(made_by: Any) -> list[str]:
    try:
        parameters = inspect.signature(made_by).parameters.values()
    except (TypeError, ValueError):
        return []
    varying = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [one.name for one in parameters if one.default is one.empty and one.kind not in varying]


def _at(error: BaseException) -> str:
    """Return " at " with file and line of the innermost frame that is the user's, empty where there is none."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" at {_shown(error.filename)}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _is_users(frame.filename)]
    return f" at {_shown(own[-1].filename)}:{own[-1].lineno}" if own else ""


def _is_users(filename: str) -> bool:
    path = Path(filename)
    if filename.startswith("<"):
        return False
    resolved = path.resolve()
    packaged = "site-packages" in resolved.parts or "dist-packages" in resolved.parts
    standard = resolved.is_relative_to(_STANDARD) and not packaged
    return not standard and not any(resolved.is_relative_to(other) for other in _skipped())


def _skipped() -> tuple[Path, ...]:
    package = Path(edgecnn.__file__).resolve().parent
    roots = [package, *((package / name).resolve() for name in ("exporters", "runtimes", "devices"))]
    return (Path(torch.__file__).resolve().parent, *roots)


def _shown(filename: str) -> str:
    """Return a path as seen from the current folder where it lies in it."""
    path = Path(filename)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
