"""`edgecnn export`: a network of the zoo, of one's own code or of a file as an ONNX file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from edgecnn.cli.foreign import Kind, check_options, foreign_options, kind_of
from edgecnn.cli.options import (
    MODELS,
    check_onnx_output,
    data_option,
    json_option,
    output_option,
    pairs_option,
    with_pairs,
)
from edgecnn.cli.output import print_json, progress, say
from edgecnn.data import Dataset, open_dataset
from edgecnn.exporters.foreign.factory import export_factory
from edgecnn.exporters.foreign.file import export_file
from edgecnn.exporters.foreign.options import ForeignOptions, Meaning, name_from, read_labels
from edgecnn.exporters.network import DEFAULT_OPSET, ExportOptions, export_network
from edgecnn.exporters.pixels import PLACINGS, Placing, check_placing
from edgecnn.exporters.targets import TARGETS, Target, choose_opset, parse_targets
from edgecnn.specs import Artifact, ModelSpec
from edgecnn.units import bytes_text, percent_text
from edgecnn.zoo.choice import choose_form
from edgecnn.zoo.network import Form
from edgecnn.zoo.published import fetch_published
from edgecnn.zoo.registry import find

_MEGABYTE = 1_000_000


@click.command()
@click.argument("network", metavar="NETWORK|PKG.MODULE:NAME|FILE.onnx")
@click.option(
    "--weights",
    metavar="bundled|imagenet|random|FILE",
    help="bundled: trained and shipped; imagenet: the publisher's file, downloaded once; random: the paper's form; "
    "FILE: .safetensors, or .pth with a state dict of this package, torchvision or timm, or of your own network.  "
    "[default: bundled; of your own network, what it was constructed with]",
)
@click.option("--width", type=float, help="Width multiplier (alpha) of the families that have one.")
@click.option("--input-size", type=click.IntRange(1), help="Height and width of the input, pixels.")
@click.option("--classes", type=click.IntRange(1), help="Length of the output.")
@click.option("--channels", type=click.Choice(["1", "3"]), help="1 for grayscale, 3 for RGB.")
@pairs_option
@foreign_options
@click.option(
    "--target",
    metavar="NAME,...",
    help=f"What the file is for: {', '.join(TARGETS)}, or several of them; sets the operator set and format.",
)
@click.option(
    "--preprocess",
    type=click.Choice(PLACINGS),
    default="outside",
    show_default=True,
    help="Who normalises: the caller, or the file, which then takes uint8 pixels [N, height, width, channels].",
)
@click.option(
    "--resize",
    type=click.Choice(PLACINGS),
    default="outside",
    show_default=True,
    help="Who scales and cuts images: the caller, or the file, which then takes them in any size; with --preprocess in-graph.",
)
@click.option("--batch", type=click.IntRange(1), help="Fix the number of images.  [default: any number]")
@click.option("--opset", type=int, help="ONNX operator set, 18 to 23.  [default: the target's, or else 18]")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of random weights.")
@data_option
@output_option(
    "File to write.  [default: models/<name>.onnx; models/<name>_pixels.onnx with --preprocess in-graph, "
    "models/<name>_images.onnx with --resize in-graph as well]"
)
@json_option
def export(
    network: str,
    opset: int | None,
    target: str | None,
    data: str | None,
    output: Path | None,
    preprocess: Placing,
    resize: Placing,
    as_json: bool,
    **given: Any,
) -> None:
    """Write a network as one ONNX file, compared with what it was made from before it is put into place.

    NETWORK is a network of the zoo; PKG.MODULE:NAME a torch.nn.Module of your own, or a class or function that makes one
    without arguments; FILE.onnx any CNN classifier of operator set 7 or newer.

    \b
    Example:
      edgecnn export mobilenet
      edgecnn export mobilenet --weights random --width 0.5 --input-size 160
      edgecnn export mobilenet --preprocess in-graph --resize in-graph
      edgecnn export resnet50 --weights imagenet --target cpu-x86,trt
      edgecnn export resnet50 --weights random -O stride_in=1x1
      edgecnn export mypackage.models:Net --input-shape 3,224,224 --weights net.pth
      edgecnn export net.onnx --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 --labels classes.txt
    """
    kind = kind_of(network)
    check_options(kind, network, click.get_current_context())
    targets = parse_targets(target) if target else ()
    check_placing(preprocess, resize, targets)
    common = Common(
        targets=targets,
        opset=opset,
        evaluation=open_dataset(data) if data else None,
        output=output,
        preprocess=preprocess,
        resize=resize,
    )
    artifact = export_zoo(network, common, **given) if kind == "zoo" else export_foreign(kind, network, common, **given)
    if as_json:
        print_json(artifact)
    else:
        click.echo(describe(artifact, Path(network).name if kind == "file" else "torch"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """What is asked of any network's file: targets, operator set, images for its accuracy, who does what to them, its place."""

    targets: tuple[Target, ...]
    opset: int | None
    evaluation: Dataset | None
    output: Path | None
    preprocess: Placing
    resize: Placing = "outside"

    def place(self, title: str) -> Path:
        """Return where the file goes, and can; by itself, one for pixels or images lies beside the one that takes floats."""
        taken = "_images" if self.resize == "in-graph" else "_pixels" if self.preprocess == "in-graph" else ""
        return check_onnx_output(self.output or MODELS / f"{title}{taken}.onnx")


def export_zoo(
    network: str,
    common: Common,
    *,
    weights: str | None,
    pairs: tuple[str, ...],
    batch: int | None,
    seed: int,
    **given: Any,
) -> Artifact:
    """Write a network of the zoo."""
    channels = given["channels"]
    asked = {name: given[name] for name in ("width", "input_size", "classes")}
    asked["channels"] = None if channels is None else int(channels)
    entry = find(network)
    form, source = choose_form(entry, weights, **with_pairs(asked, pairs))
    if source == "bundled" and form.network != entry.name:
        say(f"{entry.name} has no trained weights of its own; its small-image form {form.network} has")
    targets, opset = common.targets, common.opset
    if targets:
        opset, _ = choose_opset(targets, opset)
    names = ",".join(target.name for target in targets)
    options = ExportOptions(
        weights=source,
        opset=opset or DEFAULT_OPSET,
        batch=batch,
        seed=seed,
        targets=names,
        preprocess=common.preprocess,
        resize=common.resize,
    )
    place = common.place(form.title)
    if source == "imagenet":
        run_fetch(form)
    return run_export(form, output=place, options=options, evaluation=common.evaluation)


def export_foreign(
    kind: Kind, network: str, common: Common, *, weights: str | None, batch: int | None, seed: int, **given: Any
) -> Artifact:
    """Write a network of the user's own code, or of a file."""
    meaning = Meaning(
        name=given["name"],
        mean=given["mean"] or (),
        std=given["std"] or (),
        fit=given["fit"],
        crop_fraction=given["crop_fraction"],
        interpolation=given["interpolation"],
        labels=() if given["labels"] is None else read_labels(given["labels"]),
    )
    options = ForeignOptions(
        meaning=meaning,
        input_shape=given["input_shape"],
        opset=common.opset,
        targets=common.targets,
        batch=batch,
        seed=seed,
        preprocess=common.preprocess,
        resize=common.resize,
    )
    own_name = Path(network).stem if kind == "file" else network.rpartition(":")[2]
    place = common.place(meaning.name or name_from(own_name))
    with progress(f"exporting {network}") as advance:
        told: Any = {"evaluation": common.evaluation, "on_step": lambda step: advance(0, 0, step), "say": say}
        if kind == "file":
            return export_file(Path(network), place, options, **told)
        return export_factory(network, place, options, weights=Path(weights) if weights else None, **told)


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


def _taken(spec: ModelSpec) -> str:
    """Return the size of the images that a file takes, in a few characters."""
    sizes = spec.inputs[0].shape[1:]
    if spec.preprocess is not None and spec.preprocess.resize_in_graph:
        return f"any size x{sizes[-1]}"
    if spec.preprocess is None or not spec.preprocess.in_graph:
        sizes = (*sizes[1:], sizes[0])
    return "x".join(map(str, sizes))


def describe(artifact: Artifact, original: str = "torch") -> str:
    """Return one line about a written file: where, what, how large, equal to what, how accurate on what."""
    spec = artifact.spec
    accuracy = [
        f"top-1 {percent_text(one.value)}% of {one.images:,} test images of {one.dataset}" for one in spec.accuracy
    ]
    if not accuracy:
        accuracy = ["accuracy not applicable: random weights" if spec.weights == "random" else "accuracy not measured"]
    parts = [
        f"{_taken(spec)} to {spec.outputs[0].shape[-1]} classes",
        bytes_text(artifact.size_bytes),
        f"opset {artifact.opset}",
        f"equals {original} on the batches compared",
        *accuracy,
    ]
    return f"{artifact.path}: {', '.join(parts)}"
