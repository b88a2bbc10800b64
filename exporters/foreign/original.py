"""The file that a model was made from, run as it is, and the comparison with what was made of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx

from edgecnn.errors import BadInput, ExportError, InferenceError, ParityError, first_line
from edgecnn.exporters.foreign.cleanup import clean
from edgecnn.exporters.foreign.signature import ARGMAX, SOFTMAX, Head, ImageInput
from edgecnn.exporters.foreign.source import read_source
from edgecnn.exporters.pixels import random_feeds
from edgecnn.exporters.quantize.checks import read_graph
from edgecnn.exporters.quantize.culprit import blame
from edgecnn.runtimes import open_session
from edgecnn.runtimes.base import Array, Session
from edgecnn.specs import Artifact

RELATIVE_TOLERANCE = 1e-4
"""Of the largest output: the same graph on the same engine, in which batch norms are folded and sums reordered; a hundred
layers amplify the rounding of float32 to about 1e-5."""

APART_TOLERANCE = 1e-3
"""Of the largest output, between images together and each alone: other kernels, another order of sums, a hundred layers."""

# Images of the comparison that are run alone as well.
_TOGETHER = 2

Run = Callable[[Array], Mapping[str, Array]]


def compare_with_original(
    path: Path, image: ImageInput, head: Head, artifact: Artifact, batches: Sequence[int], *, seed: int = 0
) -> str:
    """Return what ran the original, after the scores of both were found equal on random images.

    An original of a fixed number of images runs as often as needed, so that the answers for a batch are also compared with
    those for each image alone.

    Args:
        path: the file that the artifact was made from.
        image: its input.
        head: its output; the scores before a removed Softmax or ArgMax are compared, and what follows from them as well.
        artifact: the new file.
        batches: numbers of images.
        seed: of the inputs: standard normal values, or any pixels where the file takes these.

    Raises:
        ParityError: they differ by more than RELATIVE_TOLERANCE.
        BadInput: the new file takes any number of images, and the scores of one depend on the others.
        ExportError: nothing here runs the original, or what it gives is not finite; the first such node is named.
    """
    generator = np.random.default_rng(seed)
    engine, original = _open(path, image, head)
    with open_session(artifact, backend="cpu") as session:
        for batch in batches:
            feed, images = random_feeds(generator, artifact, batch)
            expected = _whole(original, images, image)
            _check_finite(expected, path, artifact, feed)
            actual = session.run({session.inputs[0].name: feed})[session.outputs[0].name]
            where = f"batch {batch}"
            try:
                _hold(expected[head.scores], actual, where)
                if head.removed:
                    _hold_removed(expected[head.output], actual, head, where)
            except ParityError as error:
                error.hint = error.hint or _batch_hint(image, batch)
                raise
            if batch == _TOGETHER and isinstance(session.inputs[0].shape[0], str):
                _check_apart(session, path, feed, actual)
    return engine


def _check_apart(session: Session, path: Path, feed: Array, together: Array) -> None:
    """Raise BadInput if images got other scores together than each alone: a file of any number of them says that none does."""
    name, scores = session.inputs[0].name, session.outputs[0].name
    alone = np.concatenate([session.run({name: feed[index : index + 1]})[scores] for index in range(len(feed))])
    apart = float(np.abs(together - alone).max())
    if not apart <= APART_TOLERANCE * float(np.abs(together).max()):
        raise BadInput(
            f"{path} gives an image other scores when other images are in the batch",
            "--batch 1 writes it for single images; a mean over the batch, or batch norm in training mode, mixes them",
            expected="the same scores for an image alone",
            got=f"a difference of {apart:.3g}",
        )


def _check_finite(expected: Mapping[str, Array], path: Path, artifact: Artifact, feed: Array) -> None:
    """Raise ExportError, naming a node, where the original's scores for random images are not numbers."""
    if all(np.isfinite(array).all() for array in expected.values()):
        return
    found = blame(read_graph(artifact.path), feed, "random images") or "it gives scores that are not finite"
    raise ExportError(f"{path}: {found}", "nothing can be compared with it: check its weights")


def _batch_hint(image: ImageInput, batch: int) -> str:
    """Return what to do where a file of a fixed number of images is not itself on others: it may mix them."""
    if image.batch in (None, batch):
        return ""
    return f"an image may get other scores by those beside it: --batch {image.batch}, as the file has it"


def _open(path: Path, image: ImageInput, head: Head) -> tuple[str, Run]:
    """Return the first engine that runs the file: ONNX Runtime as it is, cleaned, and else ONNX's reference."""
    for engine, make in (("onnxruntime", _as_it_is), ("onnxruntime, cleaned", _cleaned)):
        try:
            return engine, _engine(make(path, head), image, head)
        except Exception:
            continue
    try:
        return "onnx.reference", _reference(_cleaned(path, head), image, head)
    except Exception as error:
        raise ExportError(f"nothing here runs {path}, to compare with: {first_line(error)}") from error


def _as_it_is(path: Path, head: Head) -> onnx.ModelProto:
    proto = read_source(path)
    if head.removed:
        proto.graph.output.append(onnx.helper.make_tensor_value_info(head.scores, onnx.TensorProto.FLOAT, None))
    return proto


def _cleaned(path: Path, head: Head) -> onnx.ModelProto:
    proto = clean(_as_it_is(path, head))
    proto.ir_version = min(max(proto.ir_version, 4), 10)
    return proto


def _engine(proto: onnx.ModelProto, image: ImageInput, head: Head) -> Run:
    import onnxruntime  # noqa: PLC0415 (an extra of its own)

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    content = proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = _names(head)

    def run(images: Array) -> Mapping[str, Array]:
        try:
            return dict(zip(names, session.run(names, {image.name: images}), strict=True))
        except Exception as error:
            raise InferenceError(f"onnxruntime failed on the original: {first_line(error)}") from error

    run(_probe(image))
    return run


def _reference(proto: onnx.ModelProto, image: ImageInput, head: Head) -> Run:
    from onnx.reference import ReferenceEvaluator  # noqa: PLC0415 (slow to import, and seldom needed)

    evaluator = ReferenceEvaluator(proto)
    names = _names(head)

    def run(images: Array) -> Mapping[str, Array]:
        answers = evaluator.run(names, {image.name: images})
        return {name: np.asarray(answer) for name, answer in zip(names, answers, strict=True)}

    run(_probe(image))
    return run


def _names(head: Head) -> list[str]:
    return list(dict.fromkeys((head.scores, head.output)))


def _probe(image: ImageInput) -> Array:
    return _laid_out(np.zeros((image.batch or 1, *image.shape), np.float32), image)


def _laid_out(images: Array, image: ImageInput) -> Array:
    return np.ascontiguousarray(images.transpose(0, 2, 3, 1)) if image.channels_last else images


def _whole(run: Run, images: Array, image: ImageInput) -> dict[str, Array]:
    """Return the answers for all images, of a file that takes a fixed number of them as well."""
    size = image.batch or len(images)
    parts = [images[start : start + size] for start in range(0, len(images), size)]
    answers = []
    for part in parts:
        filled = np.concatenate([part, part[-1:].repeat(size - len(part), axis=0)])
        answer = run(_laid_out(filled, image))
        answers.append({name: array.reshape(size, -1)[: len(part)] for name, array in answer.items()})
    return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}


def _hold(expected: Array, actual: Array, where: str) -> None:
    if expected.size != actual.size:
        raise ParityError(
            f"shapes {expected.shape} of the original and {actual.shape} of the file",
            max_abs=np.inf,
            tolerance=0.0,
            worst=where,
        )
    difference = np.abs(expected.astype(np.float64) - actual.reshape(expected.shape))
    tolerance = RELATIVE_TOLERANCE * float(np.abs(expected).max())
    index = np.unravel_index(int(difference.argmax()), difference.shape)
    if not difference[index] <= tolerance:
        place = f"{where}, output {tuple(map(int, index))}"
        raise ParityError(
            "the outputs of the original and the file",
            max_abs=float(difference[index]),
            tolerance=tolerance,
            worst=place,
        )


def _hold_removed(expected: Array, scores: Array, head: Head, where: str) -> None:
    """Hold what readers make of the scores against what the file made of them itself."""
    scores = scores.reshape(len(scores), -1).astype(np.float64)
    if head.removed == SOFTMAX:
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        _hold(expected, powers / powers.sum(axis=1, keepdims=True), f"{where}, after Softmax")
    elif head.removed == ARGMAX and not np.array_equal(expected.reshape(-1), scores.argmax(axis=1)):
        raise ParityError("the classes of the original and the file", max_abs=np.inf, tolerance=0.0, worst=where)
