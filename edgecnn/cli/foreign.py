"""What `edgecnn export` does with a network that is not of the zoo: which kind it is, and the options that it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import click

from edgecnn.errors import BadInput, Contradiction

Command = TypeVar("Command", bound="Callable[..., Any] | click.Command")
Kind = Literal["zoo", "factory", "file"]

_KINDS: Mapping[Kind, str] = {
    "zoo": "a network of the zoo",
    "factory": "a network of your own",
    "file": "an .onnx file",
}

# Option -> the kinds that it is for; what is not listed is for all.
_APPLIES: Mapping[str, tuple[Kind, ...]] = {
    "weights": ("zoo", "factory"),
    **dict.fromkeys(("width", "input_size", "classes", "channels", "pairs"), ("zoo",)),
    **dict.fromkeys(
        ("input_shape", "mean", "std", "labels", "name", "fit", "crop_fraction", "interpolation"), ("factory", "file")
    ),
}
_TYPED = {"pairs": "option"}

_ENSEMBLE = "ensemble:"


class Values(click.ParamType):  # type: ignore[type-arg] # older versions of click have no type parameter here
    """A comma-separated list of numbers, "0.485,0.456,0.406" or "3,224,224".

    Args:
        kind: int or float.
        count: how many there must be, None for any number.
    """

    name = "values"

    def __init__(self, kind: type[int] | type[float], count: int | None = None) -> None:
        self.kind = kind
        self.count = count

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """Return the numbers in order."""
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(self.kind(part) for part in str(value).split(","))
        except ValueError:
            numbers = ()
        if not numbers or self.count not in (None, len(numbers)):
            wanted = "numbers" if self.count is None else f"{self.count} whole numbers"
            self.fail(f"expected {wanted} separated by commas, got {value!r}", param, ctx)
        return numbers


def foreign_options(command: Command) -> Command:
    """Add the options that say what a foreign network is."""
    options = (
        click.option(
            "--input-shape",
            type=Values(int, 3),
            metavar="C,H,W",
            help="Channels, height and width of the image.  [default: what an .onnx file says]",
        ),
        click.option("--mean", type=Values(float), metavar="R,G,B", help="Subtracted from pixels on the 0..1 scale."),
        click.option("--std", type=Values(float), metavar="R,G,B", help="What they are divided by then."),
        click.option("--labels", type=click.Path(path_type=Path), help="Text file with a class name per line."),
        click.option("--name", help="What the network is called.  [default: the function's or file's name]"),
        click.option("--fit", type=click.Choice(["crop", "pad", "stretch"]), help="Image to input.  [default: crop]"),
        click.option("--crop-fraction", type=float, help="Of the scaled image, what the input is.  [default: 0.875]"),
        click.option(
            "--interpolation",
            type=click.Choice(["bilinear", "bicubic", "nearest"]),
            help="Of scaling.  [default: bilinear]",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def kind_of(network: str) -> Kind:
    """Return what the argument of `edgecnn export` names: pkg.module:name, a file, or else a network of the zoo.

    Raises:
        BadInput: the Python file is given where its module's name belongs.
    """
    if network.lower().endswith(".onnx") or Path(network).is_file():
        return "file"
    module, colon, name = network.partition(":")
    if not colon or network.startswith(_ENSEMBLE):
        return "zoo"
    if module.endswith(".py"):
        dotted = ".".join(Path(module).with_suffix("").parts)
        raise BadInput(network, f"{dotted}:{name}", expected="pkg.module:name", got="the path of a file")
    parts = [*module.split("."), *name.split(".")]
    if not all(part.isidentifier() for part in parts):
        raise BadInput(network, expected="pkg.module:name, an .onnx file or a name of the zoo", got=repr(network))
    return "factory"


def check_options(kind: Kind, network: str, ctx: click.Context) -> None:
    """Raise Contradiction if an option was typed that is not for this kind of network."""
    for name, kinds in _APPLIES.items():
        typed = ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        if typed and kind not in kinds:
            option = _TYPED.get(name, name).replace("_", "-")
            meant = " or ".join(_KINDS[one] for one in kinds)
            raise Contradiction(f"--{option} is for {meant}, and {network} is {_KINDS[kind]}", f"leave --{option} out")
