"""`edgecnn predict`: labels and probabilities of images."""

from __future__ import annotations

from pathlib import Path

import click

from edgecnn.cli.auto import chosen_backend
from edgecnn.cli.options import backend_option, json_option, refuse_null, threads_option, trust_engine_option
from edgecnn.cli.output import print_json, print_table
from edgecnn.images import MAX_PIXELS
from edgecnn.runtimes import AUTO


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--top", default=3, show_default=True, type=click.IntRange(1), help="How many classes to show.")
@backend_option
@threads_option
@trust_engine_option
@click.option(
    "--max-megapixels",
    type=click.FloatRange(0, min_open=True),
    help=f"Larger images are refused; each takes 7 MB meanwhile.  [default: {MAX_PIXELS / 1e6:.1f}]",
)
@json_option
def predict(
    model: Path,
    images: tuple[Path, ...],
    top: int,
    backend: str,
    threads: int | None,
    trust_engine: bool,
    max_megapixels: float | None,
    as_json: bool,
) -> None:
    """Print the most probable labels of IMAGES by MODEL.

    \b
    Example:
      edgecnn predict models/mobilenet_v1_0.25_32.int8.onnx shoe.png
    """
    import edgecnn  # noqa: PLC0415

    refuse_null(backend)
    options = edgecnn.OpenOptions(threads=threads, trust_engine=trust_engine)
    backend = chosen_backend(backend, edgecnn.load_artifact(model), options) if backend == AUTO else backend
    max_pixels = None if max_megapixels is None else max(1, round(max_megapixels * 1e6))
    with edgecnn.load(model, backend=backend, options=options, max_pixels=max_pixels) as classifier:
        answers = [(path, classifier.classify(path, top=top)) for path in images]
    if as_json:
        print_json([{"image": path, "predictions": best} for path, best in answers])
        return
    rows = [
        (str(path) if rank == 0 else "", one.label, f"{100 * one.probability:.2f}")
        for path, best in answers
        for rank, one in enumerate(best)
    ]
    print_table(f"{model.name} on {backend}", ("image", "label", "probability %"), rows, left=("image", "label"))
