"""A model in one file whose weights the engine maps into memory as they are, instead of parsing and copying them.

An .onnx file is one message that is read and copied as a whole before anything runs. ONNX Runtime also takes weights from
a second file, which it maps (`session.optimized_model_external_initializers_file_name` and
`session.model_external_initializers_file_folder_path` of onnxruntime_session_options_config_keys.h). A packed file is both:
the weights, then the graph, which names the file itself as where its weights lie, then the graph's length and `_MAGIC`. So
it cannot be renamed, and is no .onnx file. Whoever replaces one writes another file and renames it: what is mapped stays.
Engines that cannot be told the folder get the weights in the graph.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgecnn.errors import BadInput
from edgecnn.runtimes.privatefiles import remove

_MAGIC = b"edgecnn1"
_END = struct.Struct("<Q8s")

_GRAPH = "graph.onnx"

# The first engine that has the entry for the folder: its name stands in the library of 1.21 and not in that of 1.20.
_FIRST_WITH_FOLDER = (1, 21)

# Smaller ones stay in the graph: each that is mapped takes a page or two of addresses, and a system call.
_LEAST_MAPPED_BYTES = 1024

_COPIED_BYTES = 1 << 20


@contextmanager
def packing(engine: Any, chosen: Any, path: Path, name: str) -> Iterator[None]:
    """Let the session that is created in the block write its optimised model, packed, to a path.

    Args:
        engine: the module.
        chosen: SessionOptions of that session.
        path: where the file is written.
        name: what the file will be called when it is opened.
    """
    parts = path.with_name(f"{path.name}.parts")
    remove(parts)  # of a process that was killed
    parts.mkdir(mode=0o700)
    try:
        chosen.optimized_model_filepath = str(parts / _GRAPH)
        if tuple(map(int, engine.__version__.split(".")[:2])) >= _FIRST_WITH_FOLDER:
            for key, value in (("file_name", name), ("min_size_in_bytes", str(_LEAST_MAPPED_BYTES))):
                chosen.add_session_config_entry(f"session.optimized_model_external_initializers_{key}", value)
        yield
        _join(parts / name, parts / _GRAPH, path)
    finally:
        remove(parts)


def unpacked_graph(chosen: Any, path: Path) -> bytes:
    """Return the graph of a packed file for a session that is to be created with these SessionOptions.

    Raises:
        BadInput: it is no packed file, or cannot be read.
    """
    chosen.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.parent))
    try:
        with path.open("rb", buffering=0) as file:
            end = os.fstat(file.fileno()).st_size - _END.size
            length, magic = _END.unpack(os.pread(file.fileno(), _END.size, max(0, end)))
            if magic != _MAGIC or not 0 < length <= end:
                raise BadInput(f"{path} is no packed model")
            return os.pread(file.fileno(), length, end - length)
    except (OSError, struct.error) as error:
        raise BadInput(f"{path} cannot be read: {error}") from None


def _join(weights: Path, graph: Path, path: Path) -> None:
    """Write a packed file of what the engine wrote; without large weights it writes no file of them."""
    import shutil  # noqa: PLC0415 (not for those who open one)

    with path.open("xb") as file:
        if weights.exists():
            with weights.open("rb") as source:
                shutil.copyfileobj(source, file, _COPIED_BYTES)
        content = graph.read_bytes()
        file.write(content)
        file.write(_END.pack(len(content), _MAGIC))
