"""`edgecnn zoo`: the networks, and the page of one."""

from __future__ import annotations

import click

from edgecnn.cli.options import json_option, pairs_option, with_pairs
from edgecnn.cli.output import print_json, print_table
from edgecnn.errors import BadInput
from edgecnn.specs import Preprocess
from edgecnn.units import bytes_text, percent_text
from edgecnn.zoo.network import Bundled, Form, Published
from edgecnn.zoo.options import Option
from edgecnn.zoo.registry import broken, find, make_form, networks
from edgecnn.zoo.summary import Page, Summary, describe, summarise

_LIST_EXAMPLES = """\b
Example:
  edgecnn zoo
  edgecnn zoo --json
  edgecnn zoo show mobilenet --layers
"""

_SHOW_EXAMPLES = """\b
Example:
  edgecnn zoo show resnet50 --layers
  edgecnn zoo show resnet50 -O stride_in=1x1
  edgecnn zoo show mobilenet --width 0.5 --input-size 160 --json
"""


@click.group(invoke_without_command=True, epilog=_LIST_EXAMPLES)
@json_option
@click.pass_context
def zoo(ctx: click.Context, as_json: bool) -> None:
    """Networks with their parameters, multiply-adds and accuracy.

    Parameters, MACs and published accuracy are those of the paper's form; the last two columns are the form that comes
    with trained weights, and its top-1 measured through the exported file.
    """
    if ctx.invoked_subcommand is not None:
        if as_json:
            raise BadInput("--json", f"put it behind: edgecnn zoo {ctx.invoked_subcommand} NET --json")
        return
    rows, reasons = tuple(map(summarise, networks())), broken()
    if as_json:
        print_json({"networks": rows, "unavailable": reasons})
        return
    _print_list(rows)
    for name, reason in reasons.items():
        click.echo(f"unavailable: {name}: {reason}")


@zoo.command(epilog=_SHOW_EXAMPLES)
@click.argument("network", metavar="NET")
@click.option("--layers", is_flag=True, help="Show every layer: kernel, stride, output, parameters, MACs. Needs torch.")
@click.option("--width", type=float, help="Width multiplier of the families that have one.")
@click.option("--input-size", type=int, help="Height and width of the input, pixels.")
@click.option("--classes", type=int, help="Length of the output.")
@click.option("--channels", type=int, help="1 for grayscale, 3 for RGB.")
@pairs_option
@json_option
def show(
    *,
    network: str,
    layers: bool,
    width: float | None,
    input_size: int | None,
    classes: int | None,
    channels: int | None,
    pairs: tuple[str, ...],
    as_json: bool,
) -> None:
    """Facts, variants, published numbers and layers of one network."""
    entry = find(network)
    asked = {"width": width, "input_size": input_size, "classes": classes, "channels": channels}
    form = make_form(entry, **with_pairs(asked, pairs))
    page = describe(entry, form, with_layers=layers)
    if as_json:
        print_json(page)
        return
    _print_facts(page)
    if page.published:
        _print_published(page.published)
    if page.layers is not None:
        _print_layers(page)


def _print_list(rows: tuple[Summary, ...]) -> None:
    columns = (
        "network",
        "family",
        "year",
        "input",
        "params",
        "MACs (M)",
        "top-1 %",
        "top-5 %",
        "bundled",
        "its top-1 %",
    )
    cells = [
        (
            row.network,
            row.family,
            str(row.year),
            f"{row.input_size}x{row.input_size}x{row.channels}",
            _count(row.params),
            _millions(row.macs),
            percent_text(row.top1),
            percent_text(row.top5),
            row.bundled or "-",
            percent_text(row.bundled_top1),
        )
        for row in rows
    ]
    caption = "top-1, top-5: published, for the paper's form; bundled: the form that comes with trained weights"
    print_table("zoo", columns, cells, left=("network", "family", "bundled"), caption=caption)


def _print_facts(page: Page) -> None:
    facts = {
        "network": f"{page.title}, family {page.family}",
        "aliases": ", ".join(page.aliases),
        "paper": page.paper.citation,
        "form": _form_text(page.variant, page.form),
        "parameters": _count(page.sizes.params),
        "MACs": f"{_count(page.sizes.macs)} (convolutions and linear layers, one image)",
        "activations": f"{bytes_text(page.sizes.activation_bytes)} (float32, one image)",
        "input": _preprocess_text(page.preprocess),
        "options": "; ".join(map(_option_text, page.options)),
        "bundled": _bundled_text(page.bundled),
        "code": f"{page.builder}, {page.licence}",
    }
    click.echo(page.network)
    for name, text in facts.items():
        if text:
            click.echo(f"  {name:12}{text}")
    click.echo()


def _form_text(title: str, form: Form) -> str:
    size = form.input_size
    values = "".join(f", {name}={value}" for name, value in form.options.items())
    return f"{title}: {size}x{size}x{form.channels}, {form.classes} classes{values}"


def _preprocess_text(spec: Preprocess) -> str:
    steps = {
        "crop": f"shorter side to {round(spec.size[0] / spec.crop_fraction)}, centre {spec.size[0]} cut out",
        "pad": f"longer side to {round(spec.size[0] * spec.crop_fraction)}, centred in {spec.size[0]}",
        "stretch": f"stretched to {spec.size[0]}x{spec.size[1]}",
    }
    mean, std = (", ".join(map(str, values)) for values in (spec.mean, spec.std))
    return f"{steps[spec.fit]}, {spec.interpolation}; mean {mean}; std {std}"


def _option_text(option: Option) -> str:
    return f"{option.name} ({option.allowed}; {option.default} in the plain form): {option.help}"


def _bundled_text(bundled: Bundled | None) -> str:
    if bundled is None:
        return ""
    form = _form_text(bundled.form.title, bundled.form)
    return f"{form}; top-1 {percent_text(bundled.top1)} % on {bundled.images:,} test images of {bundled.dataset}"


def _print_published(rows: tuple[Published, ...]) -> None:
    columns = ("form", "params", "MACs (M)", "top-1 %", "top-5 %", "accuracy: protocol; source")
    cells = []
    for row in rows:
        source = "; ".join(filter(None, (row.protocol, row.accuracy_source)))
        cells.append(
            (
                row.form.title,
                _count(row.params),
                _millions(row.macs),
                percent_text(row.top1),
                percent_text(row.top5),
                source or "-",
            )
        )
        if row.top1_other is not None or row.top5_other is not None:
            other = (percent_text(row.top1_other), percent_text(row.top5_other), row.other_source)
            cells.append(("", "", "", *other))
    sources = "; ".join(f"{row.params_source}; {row.macs_source}" for row in rows).split("; ")
    caption = "parameters and MACs: " + "; ".join(dict.fromkeys(filter(None, sources)))
    print_table("published", columns, cells, left=("form", columns[-1]), caption=caption)


def _print_layers(page: Page) -> None:
    columns = ("layer", "kind", "kernel", "stride", "groups", "output", "params", "MACs", "activation")
    cells = [
        (
            layer.name,
            layer.kind,
            _by(layer.kernel),
            _by(layer.stride),
            "-" if layer.groups is None else str(layer.groups),
            _by(layer.output_shape),
            _count(layer.params),
            _count(layer.macs),
            bytes_text(layer.activation_bytes),
        )
        for layer in page.layers or ()
        if layer.params or layer.macs or layer.activation_bytes
    ]
    sizes = page.sizes
    total = (_count(sizes.params), _count(sizes.macs), bytes_text(sizes.activation_bytes))
    cells.append(("total", "", "", "", "", "", *total))
    caption = "activation: float32 output of one image, 0 when folded into a convolution; in-place steps are left out"
    print_table(f"layers of {page.variant}", columns, cells, left=("layer", "kind"), caption=caption)


def _by(sizes: tuple[int, ...] | None) -> str:
    return "x".join(map(str, sizes)) if sizes else "-"


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _millions(value: int | None) -> str:
    return "-" if value is None else f"{value / 1e6:,.1f}"
