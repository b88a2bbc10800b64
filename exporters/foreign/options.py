"""What a user says about a network that the zoo does not know: names, preprocessing, labels, how the file is written."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from edgecnn.errors import BadInput, Contradiction
from edgecnn.exporters.network import DEFAULT_OPSET, OPSETS
from edgecnn.exporters.pixels import Placing, check_placing
from edgecnn.exporters.targets import Target, choose_opset, ir_of_opset
from edgecnn.specs import Fit, Interpolation, Preprocess

_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*")

# On the 0..1 scale; anything beyond was meant for pixels of 0..255.
_GREATEST_MEAN = 1.0
_GREATEST_STD = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What the numbers that go into and come out of a network mean.

    Attributes:
        name: of the network; None takes one from where it comes from.
        mean: per channel, on the 0..1 scale; empty when it is not known how an image becomes the input.
        std: per channel, on the 0..1 scale.
        fit: see `Preprocess`; None is its default.
        crop_fraction: likewise.
        interpolation: likewise.
        labels: class names in index order; empty when unknown.
    """

    name: str | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    fit: Fit | None = None
    crop_fraction: float | None = None
    interpolation: Interpolation | None = None
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.name is not None and not _NAME.fullmatch(self.name):
            raise BadInput("name", expected="letters, digits and . _ + -", got=repr(self.name))
        if bool(self.mean) != bool(self.std):
            one, other = ("mean", "std") if self.mean else ("std", "mean")
            raise Contradiction(f"--{one} without --{other}", f"give --{other} as well")
        rest = {"fit": self.fit, "crop-fraction": self.crop_fraction, "interpolation": self.interpolation}
        given = [name for name, value in rest.items() if value is not None]
        if given and not self.mean:
            raise Contradiction(f"--{given[0]} without --mean and --std", "give all that makes an image the input")
        _check_scale("mean", self.mean, least=0.0, greatest=_GREATEST_MEAN)
        _check_scale("std", self.std, least=0.0, greatest=_GREATEST_STD)

    def preprocess(self, channels: int, height: int, width: int) -> Preprocess | None:
        """Return how an image becomes an input of this size, None when that was not said.

        Raises:
            BadInput: the values do not fit the input.
        """
        if not self.mean:
            return None
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != channels:
                raise BadInput(name, expected=f"{channels} values, one per channel", got=str(len(values)))
        rest = {"fit": self.fit, "crop_fraction": self.crop_fraction, "interpolation": self.interpolation}
        given = {name: value for name, value in rest.items() if value is not None}
        found = Preprocess(size=(height, width), channels=channels, mean=self.mean, std=self.std, **given)  # type: ignore[arg-type]
        found.check()
        return found

    def check_labels(self, classes: int) -> None:
        """Raise BadInput unless there are as many labels as classes, or none."""
        if self.labels and len(self.labels) != classes:
            raise BadInput("labels", expected=f"{classes} names, one per output", got=str(len(self.labels)))


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignOptions:
    """How a foreign network is written.

    Attributes:
        meaning: of its inputs and outputs.
        input_shape: (channels, height, width); None takes what a file says.
        opset: operator set of the file; None takes the targets', or else 18 or the newer one that a file has.
        targets: what the file is for; empty for no one in particular.
        batch: fixed number of images, None for any.
        seed: of weights that are made at random and of the inputs that are compared.
        preprocess: who normalises: "outside" the caller; "in-graph" the file, which then takes uint8 [N, height, width,
            channels].
        resize: who scales and cuts images: "outside" the caller; "in-graph" the file, which then takes any height and width.
    """

    meaning: Meaning = field(default_factory=Meaning)
    input_shape: tuple[int, int, int] | None = None
    opset: int | None = None
    targets: tuple[Target, ...] = ()
    batch: int | None = None
    seed: int = 0
    preprocess: Placing = "outside"
    resize: Placing = "outside"

    def __post_init__(self) -> None:
        if self.opset is not None and self.opset not in OPSETS:
            raise BadInput("opset", expected=f"{OPSETS[0]} to {OPSETS[-1]}", got=str(self.opset))
        if self.batch is not None and self.batch < 1:
            raise BadInput("batch", expected="at least 1", got=str(self.batch))
        check_placing(self.preprocess, self.resize, self.targets)
        if self.input_shape is not None and min(self.input_shape) < 1:
            raise BadInput("input shape", expected="channels,height,width, at least 1 each", got=str(self.input_shape))

    def versions(self, found: int = DEFAULT_OPSET) -> tuple[int, int]:
        """Return the operator set and format version to write.

        Args:
            found: operator set of the file at hand, which is kept where it is one that edgecnn writes.

        Raises:
            Contradiction: a target does not read the operator set that was asked for.
        """
        if self.targets:
            return choose_opset(self.targets, self.opset)
        opset = self.opset or min(max(found, DEFAULT_OPSET), OPSETS[-1])
        return opset, ir_of_opset(opset)

    @property
    def target_names(self) -> str:
        """The targets, separated by commas."""
        return ",".join(target.name for target in self.targets)


def read_labels(path: Path) -> tuple[str, ...]:
    """Return the class names of a text file, one per line.

    Raises:
        BadInput: the file is missing, not UTF-8 text, empty, or has an empty line between names.
    """
    try:
        lines = path.read_text("utf-8").rstrip().splitlines()
    except OSError as error:
        raise BadInput(f"labels {path}: {error.strerror}", "give a text file with one name per line") from None
    except UnicodeDecodeError:
        raise BadInput(f"labels {path}", expected="UTF-8 text, one name per line", got="other bytes") from None
    labels = tuple(line.strip() for line in lines)
    if not all(labels) or not labels:
        where = f"an empty line {labels.index('') + 1}" if labels else "an empty file"
        raise BadInput(f"labels {path}", expected="one name per line", got=where)
    return labels


def name_from(text: str) -> str:
    """Return a name for a network out of a file's or function's name, every other character replaced by "_"."""
    return re.sub(r"[^\w.+-]+", "_", text).lstrip("_.+-") or "network"


def _check_scale(name: str, values: tuple[float, ...], *, least: float, greatest: float) -> None:
    bad = [value for value in values if not (least <= value <= greatest) or (name == "std" and value == 0)]
    if bad:
        raise BadInput(
            name,
            "of pixels 0..255, divide by 255",
            expected=f"values on the 0..1 scale, {'above 0' if name == 'std' else 'from 0'} to {greatest:g}",
            got=f"{bad[0]:g}",
        )
