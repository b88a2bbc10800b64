"""The command where its own packages are missing."""

from __future__ import annotations

import subprocess
import sys


def test_without_click_the_command_says_what_to_install() -> None:
    code = "import sys; sys.modules['click'] = None\nfrom edgecnn.cli.entry import main\nmain()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("error: the command line needs the package click\nhint: pip install click rich")
