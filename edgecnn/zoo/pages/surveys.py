"""What surveys and papers state about a network, beside the figure that its layers give; read from surveys.toml.

No figure of our own is written down: every claim names the function that computes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgecnn.errors import BadInput
from edgecnn.jsonform import from_json
from edgecnn.specs import Scalar
from edgecnn.toml import read_toml
from edgecnn.zoo.network import Form, Network, Totals
from edgecnn.zoo.pages.stages import WEIGHTED, stages_of
from edgecnn.zoo.registry import make_form
from edgecnn.zoo.sizes import known_sizes

if TYPE_CHECKING:
    from edgecnn.zoo.layers import Layer

SURVEYS = Path(__file__).with_name("surveys.toml")

_FLOAT32_BYTES = 4

SizesOf = Callable[[Form], Totals | None]

Unit = Literal["count", "share", "ratio"]
"""What a computed figure is: a number of things, a share of 0..1, or how many times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One statement, as surveys.toml has it.

    Attributes:
        network: name of the network that it is about.
        options: of the form that it is about; those of the plain form are left out.
        quantity: what is stated.
        stated: the figure, in the source's words and units.
        source: who states it.
        compute: key of `COMPUTED`.
        why: what explains a difference; empty where there is none.
        layer: module or layer, for what is about a part of the network.
        other: the other network, for ratios.
        size: height and width, for an example module.
        convolutions: (kernel, input channels, output channels) of an example module.
    """

    network: str
    options: Mapping[str, Scalar] = field(default_factory=dict)
    quantity: str
    stated: str
    source: str
    compute: str
    why: str = ""
    layer: str = ""
    other: str = ""
    size: int = 1
    convolutions: tuple[tuple[int, ...], ...] = ()

    @property
    def form(self) -> Form:
        """The form that the statement is about."""
        return make_form(self.network, **dict[str, Any](self.options))


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A claim beside what is computed.

    Attributes:
        variant: the form that it is about.
        quantity: what is stated.
        stated: the figure, in the source's words and units.
        source: who states it.
        computed: the figure that the layers give; None when that needs the layers and they were not asked for.
        unit: of the computed figure.
        why: what explains the difference; empty where there is none.
    """

    variant: str
    quantity: str
    stated: str
    source: str
    computed: float | None
    unit: Unit
    why: str


@dataclass(frozen=True, slots=True)
class Computed:
    """A way to compute a claim's figure.

    Attributes:
        unit: of the figure.
        from_layers: takes the claim and the layers of its form, None where totals are enough.
        from_form: takes the claim and what gives the totals of a form, None where the layers are needed.
    """

    unit: Unit
    from_layers: Callable[[Claim, Sequence[Layer]], float] | None = None
    from_form: Callable[[Claim, SizesOf], float | None] | None = None


def claims(network: str | None = None) -> tuple[Claim, ...]:
    """Return what is stated about a network, or about all."""
    return tuple(claim for claim in _claims(SURVEYS) if network in (None, claim.network))


def statements(network: Network, layers: Callable[[Form], Sequence[Layer]] | None = None) -> tuple[Statement, ...]:
    """Return what is stated about a network beside what is computed.

    Args:
        network: the network.
        layers: gives the layer table of a form; without it only what the table of sizes has is computed.
    """
    return tuple(
        Statement(
            variant=claim.form.title,
            quantity=claim.quantity,
            stated=claim.stated,
            source=claim.source,
            computed=compute(claim, layers),
            unit=COMPUTED[claim.compute].unit,
            why=claim.why,
        )
        for claim in claims(network.name)
    )


def compute(claim: Claim, layers: Callable[[Form], Sequence[Layer]] | None = None) -> float | None:
    """Return the figure of a claim, None when it needs layers and there are none."""
    way = COMPUTED[claim.compute]
    if way.from_layers is not None:
        return None if layers is None else way.from_layers(claim, layers(claim.form))
    if way.from_form is not None:
        return way.from_form(claim, lambda form: _sizes(form, layers))
    return None


def _sizes(form: Form, layers: Callable[[Form], Sequence[Layer]] | None) -> Totals | None:
    known = known_sizes(form)
    if known is not None or layers is None:
        return known
    from edgecnn.zoo.layers import totals  # noqa: PLC0415 (needs torch)

    return totals(layers(form))


def _params(claim: Claim, sizes: SizesOf) -> int | None:
    found = sizes(claim.form)
    return found.params if found else None


def _macs(claim: Claim, sizes: SizesOf) -> int | None:
    found = sizes(claim.form)
    return found.macs if found else None


def _activations(claim: Claim, sizes: SizesOf) -> int | None:
    found = sizes(claim.form)
    channels, height, width = claim.form.input_shape
    return found.activation_bytes // _FLOAT32_BYTES + channels * height * width if found else None


def _ratio(claim: Claim, sizes: SizesOf) -> float | None:
    own, other = sizes(claim.form), sizes(make_form(claim.other))
    return other.params / own.params if own and other else None


def _module(claim: Claim, sizes: SizesOf) -> int:
    """Hout * Wout * Cout * Cin * kh * kw, summed over the convolutions of the example."""
    return claim.size**2 * sum(kernel**2 * inputs * outputs for kernel, inputs, outputs in claim.convolutions)


def _params_of(claim: Claim, layers: Sequence[Layer]) -> int:
    return sum(layer.params for layer in layers if layer.name == claim.layer)


def _params_without(claim: Claim, layers: Sequence[Layer]) -> int:
    return sum(layer.params for layer in layers if layer.name != claim.layer)


def _pointwise(claim: Claim, layers: Sequence[Layer]) -> list[Layer]:
    return [layer for layer in layers if layer.kind == "conv" and layer.kernel == (1, 1)]


def _pointwise_macs(claim: Claim, layers: Sequence[Layer]) -> float:
    return sum(layer.macs for layer in _pointwise(claim, layers)) / sum(layer.macs for layer in layers)


def _pointwise_params(claim: Claim, layers: Sequence[Layer]) -> float:
    return sum(layer.params for layer in _pointwise(claim, layers)) / sum(layer.params for layer in layers)


def _channels(claim: Claim, layers: Sequence[Layer]) -> int:
    return next(stage.output_shape[0] for stage in stages_of(layers) if stage.name == claim.layer)


def _depth(claim: Claim, layers: Sequence[Layer]) -> int:
    """Return how many convolutions and linear layers the longest path through the network has."""
    depth: list[int] = []
    for layer in layers:
        before = max((depth[index] for index in layer.inputs if index >= 0), default=0)
        depth.append(before + (layer.kind in WEIGHTED))
    return max(depth)


COMPUTED: Mapping[str, Computed] = {
    "params": Computed("count", from_form=_params),
    "macs": Computed("count", from_form=_macs),
    "activations": Computed("count", from_form=_activations),
    "params_ratio": Computed("ratio", from_form=_ratio),
    "module": Computed("count", from_form=_module),
    "params_of": Computed("count", from_layers=_params_of),
    "params_without": Computed("count", from_layers=_params_without),
    "pointwise_macs": Computed("share", from_layers=_pointwise_macs),
    "pointwise_params": Computed("share", from_layers=_pointwise_params),
    "channels": Computed("count", from_layers=_channels),
    "depth": Computed("count", from_layers=_depth),
}
"""Name in surveys.toml -> how that figure is computed."""


@lru_cache(maxsize=4)
def _claims(path: Path) -> tuple[Claim, ...]:
    found = tuple(
        from_json(Claim, table, where=f"{path.name}: claims[{index}]")
        for index, table in enumerate(read_toml(path).get("claims", ()))
    )
    for claim in found:
        if claim.compute not in COMPUTED:
            raise BadInput(f"{path.name}: {claim.network}: compute", expected=" or ".join(COMPUTED), got=claim.compute)
    return found
