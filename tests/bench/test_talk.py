from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from edgecnn.bench.talk import Talk, TalkEnded
from edgecnn.errors import MeasurementError

ECHO = "import sys\nfor line in sys.stdin.buffer:\n    sys.stdout.buffer.write(line[::-1][1:] + b'\\n'); sys.stdout.flush()\n"


def _command(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


def test_lines_are_answered_one_by_one() -> None:
    with Talk(_command(ECHO)) as talk:
        assert talk.ask(b"abc\n", limit_seconds=30) == b"cba\n"
        assert talk.ask(b"x" * 300_000 + b"y\n", limit_seconds=30) == b"y" + b"x" * 300_000 + b"\n"


def _cause(code: str, *, limit_seconds: float = 30) -> str:
    with Talk(_command(code)) as talk, pytest.raises(TalkEnded) as caught:
        talk.ask(b"hello\n", limit_seconds=limit_seconds)
    return caught.value.ended.cause


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("", "the worker wrote no result"),
        ("raise ValueError('no')", "the worker ended with status 1: ValueError: no"),
        ("import os; os.kill(os.getpid(), 9)", "the worker was killed (SIGKILL), as the kernel does"),
        (
            "import sys, os; sys.stderr.write('boom\\n'); sys.stderr.flush(); os.abort()",
            "the worker crashed (SIGABRT): boom",
        ),
        pytest.param(
            "import os, time; os.close(1); time.sleep(60)", "the worker wrote no result", marks=pytest.mark.slow
        ),
    ],
)
def test_how_it_ended_is_told_with_its_last_words(code: str, cause: str) -> None:
    assert _cause(code).startswith(cause)


@pytest.mark.slow
def test_a_child_that_hangs_is_killed() -> None:
    begin = time.perf_counter()
    said = _cause(
        "import sys, time; sys.stderr.write('deep in thought\\n'); sys.stderr.flush(); time.sleep(60)", limit_seconds=1
    )
    assert said == "the worker did not answer in time and was stopped: deep in thought"
    assert time.perf_counter() - begin < 20


def test_a_line_without_an_end_is_kept_as_what_was_said() -> None:
    with Talk(_command("import sys; sys.stdout.write('half')")) as talk, pytest.raises(TalkEnded) as caught:
        talk.ask(b"hello\n", limit_seconds=30)
    assert caught.value.ended.output == b"half"


def test_after_the_end_the_answer_is_the_end() -> None:
    with Talk(_command("")) as talk:
        for _ in range(2):
            with pytest.raises(TalkEnded):
                talk.ask(b"hello\n", limit_seconds=30)
        talk.end()


def test_a_child_that_reads_nothing_does_not_hold_up_the_caller() -> None:
    with Talk(_command("import time; time.sleep(60)")) as talk, pytest.raises(TalkEnded) as caught:
        talk.ask(b"x" * 3_000_000 + b"\n", limit_seconds=0.3)
    assert caught.value.ended.timed_out


BUSY = "import os\nprint(os.getpid(), flush=True)\nwhile True: pass\n"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads processor time from /proc")
def test_a_paused_child_uses_no_processor_and_goes_on_afterwards() -> None:
    with Talk(_command(BUSY)) as talk:
        pid = int(talk.ask(b"\n", limit_seconds=30))

        def used() -> int:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            return int(fields[11]) + int(fields[12])

        talk.pause()
        time.sleep(0.1)
        before = used()
        time.sleep(0.3)
        assert used() == before
        talk.resume()
        end = time.perf_counter() + 20
        while used() == before and time.perf_counter() < end:
            time.sleep(0.05)
        assert used() > before
        talk.pause()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, signal.SIG_DFL)  # a stopped child is ended and reaped as well


def test_a_program_that_cannot_be_started() -> None:
    with pytest.raises(MeasurementError, match="cannot be started"):
        Talk(("/nowhere/python",))
