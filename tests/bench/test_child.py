from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgecnn.bench.child import Ended, last_words, run_child
from edgecnn.childcommand import child_command
from edgecnn.errors import MeasurementError


def _run(
    code: str, message: bytes = b"", *, limit_seconds: float = 30, on_wait: Callable[[float], None] | None = None
) -> Ended:
    return run_child((sys.executable, "-c", code), message, limit_seconds=limit_seconds, on_wait=on_wait)


def test_what_goes_in_and_comes_out() -> None:
    big = b"x" * 300_000
    ended = _run("import sys; sys.stdout.buffer.write(sys.stdin.buffer.read()[::-1])", b"ab" + big)
    assert ended == Ended(status=0, output=big + b"ba", last_words="", timed_out=False)


def test_engines_of_children_do_nothing_beside_their_runs() -> None:
    """ONNX Runtime reads this when it is imported; this process's own environment stays as it is."""
    code = "import os, sys; sys.stdout.write(os.environ['ORT_DISABLE_TELEMETRY'] + os.environ['PATH'])"
    ended = run_child([sys.executable, "-c", code], b"", limit_seconds=60)
    assert ended.output.decode() == "1" + os.environ["PATH"]
    assert "ORT_DISABLE_TELEMETRY" not in os.environ


def test_a_child_that_does_not_read_and_prints_much_on_standard_error_is_no_deadlock() -> None:
    ended = _run("import sys; sys.stderr.write('noise\\n' * 200_000 + 'last words\\n'); sys.exit(3)", b"x" * 300_000)
    assert ended.status == 3
    assert ended.last_words == "noise | noise | last words"
    assert ended.cause == "the worker ended with status 3: noise | noise | last words"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (signal.SIGKILL, "killed (SIGKILL), as the kernel does when memory runs out"),
        (signal.SIGSEGV, "crashed (SIGSEGV)"),
    ],
)
def test_a_child_that_dies_of_a_signal(number: signal.Signals, text: str) -> None:
    ended = _run(f"import os; os.kill(os.getpid(), {int(number)})")
    assert ended.status == -number
    assert text in ended.cause


def test_a_child_without_a_word() -> None:
    assert _run("").cause == "the worker wrote no result"


def test_a_traceback_ends_in_the_line_that_matters() -> None:
    assert (
        _run("raise ValueError('no such thing')").cause == "the worker ended with status 1: ValueError: no such thing"
    )


def test_last_words_are_short() -> None:
    assert last_words("a\n\n  b \nc\nd\n") == "b | c | d"
    assert len(last_words("x" * 10_000)) == 400
    assert last_words("") == ""


def _is_gone(pid: int) -> bool:
    """Tell whether a process ended; a zombie that waits for a foreign parent has."""
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def _wait_until(condition: Callable[[], bool], seconds: float = 10) -> bool:
    end = time.perf_counter() + seconds
    while not condition():
        if time.perf_counter() > end:
            return False
        time.sleep(0.01)
    return True


_SLEEPER = "import pathlib, os, time; pathlib.Path({path!r}).write_text(str(os.getpid())); time.sleep(60)"


@pytest.mark.slow
def test_a_child_that_hangs_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    grandchild = tmp_path / "grandchild"
    code = (
        "import subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-c', {_SLEEPER.format(path=str(grandchild))!r}])\n"
        "time.sleep(60)"
    )
    begin = time.perf_counter()
    ended = _run(code, limit_seconds=1.5)
    assert time.perf_counter() - begin < 20
    assert ended.timed_out
    assert ended.cause == "the worker did not answer in time and was stopped"
    assert _wait_until(lambda: _is_gone(int(grandchild.read_text())))


@pytest.mark.slow
def test_waiting_is_told_with_the_time(tmp_path: Path) -> None:
    seen: list[float] = []
    ended = _run("import time; time.sleep(1.2); print('done')", on_wait=seen.append)
    assert ended.output == b"done\n"
    assert len(seen) >= 2
    assert seen == sorted(seen)
    assert 0.4 < seen[0] < 5


@pytest.mark.parametrize("error", [KeyboardInterrupt, pytest.param(ZeroDivisionError, marks=pytest.mark.slow)])
def test_whatever_is_raised_while_waiting_the_child_is_gone_first(tmp_path: Path, error: type[BaseException]) -> None:
    note = tmp_path / "pid"

    def fail(_: float) -> None:
        if note.exists() and note.read_text():
            raise error

    with pytest.raises(error):
        _run(_SLEEPER.format(path=str(note)), on_wait=fail)
    pid = int(note.read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)  # killed and reaped


def test_a_program_that_cannot_be_started() -> None:
    with pytest.raises(MeasurementError, match="cannot be started: No such file"):
        run_child(("/nowhere/python",), b"", limit_seconds=1)


def test_the_worker_sees_the_packages_of_this_process_and_not_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of the current folder must not stand in for a module of the standard library."""
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong json')")
    (tmp_path / "numpy.py").write_text("raise SystemExit('the wrong numpy')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    ended = run_child(child_command("edgecnn.bench.worker"), b"no job", limit_seconds=60)
    assert ended.status == 0
    assert b"the request on standard input is not JSON" in ended.output
