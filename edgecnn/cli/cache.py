"""`edgecnn cache`: what optimised models and built engines take on the disk, the limit, and how to be rid of them."""

from __future__ import annotations

from pathlib import Path

import click

from edgecnn.cli.options import json_option
from edgecnn.cli.output import print_json, print_table, say
from edgecnn.errors import Contradiction
from edgecnn.units import bytes_text


@click.command()
@click.option("--clear", is_flag=True, help="Remove all that no other process is making now.")
@click.option(
    "--limit-mb", type=click.FloatRange(0, 1e9), metavar="N", help="At most so much in this folder, from now on."
)
@click.option("--default-limit", is_flag=True, help="Back to the limit that a folder has by itself.")
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Another cache_folder.  [default: edgecnn/runtimes in ~/.cache]"
)
@json_option
def cache(clear: bool, limit_mb: float | None, default_limit: bool, folder: Path | None, as_json: bool) -> None:
    """Show the cache of optimised models and built engines.

    After each write, what was not used for longest goes until the folder fits its limit: a tenth of its file system, at most
    4.3 GB, unless --limit-mb says otherwise. What is removed is made again when it is needed.

    \b
    Example:
      edgecnn cache
      edgecnn cache --limit-mb 500
      edgecnn cache --clear
    """
    from edgecnn.runtimes import cacheroom  # noqa: PLC0415
    from edgecnn.runtimes.cache import default_folder  # noqa: PLC0415

    if default_limit and limit_mb is not None:
        raise Contradiction("--limit-mb and --default-limit exclude each other", "leave one of them out")
    folder = default_folder() if folder is None else folder
    if default_limit or limit_mb is not None:
        cacheroom.set_limit(None if limit_mb is None else round(limit_mb * 1e6), folder)
        cacheroom.make_room(folder)
    if clear:
        cleared = cacheroom.clear(folder)
        left = f"; entries that another process is making: {cleared.left}" if cleared.left else ""
        say(f"removed: {cleared.entries}, {bytes_text(cleared.size_bytes)}{left}")
    found = cacheroom.usage(folder)
    if as_json:
        print_json(found)
        return
    rows = [*found.kinds.items(), (f"all, {found.entries} entries", found.size_bytes), ("limit", found.limit_bytes)]
    print_table(str(folder), ("kept", "size"), [(kind, bytes_text(size)) for kind, size in rows], left=("kept",))
