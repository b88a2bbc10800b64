"""`edgecnn export`: a network of the zoo as an ONNX file."""

from __future__ import annotations

from pathlib import Path

import click

from edgecnn.cli.options import MODELS, data_option, json_option, output_option, pairs_option, with_pairs
from edgecnn.cli.output import print_json, progress, say
from edgecnn.data import Dataset, open_dataset
from edgecnn.errors import BadInput
from edgecnn.exporters.network import ExportOptions, export_network
from edgecnn.specs import Artifact
from edgecnn.units import bytes_text, percent_text
from edgecnn.zoo.choice import choose_form
from edgecnn.zoo.network import Form
from edgecnn.zoo.published import fetch_published
from edgecnn.zoo.registry import find

_MEGABYTE = 1_000_000


@click.command()
@click.argument("network")
@click.option(
    "--weights",
    metavar="bundled|imagenet|random|FILE",
    help="bundled: trained and shipped; imagenet: the publisher's file, downloaded once; random: the paper's form; "
    "FILE: .safetensors, or .pth with a state dict of this package, torchvision or timm.  [default: bundled]",
)
@click.option("--width", type=float, help="Width multiplier (alpha) of the families that have one.")
@click.option("--input-size", type=click.IntRange(1), help="Height and width of the input, pixels.")
@click.option("--classes", type=click.IntRange(1), help="Length of the output.")
@click.option("--channels", type=click.Choice(["1", "3"]), help="1 for grayscale, 3 for RGB.")
@pairs_option
@click.option("--batch", type=click.IntRange(1), help="Fix the number of images.  [default: any number]")
@click.option("--opset", type=int, default=18, show_default=True, help="ONNX operator set, 18 to 23.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of random weights.")
@data_option
@output_option("File to write.  [default: models/<name>.onnx]")
@json_option
def export(
    network: str,
    weights: str | None,
    width: float | None,
    input_size: int | None,
    classes: int | None,
    channels: str | None,
    pairs: tuple[str, ...],
    batch: int | None,
    opset: int,
    seed: int,
    data: str | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Write NETWORK as one ONNX file, compared with torch before it is put into place.

    \b
    Example:
      edgecnn export mobilenet
      edgecnn export mobilenet --weights random --width 0.5 --input-size 160
      edgecnn export resnet50 --weights imagenet
      edgecnn export resnet50 --weights random -O stride_in=1x1
    """
    asked = {
        "width": width,
        "input_size": input_size,
        "classes": classes,
        "channels": None if channels is None else int(channels),
    }
    entry = find(network)
    form, source = choose_form(entry, weights, **with_pairs(asked, pairs))
    if source == "bundled" and form.network != entry.name:
        say(f"{entry.name} has no trained weights of its own; its small-image form {form.network} has")
    if source == "imagenet":
        run_fetch(form)
    options = ExportOptions(weights=source, opset=opset, batch=batch, seed=seed)
    evaluation = open_dataset(data) if data else None
    target = output or MODELS / f"{form.title}.onnx"
    if target.is_dir() or target.suffix != ".onnx":
        raise BadInput("output", expected="a file name that ends in .onnx", got=str(target))
    artifact = run_export(form, output=target, options=options, evaluation=evaluation)
    if as_json:
        print_json(artifact)
    else:
        click.echo(describe(artifact))


def run_fetch(form: Form) -> Path:
    """Bring the publisher's weights of a form here, with a bar on standard error, and return the file."""
    with progress(f"weights of {form.title}") as advance:
        return fetch_published(
            form,
            on_progress=lambda done, total: advance(done // _MEGABYTE, total // _MEGABYTE, "MB"),
            on_wait=say,
        )


def export_bundled(network: str, folder: Path) -> Path:
    """Write a network with its bundled weights into a folder and return the file."""
    form, source = choose_form(network, "bundled")
    return run_export(form, output=folder / f"{form.title}.onnx", options=ExportOptions(weights=source)).path


def run_export(form: Form, *, output: Path, options: ExportOptions, evaluation: Dataset | None = None) -> Artifact:
    """Write one form with its steps shown on standard error."""
    with progress(f"exporting {form.title}") as advance:
        return export_network(form, output, options, evaluation=evaluation, on_step=lambda step: advance(0, 0, step))


def describe(artifact: Artifact) -> str:
    """Return one line about a written file: where, what, how large, how accurate on what."""
    spec = artifact.spec
    accuracy = [
        f"top-1 {percent_text(one.value)}% of {one.images:,} test images of {one.dataset}" for one in spec.accuracy
    ]
    if not accuracy:
        accuracy = ["accuracy not applicable: random weights" if spec.weights == "random" else "accuracy not measured"]
    channels, height, width = spec.inputs[0].shape[1:]
    parts = [
        f"{height}x{width}x{channels} to {spec.outputs[0].shape[-1]} classes",
        bytes_text(artifact.size_bytes),
        f"opset {artifact.opset}",
        "equals torch on the batches compared",
        *accuracy,
    ]
    return f"{artifact.path}: {', '.join(parts)}"
