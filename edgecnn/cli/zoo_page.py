"""The page of one network as text: facts, published numbers, what surveys say, and the tables of its layers."""

from __future__ import annotations

import click

from edgecnn.cli.output import print_table
from edgecnn.cli.zoo_tables import SUM_NOTE, print_branches, print_family, print_grid, print_layers, print_stages
from edgecnn.specs import Preprocess
from edgecnn.units import bytes_text, count_text, millions_text, percent_text
from edgecnn.zoo.network import Bundled, Form, Published
from edgecnn.zoo.options import Option
from edgecnn.zoo.pages.sources import citation
from edgecnn.zoo.pages.summary import Page
from edgecnn.zoo.pages.surveys import Statement
from edgecnn.zoo.sizes import known_sizes


def print_page(page: Page) -> None:
    """Write a page to standard output."""
    _print_facts(page)
    sections = (
        (page.published, _print_published),
        (page.stages, print_stages),
        (page.layers, print_layers),
        (page.family_table, print_family),
        (page.grid, print_grid),
        (page.branches, print_branches),
        (page.statements, _print_statements),
    )
    for content, write in sections:
        if content:
            click.echo()
            write(page)
    if page.graph is not None:
        click.echo(f"\ngraph: {page.graph}")


def form_text(title: str, form: Form) -> str:
    """Return a form in one line: its name, input, classes and options."""
    size = form.input_size
    values = "".join(f", {name}={value}" for name, value in form.options.items())
    return f"{title}: {size}x{size}x{form.channels}, {form.classes} classes{values}"


def _print_facts(page: Page) -> None:
    facts = {
        "network": f"{page.title}, family {page.family}",
        "aliases": ", ".join(page.aliases),
        "paper": citation(page.paper),
        "form": form_text(page.variant, page.form),
        "parameters": count_text(page.sizes.params),
        "MACs": f"{count_text(page.sizes.macs)} (convolutions and linear layers, one image)",
        "activations": f"{bytes_text(page.sizes.activation_bytes)} ({SUM_NOTE})",
        "input": _preprocess_text(page.preprocess),
        "options": "; ".join(map(_option_text, page.options)),
        "bundled": _bundled_text(page.bundled),
        "code": f"{page.builder}, {page.licence}",
    }
    click.echo(page.network)
    for name, text in facts.items():
        if text:
            click.echo(f"  {name:12}{text}")


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
    form = form_text(bundled.form.title, bundled.form)
    return f"{form}; top-1 {percent_text(bundled.top1)} % on {bundled.images:,} test images of {bundled.dataset}"


def _print_published(page: Page) -> None:
    columns = ("form", "params", "MACs (M)", "top-1 %", "top-5 %", "accuracy: protocol; source")
    cells: list[tuple[str, ...]] = []
    counted = []
    for row in page.published:
        params, macs = _sizes(row)
        if (params, macs) != (row.params, row.macs):
            counted.append(row.form.title)
        accuracy = "; ".join(filter(None, (row.protocol, row.accuracy_source)))
        sizes = (row.form.title, count_text(params), millions_text(macs))
        cells.append((*sizes, percent_text(row.top1), percent_text(row.top5), accuracy or "-"))
        if row.top1_other is not None or row.top5_other is not None:
            other = (percent_text(row.top1_other), percent_text(row.top5_other), row.other_source)
            cells.append(("", "", "", *other))
    sources = "; ".join(f"{row.params_source}; {row.macs_source}" for row in page.published).split("; ")
    caption = "parameters and MACs: " + "; ".join(dict.fromkeys(filter(None, sources)))
    if counted:
        caption += f"\ncounted here where no source states it: {', '.join(counted)}"
    print_table("published", columns, cells, left=("form", columns[-1]), caption=caption)


def _sizes(row: Published) -> tuple[int | None, int | None]:
    """Return parameters and multiply-adds of a row: what its source states, else what its layers give."""
    known = known_sizes(row.form)
    params = known.params if row.params is None and known else row.params
    return params, known.macs if row.macs is None and known else row.macs


def _print_statements(page: Page) -> None:
    statements = page.statements
    columns = ("quantity", "stated", "computed", "source", "why it differs")
    cells = []
    for row in statements:
        form = f" ({row.variant})" if any(other.variant != row.variant for other in statements) else ""
        cells.append((f"{row.quantity}{form}", row.stated, _computed(row), row.source, row.why or "not explained"))
    missing = any(row.computed is None for row in statements)
    caption = "-: computed from the layers, with --layers" if missing else ""
    print_table("what surveys say", columns, cells, left=("quantity", "source", "why it differs"), caption=caption)


def _computed(row: Statement) -> str:
    if row.computed is None:
        return "-"
    if row.unit == "share":
        return f"{100 * row.computed:.1f} %"
    return f"{row.computed:.1f} times" if row.unit == "ratio" else f"{row.computed:,.0f}"
