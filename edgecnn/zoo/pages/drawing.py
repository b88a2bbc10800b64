"""The block structure of a network as SVG: blocks from top to bottom, with the branches and shortcuts of each.

Every block is laid out in ranks: a box stands below everything that it reads. Edges that pass a rank get a place of
their own there, so that a shortcut goes beside the convolutions that it skips. Blocks that read an earlier one than the
one above them get an edge in a lane on the right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from edgecnn.files import replacing
from edgecnn.zoo.pages.flow import Box, FlowBlock
from edgecnn.zoo.pages.ranks import Place, Ranks, ranks_of

_LABEL_CHARACTER = 7.8
_LANE = 16
_GAP = 26
_MARGIN = 20
_HEAD = 64
_PAD = 14
_SIDE_PORT = 22

_STYLE = """
text { font: 12px "DejaVu Sans", Helvetica, Arial, sans-serif; fill: #1b2733; }
.title { font-size: 18px; font-weight: bold; }
.name { font-weight: bold; }
.small { font-size: 11px; fill: #5b6b7a; }
.count { font-size: 14px; font-weight: bold; fill: #a0410d; }
.block { fill: #f6f8fa; stroke: #c3ccd5; }
.folded { fill: #fff7ef; stroke: #d98c4a; stroke-dasharray: 5 3; }
.conv { fill: #d6e6f7; stroke: #4f81b3; }
.pool { fill: #d9efdc; stroke: #559a5f; }
.fc { fill: #f4dff0; stroke: #a7609a; }
.join { fill: #ffffff; stroke: #1b2733; }
.edge { fill: none; stroke: #46525e; stroke-width: 1.3; }
""".strip()

_OPEN = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
    'viewBox="0 0 {width:.0f} {height:.0f}">'
)
_ARROW = (
    '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0 L8 4 L0 8 z" fill="#46525e"/></marker></defs>'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Frame:
    """Where a block stands: the middle of its top edge, its size and what is inside."""

    block: FlowBlock
    ranks: Ranks
    top: float
    width: float
    height: float

    @property
    def bottom(self) -> float:
        return self.top + self.height


def write_drawing(path: Path, blocks: Sequence[FlowBlock], *, title: str, subtitle: str = "") -> None:
    """Write the drawing of a network's blocks as one SVG file.

    Args:
        path: the file; replaced in one step.
        blocks: as `edgecnn.zoo.pages.flow.flow_of` gives them.
        title: in the first line.
        subtitle: below it.

    Raises:
        UnavailableError: the file cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_text(drawing(blocks, title=title, subtitle=subtitle), encoding="utf-8")


def drawing(blocks: Sequence[FlowBlock], *, title: str, subtitle: str = "") -> str:
    """Return the drawing of a network's blocks as SVG text; the same blocks always give the same text."""
    frames = _frames(blocks)
    widest = max(frame.width for frame in frames)
    left = 2 * _MARGIN + _LABEL_CHARACTER * max(len(text) for block in blocks for text, _ in _labels(block))
    middle = left + widest / 2
    lanes = _lanes(blocks)
    side = left + widest + 24
    count_width = 70 if any(block.count > 1 for block in blocks) else 0
    width = side + count_width + _LANE * (1 + max((lane for lane in lanes.values()), default=-1)) + _MARGIN
    height = frames[-1].bottom + _MARGIN
    parts = [
        _OPEN.format(width=width, height=height),
        f"<title>{escape(title)}</title>",
        f"<style>{_STYLE}</style>",
        _ARROW,
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        _text(_MARGIN, 30, title, "title"),
        _text(_MARGIN, 50, subtitle, "small"),
    ]
    for index, frame in enumerate(frames):
        parts += _block(frame, middle, index)
        for source in frame.block.sources:
            if source == index - 1:
                parts.append(_path([(middle, frames[source].bottom), (middle, frame.top)], arrow=False))
            else:
                lane = side + count_width + _LANE * lanes[source, index]
                parts.append(_lane_path(frames[source], frame, middle, lane))
    return "\n".join((*parts, "</svg>", ""))


def _frames(blocks: Sequence[FlowBlock]) -> list[_Frame]:
    frames: list[_Frame] = []
    top = float(_HEAD)
    for index, block in enumerate(blocks):
        from_lane = any(source != index - 1 for source in block.sources)
        ranks = ranks_of(block.boxes, _SIDE_PORT if from_lane else 0)
        width = max(ranks.width + 2 * _PAD, 150)
        height = max(ranks.height + 2 * _PAD, 30)
        frames.append(_Frame(block=block, ranks=ranks, top=top, width=width, height=height))
        top += height + _GAP
    return frames


def _lanes(blocks: Sequence[FlowBlock]) -> dict[tuple[int, int], int]:
    """Return (source, block) -> lane for the edges that pass a block, so that edges in one lane do not overlap."""
    edges = [(source, index) for index, block in enumerate(blocks) for source in block.sources if source != index - 1]
    lanes: dict[tuple[int, int], int] = {}
    for source, index in sorted(edges, key=lambda edge: (edge[1] - edge[0], edge)):
        taken = {lane for (start, end), lane in lanes.items() if start < index and source < end}
        lanes[source, index] = next(lane for lane in range(len(edges)) if lane not in taken)
    return lanes


def _block(frame: _Frame, middle: float, index: int) -> list[str]:
    block, left = frame.block, middle - frame.width / 2
    style = "folded" if block.count > 1 else "block"
    parts = [_rect(left, frame.top, frame.width, frame.height, style)]
    side = (left + frame.width, frame.top + _SIDE_PORT / 2 + 4)
    centre = frame.top + frame.height / 2
    labels = _labels(block)
    start = centre - 8 * len(labels) + 12
    parts += [_text(_MARGIN, start + 16 * place, text, style) for place, (text, style) in enumerate(labels)]
    if block.count > 1:
        parts.append(_text(left + frame.width + 8, centre + 5, f"× {block.count}", "count"))
    origin = frame.top + _PAD
    for edge in frame.ranks.edges:
        points = [(middle + x, origin + y) for x, y in edge.points]
        if edge.port is not None:
            points.insert(0, (middle, frame.top) if edge.port == index - 1 else side)
        if edge.leaves:
            points.append((middle, frame.bottom))
        parts.append(_path(points, arrow=not edge.leaves))
    for box, place in zip(block.boxes, frame.ranks.places, strict=True):
        parts += _box(box, place, middle, origin)
    return parts


def _labels(block: FlowBlock) -> list[tuple[str, str]]:
    """Return (text, style) of the lines beside a block: its name, its output and what the folded ones read."""
    first, _, last = block.name.partition(" .. ")
    if last.rpartition(".")[0] == first.rpartition(".")[0]:
        last = last.rpartition(".")[2]
    names = [(first, "name"), *([(f".. {last}", "name")] if last else [])]
    output = "×".join(map(str, (*block.output_shape[1:], block.output_shape[0])))
    return [*names, (output, "small"), *([(block.reads, "small")] if block.reads else [])]


def _box(box: Box, place: Place, middle: float, origin: float) -> list[str]:
    x, y = middle + place.x, origin + place.y
    style = "join" if box.joins else _kind(box.lines)
    radius = min(place.height / 2, 12) if box.joins else 3
    parts = [_rect(x - place.width / 2, y, place.width, place.height, style, radius)]
    start = y + place.height / 2 - 8 * len(box.lines) + 12
    parts += [_text(x, start + 16 * line, text, "", anchor="middle") for line, text in enumerate(box.lines)]
    return parts


def _kind(lines: Sequence[str]) -> str:
    if any(line.startswith("fc ") for line in lines):
        return "fc"
    return "pool" if all("pool" in line or line == "LRN" for line in lines) else "conv"


def _lane_path(source: _Frame, target: _Frame, middle: float, lane: float) -> str:
    start = (middle + source.width / 2, source.bottom - 9)
    end = (middle + target.width / 2, target.top + _SIDE_PORT / 2 + 4)
    turns = f"H{lane - 8:.1f} q8 0 8 8 V{end[1] - 8:.1f} q0 8 -8 8 H{end[0]:.1f}"
    return f'<path class="edge" d="M{start[0]:.1f} {start[1]:.1f} {turns}" marker-end="url(#arrow)"/>'


def _path(points: Sequence[tuple[float, float]], *, arrow: bool = True) -> str:
    (x, y), *rest = points
    steps = [f"M{x:.1f} {y:.1f}"]
    for next_x, next_y in rest:
        bend = (next_y - y) / 2
        straight = abs(next_x - x) < 0.5
        curve = f"C{x:.1f} {y + bend:.1f} {next_x:.1f} {next_y - bend:.1f} {next_x:.1f} {next_y:.1f}"
        steps.append(f"L{next_x:.1f} {next_y:.1f}" if straight else curve)
        x, y = next_x, next_y
    end = ' marker-end="url(#arrow)"' if arrow else ""
    return f'<path class="edge" d="{" ".join(steps)}"{end}/>'


def _rect(x: float, y: float, width: float, height: float, style: str, radius: float = 6) -> str:
    return (
        f'<rect class="{style}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="{radius:.0f}"/>'
    )


def _text(x: float, y: float, text: str, style: str, *, anchor: str = "start") -> str:
    at = f' text-anchor="{anchor}"' if anchor != "start" else ""
    name = f' class="{style}"' if style else ""
    return f'<text{name} x="{x:.1f}" y="{y:.1f}"{at}>{escape(text)}</text>'
