"""What is imported when: an edge app pays for numpy and one engine, nothing else. Also run against the installed wheel."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgecnn.testing.models import TINY

# Top-level packages outside the standard library that each statement may load.
ALLOWED = {
    "import edgecnn": set(),
    "import edgecnn; edgecnn.load": {"numpy"},
    "import edgecnn; edgecnn.Batcher, edgecnn.Pool": {"numpy"},
    "import edgecnn.runtimes": {"numpy"},
    "from edgecnn.runtimes import get_runtime; get_runtime('cpu')": {"numpy"},
    "import edgecnn.devices": {"numpy"},
    "import edgecnn.bench": {"numpy"},
    "import edgecnn.results, edgecnn.artifacts, edgecnn.data": {"numpy"},
    "import edgecnn.report, edgecnn.resultsfiles, edgecnn.resultsquery": {"numpy"},
    "import edgecnn.zoo": {"numpy"},
}


@pytest.mark.parametrize("statement", ALLOWED)
def test_a_statement_loads_no_more_than_it_may(statement: str) -> None:
    code = (
        f"{statement}\nimport sys\n"
        "names = {name.partition('.')[0] for name, module in sys.modules.items() if module is not None}\n"
        "print(*sorted(names - sys.stdlib_module_names))"
    )
    out = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True).stdout
    # Names that interpreters, editable installs and coverage tools load by themselves.
    ignored = {"edgecnn", "sitecustomize", "usercustomize", "distutils-precedence", "_distutils_hack", "__main__"}
    loaded = {name for name in out.split() if name not in ignored and not name.startswith("__editable__")}
    assert loaded <= ALLOWED[statement]


def test_classifying_loads_numpy_and_the_engine_only() -> None:
    code = (
        "import sys, numpy, edgecnn\n"
        "from edgecnn.testing import models\n"
        "with edgecnn.load(models.TINY) as classifier:\n"
        "    classifier.classify(numpy.zeros((9, 9, 3), numpy.uint8))\n"
        "heavy = {'torch', 'onnx', 'onnx_ir', 'click', 'rich', 'PIL', 'pytest'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    pytest.importorskip("onnxruntime")
    subprocess.run([sys.executable, "-I", "-c", code], check=True)


# What a process imports between the engine and its first answer; each module is paid for by every app, at every start.
_FIRST_ANSWER = {
    "edgecnn",
    "edgecnn.answers",
    "edgecnn.artifacts",
    "edgecnn.classifier",
    "edgecnn.errors",
    "edgecnn.imageinput",
    "edgecnn.images",
    "edgecnn.jsonform",
    "edgecnn.loading",
    "edgecnn.numbers",
    "edgecnn.onnxmodel",
    "edgecnn.onnxmodel.header",
    "edgecnn.onnxmodel.protowire",
    "edgecnn.plugins",
    "edgecnn.preprocess",
    "edgecnn.procfs",
    "edgecnn.quiet",
    "edgecnn.runtimes",
    "edgecnn.runtimes.base",
    "edgecnn.runtimes.cpu",
    "edgecnn.runtimes.ort",
    "edgecnn.runtimes.ort.bound",
    "edgecnn.runtimes.ort.session",
    "edgecnn.runtimes.threads",
    "edgecnn.seal",
    "edgecnn.specs",
    "edgecnn.values",
}
_FROM_CACHE = {
    "edgecnn.runtimes.ort.optimised",
    "edgecnn.runtimes.ort.packed",
    "edgecnn.runtimes.privatefiles",
    "edgecnn.runtimes.tickets",
    "edgecnn.sealmemory",
}
# Of the standard library, with what they import themselves in any supported Python.
_STANDARD = {
    "dataclasses",
    "copy",
    "keyword",
    "reprlib",
    "threading",
    "_threading_local",
    "mmap",
    "zlib",
    "annotationlib",
}
_STANDARD |= {"json", "json.decoder", "json.encoder", "json.scanner", "_json"}


@pytest.mark.parametrize("cached", [False, True], ids=["plain", "from the cache"])
def test_the_way_to_the_first_answer_imports_these_modules_and_no_other(cached: bool, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    code = (
        "import sys, pathlib, numpy, onnxruntime\n"
        "before = set(sys.modules)\n"
        "import edgecnn\n"
        "kept = {'cache': True, 'cache_folder': pathlib.Path(sys.argv[2])} if len(sys.argv) > 2 else {}\n"
        "image = numpy.zeros((8, 8, 3), numpy.uint8)\n"
        "with edgecnn.load(sys.argv[1], options=edgecnn.OpenOptions(threads=1, **kept)) as classifier:\n"
        "    classifier.classify(image)\n"
        "    print(classifier.info().options['optimised_model'])\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    command = [sys.executable, "-c", code, TINY, *([tmp_path / "kept"] if cached else [])]
    if cached:
        subprocess.run(command, check=True, capture_output=True)
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    state, _, names = out.partition("\n")
    assert state == ("from cache" if cached else "off")
    loaded = set(names.split())
    ours = {name for name in loaded if name.partition(".")[0] == "edgecnn"}
    assert ours == _FIRST_ANSWER | (_FROM_CACHE if cached else set())
    assert loaded - ours <= _STANDARD
