"""`edgecnn doctor`: what this machine can do, and the exact fix for what it cannot."""

from __future__ import annotations

import click

from edgecnn.cli.options import json_option
from edgecnn.cli.output import print_json, print_table, progress
from edgecnn.errors import UnavailableError


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Look at backends, packages, machine, GPU and sensors.

    Each backend runs a small network of known answers in a process of its own, so "ok" means that it worked, and one that
    crashes is found out. Ends with 4 when something is broken; what is merely unavailable is no fault.

    \b
    Example:
      edgecnn doctor
    """
    from edgecnn.doctor import examine  # noqa: PLC0415

    with progress("looking at this machine") as advance:
        findings = examine(on_progress=advance)
    if as_json:
        print_json(findings)
    else:
        rows = [(one.topic, one.name, one.health, one.message) for one in findings]
        left = ("topic", "name", "health", "found")
        print_table("edgecnn doctor", left, rows, left=left)
        for one in findings:
            if one.fix and one.health != "ok":
                click.echo(f"{one.name}: {one.fix}")
    broken = [one.name for one in findings if one.health == "broken"]
    if broken:
        raise UnavailableError(f"broken: {', '.join(broken)}", "the lines above say how to mend it")
