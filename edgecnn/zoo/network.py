"""What the zoo knows about a network without building it: the values behind `edgecnn.zoo.registry`, free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgecnn.errors import UnknownName
from edgecnn.specs import Interpolation, Preprocess, Scalar, joined_title
from edgecnn.zoo.options import Option, TrainingOption

# ITU-R BT.601: the weights by which red, green and blue make luma.
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """Where a network was published.

    Attributes:
        title: of the paper.
        authors: "He et al." for example.
        year: of the first publication.
        venue: conference, journal or archive with its number.
    """

    title: str
    authors: str
    year: int
    venue: str

    @property
    def citation(self) -> str:
        """The paper in one line."""
        year = "" if str(self.year) in self.venue else f", {self.year}"
        return f'{self.authors}, "{self.title}", {self.venue}{year}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One buildable form of a network; made by `edgecnn.zoo.registry.make_form`, which checks it.

    Attributes:
        network: name of the network.
        variant: what differs from the plain form, "0.25_32" for example; channels and classes do not appear. Empty for
            the plain form.
        options: value of every option of the network.
        input_size: height and width of the input, pixels.
        channels: 3 (RGB) or 1 (grayscale).
        classes: length of the logits.
    """

    network: str
    variant: str
    options: Mapping[str, Scalar] = field(default_factory=dict)
    input_size: int
    channels: int
    classes: int

    @property
    def title(self) -> str:
        """Network and variant in one word, "mobilenet_v1_0.25_32"; it is also the stem of the file."""
        return joined_title(self.network, self.variant)

    def shares_weights(self, other: Form) -> bool:
        """Tell whether another form of the same network has the same weights: the input size is free."""
        return (self.options, self.channels, self.classes) == (other.options, other.channels, other.classes)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one input."""
        return (self.channels, self.input_size, self.input_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Sums over the layers of one form, for one image.

    Attributes:
        params: trained values: batch norm scale and shift counted, running statistics not.
        macs: multiply-adds of convolutions and linear layers.
        activation_bytes: float32 outputs of all layers, without the network's input; what works in place or is folded
            into a convolution on export adds nothing.
    """

    params: int
    macs: int
    activation_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What a source states about one form of a network; what the source does not state is None or empty.

    Attributes:
        id: of the row in published.csv.
        form: the form it is about.
        params: trained values, exact.
        params_reported: in millions, as papers and repositories round it.
        params_source: where the parameters come from.
        macs: multiply-adds of convolutions and linear layers for one image, to the resolution of the source.
        macs_reported: in millions, as papers and repositories round it.
        macs_unit: what the reported figure calls a unit.
        macs_source: where the multiply-adds come from.
        top1: accuracy, 0..1.
        top5: accuracy, 0..1.
        protocol: how the accuracy was measured.
        accuracy_source: where the accuracy comes from.
        top1_other: a second published accuracy, 0..1.
        top5_other: a second published accuracy, 0..1.
        other_source: where the second accuracy comes from, and how it was measured.
        weights_url: where the publisher keeps the weights.
        sha256_prefix: first digits of the SHA-256 of that file.
        notes: what else there is to know.
    """

    id: str
    form: Form
    params: int | None = None
    params_reported: str = ""
    params_source: str = ""
    macs: int | None = None
    macs_reported: str = ""
    macs_unit: str = ""
    macs_source: str = ""
    top1: float | None = None
    top5: float | None = None
    protocol: str = ""
    accuracy_source: str = ""
    top1_other: float | None = None
    top5_other: float | None = None
    other_source: str = ""
    weights_url: str = ""
    sha256_prefix: str = ""
    notes: str = ""

    @property
    def file_top1(self) -> float | None:
        """What the publisher of the file behind `weights_url` states about it, 0..1; the paper's may be another."""
        if not self.weights_url.startswith("https://download.pytorch.org/"):
            return self.top1 if self.weights_url else None
        stated = ((self.accuracy_source, self.top1), (self.other_source, self.top1_other))
        return next((top1 for source, top1 in stated if source.startswith("torchvision")), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundled:
    """Trained weights that lie in the package.

    Attributes:
        form: what was trained.
        dataset: what it was trained on.
        preprocess: how an image becomes its input.
        top1: accuracy through the exported file, 0..1.
        images: how many test images that was measured on.
        path: the .safetensors file; the recipe and the training log are the .toml beside it.
        licence: of the weights.
    """

    form: Form
    dataset: str
    preprocess: Preprocess
    top1: float
    images: int
    path: Path
    licence: str = "Apache-2.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """How a published state dict becomes this network's, and the preprocessing that it wants; None is the data set's.

    Attributes:
        source: whose file it is, "timm legacy_xception" for example.
        rename: (regular expression, replacement) pairs, applied to every key in order, after `drop`.
        drop: regular expressions of keys that the inference form has not; found anywhere in the key.
        options: of the form that the file is of, where another form has the same keys and shapes.
        mean: per channel, on the 0..1 scale.
        std: per channel, on the 0..1 scale.
        interpolation: of the resize.
        crop_fraction: above 0 and at most 1.
        input_size: height and width that it was trained for, pixels.
    """

    source: str
    rename: tuple[tuple[str, str], ...] = ()
    drop: tuple[str, ...] = ()
    options: Mapping[str, Scalar] = field(default_factory=dict)
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    interpolation: Interpolation | None = None
    crop_fraction: float | None = None
    input_size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """One entry of the zoo. A package adds its own through the entry-point group "edgecnn.networks".

    Attributes:
        name: as the command line takes it.
        family: as papers call the family.
        title: as papers call the network.
        paper: where it was published.
        builder: "module:function", imported when a network is built; called with the keywords classes, in_channels,
            input_size, those of `fixed` and those of `options`; a ValueError is shown to the user.
        fixed: keywords of the builder that make this entry, depth=50 for example.
        options: how it can be varied.
        dataset: what the paper's form was trained on.
        preprocess: how an image becomes the input of the plain form; its size and channels are those of the form.
        classes: of the plain form.
        min_input: least input size in pixels.
        input_sizes: the only input sizes that work; empty when all from `min_input` on do.
        licence: of this implementation.
        aliases: other names that find it.
        small: name of the network whose bundled form stands for this one when nothing else is asked; empty for its own.
        training_options: keywords of the builder that only change training -> their allowed values.
        checkpoints: state dicts of others that need translation or another preprocessing.
        published: what sources state, the row that stands for a form before others of the same form.
        bundled: trained weights in the package, None without.
    """

    name: str
    family: str
    title: str
    paper: Paper
    builder: str
    fixed: Mapping[str, Scalar] = field(default_factory=dict)
    options: tuple[Option, ...] = ()
    dataset: str
    preprocess: Preprocess
    classes: int
    min_input: int = 1
    input_sizes: tuple[int, ...] = ()
    licence: str = "Apache-2.0"
    aliases: tuple[str, ...] = ()
    small: str = ""
    training_options: Mapping[str, TrainingOption] = field(default_factory=dict)
    checkpoints: tuple[Checkpoint, ...] = ()
    published: tuple[Published, ...] = ()
    bundled: Bundled | None = None

    @property
    def input_size(self) -> int:
        """Height and width of the plain form's input, pixels."""
        return self.preprocess.size[0]

    @property
    def channels(self) -> int:
        """Channels of the plain form's input."""
        return self.preprocess.channels

    @property
    def citation(self) -> str:
        """The paper in one line."""
        return self.paper.citation

    def training_values(self, given: Mapping[str, object]) -> dict[str, float | bool]:
        """Return what acts in training only, checked.

        Args:
            given: names of `training_options` -> values.

        Raises:
            UnknownName: the network has no such training option.
            BadInput: a value that is not allowed.
        """
        for name in given:
            if name not in self.training_options:
                raise UnknownName(f"training option of {self.name}", name, self.training_options)
        return {name: self.training_options[name].read(name, value) for name, value in given.items()}

    def published_for(self, form: Form) -> Published | None:
        """Return the row that stands for a form, None when no source is about it."""
        return next((row for row in self.published if row.form == form), None)

    def preprocess_for(self, form: Form) -> Preprocess:
        """Return the paper's preprocessing at a form's size and channels.

        Grayscale forms of colour networks take the luma of the means and of the standard deviations (ITU-R BT.601),
        colour forms of grayscale networks the same value three times.
        """
        size = (form.input_size, form.input_size)
        spec = replace(self.preprocess, size=size, channels=form.channels)
        if form.channels == self.channels:
            return spec
        return replace(spec, mean=_with_channels(spec.mean, form.channels), std=_with_channels(spec.std, form.channels))


def _with_channels(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    if channels == 1:
        return (round(sum(value * share for value, share in zip(values, _LUMA, strict=True)), 6),)
    return values * channels
