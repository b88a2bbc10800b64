"""Checking and naming the forms of a network.

The rule of names: the plain form has the plain name. What differs from it is spelled out: width, then input size, then
the other options in the order of the catalogue. A network with a width writes width and size together or neither
(`mobilenet_v1_0.25_224`, `mobilenet_v1_1.0_192`); without one it writes the size alone (`squeezenet1_1_32`). Channels
and classes do not appear.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgecnn.errors import BadInput, UnknownName
from edgecnn.specs import Scalar
from edgecnn.zoo.network import Form, Network

CHANNELS = (1, 3)
"""Grayscale and RGB: what the preprocessing can give."""


def form_of(
    network: Network,
    *,
    input_size: int | None = None,
    channels: int | None = None,
    classes: int | None = None,
    options: Mapping[str, object] | None = None,
) -> Form:
    """Return a checked form of a network; what is None or absent is as in the plain form.

    Raises:
        UnknownName: the network has no such option.
        BadInput: a value that is not allowed; the allowed ones are named.
    """
    values = _options(network, options or {})
    size = _input_size(network, network.input_size if input_size is None else input_size)
    return Form(
        network=network.name,
        variant=_variant(network, values, size),
        options=values,
        input_size=size,
        channels=_channels(network.channels if channels is None else channels),
        classes=_classes(network.classes if classes is None else classes),
    )


def _options(network: Network, given: Mapping[str, object]) -> dict[str, Scalar]:
    known = {option.name: option for option in network.options}
    values: dict[str, Scalar] = {name: option.default for name, option in known.items()}
    for name, value in given.items():
        if value is None:
            continue
        if name not in known:
            raise UnknownName(f"option of {network.name}", name, known)
        values[name] = known[name].read(value)
    return values


def _input_size(network: Network, size: int) -> int:
    if network.input_sizes and size not in network.input_sizes:
        expected = " or ".join(map(str, network.input_sizes))
        raise BadInput(f"input size of {network.name}", expected=f"{expected} pixels", got=str(size))
    if size < network.min_input:
        raise BadInput(f"input size of {network.name}", expected=f"at least {network.min_input} pixels", got=str(size))
    return size


def _channels(channels: int) -> int:
    if channels not in CHANNELS:
        raise BadInput("channels", expected="1 (grayscale) or 3 (RGB)", got=str(channels))
    return channels


def _classes(classes: int) -> int:
    if classes < 1:
        raise BadInput("classes", expected="at least 1", got=str(classes))
    return classes


def _variant(network: Network, values: Mapping[str, Scalar], size: int) -> str:
    differing = [option for option in network.options if values[option.name] != option.default]
    width = next((option for option in network.options if option.name == "width"), None)
    parts = []
    if width is not None and (width in differing or size != network.input_size):
        parts = [width.written(values["width"]), str(size)]
    elif size != network.input_size:
        parts = [str(size)]
    parts += [option.written(values[option.name]) for option in differing if option is not width]
    return "_".join(parts)
