"""Placing the boxes of one block: ranks from top to bottom, edges that pass a rank beside the boxes that stand there.

Layered drawing after Sugiyama, Tagawa and Toda 1981 ("Methods for Visual Understanding of Hierarchical System
Structures"): longest-path ranks, places for passing edges, order by the mean of the neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from edgecnn.zoo.pages.flow import Box

# Mean width of a character of the drawing's 12 pixel font, and the height of a line; a passing edge is a thin box.
_CHARACTER = 7.2
_LINE = 16
_PASSING = 14
_BETWEEN = 14
_RANK_GAP = 24
_SWEEPS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a box stands: the middle of its top edge, relative to the middle of the block's top; pixels."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """An edge inside a block.

    Attributes:
        port: index of the block that it comes from, None for one that starts at a box.
        leaves: it ends at the block's bottom.
        points: from the start to the end; of an edge from a port without the port, of one that leaves without the bottom.
    """

    port: int | None
    leaves: bool
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """A block that is laid out.

    Attributes:
        width: of all boxes, pixels.
        height: of all ranks, pixels.
        places: one per box.
        edges: between the boxes, from ports and to the bottom.
    """

    width: float
    height: float
    places: tuple[Place, ...]
    edges: tuple[Edge, ...]


@dataclass(slots=True, kw_only=True)
class _Node:
    """A box, or the place of a passing edge in one rank."""

    rank: int
    width: float
    height: float
    above: list[int]
    below: list[int]
    x: float = 0.0
    y: float = 0.0
    top: float = 0.0
    bottom: float = 0.0


def ranks_of(boxes: Sequence[Box], head: float = 0.0) -> Ranks:
    """Return the places of the boxes of a block and the edges between them.

    Args:
        boxes: of the block, each after those that it reads.
        head: free space over the first rank, pixels.
    """
    nodes = _nodes(boxes)
    last = max((node.rank for node in nodes), default=0)
    chains = _chains(boxes, nodes, last)
    ranks = _ordered(nodes, last)
    height = _set_heights(nodes, ranks, head)
    width = _set_widths(nodes, ranks)
    places = tuple(Place(x=node.x, y=node.y, width=node.width, height=node.height) for node in nodes[: len(boxes)])
    edges = tuple(
        Edge(port=port, leaves=leaves, points=_points(nodes, chain, port, leaves)) for port, leaves, chain in chains
    )
    return Ranks(width=width, height=height, places=places, edges=edges)


def _nodes(boxes: Sequence[Box]) -> list[_Node]:
    nodes: list[_Node] = []
    for box in boxes:
        rank = 1 + max((nodes[source].rank for source in box.inside), default=0)
        width = _CHARACTER * max(map(len, box.lines)) + (14 if box.joins else 16)
        height = 22.0 if box.joins else _LINE * len(box.lines) + 8.0
        nodes.append(_Node(rank=rank, width=max(width, 26), height=height, above=[], below=[]))
    return nodes


def _chains(boxes: Sequence[Box], nodes: list[_Node], last: int) -> list[tuple[int | None, bool, list[int]]]:
    """Return (port, leaves, nodes) of every edge; nodes for passing edges are added to `nodes`."""
    chains: list[tuple[int | None, bool, list[int]]] = []
    read = {source for box in boxes for source in box.inside}
    for index, box in enumerate(boxes):
        for source in box.inside:
            chains.append((None, False, _chain(nodes, source, index, nodes[source].rank, nodes[index].rank)))
        for port in box.outside:
            chains.append((port, False, _chain(nodes, None, index, 0, nodes[index].rank)))
        if index not in read:
            chains.append((None, True, _chain(nodes, index, None, nodes[index].rank, last + 1)))
    return chains


def _chain(nodes: list[_Node], start: int | None, end: int | None, first: int, last: int) -> list[int]:
    chain = [start] if start is not None else []
    for rank in range(first + 1, last):
        nodes.append(_Node(rank=rank, width=_PASSING, height=0.0, above=[], below=[]))
        chain.append(len(nodes) - 1)
    chain += [end] if end is not None else []
    for upper, lower in pairwise(chain):
        nodes[upper].below.append(lower)
        nodes[lower].above.append(upper)
    return chain


def _ordered(nodes: list[_Node], last: int) -> list[list[int]]:
    """Return the nodes of each rank from left to right."""
    ranks = [[index for index, node in enumerate(nodes) if node.rank == rank] for rank in range(1, last + 1)]
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        for rank in ranks if down else ranks[::-1]:
            at = {index: place / max(len(other) - 1, 1) for other in ranks for place, index in enumerate(other)}
            wanted = {}
            for place, index in enumerate(rank):
                beside = nodes[index].above if down else nodes[index].below
                own = place / max(len(rank) - 1, 1)
                wanted[index] = sum(at[other] for other in beside) / len(beside) if beside else own
            rank.sort(key=lambda index: (wanted[index], index))
    return ranks


def _set_heights(nodes: list[_Node], ranks: list[list[int]], head: float) -> float:
    y = head
    for rank in ranks:
        height = max(nodes[index].height for index in rank)
        for index in rank:
            node = nodes[index]
            node.top, node.bottom = y, y + height
            node.y = y + (height - node.height) / 2
            if node.height == 0:
                node.y, node.height = y, height
        y += height + _RANK_GAP
    return max(y - _RANK_GAP, head) if ranks else 0.0


def _set_widths(nodes: list[_Node], ranks: list[list[int]]) -> float:
    """Centre every rank, then pull nodes under those that they read as far as their neighbours let them."""
    widest = 0.0
    for rank in ranks:
        width = sum(nodes[index].width for index in rank) + _BETWEEN * (len(rank) - 1)
        widest = max(widest, width)
        x = -width / 2
        for index in rank:
            nodes[index].x = x + nodes[index].width / 2
            x += nodes[index].width + _BETWEEN
    for _ in range(_SWEEPS):
        for rank in (*ranks, *ranks[::-1]):
            _relax(nodes, rank, widest)
    return widest


def _relax(nodes: list[_Node], rank: list[int], widest: float) -> None:
    for place, index in enumerate(rank):
        node = nodes[index]
        beside = [nodes[other].x for other in (*node.above, *node.below)]
        if not beside:
            continue
        low, high = -widest / 2 + node.width / 2, widest / 2 - node.width / 2
        if place:
            left = nodes[rank[place - 1]]
            low = left.x + (left.width + node.width) / 2 + _BETWEEN
        if place + 1 < len(rank):
            right = nodes[rank[place + 1]]
            high = right.x - (right.width + node.width) / 2 - _BETWEEN
        node.x = max(low, min(sum(beside) / len(beside), high))


def _points(nodes: list[_Node], chain: list[int], port: int | None, leaves: bool) -> tuple[tuple[float, float], ...]:
    """Return the points of an edge, which bends between ranks only: it runs straight down beside taller boxes."""
    points: list[tuple[float, float]] = []
    for place, index in enumerate(chain):
        node = nodes[index]
        if place or port is not None:
            points += [(node.x, node.top), (node.x, node.y)]
        if place + 1 < len(chain) or leaves:
            points += [(node.x, node.y + node.height), (node.x, node.bottom)]
    return tuple(dict.fromkeys(points))
