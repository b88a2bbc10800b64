"""What is imported when: an edge app pays for numpy and one engine, nothing else. Also run against the installed wheel."""

from __future__ import annotations

import subprocess
import sys

import pytest

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
