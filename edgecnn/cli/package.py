"""`edgecnn package`: what leaves for a server fleet or for an application."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import click

from edgecnn.cli.options import Numbers, WholeSpan, json_option, output_option
from edgecnn.cli.output import print_json, say
from edgecnn.errors import BadInput, Contradiction
from edgecnn.exporters.package import (
    AppFolder,
    ServedModel,
    TritonOptions,
    check_app,
    check_repository,
    package_app,
    package_triton,
    parse_instances,
)
from edgecnn.exporters.package.manifest import SUMS
from edgecnn.exporters.package.tritonoptions import Accelerator, Backend, TimeoutAction, Warmup
from edgecnn.exporters.targets import TARGETS
from edgecnn.units import bytes_text

_TRITON_ONLY = "for triton: "


@click.command()
@click.argument("models", nargs=-1, type=click.Path(path_type=Path), metavar="MODEL...")
@click.option(
    "--for", "purpose", type=click.Choice(("triton", "app")), help="A server's model repository, or a folder."
)
@output_option("Folder to write: the model repository, or the application's folder.")
@click.option(
    "--check", type=click.Path(path_type=Path), metavar="FOLDER", help="Check a folder that was written before."
)
@click.option("--force", is_flag=True, help="Write a model's configuration anew; replace an application's folder.")
@click.option(
    "--target", metavar="|".join(TARGETS), help="for app: what it runs on.  [default: the file's own, or cpu-x86]"
)
@click.option(
    "--wheel", type=click.Path(path_type=Path), metavar="FILE", help="for app: edgecnn's own wheel, to put in."
)
@click.option("--name", default="", help=_TRITON_ONLY + "the model's name.  [default: the file's]")
@click.option(
    "--backend", type=click.Choice(get_args(Backend)), help=_TRITON_ONLY + "what serves.  [default: onnxruntime]"
)
@click.option("--max-batch", type=int, help=_TRITON_ONLY + "requests in one run; 0 for none together.  [default: 8]")
@click.option("--no-batching", is_flag=True, help=_TRITON_ONLY + "do not put waiting requests together.")
@click.option("--preferred", type=Numbers(), help=_TRITON_ONLY + "batch sizes worth waiting for, 4,8.")
@click.option(
    "--max-delay-us",
    type=WholeSpan("us", zero=True),
    metavar="TIME",
    help=_TRITON_ONLY + "how long a request waits for others, 500 or 2ms.  [default: 0]",
)
@click.option("--queue-size", type=int, help=_TRITON_ONLY + "requests that may wait.  [default: any number]")
@click.option(
    "--queue-timeout-us",
    type=WholeSpan("us", zero=True),
    metavar="TIME",
    help=_TRITON_ONLY + "how long one may wait, 50000 or 50ms.  [default: for ever]",
)
@click.option("--timeout-action", type=click.Choice(get_args(TimeoutAction)), help=_TRITON_ONLY + "[default: reject]")
@click.option(
    "--instances",
    multiple=True,
    metavar="KIND[:COUNT][@GPU,...]",
    help=_TRITON_ONLY + "copies, cpu:2 or gpu:1@0,1; repeatable.  [default: one, where the file was made for]",
)
@click.option("--accelerator", type=click.Choice(get_args(Accelerator)), help=_TRITON_ONLY + "inside onnxruntime.")
@click.option("--threads", type=int, help=_TRITON_ONLY + "of one operator on the processor.  [default: one a core]")
@click.option(
    "--parameter", "parameters", multiple=True, metavar="KEY=VALUE", help=_TRITON_ONLY + "a further parameter."
)
@click.option(
    "--warmup", type=click.Choice(get_args(Warmup)), help=_TRITON_ONLY + "data of the first runs.  [default: zero]"
)
@click.option("--versions", help=_TRITON_ONLY + "served: latest:N, all or 1,3.  [default: latest:1]")
@json_option
def package(
    models: tuple[Path, ...],
    purpose: str | None,
    output: Path | None,
    check: Path | None,
    force: bool,
    as_json: bool,
    **asked: Any,
) -> None:
    """Write MODELs as a Triton model repository, or one MODEL as the folder of an application.

    A model that the repository has already gets the next version number; its configuration is kept if it fits.

    \b
    Example:
      edgecnn package models/mobilenet_v1_0.25_32.int8.onnx --for triton -o repo
      edgecnn package models/resnet50.onnx --for triton -o repo --backend tensorrt --max-batch 16
      edgecnn package models/mobilenet_v1_0.25_32.int8.onnx --for app -o folder
      edgecnn package --check folder
    """
    given = {name: value for name, value in asked.items() if value not in (None, "", ()) and value is not False}
    if check is not None:
        _check(check, [*models, *given, *([purpose] if purpose else []), *(["output"] if output else [])], as_json)
        return
    if not models or purpose is None or output is None:
        missing = "MODEL" if not models else "--for triton or --for app" if purpose is None else "--output FOLDER"
        raise BadInput(f"{missing} is missing", "edgecnn package MODEL --for triton -o repo")
    if purpose == "triton":
        served = _triton(models, output, force, given)
        print_json(served) if as_json else _show_triton(served, output)
    else:
        folder = _app(models, output, force, given)
        print_json(folder) if as_json else _show_app(folder)


def _triton(models: tuple[Path, ...], output: Path, force: bool, given: dict[str, Any]) -> tuple[ServedModel, ...]:
    _refuse(given, ("target", "wheel"), "triton")
    name = given.pop("name", "")
    if given.pop("no_batching", False):
        given["batching"] = False
    if "instances" in given:
        given["instances"] = tuple(parse_instances(text) for text in given["instances"])
    if "parameters" in given:
        given["parameters"] = _pairs(given["parameters"])
    return package_triton(models, output, TritonOptions(**given), name=name, force=force)


def _app(models: tuple[Path, ...], output: Path, force: bool, given: dict[str, Any]) -> AppFolder:
    _refuse(given, [name for name in given if name not in ("target", "wheel")], "app")
    if len(models) > 1:
        raise Contradiction(f"one folder for {len(models)} models", "package each into a folder of its own")
    return package_app(models[0], output, target=given.get("target", ""), wheel=given.get("wheel"), force=force)


def _refuse(given: dict[str, Any], names: Sequence[str], purpose: str) -> None:
    for name in (name for name in names if name in given):
        option = "parameter" if name == "parameters" else name.replace("_", "-")
        raise Contradiction(f"--{option} with --for {purpose}", f"leave it out: it is not of --for {purpose}")


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise BadInput("--parameter", expected="KEY=VALUE, enable_mem_arena=0 for example", got=text)
        if key in pairs:
            raise Contradiction(f"--parameter {key} twice", "give it once")
        pairs[key] = value
    return pairs


def _check(folder: Path, others: Sequence[object], as_json: bool) -> None:
    if others:
        raise Contradiction("--check with something to write", "edgecnn package --check FOLDER takes nothing else")
    if not folder.is_dir():
        raise BadInput(f"{folder} is not a folder", "give one that edgecnn package wrote")
    if (folder / SUMS).exists():
        app = check_app(folder)
        print_json(app) if as_json else click.echo(f"{folder}: {len(app.files)} files, as {SUMS} says")
        return
    models = check_repository(folder)
    if as_json:
        print_json(models)
        return
    for one in models:
        numbers = ", ".join(map(str, one.versions))
        click.echo(f"{one.path}: {one.backend}, version {numbers}: configuration, labels and graph fit")


def _show_triton(served: Sequence[ServedModel], repository: Path) -> None:
    for one in served:
        version = f"version {one.version}" if one.added else f"version {one.version} is this file already"
        batch = f"max batch {one.max_batch}" if one.max_batch else "requests are not put together"
        click.echo(f"{one.path}: {version}, {one.backend}, {batch}, config.pbtxt {one.config}")
        for note in one.notes:
            say(f"{one.name}: {note}")
    click.echo(f"serve with: tritonserver --model-repository={repository.absolute()}")


def _show_app(folder: AppFolder) -> None:
    size = bytes_text(sum(file.size_bytes for file in folder.files))
    click.echo(f"{folder.path}: {len(folder.files) + 1} files, {size}, for {folder.target} on backend {folder.backend}")
    for note in folder.notes:
        say(f"{folder.model}: {note}")
    click.echo(f"run: python {folder.path / 'example.py'} IMAGE")


__all__ = ["package"]
