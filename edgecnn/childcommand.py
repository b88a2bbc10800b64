"""How a child process is started that runs a part of edgecnn."""

from __future__ import annotations

import sys
from pathlib import Path

import edgecnn

# The child sees the packages that this process sees, from a clone as from an installation, and nothing of the current
# folder that this process does not see. PYTHONPATH could not say so: it puts folders in front of the standard library.
# Nothing but sys, which is built in, may be imported before the path is set.
_START = "import sys; sys.path[:] = {paths!r}; from {module} import main; main()"


def child_command(module: str) -> tuple[str, ...]:
    """Return the command line that starts a child with this interpreter and this process's module search path.

    Args:
        module: whose `main` is called.
    """
    home = str(Path(edgecnn.__file__).parents[1])
    paths = [path for path in sys.path if isinstance(path, str)]
    start = _START.format(paths=paths if home in paths else [*paths, home], module=module)
    return (sys.executable, "-X", "utf8", "-c", start)
