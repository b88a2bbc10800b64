"""Run in a process of its own by test_bindings.py: which of the names and calls on standard input TensorRT's bindings lack.

Arguments: the module's name. Input, JSON: {"names": ["BuilderFlag.TF32", ...], "members": [[class, member], ...],
"calls": [[class, method, number of arguments], ...]}. Output, JSON: {"version", "missing", "uncallable", "strongly_typed"}.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from functools import reduce
from typing import Any


def main() -> None:
    trt = importlib.import_module(sys.argv[1])
    asked = json.load(sys.stdin)
    missing = [name for name in asked["names"] if not has(trt, name)]
    missing += [f"{kind}.{member}" for kind, member in asked["members"] if not has(trt, f"{kind}.{member}")]
    uncallable = [
        f"{kind}.{method} with {count} arguments, there are: {(getattr(getattr(trt, kind), method).__doc__ or '')[:300]}"
        for kind, method, count in asked["calls"]
        if has(trt, f"{kind}.{method}") and not takes(getattr(getattr(trt, kind), method), count)
    ]
    answer = {
        "version": trt.__version__,
        "missing": missing,
        "uncallable": uncallable,
        "strongly_typed": int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED),
    }
    print(json.dumps(answer))


def has(trt: Any, name: str) -> bool:
    try:
        reduce(getattr, name.split("."), trt)
    except AttributeError:
        return False
    return True


def takes(method: Any, count: int) -> bool:
    """Tell by its docstring, where pybind11 writes the signatures, whether a method takes so many arguments besides self."""
    signatures = re.findall(rf"^(?:\d+\. )?{method.__name__}\((.*)\) -> ", method.__doc__ or "", re.MULTILINE)
    for text in signatures:
        if "*args" in text:
            continue
        parts = split(text)
        optional = sum("=" in part for part in parts)
        if len(parts) - 1 - optional <= count <= len(parts) - 1:
            return True
    return not [text for text in signatures if "*args" not in text]


def split(text: str) -> list[str]:
    """Split a signature at the commas outside of brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "[(<{") - (letter in "])>}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


main()
