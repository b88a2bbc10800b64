"""Which layers of the file an engine's nodes stand for: engines fuse, rename and add nodes of their own.

An engine's node is tied to nodes of the file by what it says of itself: their names, or the names of its outputs. What the
engine has fused into it is then found in the graph: activations and sums belong to the layer before them, everything else
that is tied nowhere to the node that it leads to. Nodes that only change a layout or a type and have no counterpart are the
engine's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from edgecnn.onnxmodel.graph import ELEMENTWISE, OnnxGraph, OnnxNode
from edgecnn.profiling.costs import COUNTED

# What engines add: names of ONNX Runtime's and OpenVINO's layout and type conversions.
_CONVERSIONS = frozenset(
    {"ReorderInput", "ReorderOutput", "Reorder", "Transpose", "Cast", "Identity", "Convert", "QuantizeLinear"}
    | {"DequantizeLinear", "MemcpyFromHost", "MemcpyToHost", "Reformat", "NoOp", "Reshape", "Squeeze", "Unsqueeze"}
)

# ONNX Runtime: "fused node_linear", "relu_nchwc", "node_Conv_394_token_6", "pool_pre_q", in any combination.
_PREFIX = re.compile(r"^fused ")
_SUFFIX = re.compile(r"(?:_nchwc|_nhwc|_token_\d+|_pre_q)+$")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineNode:
    """What an engine ran, and for how long.

    Attributes:
        name: the engine's.
        op_type: the engine's, "FusedConv" for example.
        provider: where it ran, "CPUExecutionProvider" for example; "" where the engine has no such thing.
        time_ns: of one run, as it was measured while profiling.
        originals: names of nodes of the file that the engine states; empty where it does not.
        outputs: names of its outputs, empty where the engine does not tell.
    """

    name: str
    op_type: str
    provider: str
    time_ns: float
    originals: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Nodes of the file that run as one, and the engine's nodes that run them.

    Attributes:
        nodes: of the file, in its order; empty for what the engine added.
        engine: the engine's nodes.
    """

    nodes: tuple[OnnxNode, ...]
    engine: tuple[EngineNode, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """All of an engine's nodes, by what they stand for.

    Attributes:
        groups: in the engine's order; a group without nodes of the file is the engine's own work.
        unmapped: nodes of the file that no engine node stands for: folded away beforehand, or not found.
    """

    groups: tuple[Group, ...]
    unmapped: tuple[OnnxNode, ...]


def match(graph: OnnxGraph, engine: Sequence[EngineNode]) -> Match:
    """Return which nodes of the file each of the engine's nodes stands for; every node of the file is in one group at most.

    Args:
        graph: of the file.
        engine: in the order of execution.
    """
    places = {id(node): place for place, node in enumerate(graph.nodes)}
    by_name = {node.name: node for node in reversed(graph.nodes)}
    by_output = {name: node for node in graph.nodes for name in node.outputs if name}
    owners: dict[int, int] = {}
    homes: list[int | None] = []
    for place, one in enumerate(engine):
        anchors = _anchors(one, by_name, by_output)
        # What ran in two steps, or was made of one function, is one layer.
        home = next((owners[id(node)] for node in anchors if id(node) in owners), place) if anchors else None
        homes.append(home)
        if home is not None:
            for node in (*anchors, *_made(one, by_output)):
                owners.setdefault(id(node), home)
    _climb(graph, by_output, owners, followers=False)
    _hand_down(graph, by_output, owners)
    _climb(graph, by_output, owners, followers=True)
    members: dict[int, list[OnnxNode]] = {}
    for node in sorted(graph.nodes, key=lambda one: places[id(one)]):
        if id(node) in owners:
            members.setdefault(owners[id(node)], []).append(node)
    return Match(groups=tuple(_groups(engine, homes, members)), unmapped=tuple(_unowned(graph, owners)))


def _groups(
    engine: Sequence[EngineNode], homes: Sequence[int | None], members: Mapping[int, list[OnnxNode]]
) -> Iterator[Group]:
    for place, one in enumerate(engine):
        if homes[place] is None:
            yield Group(nodes=(), engine=(one,))
        elif homes[place] == place:
            together = tuple(other for other, home in zip(engine, homes, strict=True) if home == place)
            yield Group(nodes=tuple(members.get(place, ())), engine=together)


def _anchors(one: EngineNode, by_name: Mapping[str, OnnxNode], by_output: Mapping[str, OnnxNode]) -> Sequence[OnnxNode]:
    """Return the nodes of the file that an engine's node is named after, or, without such a name, whose output it makes."""
    stated = [found for name in one.originals if (found := by_name.get(name) or by_output.get(name)) is not None]
    if stated:
        return stated
    plain = _SUFFIX.sub("", _PREFIX.sub("", one.name))
    for found in (by_name.get(one.name), by_name.get(plain), by_output.get(plain), *map(by_output.get, one.outputs)):
        if found is not None and (one.op_type not in _CONVERSIONS or found.op_type == one.op_type):
            return [found]
    return []


def _made(one: EngineNode, by_output: Mapping[str, OnnxNode]) -> Iterator[OnnxNode]:
    """Yield the nodes of the file whose outputs an engine's node makes: the last of those that were fused into it."""
    if one.op_type not in _CONVERSIONS:
        yield from filter(None, map(by_output.get, one.outputs))


def _climb(graph: OnnxGraph, by_output: Mapping[str, OnnxNode], owners: dict[int, int], *, followers: bool) -> None:
    """Give each tied node what leads to it and is tied nowhere.

    Args:
        graph: of the file.
        by_output: tensor -> the node that makes it.
        owners: id of a node -> place of the engine's node; added to.
        followers: take what engines fuse into the layer before it as well; otherwise only on the way from such a node to the
            multiply-adds that it was fused into.
    """
    counted = {owners[id(node)] for node in graph.nodes if node.op_type in COUNTED and id(node) in owners}
    for node in reversed(graph.nodes):
        home = owners.get(id(node))
        if home is None:
            continue
        searching = node.op_type in ELEMENTWISE and home not in counted
        for name in filter(None, node.inputs):
            above = by_output.get(name)
            if above is None or id(above) in owners:
                continue
            if above.op_type not in ELEMENTWISE or followers or searching:
                owners[id(above)] = home
                counted |= {home} if above.op_type in COUNTED else set()


def _hand_down(graph: OnnxGraph, by_output: Mapping[str, OnnxNode], owners: dict[int, int]) -> None:
    """Give what is left over to the layer that feeds it; of several to the one that runs last, which has to wait for all."""
    for node in graph.nodes:
        if id(node) in owners:
            continue
        feeding = (by_output.get(name) for name in node.inputs if name)
        places = [owners[id(one)] for one in feeding if one is not None and id(one) in owners]
        if places:
            owners[id(node)] = max(places)


def _unowned(graph: OnnxGraph, owners: Mapping[int, int]) -> Iterator[OnnxNode]:
    return (node for node in graph.nodes if id(node) not in owners and node.op_type != "Constant")
