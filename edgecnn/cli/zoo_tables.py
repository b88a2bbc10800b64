"""The tables of a network's layers as text: layers, stages, family, widths and input sizes, branches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgecnn.cli.output import fitting, hidden_note, print_table, shown_cells, table_width
from edgecnn.units import bytes_text, count_text, millions_text
from edgecnn.zoo.pages.stages import Stage
from edgecnn.zoo.pages.summary import Page

if TYPE_CHECKING:
    from edgecnn.zoo.layers import Layer

SUM_NOTE = "float32 outputs of all layers for one image, added up; no peak"
"""What the activations of a form are."""

_FLOAT32_BYTES = 4

_LAYERS = ("layer", "kind", "kernel", "stride", "groups", "output", "params", "MACs", "values", "activation")
_STAGES = ("stage", "output", "blocks", "layers", "content", "params", "%", "MACs (M)", "% of MACs", "activations, sum")

# What a narrow terminal goes without, in this order.
_LAYERS_DROPPED = ("values", "groups", "stride", "activation", "kernel", "kind")
_STAGES_DROPPED = ("activations, sum", "layers", "%", "% of MACs", "blocks", "content")


def print_layers(page: Page) -> None:
    """Write the layer table, from the input to the totals; a narrow terminal gets fewer columns."""
    if page.layers is None:
        return
    cells = [_input_cells(page), *(_layer_cells(layer) for layer in page.layers if _counts(layer)), *_total_cells(page)]
    shown = fitting(_LAYERS, cells, table_width(), dropped=_LAYERS_DROPPED)
    notes = ["output: height x width x channels"]
    if "activation" in shown:
        notes.append(
            "activation: float32 output of one image, 0 when folded into a convolution; the total is their sum, no peak"
        )
    notes += ["in-place steps are left out", *hidden_note(_LAYERS, shown)]
    caption = "\n".join(notes)
    left = ("layer", "kind")
    print_table(f"layers of {page.variant}", shown, shown_cells(_LAYERS, cells, shown), left=left, caption=caption)


def _input_cells(page: Page) -> tuple[str, ...]:
    return ("input", *["-"] * 4, size_text(page.form.input_shape), "0", "0", *_memory(_image_bytes(page)))


def _counts(layer: Layer) -> bool:
    return bool(layer.params or layer.macs or layer.activation_bytes)


def _layer_cells(layer: Layer) -> tuple[str, ...]:
    return (
        layer.name,
        layer.kind,
        _by(layer.kernel),
        _by(layer.stride),
        "-" if layer.groups is None else str(layer.groups),
        size_text(layer.output_shape),
        count_text(layer.params),
        count_text(layer.macs),
        *_memory(layer.activation_bytes),
    )


def _total_cells(page: Page) -> tuple[tuple[str, ...], ...]:
    sizes = page.sizes
    sums = (count_text(sizes.params), count_text(sizes.macs))
    return (
        ("total", *[""] * 5, *sums, *_memory(sizes.activation_bytes)),
        ("with the input", *[""] * 7, *_memory(sizes.activation_bytes + _image_bytes(page))),
    )


def _image_bytes(page: Page) -> int:
    channels, height, width = page.form.input_shape
    return channels * height * width * _FLOAT32_BYTES


def print_stages(page: Page) -> None:
    """Write the stages, as the paper's table has them; a narrow terminal gets fewer columns."""
    if page.stages is None:
        return
    cells = [_stage_cells(stage) for stage in page.stages]
    sizes = page.sizes
    blocks, layers = (sum(getattr(stage, name) for stage in page.stages) for name in ("blocks", "layers"))
    sums = (count_text(sizes.params), "100.0", millions_text(sizes.macs), "100.0", bytes_text(sizes.activation_bytes))
    cells.append(("total", "", str(blocks or "-"), str(layers), "", *sums))
    shown = fitting(_STAGES, cells, table_width(), dropped=_STAGES_DROPPED)
    about = {
        "layers": "layers: convolutions and linear layers",
        "content": "content: the last block's, dw is depthwise, g the groups",
        "activations, sum": f"activations, sum: {SUM_NOTE}",
    }
    notes = [*(text for name, text in about.items() if name in shown), *hidden_note(_STAGES, shown)]
    rows = shown_cells(_STAGES, cells, shown)
    print_table(f"stages of {page.variant}", shown, rows, left=("stage", "content"), caption="\n".join(notes))


def _stage_cells(stage: Stage) -> tuple[str, ...]:
    return (
        stage.name,
        size_text(stage.output_shape),
        str(stage.blocks or "-"),
        str(stage.layers or "-"),
        stage.content,
        count_text(stage.params),
        f"{100 * stage.params_share:.1f}",
        millions_text(stage.macs),
        f"{100 * stage.macs_share:.1f}",
        bytes_text(stage.activation_bytes),
    )


def print_family(page: Page) -> None:
    """Write the members of the family side by side, where surveys do."""
    table = page.family_table
    if table is None:
        return
    columns = ("stage", "output", *(member.title for member in table.members))
    cells = [(row.name, _by(row.size), *row.cells) for row in table.rows]
    cells.append(("params", "", *(count_text(member.params) for member in table.members)))
    cells.append(("MACs (M)", "", *(millions_text(member.macs) for member in table.members)))
    print_table(table.title, columns, cells, left=("stage",))


def print_grid(page: Page) -> None:
    """Write a network by width and input size, where surveys do."""
    grid = page.grid
    if grid is None:
        return
    columns = ("width", *(f"{size}x{size}" for size in grid.input_sizes), "params")
    cells = [(f"{row.width:g}", *map(millions_text, row.macs), count_text(row.params)) for row in grid.rows]
    print_table(f"{grid.title} (M)", columns, cells)


def print_branches(page: Page) -> None:
    """Write what the branches of the network's modules cost, where surveys do."""
    table = page.branches
    if table is None:
        return
    columns = ("module", "output", *table.branches, "total", "naive", "times")
    cells = [
        (
            module.name,
            size_text(module.output_shape),
            *map(count_text, module.macs),
            count_text(module.total),
            count_text(module.naive),
            f"{module.naive / module.total:.1f}",
        )
        for module in table.modules
    ]
    caption = "naive: the same windows on the module's whole input, without the 1x1 convolutions before them"
    print_table(table.title, columns, cells, left=("module",), caption=caption)


def size_text(shape: Sequence[int]) -> str:
    """Return (channels, height, width) as surveys write it, "227x227x3"; a vector as its length."""
    return _by((*shape[1:], shape[0]))


def _memory(size: int) -> tuple[str, str]:
    return count_text(size // _FLOAT32_BYTES), bytes_text(size)


def _by(sizes: Sequence[int] | None) -> str:
    return "x".join(map(str, sizes)) if sizes else "-"
