"""Zoo network -> Artifact: traced by torch, rewritten by the passes, compared with torch, renamed into place."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch
from torch import nn

import edgecnn
from edgecnn.artifacts import load_artifact
from edgecnn.data import NAMED, Dataset, open_named
from edgecnn.errors import BadInput, ExportError, first_line
from edgecnn.exporters.accuracy import check_classes, measure_accuracy
from edgecnn.exporters.onnxfile import stamp, write_model
from edgecnn.exporters.parity import check_parity
from edgecnn.exporters.passes import DEFAULT_PASSES, run_passes
from edgecnn.exporters.pixels import Placing, check_placing, put_pixels_in
from edgecnn.exporters.targets import ir_of_opset, parse_targets
from edgecnn.files import replacing
from edgecnn.specs import Artifact, ModelSpec, Step, TensorSpec
from edgecnn.zoo.layers import layer_table
from edgecnn.zoo.registry import Form, build, find
from edgecnn.zoo.weights import Loaded, load_weights

DEFAULT_OPSET = 18
"""torch writes this operator set without conversion, and every supported runtime reads it (ONNX Runtime from 1.14)."""

OPSETS = range(18, 24)
"""What torch can write."""

_TRACE_BATCH = 2
"""A traced batch of 1 would be taken for a constant."""

PARITY_BATCHES = (1, 2, 7)

OPTION_PREFIX = "option."
"""Begins the lineage entries that hold the options of the network's form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """How a network is written.

    Attributes:
        weights: "bundled", "random" or a file.
        opset: operator set of the file.
        batch: fixed number of images, None for any.
        seed: of random weights and of the parity inputs.
        targets: names of what the file is for, separated by commas, for its lineage; empty for no one in particular.
        preprocess: who normalises: "outside" the caller; "in-graph" the file, which then takes uint8 [N, height, width,
            channels].
        resize: who scales and cuts images: "outside" the caller; "in-graph" the file, which then takes any height and width.
    """

    weights: str = "bundled"
    opset: int = DEFAULT_OPSET
    batch: int | None = None
    seed: int = 0
    targets: str = ""
    preprocess: Placing = "outside"
    resize: Placing = "outside"

    def __post_init__(self) -> None:
        if self.opset not in OPSETS:
            raise BadInput("opset", expected=f"{OPSETS[0]} to {OPSETS[-1]}", got=str(self.opset))
        if self.batch is not None and self.batch < 1:
            raise BadInput("batch", expected="at least 1", got=str(self.batch))
        check_placing(self.preprocess, self.resize, parse_targets(self.targets) if self.targets else ())


def export_network(
    form: Form,
    output: Path,
    options: ExportOptions,
    *,
    evaluation: Dataset | None = None,
    on_step: Callable[[str], None] = lambda step: None,
) -> Artifact:
    """Write a network of the zoo as one ONNX file and return it.

    The file is compared with torch on batches of 1, 2 and 7, and, where there are images for it, its accuracy is
    measured through the file itself, before it is renamed into place.

    Args:
        form: network and variant.
        output: where the file goes.
        options: weights, operator set, batch.
        evaluation: the labelled set whose test part accuracy is measured on; None takes the one that the weights were
            trained on where that is known by name.
        on_step: called with a word for each step.

    Raises:
        ParityError: file and torch disagree.
        BadInput: the weights do not fit, or the images are of other classes.
    """
    on_step("build")
    module = build(form)
    loaded = load_weights(module, form, options.weights, seed=options.seed)
    module.eval()
    on_step("trace")
    model = trace(module, form, options)
    applied = run_passes(model, DEFAULT_PASSES)
    model.ir_version = ir_of_opset(options.opset)
    lineage = (_step(form, options, applied),)
    spec = _spec(form, loaded, module, model)
    if evaluation is not None:
        check_classes(spec, evaluation)
    if options.preprocess == "in-graph":
        targets = parse_targets(options.targets) if options.targets else ()
        spec = put_pixels_in(model, spec, targets=targets, resize=options.resize)
    with replacing(output) as temporary:
        stamp(model, spec, lineage)
        write_model(model, temporary)
        on_step("compare with torch")
        batches = PARITY_BATCHES if options.batch is None else (options.batch,)
        check_parity(module, load_artifact(temporary), batches, seed=options.seed)
        dataset = evaluation or (open_named(spec.dataset) if spec.dataset in NAMED else None)
        if dataset is not None:
            on_step("measure accuracy")
            accuracy = measure_accuracy(load_artifact(temporary), dataset.split("test"), dataset=dataset.name)
            stamp(model, replace(spec, accuracy=(accuracy,)), lineage)
            write_model(model, temporary)
    return load_artifact(output)


def trace(module: nn.Module, form: Form, options: ExportOptions) -> ir.Model:
    """Return the network as an ONNX graph with input "input" and output "logits".

    Raises:
        ExportError: torch cannot export it.
    """
    return trace_module(module, form.input_shape, form.title, opset=options.opset, batch=options.batch)


def trace_module(
    module: nn.Module, input_shape: tuple[int, int, int], title: str, *, opset: int, batch: int | None
) -> ir.Model:
    """Return any network in eval mode as an ONNX graph with input "input" and output "logits".

    Args:
        module: float32 [N, channels, height, width] to float32 [N, classes].
        input_shape: (channels, height, width).
        title: what the network is called in messages.
        opset: operator set of the graph.
        batch: fixed number of images, None for any.

    Raises:
        ExportError: torch cannot export it.
    """
    example = torch.zeros(batch or _TRACE_BATCH, *input_shape)
    dynamic = ({0: torch.export.Dim("N")},) if batch is None else None
    try:
        with silent():
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                input_names=["input"],
                output_names=["logits"],
                opset_version=opset,
                dynamic_shapes=dynamic,
                external_data=False,
                verbose=False,
            )
    except Exception as error:
        ended = _what_ended(error)
        if ended is not None:
            raise ended from None
        raise ExportError(f"torch cannot export {title}: {first_line(error)}") from error
    assert program is not None
    model: ir.Model = program.model
    if model.opset_imports.get("") != opset:
        raise ExportError(f"torch wrote opset {model.opset_imports.get('')} when {opset} was asked for")
    return model


def _what_ended(error: BaseException | None) -> BaseException | None:
    """Return the Ctrl-C or the end of the process behind an error: torch.export wraps them like any other exception."""
    while error is not None:
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            return error
        error = error.__cause__ or error.__context__
    return None


def _spec(form: Form, loaded: Loaded, module: nn.Module, model: ir.Model) -> ModelSpec:
    network = find(form.network)
    layers = layer_table(module, (form.channels, form.input_size, form.input_size))
    return ModelSpec(
        network=form.network,
        variant=form.variant,
        inputs=tuple(tensor_spec(value) for value in model.graph.inputs),
        outputs=tuple(tensor_spec(value) for value in model.graph.outputs),
        preprocess=loaded.preprocess or network.preprocess_for(form),
        labels=loaded.labels,
        dataset=loaded.dataset,
        params=sum(layer.params for layer in layers),
        macs=sum(layer.macs for layer in layers),
        weights=loaded.description,
        source=network.citation,
        licence=loaded.licence,
    )


def _step(form: Form, options: ExportOptions, applied: tuple[str, ...]) -> Step:
    return Step(
        tool="edgecnn export",
        version=edgecnn.__version__,
        options={
            "network": form.title,
            **{f"{OPTION_PREFIX}{name}": value for name, value in form.options.items()},
            "channels": form.channels,
            "classes": form.classes,
            "weights": Path(options.weights).name,
            "seed": options.seed,
            "opset": options.opset,
            "target": options.targets,
            "batch": options.batch,
            "preprocess": options.preprocess,
            "resize": options.resize,
            "passes": ",".join(applied),
            "torch": torch.__version__,
        },
    )


def tensor_spec(value: Any) -> TensorSpec:
    """Return name, type and shape of an input or output of a graph."""
    shape = tuple(
        d if isinstance(d, int) else str(d.value if isinstance(d, ir.SymbolicDim) else d) for d in value.shape
    )
    return TensorSpec(name=value.name, dtype=value.dtype.numpy().name, shape=shape)


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Keep torch's exporter from printing and warning while the block runs."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


__all__ = [
    "DEFAULT_OPSET",
    "OPSETS",
    "OPTION_PREFIX",
    "PARITY_BATCHES",
    "ExportOptions",
    "export_network",
    "silent",
    "tensor_spec",
    "trace",
    "trace_module",
]
