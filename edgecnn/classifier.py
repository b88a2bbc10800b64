"""What an edge app embeds: `load` a file, `classify` images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from edgecnn.artifacts import load_artifact
from edgecnn.errors import BadInput
from edgecnn.preprocess import Image, check_image, prepare
from edgecnn.runtimes import OpenOptions, open_session
from edgecnn.runtimes.base import Array, Feeds, Session
from edgecnn.specs import Artifact, EngineInfo, TensorSpec


@dataclass(frozen=True, slots=True)
class Prediction:
    """One answer of a classifier.

    Attributes:
        label: the class name, or the index as text when the file has no names.
        index: of the class.
        probability: 0..1, softmax over all classes.
    """

    label: str
    index: int
    probability: float


class Classifier:
    """A model file that is ready to classify images; made by `load`. May be used from several threads."""

    def __init__(self, artifact: Artifact, session: Session) -> None:
        self.artifact = artifact
        self._session = session

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The graph's inputs."""
        return self._session.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The graph's outputs."""
        return self._session.outputs

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """Return the graph's outputs for prepared inputs; see `edgecnn.runtimes.base.Session.run`."""
        return self._session.run(feeds)

    @overload
    def classify(self, images: Image, *, top: int = 5) -> list[Prediction]: ...

    @overload
    def classify(self, images: Sequence[Image], *, top: int = 5) -> list[list[Prediction]]: ...

    def classify(self, images: Image | Sequence[Image], *, top: int = 5) -> list[Prediction] | list[list[Prediction]]:
        """Return the most probable classes, best first.

        Args:
            images: one image, uint8 [H, W], [H, W, 1], [H, W, 3] (RGB) or [H, W, 4], 0..255, of any size; or a
                sequence of such images (a uint8 [N, H, W, C] array is one), which are run as one batch.
            top: how many classes.

        Returns:
            A list of `top` predictions for one image, a list of such lists for several.

        Raises:
            BadInput: an image of another dtype or shape, no image at all, or a file that does not say how to prepare
                images or has another number of labels than classes.
        """
        if top < 1:
            raise BadInput("top", expected="at least 1", got=str(top))
        single = isinstance(images, np.ndarray) and images.ndim < 4
        batch: Sequence[Image] = [images] if single else list(images)  # type: ignore[list-item]
        for image in batch:
            check_image(image)
        if not batch:
            raise BadInput("images", expected="at least one", got="none")
        scores = self.scores(batch)
        labels = self.artifact.spec.labels
        if labels and scores.shape[1] != len(labels):
            raise BadInput(f"{self.artifact.path}: labels", expected=f"{scores.shape[1]} names", got=str(len(labels)))
        answers = [self._best(row, top) for row in scores]
        return answers[0] if single else answers

    def scores(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """Return the raw scores (logits), float32 [N, classes], of uint8 images.

        Raises:
            BadInput: a file that does not say how to prepare images.
        """
        spec = self.artifact.spec
        if spec.preprocess is None:
            raise BadInput(
                f"{self.artifact.path} does not say how images become its input",
                "edgecnn export FILE --mean R,G,B --std R,G,B -o NEW.onnx writes it in; or use run() with prepared arrays",
            )
        prepared = prepare(images, spec.preprocess)
        name = self.inputs[0].name
        fixed = self.inputs[0].shape[0]
        if isinstance(fixed, str):
            return self._first_output({name: prepared})
        parts = [prepared[start : start + fixed] for start in range(0, len(prepared), fixed)]
        # A file of a fixed batch runs whole batches: the last image fills the last one up.
        full = [np.concatenate([part, part[-1:].repeat(fixed - len(part), axis=0)]) for part in parts]
        return np.concatenate([self._first_output({name: part}) for part in full])[: len(prepared)]

    def info(self) -> EngineInfo:
        """Return what really runs this model."""
        return self._session.info()

    def close(self) -> None:
        """Give the engine's memory back; further calls do nothing."""
        self._session.close()

    def __enter__(self) -> Classifier:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _first_output(self, feeds: dict[str, Any]) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = self._session.run(feeds)[self.outputs[0].name]
        return scores.reshape(len(scores), -1)

    def _best(self, scores: NDArray[np.float32], top: int) -> list[Prediction]:
        labels = self.artifact.spec.labels
        shifted = np.exp(scores.astype(np.float64) - scores.max())
        probabilities = shifted / shifted.sum()
        order = np.argsort(-probabilities, kind="stable")[:top]
        return [Prediction(labels[i] if labels else str(i), int(i), float(probabilities[i])) for i in order]


def load(path: str | PathLike[str], *, backend: str = "cpu", options: OpenOptions | None = None) -> Classifier:
    """Return a classifier for a model file.

    Args:
        path: an .onnx file; one that edgecnn exported knows its labels and preprocessing.
        backend: what runs it; strict, there is no silent change to another.
        options: threads and engine options.

    Raises:
        BadInput: the file is missing, damaged or not a model that the engine reads.
        UnknownName: no such backend.
        MissingDependency: the engine is not installed.
        RuntimeUnavailable: the backend cannot run here.
    """
    artifact = load_artifact(Path(path), checksum=False)
    return Classifier(artifact, open_session(artifact, backend=backend, options=options))
