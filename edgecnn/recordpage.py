"""The page and the JSON schema of the record, made from its dataclasses.

    python -m edgecnn.recordpage docs

writes docs/record.md and docs/result.schema.json again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgecnn.files import replacing
from edgecnn.resultlines import schema
from edgecnn.results import SCHEMA

PAGE = "record.md"
SCHEMA_FILE = "result.schema.json"

_INTRODUCTION = f"""# The record: `{SCHEMA}`

<!-- made by: python -m edgecnn.recordpage docs -->

One measurement is one line of JSON, appended to a `.jsonl` file and flushed to the disk at once; failures and skips are
lines too. Unknown is `null`, never 0. Units stand in the keys (`_ns`, `_bytes`, `_khz`, `_c`) or beside the value. Two
records may be compared where `subject`, `runtime`, `device` and `plan` agree but for what is under study.

Every key is always written. A reader passes over keys that it does not know: a later version may add some. Removing a
key or changing its meaning makes a new schema. A line that breaks off (a crash, a full disk) is passed over. The same in
JSON Schema: [{SCHEMA_FILE}]({SCHEMA_FILE}).
"""


def record_page() -> str:
    """Return the Markdown page of the record: one table per group, in the order in which they are written."""
    document = schema()
    sections = [_section(path, document["$defs"][name]) for path, name in _groups(document)]
    return "\n".join([_INTRODUCTION, *sections])


def schema_text() -> str:
    """Return the JSON schema of a record as it lies in docs/."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def write(folder: Path) -> None:
    """Write both files into a folder.

    Raises:
        UnavailableError: the folder cannot be written to.
    """
    for name, text in ((PAGE, record_page()), (SCHEMA_FILE, schema_text())):
        with replacing(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def _groups(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (key path, name of the definition) of every kind of object, the record first, each once."""
    waiting = [("", _reference(document))]
    seen = set()
    while waiting:
        path, name = waiting.pop(0)
        if name in seen:
            continue
        seen.add(name)
        yield path, name
        for key, value in document["$defs"][name]["properties"].items():
            waiting += [(f"{path}.{key}{suffix}".lstrip("."), inner) for suffix, inner in _references(value)]


def _references(value: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if "$ref" in value:
        yield "", _reference(value)
    for inner in value.get("anyOf", ()):
        yield from _references(inner)
    if "items" in value:
        yield from ((f"[]{suffix}", name) for suffix, name in _references(value["items"]))


def _reference(value: dict[str, Any]) -> str:
    return str(value["$ref"]).rpartition("/")[2]


def _section(path: str, definition: dict[str, Any]) -> str:
    title = f"`{path}`" if path else "The line"
    rows = [
        f"| `{key}` | {_type(value)} | {_cell(value['description'])} |"
        for key, value in definition["properties"].items()
    ]
    return "\n".join(
        [f"## {title}", "", definition["description"], "", "| key | type | meaning |", "| --- | --- | --- |", *rows, ""]
    )


def _type(value: dict[str, Any]) -> str:
    if "anyOf" in value:
        return " or ".join(_type(inner) for inner in value["anyOf"])
    if "enum" in value:
        return " or ".join(f'"{name}"' for name in value["enum"])
    if "prefixItems" in value:
        return "[" + ", ".join(_type(inner) for inner in value["prefixItems"]) + "]"
    if "items" in value:
        return f"list of {_type(value['items'])}"
    if "additionalProperties" in value:
        return f"object of {_type(value['additionalProperties'])}"
    return "object" if "$ref" in value else str(value["type"])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
