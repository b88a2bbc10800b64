"""What a file is made for: operator set, format version, precisions and int8 form of each target, with the reasons.

The table lies in targets.toml beside this file; docs/targets.md shows it. A file may be for several targets if one form
suits them all, see `combine`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast

from edgecnn.errors import BadInput, Contradiction, UnknownName
from edgecnn.specs import Precision
from edgecnn.toml import read_toml

TARGETS: tuple[str, ...] = ("cpu-x86", "cpu-arm", "trt", "openvino", "cuda")
"""Names of the targets, in the order of the table."""

DEFAULT_TARGET = "cpu-x86"

TABLE = Path(__file__).with_name("targets.toml")

Activation = Literal["uint8", "int8"]
Bias = Literal["int32", "float"]
Edges = Literal["all", "inputs"]
Residual = Literal["both", "identity"]
LayerPrecision = Literal["int8", "float"]

IR_OF_OPSET: Mapping[int, int] = {
    **dict.fromkeys((7, 8), 3),
    9: 4,
    10: 5,
    11: 6,
    **dict.fromkeys((12, 13, 14), 7),
    **dict.fromkeys((15, 16, 17, 18), 8),
    **dict.fromkeys((19, 20), 9),
    **dict.fromkeys((21, 22), 10),
    23: 11,
    24: 12,
    **dict.fromkeys((25, 26, 27), 13),
    28: 14,
}
"""Operator set -> version of the ONNX format that came with it (ONNX's docs/Versioning.md)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How an int8 file is quantized.

    Attributes:
        activation: type of quantized activations.
        symmetric: zero point 0, equal range on both sides.
        bias: int32 with a DequantizeLinear, or left float.
        edges: "all" puts quantizers on every edge between int8 nodes, "inputs" before layers with weights only.
        residual: which inputs of a sum are quantized: both, or only the one that does not come from a convolution.
        head: precision of the last Gemm or MatMul.
        depthwise: precision of depthwise convolutions.
        min_channels: convolutions of more than one pixel with fewer output channels stay float; 1 quantizes all.
        align_channels: pad the channels of the image to a multiple of four.
        lookup: products, and activations that are a table of 256 entries, run in int8 as well.
        rewrites: names of the passes that prepare the graph, see `edgecnn.exporters.passes.catalog`.
    """

    activation: Activation
    symmetric: bool
    bias: Bias
    edges: Edges
    residual: Residual
    head: LayerPrecision
    depthwise: LayerPrecision
    min_channels: int
    align_channels: bool
    lookup: bool
    rewrites: tuple[str, ...] = ()

    @property
    def limits(self) -> tuple[int, int]:
        """Least and greatest quantized activation; a symmetric one is as far from zero on both sides."""
        if self.activation == "uint8":
            return (1, 255) if self.symmetric else (0, 255)
        return (-127, 127) if self.symmetric else (-128, 127)


_LISTED = frozenset({"rewrites", "min_channels"})
"""Keys of the form that targets need not agree on, see `combine`."""

_KEYS = tuple(Form.__dataclass_fields__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One entry of the table: the values that suit, the preferred one first, and why."""

    values: tuple[Any, ...]
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What one kind of engine and machine wants of a file.

    Attributes:
        name: what it is called on the command line.
        title: in words.
        backend: edgecnn's backend that runs it.
        opset: operator set that is written unless another is asked for.
        max_opset: the newest that is read there.
        opset_why: why.
        max_ir: the newest version of the ONNX format that is read there.
        ir_why: why.
        takes: precision -> why it is worth having there.
        refuses: precision -> why it is not taken there.
        opset_of: precision -> operator set of its files, where they need a newer one than others.
        choices: key of `Form` -> what suits; empty where int8 is refused.
    """

    name: str
    title: str
    backend: str
    opset: int
    max_opset: int
    opset_why: str
    max_ir: int
    ir_why: str
    takes: dict[str, str]
    refuses: dict[str, str]
    opset_of: dict[str, int]
    choices: Mapping[str, Choice]

    @property
    def form(self) -> Form:
        """The int8 form that suits this target best.

        Raises:
            Contradiction: the target does not take int8.
        """
        return combine((self,))

    def require(self, precision: Precision) -> None:
        """Raise Contradiction, with the reason, if files of this precision are not for this target."""
        if precision not in self.takes:
            raise Contradiction(
                f"{precision} is not for target {self.name}: {self.refuses.get(precision, 'it is not in the table')}",
                f"{self.name} takes {', '.join(self.takes)}",
            )


def find_target(name: str) -> Target:
    """Return the target of that name.

    Raises:
        UnknownName: no such target; known ones are listed.
    """
    if name not in TARGETS:
        raise UnknownName("target", name, TARGETS)
    return _table()[name]


def parse_targets(text: str) -> tuple[Target, ...]:
    """Return the targets of a comma-separated list, "cpu-x86,openvino" for example, in that order.

    Raises:
        UnknownName: no such target.
        BadInput: there is none in the list.
    """
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not names:
        raise BadInput("targets", expected="one or several of " + ", ".join(TARGETS), got=repr(text))
    return tuple(find_target(name) for name in names)


def combine(targets: Sequence[Target]) -> Form:
    """Return the int8 form that suits all of these targets, as near to what the first prefers as can be.

    A rewrite that only some want does not run, and the greatest `min_channels` holds.

    Raises:
        Contradiction: one does not take int8, or two have no form in common.
    """
    first, *others = targets
    for target in targets:
        target.require("int8")
    chosen = {key: _agree(key, first, others) for key in _KEYS if key not in _LISTED}
    wanted = [target.choices["rewrites"].values for target in targets]
    chosen["rewrites"] = tuple(name for name in wanted[0] if all(name in names for names in wanted))
    chosen["min_channels"] = max(target.choices["min_channels"].values[0] for target in targets)
    return Form(**chosen)


def _agree(key: str, first: Target, others: Sequence[Target]) -> Any:
    """Return the first target's most preferred value that the others accept."""
    values = first.choices[key].values
    for value in values:
        if all(value in other.choices[key].values for other in others):
            return value
    one, other = _strangers(key, (first, *others))
    raise Contradiction(
        f"no int8 file suits both {one.name} and {other.name}: {key} is {_listed(one, key)} for the one and "
        f"{_listed(other, key)} for the other",
        "write a file for each; one fp32 file serves both",
    )


def _strangers(key: str, targets: Sequence[Target]) -> tuple[Target, Target]:
    """Return two targets that accept no common value, or the first two where only three together disagree."""
    pairs = [(one, other) for i, one in enumerate(targets) for other in targets[i + 1 :]]
    apart = [pair for pair in pairs if not set(pair[0].choices[key].values) & set(pair[1].choices[key].values)]
    return (apart or pairs)[0]


def _listed(target: Target, key: str) -> str:
    return " or ".join(str(value).lower() for value in target.choices[key].values)


def choose_opset(targets: Sequence[Target], asked: int | None = None) -> tuple[int, int]:
    """Return the operator set and format version of a file for these targets.

    Args:
        targets: what the file is for; at least one.
        asked: operator set that the user wants; None takes the oldest default of the targets.

    Raises:
        Contradiction: a target does not read that operator set, or its format.
    """
    opset = min(target.opset for target in targets) if asked is None else asked
    ir_version = ir_of_opset(opset)
    for target in targets:
        check_versions(target, opset, ir_version)
    return opset, ir_version


def check_versions(target: Target, opset: int, ir_version: int) -> None:
    """Raise Contradiction if a target does not read files of this operator set and format version."""
    if opset > target.max_opset:
        raise Contradiction(
            f"operator set {opset} is not for target {target.name}, which reads up to {target.max_opset}: "
            f"{target.opset_why}",
            f"export it with --opset {target.max_opset}",
        )
    if ir_version > target.max_ir:
        raise Contradiction(
            f"ONNX format {ir_version} is not for target {target.name}, which reads up to {target.max_ir}: "
            f"{target.ir_why}",
            "export it with an older --opset",
        )


def ir_of_opset(opset: int) -> int:
    """Return the ONNX format version that came with an operator set.

    Raises:
        BadInput: the operator set is not known.
    """
    if opset not in IR_OF_OPSET:
        known = tuple(IR_OF_OPSET)
        raise BadInput("opset", expected=f"{known[0]} to {known[-1]}", got=str(opset))
    return IR_OF_OPSET[opset]


@cache
def _table() -> Mapping[str, Target]:
    document = read_toml(TABLE)
    return {name: _target(name, document[name]) for name in TARGETS}


def _target(name: str, entry: Mapping[str, Any]) -> Target:
    precisions = cast("Mapping[str, Mapping[str, Any]]", entry["precision"])
    return Target(
        name=name,
        title=entry["title"],
        backend=entry["backend"],
        opset=entry["opset"]["default"],
        max_opset=entry["opset"]["most"],
        opset_why=entry["opset"]["why"],
        max_ir=entry["ir"]["most"],
        ir_why=entry["ir"]["why"],
        takes={kind: found["why"] for kind, found in precisions.items() if found["take"]},
        refuses={kind: found["why"] for kind, found in precisions.items() if not found["take"]},
        opset_of={kind: found["opset"] for kind, found in precisions.items() if "opset" in found},
        choices={
            key: Choice(values=tuple(found["values"]), why=found["why"]) for key, found in entry.get("form", {}).items()
        },
    )
