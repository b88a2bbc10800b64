"""Any torch network, named as pkg.module:name -> Artifact: made, traced, compared with torch, renamed into place."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir
import torch
from torch import nn

import edgecnn
from edgecnn.artifacts import file_sha256
from edgecnn.data import Dataset
from edgecnn.errors import BadInput, EdgecnnError, ExportError
from edgecnn.exporters.foreign.adapter import as_classifier
from edgecnn.exporters.foreign.counts import count_macs, count_params
from edgecnn.exporters.foreign.finish import write_checked
from edgecnn.exporters.foreign.options import ForeignOptions, name_from
from edgecnn.exporters.foreign.usercode import explained, find_object, here_importable, make_module, told
from edgecnn.exporters.network import PARITY_BATCHES, tensor_spec, trace_module
from edgecnn.exporters.parity import check_parity
from edgecnn.exporters.passes import run_passes
from edgecnn.exporters.pixels import put_pixels_in
from edgecnn.specs import Artifact, ModelSpec, Step
from edgecnn.zoo.layers import layer_table, totals
from edgecnn.zoo.statedict import first_three, read_state

AS_CONSTRUCTED = "as constructed"
"""What `ModelSpec.weights` says of weights that the user's code has set itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """A network that was made, and what is known about it.

    Attributes:
        module: in eval mode, one image tensor to scores [N, classes].
        shape: (channels, height, width).
        weights: where they come from.
        note: what was done to its answer; empty for nothing.
    """

    module: nn.Module
    shape: tuple[int, int, int]
    weights: str
    note: str


def export_factory(
    reference: str,
    output: Path,
    options: ForeignOptions,
    *,
    weights: Path | None = None,
    evaluation: Dataset | None = None,
    on_step: Callable[[str], None] = lambda step: None,
    say: Callable[[str], None] = lambda line: None,
) -> Artifact:
    """Write a torch network as an artifact and return it.

    Importing its module and making it runs the user's code, with the current folder importable and torch's random numbers
    seeded. The file is compared with torch on batches of 1, 2 and 7 before it is renamed into place.

    Args:
        reference: "pkg.module:name" of a torch.nn.Module, or of a class or function that makes one without arguments.
        output: where the file goes.
        options: what it means and how it is written; its input shape is needed.
        weights: a state dict, .safetensors or .pth (tensors only); None leaves them as they were constructed.
        evaluation: labelled images that accuracy is measured on.
        on_step: called with a word for each step.
        say: called with a line where something was decided that the user may want to know.

    Raises:
        BadInput: no such module, it needs arguments, the weights do not fit, or it does not give scores [N, classes].
        ExportError: the user's code failed, or torch cannot export the network.
        ParityError: file and torch disagree.
    """
    opset, ir_version = options.versions()
    shape = options.input_shape
    if shape is None:
        raise BadInput(
            f"{reference}: the size of its input is not known", "give --input-shape channels,height,width: 3,224,224"
        )
    options.meaning.preprocess(*shape)  # what cannot be shows before the work, not after it
    with here_importable(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        on_step("import")
        made = _make(reference, shape, weights, options.batch)
        if made.note:
            say(f"{reference}: {made.note}")
        on_step("trace")
        model = _trace(made, reference, opset, options.batch)
        params = count_params(model)
        applied = run_passes(model)
        model.ir_version = ir_version
        spec = _spec(made, model, reference, options, params)
        if options.preprocess == "in-graph":
            spec = put_pixels_in(model, spec, targets=options.targets, resize=options.resize)
        lineage = (_step(made, reference, options, opset, applied),)
        batches = PARITY_BATCHES if options.batch is None else (options.batch,)

        def check(artifact: Artifact) -> None:
            check_parity(made.module, artifact, batches, seed=options.seed)

        return write_checked(model, spec, lineage, output, check=check, evaluation=evaluation, on_step=on_step)


def make_again(
    reference: str, shape: tuple[int, int, int], *, weights: Path | None = None, batch: int | None = None, seed: int = 0
) -> nn.Module:
    """Return the network that `export_factory` would trace, one image tensor to scores [N, classes], in eval mode.

    This runs the user's code.

    Args:
        reference: as for `export_factory`.
        shape: (channels, height, width).
        weights: a state dict; None leaves them as they were constructed, random ones by the seed.
        batch: number of images at a time, where only that many will do.
        seed: of torch's random numbers.

    Raises:
        BadInput: as `export_factory`.
        ExportError: the user's code failed.
    """
    with here_importable(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _make(reference, shape, weights, batch).module


def _trace(made: _Made, reference: str, opset: int, batch: int | None) -> ir.Model:
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # torch writes pages about a network that it cannot export
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            model = trace_module(made.module, made.shape, reference, opset=opset, batch=batch)
    except ExportError as error:
        raise explained(error, reference) from error
    finally:
        logging.disable(before)
    size = tensor_spec(model.graph.inputs[0]).shape[0]
    if batch is None and isinstance(size, int):
        raise ExportError(
            f"{reference} computes in another way on {size} images than on any other number of them",
            "say for how many the file is: --batch 1 for example",
        )
    return model


def _make(reference: str, shape: tuple[int, int, int], weights: Path | None, batch: int | None) -> _Made:
    module = make_module(find_object(reference), reference).eval()
    _check_dtype(module, reference)
    state = None if weights is None else read_state(weights)
    if state is not None:
        assert weights is not None
        _load(module, state, weights, reference)
    adapted, note = as_classifier(module, shape, reference, batch=batch)
    described = AS_CONSTRUCTED if weights is None else f"{weights.name} sha256:{file_sha256(weights)}"
    return _Made(module=adapted, shape=shape, weights=described, note=note)


def _check_dtype(module: nn.Module, reference: str) -> None:
    """Raise BadInput unless the weights are float32 on the CPU, which is what a file of edgecnn has."""
    for name, tensor in module.named_parameters():
        found = f"{str(tensor.dtype).removeprefix('torch.')} on {tensor.device.type}"
        if tensor.is_floating_point() and found != "float32 on cpu":
            raise BadInput(
                f"weights {name} of {reference}", "return network.float().cpu()", expected="float32 on cpu", got=found
            )


def _load(module: nn.Module, state: object, weights: Path, reference: str) -> None:
    assert isinstance(state, dict)
    wanted = module.state_dict()
    missing = [key for key in wanted if key not in state]
    spare = [key for key in state if key not in wanted]
    if missing or spare:
        texts = [f"lacks {first_three(missing)}"] * bool(missing) + [f"has {first_three(spare)} too many"] * bool(spare)
        raise BadInput(
            f"{weights} is not of {reference}: it {' and '.join(texts)}", "give the state dict of this network"
        )
    for key, tensor in wanted.items():
        if tensor.shape != state[key].shape:
            raise BadInput(
                f"{key} in {weights}",
                "give the state dict of this network",
                expected=f"shape {list(tensor.shape)}",
                got=str(list(state[key].shape)),
            )
    with told(f"loading {weights}"):
        module.load_state_dict(state)


def _spec(made: _Made, model: ir.Model, reference: str, options: ForeignOptions, traced: int) -> ModelSpec:
    meaning = options.meaning
    inputs = tuple(tensor_spec(value) for value in model.graph.inputs)
    outputs = tuple(tensor_spec(value) for value in model.graph.outputs)
    meaning.check_labels(int(outputs[0].shape[-1]))
    params, macs = _counts(made, model, traced)
    return ModelSpec(
        network=meaning.name or name_from(reference.rpartition(":")[2]),
        inputs=inputs,
        outputs=outputs,
        preprocess=meaning.preprocess(*made.shape),
        labels=meaning.labels,
        params=params,
        macs=macs,
        weights=made.weights,
        source=reference,
    )


def _counts(made: _Made, model: ir.Model, traced: int) -> tuple[int, int | None]:
    """Return params and macs, by the layers that run; by the graph where an operation has no shape without data."""
    try:
        found = totals(layer_table(made.module, made.shape))
    except (EdgecnnError, RuntimeError, TypeError, ValueError):
        return traced, count_macs(model)
    return found.params, found.macs


def _step(made: _Made, reference: str, options: ForeignOptions, opset: int, applied: tuple[str, ...]) -> Step:
    return Step(
        tool="edgecnn export",
        version=edgecnn.__version__,
        options={
            "source": reference,
            "weights": made.weights,
            "answer": made.note,
            "seed": options.seed,
            "opset": opset,
            "target": options.target_names,
            "batch": options.batch,
            "preprocess": options.preprocess,
            "resize": options.resize,
            "passes": ",".join(applied),
            "torch": torch.__version__,
        },
    )
