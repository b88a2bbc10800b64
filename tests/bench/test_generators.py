"""Which load generators there are, and what is said of one that cannot run here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgecnn.bench.generators import OWN, check_load, generator_version
from edgecnn.errors import BadInput, UnknownName


def test_our_own_has_no_version() -> None:
    assert generator_version(OWN) is None
    with pytest.raises(UnknownName, match="did you mean mlcommons"):
        generator_version("mlcomons")


_MISSING = (
    "MissingDependency: --load-generator mlcommons needs the package mlcommons-loadgen (pip install 'edgecnn[loadgen]')"
)
_BROKEN = (
    "UnavailableError: the package mlcommons-loadgen does not work here: GLIBCXX_3.4.30 not found "
    "(pip install --force-reinstall --no-binary mlcommons-loadgen mlcommons-loadgen)"
)


@pytest.mark.parametrize(
    ("text", "told"), [(None, _MISSING), ("raise ImportError('GLIBCXX_3.4.30 not found')", _BROKEN)]
)
def test_a_package_that_is_missing_or_broken_is_said(tmp_path: Path, text: str | None, told: str) -> None:
    absent = "sys.modules['mlperf_loadgen'] = None" if text is None else "sys.path.insert(0, '.')"
    (tmp_path / "mlperf_loadgen.py").write_text(text or "")
    code = (
        f"import sys; {absent}\n"
        "from edgecnn.bench import make_plan\n"
        "from edgecnn.errors import EdgecnnError\n"
        "try: make_plan(scenario='offline', load_generator='mlcommons')\n"
        "except EdgecnnError as error: print(type(error).__name__ + ':', error)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == f"{told}\n"


def test_a_server_with_less_than_one_query_is_refused() -> None:
    with pytest.raises(BadInput, match=r"--qps 0.5, or --seconds 20"):
        check_load("server", seconds=2.0, qps=0.05)
    check_load("server", seconds=2.0, qps=0.5)
    # What it advises is not refused again, however it is rounded.
    for tenths in range(2, 600):
        with pytest.raises(BadInput) as error:
            check_load("server", seconds=tenths / 10, qps=0.99 / (tenths / 10))
        qps, seconds = (float(part.split()[1]) for part in (error.value.hint or "").split(", or "))
        check_load("server", seconds=tenths / 10, qps=qps)
        check_load("server", seconds=seconds, qps=0.99 / (tenths / 10))
    check_load("single-stream", seconds=0.1, qps=None)
