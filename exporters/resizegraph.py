"""The graph of a resize: pixels of any size to the network's size, the same steps as `edgecnn.fitting`, in ONNX's text form.

Sizes are computed in whole numbers, with the same rounding as there. ONNX Runtime's antialiased Resize of bytes is made after
Pillow's (onnxruntime/core/providers/cpu/tensor/upsample_antialias.h); with `exclude_outside` it weighs borders as Pillow does,
and what is left of the difference comes from coordinates in float32.
"""

from __future__ import annotations

import math

import onnx
import onnx_ir as ir

from edgecnn.exporters.scaling import HEIGHT, WIDTH
from edgecnn.specs import Interpolation, Preprocess

LONGEST = 32
"""An image more than so many times as long as it is wide is cut to the middle of that shape before it is scaled: a line of
pixels would otherwise become gigabytes, for the shorter side is scaled to the network's. Where the network's input is not
square, it is so many times the whole number at or above its own proportion."""

_COUNTS = {"zero": 0, "one": 1, "two": 2}

_MODES = {"bilinear": 'mode="linear"', "bicubic": 'mode="cubic", cubic_coeff_a=-0.5'}
"""Pillow's filters, antialiased: triangle, and Keys' cubic with a = -0.5 (Resample.c)."""

_SIZES = """
    batch = Shape<start=0, end=1>(pixels)
    full_height = Shape<start=1, end=2>(pixels)
    full_width = Shape<start=2, end=3>(pixels)"""

_WHOLE = """
    image = Identity(pixels)
    height = Identity(full_height)
    width = Identity(full_width)"""

_MIDDLE = """
    longest_height = Mul(full_width, longest)
    longest_width = Mul(full_height, longest)
    height = Min(full_height, longest_height)
    width = Min(full_width, longest_width)
    spare_height = Sub(full_height, height)
    spare_width = Sub(full_width, width)
    first_row = Div(spare_height, two)
    first_column = Div(spare_width, two)
    last_row = Add(first_row, height)
    last_column = Add(first_column, width)
    firsts = Concat<axis=0>(first_row, first_column)
    lasts = Concat<axis=0>(last_row, last_column)
    image = Slice(pixels, firsts, lasts, axes)"""

_BETWEEN = """
    across = Mul(inner_rows, width)
    down = Mul(inner_columns, height)"""

# The shorter side becomes the inner size, the longer one follows and is rounded down.
_COVER = """
    is_wide = GreaterOrEqual(across, down)
    wide_columns = Div(across, height)
    tall_rows = Div(down, width)
    free_rows = Where(is_wide, inner_rows, tall_rows)
    free_columns = Where(is_wide, wide_columns, inner_columns)"""

# The longer side becomes the inner size, the shorter one follows and is rounded, a half to the even number.
_INSIDE = """
    is_tall = LessOrEqual(across, down)
    near_columns = Max(one, even_columns)
    near_rows = Max(one, even_rows)
    free_rows = Where(is_tall, inner_rows, near_rows)
    free_columns = Where(is_tall, near_columns, inner_columns)"""

# Rounded quotient of whole numbers above zero: (2 n + d) / 2 d, one less where that is odd and nothing remains.
_ROUNDED = """
    {name}_twice = Mul(two, {over})
    {name}_more = Add({name}_twice, {under})
    {name}_under = Mul(two, {under})
    {name}_up = Div({name}_more, {name}_under)
    {name}_rest = Mod({name}_more, {name}_under)
    {name}_is_half = Equal({name}_rest, zero)
    {name}_parity = Mod({name}_up, two)
    {name}_is_odd = Equal({name}_parity, one)
    {name}_is_over = And({name}_is_half, {name}_is_odd)
    {name}_excess = Cast<to=7>({name}_is_over)
    {name} = Sub({name}_up, {name}_excess)"""

_STRETCH = """
    free_rows = Identity(out_rows)
    free_columns = Identity(out_columns)"""

# An image that has the network's size already is taken as it is.
_UNLESS_SAME = """
    same_height = Equal(full_height, out_rows)
    same_width = Equal(full_width, out_columns)
    is_same = And(same_height, same_width)
    rows = Where(is_same, out_rows, free_rows)
    columns = Where(is_same, out_columns, free_columns)"""

# The middle, a half rounded to the even number as Python's round does it: (s + (s / 2) mod 2) / 2.
_CENTRE = """
    {name}_spare = Sub({size}, {out})
    {name}_half = Div({name}_spare, two)
    {name}_odd = Mod({name}_half, two)
    {name}_sum = Add({name}_spare, {name}_odd)
    {name} = Div({name}_sum, two)"""

_SCALE = """
    sizes = Concat<axis=0>(batch, rows, columns, channels)
    scaled = Resize<{mode}, antialias=1, exclude_outside=1, coordinate_transformation_mode="half_pixel">(image, , , sizes)"""

# Pixel i of the result is the one that its middle lies in, (2 i + 1) old / 2 new; exact in whole numbers.
_NEAREST = """
    {axis}_stop = Add({first}, {count})
    {axis}_from = Squeeze({first})
    {axis}_to = Squeeze({axis}_stop)
    {axis}_step = Squeeze(one)
    {axis}_numbers = Range({axis}_from, {axis}_to, {axis}_step)
    {axis}_doubled = Mul({axis}_numbers, two)
    {axis}_middles = Add({axis}_doubled, one)
    {axis}_over = Mul({axis}_middles, {old})
    {axis}_under = Mul(two, {new})
    {axis}_sources = Div({axis}_over, {axis}_under)
    {result} = Gather<axis={axis_number}>({image}, {axis}_sources)"""

_CUT = """
    bottom = Add(top, out_rows)
    right = Add(left, out_columns)
    starts = Concat<axis=0>(top, left)
    ends = Concat<axis=0>(bottom, right)
    fitted = Slice(scaled, starts, ends, axes)"""

_PAD = """
    free_above = Sub(out_rows, rows)
    free_beside = Sub(out_columns, columns)
    above = Div(free_above, two)
    before = Div(free_beside, two)
    below = Sub(free_above, above)
    behind = Sub(free_beside, before)
    pads = Concat<axis=0>(zero, above, before, zero, zero, below, behind, zero)
    fitted = Pad(scaled, pads)"""

# The sizes are those of the network: with this, whoever reads the graph knows them too.
_END = """
    frames = Reshape(fitted, frame_shape)"""


def resize_graph(preprocess: Preprocess, opset: int) -> ir.Model:
    """Return the graph from uint8 "pixels" [N, height, width, channels] of any size to "frames" of the network's.

    Args:
        preprocess: how; what is done to values is left aside.
        opset: operator set, 18 or newer: Resize has `antialias` from there on.
    """
    height, width = preprocess.size
    shapes = (f"N, {HEIGHT}, {WIDTH}, {preprocess.channels}", f"N, {height}, {width}, {preprocess.channels}")
    text = (
        f'<ir_version: 8, opset_import: ["": {opset}]>\n'
        f"resize (uint8[{shapes[0]}] pixels) => (uint8[{shapes[1]}] frames)\n"
        f"<{_constants(preprocess)}>\n{{{_body(preprocess)}\n}}"
    )
    model = onnx.shape_inference.infer_shapes(onnx.parser.parse_model(text), data_prop=True)
    for node in model.graph.node:
        node.name = node.output[0]
    return ir.from_proto(model)


def longest(preprocess: Preprocess) -> int:
    """Return how many times as long as it is wide an image may be without being cut, see `LONGEST`."""
    return LONGEST * math.ceil(max(preprocess.size) / min(preprocess.size))


def _constants(preprocess: Preprocess) -> str:
    height, width = preprocess.size
    share = preprocess.crop_fraction
    inner = [
        round(side / share) if preprocess.fit == "crop" else max(1, round(side * share)) for side in (height, width)
    ]
    counts = {
        **_COUNTS,
        "longest": longest(preprocess),
        "out_rows": height,
        "out_columns": width,
        "inner_rows": inner[0],
        "inner_columns": inner[1],
        "channels": preprocess.channels,
    }
    several = {"axes": (1, 2), "frame_shape": (0, height, width, preprocess.channels)}
    lists = {**{name: (count,) for name, count in counts.items()}, **several}
    return ", ".join(f"int64[{len(one)}] {name} = {{{', '.join(map(str, one))}}}" for name, one in lists.items())


def _body(preprocess: Preprocess) -> str:
    mode = preprocess.interpolation
    # A padded picture is never larger than the network's, and nearest pixels are taken where they are wanted alone.
    bounded = preprocess.fit == "pad" or mode == "nearest"
    parts = [_SIZES, _WHOLE if bounded else _MIDDLE]
    if preprocess.fit == "crop":
        parts += [_BETWEEN, _COVER, _UNLESS_SAME]
        parts += [_CENTRE.format(name="top", size="rows", out="out_rows")]
        parts += [_CENTRE.format(name="left", size="columns", out="out_columns")]
    elif preprocess.fit == "pad":
        parts += [_BETWEEN, _ROUNDED.format(name="even_columns", over="across", under="height")]
        parts += [_ROUNDED.format(name="even_rows", over="down", under="width"), _INSIDE, _UNLESS_SAME]
    else:
        parts += [_STRETCH, _UNLESS_SAME]
    parts += _nearest(preprocess) if mode == "nearest" else _filtered(preprocess, mode)
    return "".join((*parts, _END))


def _filtered(preprocess: Preprocess, mode: Interpolation) -> list[str]:
    last = {"crop": _CUT, "pad": _PAD, "stretch": "\n    fitted = Identity(scaled)"}
    return [_SCALE.format(mode=_MODES[mode]), last[preprocess.fit]]


def _nearest(preprocess: Preprocess) -> list[str]:
    cut = preprocess.fit == "crop"
    rows = _NEAREST.format(
        axis="row",
        axis_number=1,
        first="top" if cut else "zero",
        count="out_rows" if cut else "rows",
        old="height",
        new="rows",
        image="image",
        result="fewer_rows",
    )
    columns = _NEAREST.format(
        axis="column",
        axis_number=2,
        first="left" if cut else "zero",
        count="out_columns" if cut else "columns",
        old="width",
        new="columns",
        image="fewer_rows",
        result="scaled",
    )
    return [rows, columns, _PAD if preprocess.fit == "pad" else "\n    fitted = Identity(scaled)"]
