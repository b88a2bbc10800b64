"""What the command `edgecnn` starts: the command line, or one line where its own packages are missing."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; without click and rich, as in an app's environment, say what to install and end with 3."""
    try:
        from edgecnn.cli.main import main as run  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name not in ("click", "rich"):
            raise
        print(f"error: the command line needs the package {error.name}", file=sys.stderr)
        print("hint: pip install click rich (an app that only imports edgecnn needs neither)", file=sys.stderr)
        sys.exit(3)
    except KeyboardInterrupt:
        sys.exit(130)
    run()
