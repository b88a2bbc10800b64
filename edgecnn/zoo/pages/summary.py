"""What the command line tells about networks: one line of the list, and the page of one network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgecnn.errors import UnknownName, folded
from edgecnn.specs import Preprocess
from edgecnn.zoo.network import Bundled, Form, Network, Paper, Published, Totals
from edgecnn.zoo.options import Option
from edgecnn.zoo.pages.sources import with_sources
from edgecnn.zoo.pages.stages import Stage, stages_of
from edgecnn.zoo.pages.surveys import Statement, statements
from edgecnn.zoo.pages.tables import BranchTable, FamilyTable, Grid, branch_table, family_table, grid
from edgecnn.zoo.pages.walks import Walks
from edgecnn.zoo.registry import make_form
from edgecnn.zoo.sizes import known_sizes

if TYPE_CHECKING:
    from edgecnn.zoo.layers import Layer


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A network in its plain form, one line of the list. Unknown is None.

    Attributes:
        network: name.
        family: of the network.
        title: as papers call it.
        year: of the paper.
        dataset: of the paper's form, and of the published accuracy.
        input_size: height and width, pixels.
        channels: of the input.
        classes: length of the logits.
        params: trained values.
        macs: multiply-adds of convolutions and linear layers for one image.
        activation_bytes: float32 outputs of all layers for one image, their sum and not what is held at one time.
        accuracy_form: the form that the published accuracy is about; another one than the plain form where sources have
            none of that. None without accuracy.
        top1: published accuracy, 0..1.
        top5: published accuracy, 0..1.
        protocol: how the published accuracy was measured.
        accuracy_source: where it comes from.
        bundled: the form whose trained weights lie in the package.
        bundled_input_size: its height and width, pixels.
        bundled_channels: of its input.
        bundled_params: its trained values.
        bundled_macs: its multiply-adds.
        bundled_activation_bytes: its float32 outputs of all layers for one image.
        bundled_top1: its measured accuracy, 0..1.
        bundled_dataset: what it was trained and measured on.
        bundled_images: how many test images it was measured on.
    """

    network: str
    family: str
    title: str
    year: int
    dataset: str
    input_size: int
    channels: int
    classes: int
    params: int | None
    macs: int | None
    activation_bytes: int | None
    accuracy_form: str | None
    top1: float | None
    top5: float | None
    protocol: str
    accuracy_source: str
    bundled: str | None
    bundled_input_size: int | None
    bundled_channels: int | None
    bundled_params: int | None
    bundled_macs: int | None
    bundled_activation_bytes: int | None
    bundled_top1: float | None
    bundled_dataset: str | None
    bundled_images: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What there is to know about one network and one of its forms.

    Attributes:
        network: name.
        family: of the network.
        title: as papers call it.
        aliases: other names that find it.
        paper: where it was published.
        dataset: of the paper's form.
        preprocess: how an image becomes the input of this form.
        options: how the network can be varied.
        licence: of the implementation.
        builder: where the implementation is.
        form: the form that the sizes are about.
        variant: its name, network included.
        sizes: parameters, multiply-adds and activations of the form.
        published: what sources state about this network's forms, each source with its name.
        bundled: trained weights in the package, None without.
        statements: what surveys say, beside what is computed.
        layers: the layer table, None when it was not asked for.
        stages: the layers grouped as the paper's table has them, None when layers were not asked for.
        family_table: the family's members side by side, None when not asked for or when surveys have none.
        grid: the network by width and input size, None when not asked for or when surveys have none.
        branches: what the branches of its modules cost, None when not asked for or when surveys have none.
        graph: the drawing that was written, None when it was not asked for.
    """

    network: str
    family: str
    title: str
    aliases: tuple[str, ...]
    paper: Paper
    dataset: str
    preprocess: Preprocess
    options: tuple[Option, ...]
    licence: str
    builder: str
    form: Form
    variant: str
    sizes: Totals
    published: tuple[Published, ...]
    bundled: Bundled | None
    statements: tuple[Statement, ...]
    layers: tuple[Layer, ...] | None = None
    stages: tuple[Stage, ...] | None = None
    family_table: FamilyTable | None = None
    grid: Grid | None = None
    branches: BranchTable | None = None
    graph: Path | None = None


SortKey = Literal["name", "year", "params", "macs", "activation", "top1"]
"""What the list can be sorted by."""

_SORTED_BY = {"name": "network", "activation": "activation_bytes"}

# What there is of the bundled form as well as of the paper's.
_OF_BOTH = ("params", "macs", "activation_bytes", "top1")


def summarise(network: Network) -> Summary:
    """Return the line of a network; needs no torch."""
    form = make_form(network)
    sizes = known_sizes(form)
    published = _with_accuracy(network, form)
    bundled = network.bundled
    trained = known_sizes(bundled.form) if bundled else None
    return Summary(
        network=network.name,
        family=network.family,
        title=network.title,
        year=network.paper.year,
        dataset=network.dataset,
        input_size=network.input_size,
        channels=network.channels,
        classes=network.classes,
        params=sizes.params if sizes else None,
        macs=sizes.macs if sizes else None,
        activation_bytes=sizes.activation_bytes if sizes else None,
        accuracy_form=published.form.title if published else None,
        top1=published.top1 if published else None,
        top5=published.top5 if published else None,
        protocol=published.protocol if published else "",
        accuracy_source=published.accuracy_source if published else "",
        bundled=bundled.form.title if bundled else None,
        bundled_input_size=bundled.form.input_size if bundled else None,
        bundled_channels=bundled.form.channels if bundled else None,
        bundled_params=trained.params if trained else None,
        bundled_macs=trained.macs if trained else None,
        bundled_activation_bytes=trained.activation_bytes if trained else None,
        bundled_top1=bundled.top1 if bundled else None,
        bundled_dataset=bundled.dataset if bundled else None,
        bundled_images=bundled.images if bundled else None,
    )


def select(
    rows: Iterable[Summary],
    *,
    families: Sequence[str] = (),
    max_params: int | None = None,
    max_macs: int | None = None,
    trained: bool = False,
    sort: SortKey | None = None,
    reverse: bool = False,
) -> tuple[Summary, ...]:
    """Return the lines that are asked for, in the order that is asked for; what is unknown is never within a limit.

    Limits and order are those of the plain forms; with `trained`, of the bundled ones.

    Args:
        rows: lines of the list.
        families: only these, however they are written; all when empty.
        max_params: most trained values.
        max_macs: most multiply-adds.
        trained: only networks with bundled weights.
        sort: smallest first, unknown ones last, published accuracy data set by data set; None leaves the order.
        reverse: the other way round, unknown ones still last.

    Raises:
        UnknownName: no network is of such a family.
    """
    lines = tuple(rows)
    wanted = {_family(name, lines) for name in families}
    chosen = [
        row
        for row in lines
        if (not wanted or row.family in wanted)
        and (row.bundled is not None or not trained)
        and _within(getattr(row, _key("params", trained)), max_params)
        and _within(getattr(row, _key("macs", trained)), max_macs)
    ]
    return _sorted(chosen, _key(sort, trained) if sort else None, reverse)


def _family(name: str, rows: Sequence[Summary]) -> str:
    known = {_letters(row.family): row.family for row in rows}
    if _letters(name) not in known:
        raise UnknownName("family", name, sorted(known.values(), key=str.casefold))
    return known[_letters(name)]


def _letters(family: str) -> str:
    return folded(family).replace("_", "")


def _key(sort: SortKey, trained: bool) -> str:
    """Return the field of a line that a key is about."""
    name = _SORTED_BY.get(sort, sort)
    return f"bundled_{name}" if trained and name in _OF_BOTH else name


def _within(value: int | None, most: int | None) -> bool:
    return most is None or (value is not None and value <= most)


def _sorted(rows: Sequence[Summary], name: str | None, reverse: bool) -> tuple[Summary, ...]:
    if name is None:
        return tuple(reversed(rows)) if reverse else tuple(rows)
    known = [row for row in rows if getattr(row, name) is not None]
    unknown = [row for row in rows if getattr(row, name) is None]
    ordered = sorted(known, key=lambda row: getattr(row, name), reverse=reverse)
    if name == "top1":
        ordered.sort(key=lambda row: row.dataset)  # accuracies on different data sets do not compare
    return (*ordered, *unknown)


def _with_accuracy(network: Network, form: Form) -> Published | None:
    """Return the row whose accuracy stands for a network: the form's own, else the first other form's."""
    rows = [row for row in network.published if row.top1 is not None or row.top5 is not None]
    chosen = next((row for row in rows if row.form == form), rows[0] if rows else None)
    return with_sources(chosen, network.paper) if chosen else None


def describe(network: Network, form: Form, *, with_layers: bool = False, walks: Walks | None = None) -> Page:
    """Return the page of a network; the layers, and the sizes of a form that the table of sizes lacks, need torch.

    Args:
        network: the network.
        form: one of its forms.
        with_layers: the layer table, and the tables that are made from it.
        walks: layer tables that are already known.

    Raises:
        MissingDependency: torch is needed and not installed.
        UsageError: the form cannot be built.
    """
    sizes = known_sizes(form)
    walks = walks or Walks()
    layers = walks.layers(form) if with_layers or sizes is None else None
    return Page(
        network=network.name,
        family=network.family,
        title=network.title,
        aliases=network.aliases,
        paper=network.paper,
        dataset=network.dataset,
        preprocess=network.preprocess_for(form),
        options=network.options,
        licence=network.licence,
        builder=network.builder,
        form=form,
        variant=form.title,
        sizes=sizes or walks.sizes(form),
        published=tuple(with_sources(row, network.paper) for row in network.published),
        bundled=network.bundled,
        statements=statements(network, walks.layers if with_layers else None),
        layers=layers if with_layers else None,
        stages=stages_of(layers) if with_layers and layers is not None else None,
        family_table=family_table(network.name, walks.layers) if with_layers else None,
        grid=grid(network.name, walks.sizes) if with_layers else None,
        branches=branch_table(network.name, layers) if with_layers and layers is not None else None,
    )
