"""`edgecnn train`: the recipe behind the bundled weights, for any network and labelled images."""

from __future__ import annotations

from pathlib import Path

import click

from edgecnn.cli.options import data_option, output_option, pairs_option, with_pairs
from edgecnn.cli.output import progress, say
from edgecnn.exporters.training import TrainingPlan, plan_training, run_training
from edgecnn.units import percent_text


@click.command()
@click.argument("network")
@data_option
@click.option("--epochs", type=click.IntRange(1), help="Passes over the training images.  [default: the recipe's]")
@click.option("--batch", type=click.IntRange(2), help="Images per step.  [default: the recipe's]")
@click.option("--learning-rate", type=float, help="Peak learning rate.  [default: the recipe's]")
@click.option("--width", type=float, help="Width multiplier of the families that have one.")
@click.option("--input-size", type=click.IntRange(1), help="Height and width of the input, pixels.")
@pairs_option
@click.option("--seed", type=click.IntRange(0), help="Of weights, order and augmentation.  [default: the recipe's]")
@click.option("--resume", is_flag=True, help="Take up an interrupted training from its checkpoint.")
@output_option("Folder for weights, log and checkpoint.  [default: runs/<name>]")
def train(
    network: str,
    data: str | None,
    epochs: int | None,
    batch: int | None,
    learning_rate: float | None,
    width: float | None,
    input_size: int | None,
    pairs: tuple[str, ...],
    seed: int | None,
    resume: bool,
    output: Path | None,
) -> None:
    """Train NETWORK and write its weights, with the recipe and the curve beside them.

    The accuracy is measured on the test images through the exported file. Training needs the whole data set: for
    Fashion-MNIST, apt install dataset-fashion-mnist or --data FOLDER with the four IDX files.

    \b
    Example:
      edgecnn train lenet5 --epochs 5
      edgecnn train resnet18 --data photos --input-size 64
    """
    plan: TrainingPlan = plan_training(
        network,
        data=data,
        options=with_pairs({"width": width, "input_size": input_size}, pairs),
        recipe={"epochs": epochs, "batch": batch, "learning_rate": learning_rate, "seed": seed},
    )
    folder = output or Path("runs") / plan.form.title
    say(
        f"training {plan.form.title} on {plan.recipe.data}, {plan.recipe.epochs} epochs; Ctrl-C keeps the epochs that are done"
    )
    try:
        with progress(f"training {plan.form.title}") as advance:
            trained = run_training(
                plan,
                folder,
                resume=resume,
                on_progress=lambda p: advance(
                    (p.epoch - 1) * p.steps + p.step,
                    p.epochs * p.steps,
                    f"epoch {p.epoch}/{p.epochs}  loss {p.loss:.4f}  top-1 {100 * p.top1:.2f}%",
                ),
            )
    except KeyboardInterrupt:
        if (folder / "checkpoint.pt").is_file():
            say(f"the last whole epoch is in {folder}/checkpoint.pt: the same command with --resume goes on from there")
        raise
    accuracy = percent_text(trained.accuracy.value)
    click.echo(f"{trained.weights}: top-1 {accuracy}% of {trained.accuracy.images:,} test images")
    click.echo(f"edgecnn export {network} --weights {trained.weights}")
