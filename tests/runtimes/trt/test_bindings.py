"""Every name of TensorRT that backend trt uses exists in its real bindings, from 10.3 to 11.4, and takes as many arguments.

The names are collected from the source of edgecnn.runtimes.trt. The bindings are small packages that load without TensorRT's
libraries, against libraries that do nothing; docs/tensorrt.md says how to get them.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import edgecnn.runtimes.trt

HERE = Path(__file__).parent
SOURCE = Path(edgecnn.runtimes.trt.__file__).parent

VERSIONS = ("10.3", "10.13", "10.16", "11.0", "11.4")

# What a variable or attribute of this name is, everywhere in the package.
OBJECTS = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "graph_input": "ITensor",
    "parser": "OnnxParser",
    "fault": "ParserError",
    "config": "IBuilderConfig",
    "profile": "IOptimizationProfile",
    "timings": "ITimingCache",
    "others": "ITimingCache",
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "context": "IExecutionContext",
    "inspector": "EngineInspector",
}

# What calls on those give that has no members that are used: bytes, numbers, shapes, texts.
PLAIN = {"plan", "node", "operator", "unresolved", "shape", "found", "inputs", "batch"}

# Names of untyped parameters that are no objects of TensorRT.
OTHER = {"trt", "cudart", "cuda", "error", "found", "tensor"}


def trees() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(SOURCE.glob("*.py")):
        yield path.name, ast.parse(path.read_text(encoding="utf-8"))


def dotted(node: ast.expr) -> list[str]:
    """Return ["lines", "engine", "num_layers"] of lines.engine.num_layers; [] for anything but names and attributes."""
    if isinstance(node, ast.Name):
        return [node.id.lstrip("_")]
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return [*before, node.attr.lstrip("_") if not node.attr.startswith("__") else node.attr] if before else []
    return []


def of_the_module(parts: list[str]) -> list[str]:
    """Return the parts behind trt, [] where the expression is none of the module's."""
    return parts[parts.index("trt") + 1 :] if "trt" in parts[:-1] else []


def owner(parts: list[str]) -> str | None:
    """Return the class that has the last part as a member, None where it is no object of TensorRT."""
    if len(parts) < 2 or parts[-2] not in OBJECTS or "options" in parts:
        return None
    return OBJECTS[parts[-2]]


def used() -> dict[str, list[Any]]:
    """Return all that the package takes from TensorRT: names of the module, members of objects, calls with their arity."""
    names, members, calls = set(), set(), set()
    for _, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                parts = dotted(node)
                behind = of_the_module(parts)
                if behind and not behind[-1].startswith("__"):
                    names.add(".".join(behind))
                kind = owner(parts)
                if kind:
                    members.add((kind, parts[-1]))
                if parts[:1] == ["severity"]:
                    names.add("ILogger.Severity." + parts[-1])
            if isinstance(node, ast.Call):
                parts = dotted(node.func)
                kind = owner(parts)
                if kind:
                    assert not node.keywords, f"{'.'.join(parts)}: names of arguments differ from version to version"
                    calls.add((kind, parts[-1], len(node.args)))
    return {"names": sorted(names), "members": sorted(members), "calls": sorted(calls)}


def test_the_list_is_of_what_the_source_uses() -> None:
    found = used()
    assert {
        "Builder",
        "OnnxParser",
        "Runtime",
        "BuilderFlag.TF32",
        "NetworkDefinitionCreationFlag.STRONGLY_TYPED",
    } <= set(found["names"])
    assert ("IBuilderConfig", "progress_monitor") in found["members"]  # one that is only set
    assert ("IExecutionContext", "execute_async_v3") in found["members"]
    assert ("ITimingCache", "combine", 2) in found["calls"]
    assert {kind for kind, _ in found["members"]} == set(OBJECTS.values())
    assert not [name for name in found["names"] if name.endswith((".FP16", ".INT8", "EXPLICIT_BATCH"))]


def test_no_object_of_tensorrt_has_a_name_that_is_not_in_the_list() -> None:
    """What a call on TensorRT gives is kept under a name of OBJECTS, and untyped parameters have such names."""
    strange = []
    for file, tree in trees():
        for function in ast.walk(tree):
            if not isinstance(function, (ast.FunctionDef, ast.Lambda)):
                continue
            arguments = [*function.args.args, *function.args.kwonlyargs]
            untyped = {
                argument.arg
                for argument in arguments
                if isinstance(argument.annotation, ast.Name) and argument.annotation.id == "Any"
            }
            asked = {
                node.value.id
                for node in ast.walk(function)
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
            }
            strange += [f"{file}: parameter {name}" for name in untyped & asked - set(OBJECTS) - OTHER]
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
                parts = dotted(node.value.func)
                targets = [one for target in node.targets for one in getattr(target, "elts", [target])]
                names = {dotted(target)[-1] for target in targets if dotted(target)}
                if (of_the_module(parts) or owner(parts)) and names - set(OBJECTS) - PLAIN:
                    strange.append(f"{file}: {ast.unparse(node)}")
    assert not strange, "\n".join(strange)


@pytest.fixture(scope="module")
def null_libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with TensorRT's libraries of 10 and 11 that do nothing."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    folder = tmp_path_factory.mktemp("libraries")
    for library in ("libnvinfer", "libnvinfer_plugin", "libnvonnxparser"):
        for major in (10, 11):
            name = f"{library}.so.{major}"
            source = str(HERE / "nulllibs.c")
            subprocess.run(
                [compiler, "-shared", "-fPIC", f"-Wl,-soname,{name}", source, "-o", str(folder / name)], check=True
            )
    return folder


def bindings(version: str, folder: Path) -> Path:
    """Return the folder to import tensorrt_bindings of that version from, unpacked where it is a wheel."""
    given = os.environ.get("EDGECNN_TRT_BINDINGS")
    if not given:
        pytest.skip("EDGECNN_TRT_BINDINGS names no folder with wheels of TensorRT's bindings, see docs/tensorrt.md")
    tag = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    wheels = sorted(Path(given).glob(f"tensorrt_cu*_bindings-{version}.*-{tag}-*.whl"))
    if not wheels:
        pytest.skip(f"no wheel tensorrt_cu*_bindings-{version}.*-{tag}-*.whl in {given}")
    with zipfile.ZipFile(wheels[-1]) as wheel:
        wheel.extractall(folder)
    return folder


def probe(module: str, path: Path | None, libraries: Path | None) -> dict[str, Any]:
    environment = {**os.environ, "LD_LIBRARY_PATH": str(libraries or "")}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run(
        [sys.executable, str(HERE / "bindings_probe.py"), module],
        input=json.dumps(used()),
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.trt_build
@pytest.mark.parametrize("version", VERSIONS)
def test_all_names_exist(version: str, null_libraries: Path, tmp_path: Path) -> None:
    answer = probe("tensorrt_bindings", bindings(version, tmp_path), null_libraries)
    assert answer["version"].startswith(f"{version}.")
    assert answer["missing"] == []
    assert answer["uncallable"] == []
    # Why the flag's number is never written down.
    assert answer["strongly_typed"] == (1 if version.startswith("10.") else 0)


@pytest.mark.trt_build
def test_tensorrt_for_rtx_has_them_too() -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx-cu13 is not installed")
    answer = probe("tensorrt_rtx", None, None)
    assert (answer["missing"], answer["uncallable"]) == ([], [])
