"""A foreign .onnx file -> Artifact: cleaned, brought to today's operator set, folded, compared, renamed into place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import onnx
import onnx_ir as ir

import edgecnn
from edgecnn.artifacts import file_sha256, load_artifact
from edgecnn.data import Dataset
from edgecnn.errors import BadInput, Contradiction
from edgecnn.exporters.foreign.batch import any_batch, set_batch, settle_shapes
from edgecnn.exporters.foreign.cleanup import clean
from edgecnn.exporters.foreign.counts import count_macs, count_params
from edgecnn.exporters.foreign.finish import flatten_scores, require_scores, write_checked
from edgecnn.exporters.foreign.folding import fold_constants
from edgecnn.exporters.foreign.operators import check_operators
from edgecnn.exporters.foreign.options import ForeignOptions, name_from
from edgecnn.exporters.foreign.original import compare_with_original
from edgecnn.exporters.foreign.signature import Head, ImageInput, find_head, image_input, set_input, set_output
from edgecnn.exporters.foreign.source import opset_of, read_source
from edgecnn.exporters.foreign.upgrade import upgrade
from edgecnn.exporters.network import PARITY_BATCHES, tensor_spec
from edgecnn.exporters.passes import run_passes
from edgecnn.exporters.pixels import put_pixels_in
from edgecnn.onnxmodel.header import read_header
from edgecnn.specs import SPEC_KEY, Artifact, ModelSpec, Step

_WEIGHT_TYPES = ("float16", "bfloat16", "float64")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Brought:
    """A graph on its way: what came of a file, and what it was."""

    model: ir.Model
    image: ImageInput
    head: Head
    opset: int
    params: int
    batch: int | None
    done: tuple[str, ...]


def export_file(
    source: Path,
    output: Path,
    options: ForeignOptions,
    *,
    evaluation: Dataset | None = None,
    on_step: Callable[[str], None] = lambda step: None,
    say: Callable[[str], None] = lambda line: None,
) -> Artifact:
    """Write the CNN classifier in an .onnx file as an artifact and return it.

    The new file is compared with the old one on random images, and, where there are labelled ones for it, its accuracy is
    measured, before it is renamed into place. A file of edgecnn keeps what it says about itself, and its lineage grows.

    Args:
        source: an .onnx file of operator set 7 or newer; it is parsed, and run by the engine, never imported.
        output: where the new file goes.
        options: what it means and how it is written.
        evaluation: labelled images that accuracy is measured on.
        on_step: called with a word for each step.
        say: called with a line where something was decided that the user may want to know.

    Raises:
        BadInput: the file is damaged, too large, or not a classifier of images of one size.
        UnsupportedOp: it has operators that cannot be handled.
        QuantizeError: it is quantized.
        ParityError: old and new file disagree.
    """
    if output.resolve() == source.resolve():
        raise Contradiction(f"the new file would replace its source {source}", "choose another --output")
    on_step("read")
    brought = _bring(source, options, on_step, say)
    before = _known(source)
    spec = _spec(brought, source, options, before)
    if options.preprocess == "in-graph":
        spec = put_pixels_in(brought.model, spec, targets=options.targets, resize=options.resize)
    lineage = (*(before.lineage if before else ()), _step(brought, source, options))
    batches = PARITY_BATCHES if brought.batch is None else (brought.batch,)

    def check(artifact: Artifact) -> None:
        compare_with_original(source, brought.image, brought.head, artifact, batches, seed=options.seed)

    return write_checked(brought.model, spec, lineage, output, check=check, evaluation=evaluation, on_step=on_step)


def _bring(
    source: Path, options: ForeignOptions, on_step: Callable[[str], None], say: Callable[[str], None]
) -> _Brought:
    """Return the graph of a file, cleaned, in its new operator set, folded and with its batch settled."""
    where = str(source)
    proto = read_source(source)
    found = opset_of(proto)
    opset, ir_version = options.versions(found)
    proto = clean(proto)
    check_operators(proto, where)
    _check_types(proto, where)
    image = image_input(proto.graph, options.input_shape, where)
    head = find_head(proto.graph, where)
    if head.ignored:
        say(f"{where} has {1 + len(head.ignored)} outputs: {head.output} is kept, {', '.join(head.ignored)} left out")
    if head.removed:
        say(f"the final {head.removed} is left out: files of edgecnn give scores, of which predict makes probabilities")
    set_output(proto.graph, head)
    set_input(proto.graph, replace(image, batch=image.batch or 1), where)
    on_step(f"operator set {found} to {opset}")
    model = ir.from_proto(upgrade(proto, opset, where))
    del proto
    on_step("fold")
    fold_constants(model, where)
    params = count_params(model)
    model, batch = _settle_batch(model, image, options.batch, where, say)
    applied = run_passes(model)
    _finish_output(model, where, renamed=bool(head.removed))
    model.ir_version = ir_version
    return _Brought(model=model, image=image, head=head, opset=found, params=params, batch=batch, done=applied)


def _settle_batch(
    model: ir.Model, image: ImageInput, asked: int | None, where: str, say: Callable[[str], None]
) -> tuple[ir.Model, int | None]:
    """Return the model for any number of images, or the number asked for, or else the one that the file has."""
    own = image.batch or 1
    fixed = model.clone()
    if any_batch(model, where):
        if asked is not None:
            set_batch(model, asked)
            settle_shapes(model, where)
        return model, asked
    if asked not in (None, own):
        raise Contradiction(
            f"{where} computes on {own} image{'s' * (own > 1)} at a time, not on {asked}", f"--batch {own}"
        )
    say(f"{where} computes on {own} image{'s' * (own > 1)} at a time, and so does the new file")
    settle_shapes(fixed, where)
    return fixed, own


def _finish_output(model: ir.Model, where: str, *, renamed: bool) -> None:
    output = model.graph.outputs[0]
    if output.shape is None:
        raise BadInput(f"output of {where}", expected="[N, classes]", got="a shape that cannot be inferred")
    require_scores(tensor_spec(output).shape, where)
    flatten_scores(model, renamed=renamed)


def _check_types(proto: onnx.ModelProto, where: str) -> None:
    for tensor in proto.graph.initializer:
        name = onnx.TensorProto.DataType.Name(tensor.data_type).lower()
        name = {"double": "float64"}.get(name, name)
        if name in _WEIGHT_TYPES:
            raise BadInput(f"weights {tensor.name} of {where}", "export it as float32", expected="float32", got=name)


def _known(source: Path) -> Artifact | None:
    """Return what a file of edgecnn says about itself, None for any other."""
    return load_artifact(source) if SPEC_KEY in read_header(source).metadata else None


def _spec(brought: _Brought, source: Path, options: ForeignOptions, before: Artifact | None) -> ModelSpec:
    meaning = options.meaning
    model = brought.model
    inputs = tuple(tensor_spec(value) for value in model.graph.inputs)
    outputs = tuple(tensor_spec(value) for value in model.graph.outputs)
    meaning.check_labels(require_scores(outputs[0].shape, str(source)))
    preprocess = meaning.preprocess(*brought.image.shape)
    if before is None:
        return ModelSpec(
            network=meaning.name or name_from(source.stem),
            inputs=inputs,
            outputs=outputs,
            preprocess=preprocess,
            labels=meaning.labels,
            params=brought.params,
            macs=count_macs(model),
            weights=f"{source.name} sha256:{file_sha256(source)}",
            source=read_header(source).producer,
        )
    known = before.spec
    return replace(
        known,
        network=meaning.name or known.network,
        variant="" if meaning.name else known.variant,
        inputs=inputs,
        outputs=outputs,
        preprocess=preprocess or known.preprocess,
        labels=meaning.labels or known.labels,
        accuracy=known.accuracy if preprocess in (None, known.preprocess) else (),
    )


def _step(brought: _Brought, source: Path, options: ForeignOptions) -> Step:
    return Step(
        tool="edgecnn export",
        version=edgecnn.__version__,
        options={
            "source": source.name,
            "source_sha256": file_sha256(source),
            "source_opset": brought.opset,
            "opset": brought.model.opset_imports[""],
            "target": options.target_names,
            "batch": brought.batch,
            "preprocess": options.preprocess,
            "resize": options.resize,
            "head_removed": brought.head.removed,
            "outputs_ignored": ", ".join(brought.head.ignored),
            "passes": ",".join(brought.done),
            "onnx": onnx.__version__,
        },
    )
