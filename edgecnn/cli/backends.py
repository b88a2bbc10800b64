"""`edgecnn backends`: which backends there are, and which can run here."""

from __future__ import annotations

import click

from edgecnn.cli.options import json_option
from edgecnn.cli.output import print_json, print_table
from edgecnn.runtimes import backend_states


@click.command()
@json_option
def backends(as_json: bool) -> None:
    """List the backends with the reason and the fix for those that cannot run here.

    It only asks each one; `edgecnn doctor` also runs a network on it.

    \b
    Example:
      edgecnn backends
    """
    states = backend_states()
    if as_json:
        print_json(states)
        return
    rows = [(one.name, one.state, one.reason or "-") for one in states]
    columns = ("backend", "state", "reason")
    print_table("edgecnn backends", columns, rows, left=columns)
    for one in states:
        if one.hint:
            click.echo(f"{one.name}: {one.hint}")
