"""What the command line tells about networks: one line of the list, and the page of one network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgecnn.errors import MissingDependency
from edgecnn.specs import Preprocess
from edgecnn.zoo.network import Bundled, Form, Network, Paper, Published, Totals
from edgecnn.zoo.options import Option
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
        dataset: of the paper's form.
        input_size: height and width, pixels.
        channels: of the input.
        classes: length of the logits.
        params: trained values.
        macs: multiply-adds of convolutions and linear layers for one image.
        activation_bytes: float32 outputs of all layers for one image.
        top1: published accuracy, 0..1.
        top5: published accuracy, 0..1.
        protocol: how the published accuracy was measured.
        accuracy_source: where it comes from.
        bundled: the form whose trained weights lie in the package.
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
    top1: float | None
    top5: float | None
    protocol: str
    accuracy_source: str
    bundled: str | None
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
        published: what sources state about this network's forms.
        bundled: trained weights in the package, None without.
        layers: the layer table, None when it was not asked for.
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
    layers: tuple[Layer, ...] | None = None


def summarise(network: Network) -> Summary:
    """Return the line of a network; needs no torch."""
    form = make_form(network)
    sizes = known_sizes(form)
    published = network.published_for(form)
    bundled = network.bundled
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
        top1=published.top1 if published else None,
        top5=published.top5 if published else None,
        protocol=published.protocol if published else "",
        accuracy_source=published.accuracy_source if published else "",
        bundled=bundled.form.title if bundled else None,
        bundled_top1=bundled.top1 if bundled else None,
        bundled_dataset=bundled.dataset if bundled else None,
        bundled_images=bundled.images if bundled else None,
    )


def describe(network: Network, form: Form, *, with_layers: bool = False) -> Page:
    """Return the page of a network; the layers, and the sizes of a form that the table of sizes lacks, need torch.

    Raises:
        MissingDependency: torch is needed and not installed.
        UsageError: the form cannot be built.
    """
    sizes = known_sizes(form)
    layers = _layers(form) if with_layers or sizes is None else None
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
        sizes=_totals(layers) if layers is not None else sizes or Totals(params=0, macs=0, activation_bytes=0),
        published=network.published,
        bundled=network.bundled,
        layers=layers if with_layers else None,
    )


def _layers(form: Form) -> tuple[Layer, ...]:
    try:
        from edgecnn.zoo.layers import layers_of  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "torch":
            raise
        raise MissingDependency("torch", "export", f"the layers of {form.title}") from None
    return layers_of(form)


def _totals(layers: tuple[Layer, ...]) -> Totals:
    from edgecnn.zoo.layers import totals  # noqa: PLC0415

    return totals(layers)
