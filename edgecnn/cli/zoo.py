"""`edgecnn zoo`: the networks, and the page of one."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from edgecnn.cli.options import json_option, output_option, pairs_option, with_pairs
from edgecnn.cli.output import print_json
from edgecnn.cli.zoo_list import print_list, print_trained
from edgecnn.cli.zoo_page import form_text, print_page
from edgecnn.errors import BadInput, Contradiction, UnknownName, UsageError, nearest
from edgecnn.zoo.pages.drawing import write_drawing
from edgecnn.zoo.pages.flow import flow_of
from edgecnn.zoo.pages.summary import SortKey, describe, select, summarise
from edgecnn.zoo.pages.walks import Walks
from edgecnn.zoo.registry import broken, find, make_form, networks

_SORT_KEYS: tuple[SortKey, ...] = ("name", "year", "params", "macs", "activation", "top1")

_LIST_EXAMPLES = """\b
Example:
  edgecnn zoo --sort macs
  edgecnn zoo --family ResNet --family MobileNet --max-params 5M
  edgecnn zoo --trained --sort params --json
  edgecnn zoo show mobilenet --layers
"""

_SHOW_EXAMPLES = """\b
Example:
  edgecnn zoo show resnet50 --layers
  edgecnn zoo show resnet50 -O stride_in=1x1
  edgecnn zoo show mobilenet --width 0.5 --input-size 160 --json
  edgecnn zoo show squeezenet1_1 --graph -o squeezenet.svg
"""


class Count(click.ParamType):  # type: ignore[type-arg] # older versions of click have no type parameter here
    """A number of things: "5000000", "500k", "5M" or "1.5G"."""

    name = "count"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([kMG]?)", str(value).strip())
        if match is None:
            self.fail(f"expected a number such as 5000000, 500k or 5M, got {value!r}", param, ctx)
        return round(float(match[1]) * {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}[match[2]])


class ZooGroup(click.Group):
    """The list with its subcommands; a network's name where a subcommand belongs is met with the command that was meant."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the subcommand that was typed.

        Raises:
            UsageError: a network stands where the subcommand belongs.
            UnknownName: neither a subcommand nor a network.
        """
        name = args[0]
        if name in self.commands or name.startswith("-"):
            return super().resolve_command(ctx, args)
        if nearest(name, self.commands):
            raise UnknownName("command of edgecnn zoo", name, self.commands)
        find(name)
        raise UsageError(f"edgecnn zoo lists all networks and takes no name, got {name!r}", f"edgecnn zoo show {name}")


@click.group(cls=ZooGroup, invoke_without_command=True, epilog=_LIST_EXAMPLES)
@click.option("--family", "families", metavar="NAME", multiple=True, help="Only this family; can be repeated.")
@click.option("--max-params", type=Count(), metavar="N", help="At most so many parameters: 5M, 500k or 5000000.")
@click.option("--max-macs", type=Count(), metavar="N", help="At most so many multiply-adds: 300M for example.")
@click.option("--trained", is_flag=True, help="Only networks that come with trained weights, in that form.")
@click.option(
    "--sort",
    type=click.Choice(_SORT_KEYS),
    help="Smallest first, unknown last; top1 data set by data set.  [default: by year]",
)
@click.option("--reverse", is_flag=True, help="The other way round; unknown still last.")
@json_option
@click.pass_context
def zoo(
    ctx: click.Context,
    *,
    families: tuple[str, ...],
    max_params: int | None,
    max_macs: int | None,
    trained: bool,
    sort: SortKey | None,
    reverse: bool,
    as_json: bool,
) -> None:
    """Networks with their parameters, multiply-adds and accuracy.

    Input, parameters, MACs, activations (float32 outputs of all layers for one image, added up) and published accuracy
    are those of the paper's form; the last two columns are the form that comes with trained weights, and its top-1
    measured through the exported file. With --trained everything is about that form: the figures, the order and the
    limits. --json has both.
    """
    if ctx.invoked_subcommand is not None:
        _refuse_list_options(ctx)
        return
    rows = select(
        map(summarise, networks()),
        families=families,
        max_params=max_params,
        max_macs=max_macs,
        trained=trained,
        sort=sort,
        reverse=reverse,
    )
    reasons = broken()
    if as_json:
        print_json({"networks": rows, "unavailable": reasons})
        return
    if not rows:
        click.echo(_nothing(families, max_params, max_macs, trained=trained))
    elif trained:
        print_trained(rows)
    else:
        print_list(rows)
    for name, reason in reasons.items():
        click.echo(f"unavailable: {name}: {reason}")


@zoo.command(epilog=_SHOW_EXAMPLES)
@click.argument("network", metavar="NET")
@click.option(
    "--layers",
    is_flag=True,
    help="Show stages and every layer, and the family side by side where surveys do. Needs torch.",
)
@click.option("--graph", is_flag=True, help="Draw the block structure as SVG. Needs torch.")
@click.option("--width", type=float, help="Width multiplier of the families that have one.")
@click.option("--input-size", type=int, help="Height and width of the input, pixels.")
@click.option("--classes", type=int, help="Length of the output.")
@click.option("--channels", type=int, help="1 for grayscale, 3 for RGB.")
@pairs_option
@output_option("The SVG file of --graph.  [default: the form's name with .svg]")
@json_option
def show(
    *,
    network: str,
    layers: bool,
    graph: bool,
    width: float | None,
    input_size: int | None,
    classes: int | None,
    channels: int | None,
    pairs: tuple[str, ...],
    output: Path | None,
    as_json: bool,
) -> None:
    """Facts, variants, published numbers, layers and structure of one network."""
    if output is not None:
        _check_output(output, graph=graph)
    entry = find(network)
    asked = {"width": width, "input_size": input_size, "classes": classes, "channels": channels}
    form = make_form(entry, **with_pairs(asked, pairs))
    walks = Walks()
    page = describe(entry, form, with_layers=layers, walks=walks)
    if graph:
        path = output or Path(f"{form.title}.svg")
        blocks = flow_of(walks.layers(form), form.input_shape)
        write_drawing(path, blocks, title=entry.title, subtitle=form_text(form.title, form))
        page = replace(page, graph=path)
    if as_json:
        print_json(page)
    else:
        print_page(page)


def _nothing(families: tuple[str, ...], max_params: int | None, max_macs: int | None, *, trained: bool) -> str:
    """Return what is said where no network is within the limits."""
    form = "in its bundled form" if trained else "in the paper's form"
    limits = (
        f"of family {' or '.join(families)}" if families else "",
        "with trained weights" if trained else "",
        f"with at most {max_params:,} parameters {form}" if max_params is not None else "",
        f"with at most {max_macs:,} multiply-adds {form}" if max_macs is not None else "",
    )
    return f"no network {', '.join(filter(None, limits))}".rstrip()


def _refuse_list_options(ctx: click.Context) -> None:
    """Raise for options of the list that stand before a subcommand, where they would do nothing."""
    given = [name for name, value in ctx.params.items() if value not in (None, False, ())]
    verb = f"edgecnn zoo {ctx.invoked_subcommand} NET"
    if "as_json" in given:
        raise BadInput("--json", f"put it behind: {verb} --json")
    if given:
        name = {"families": "family"}.get(given[0], given[0]).replace("_", "-")
        raise Contradiction(f"--{name} belongs to the list and not to {ctx.invoked_subcommand}", f"{verb} without it")


def _check_output(output: Path, *, graph: bool) -> None:
    if not graph:
        raise Contradiction(
            "--output is the file of --graph, which was not given", "add --graph, or leave --output out"
        )
    if output.is_dir() or output.suffix != ".svg":
        raise BadInput("--output", expected="a file name that ends in .svg", got=str(output))
