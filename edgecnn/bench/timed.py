"""What lies inside the timed region: a bare run, a run without copies, or all that an application does with an image.

run     one call of the session, from host arrays to host arrays; on a GPU the copies are part of it
device  the same with inputs and outputs that stay on the device; only sessions with `resident` can do that
app     `Classifier.classify`: uint8 images -> preprocessing -> run -> softmax -> the five best classes with their labels

What a record's plan calls `timed` is one of these.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from edgecnn.bench.inputs import make_feeds
from edgecnn.bench.job import Job
from edgecnn.bench.latency import Run
from edgecnn.classifier import Classifier
from edgecnn.errors import BadInput, Contradiction
from edgecnn.imageinput import check_image_input
from edgecnn.preprocess import Image
from edgecnn.runtimes import open_session
from edgecnn.runtimes.base import Session
from edgecnn.specs import Artifact, sized_inputs

RUN, DEVICE, APP = "run", "device", "app"

TIMED = (RUN, DEVICE, APP)

DEVICE_BACKENDS = ("cuda", "trt")
"""Backends whose sessions can leave inputs and outputs on the device (`resident`)."""

_CROP_MARGIN = 8 / 7
# A camera's picture is larger than what a network takes: 256 pixels for 224 (Krizhevsky et al. 2012, section 2).


def open_timed(job: Job) -> Callable[[], tuple[Session, Run]]:
    """Return the function that opens a job's session and gives it with what is timed; inputs are made before it is called.

    Raises:
        BadInput: no input can be made for this model, or nothing of that name can be timed.
    """
    opened = partial(open_session, job.artifact, backend=job.backend, options=job.options)
    if job.plan.timed == APP:
        images = make_images(job.artifact, batch=job.plan.batch, seed=job.plan.seed)

        def open_app() -> tuple[Session, Run]:
            session = opened()
            check_image_input(job.artifact, session.inputs)
            return session, partial(Classifier(job.artifact, session).classify, images)

        return open_app
    if job.plan.timed not in TIMED:
        raise BadInput("timed", expected=", ".join(TIMED), got=job.plan.timed)
    spec = job.artifact.spec
    feeds = make_feeds(sized_inputs(spec.inputs, spec.preprocess), batch=job.plan.batch, seed=job.plan.seed)

    def open_run() -> tuple[Session, Run]:
        session = opened()
        if job.plan.timed == RUN:
            return session, partial(session.run, feeds)
        resident: Callable[..., Run] | None = getattr(session, "resident", None)
        if resident is None:
            session.close()
            raise Contradiction(f"backend {job.backend} cannot leave its inputs on a device", "measure without it")
        return session, resident(feeds)

    return open_run


def timed_with_copies(artifact: Artifact, backend: str) -> tuple[str, ...]:
    """Return what `--include copy` times of a model on a backend, least first.

    Args:
        artifact: the model.
        backend: its name.
    """
    found = [DEVICE, RUN] if backend in DEVICE_BACKENDS else [RUN]
    if artifact.spec.preprocess is not None and len(artifact.spec.inputs) == 1:
        found.append(APP)
    return tuple(found)


def make_images(artifact: Artifact, *, batch: int, seed: int) -> Image:
    """Return seeded random images as a camera gives them, uint8 [batch, H, W, 3], an eighth larger than the model's input.

    For a file that scales images they are of `Preprocess.example_size`.

    Raises:
        BadInput: the file does not say how images are prepared.
    """
    spec = check_image_input(artifact, artifact.spec.inputs)
    height, width = (round(size * _CROP_MARGIN) for size in spec.size)
    if spec.resize_in_graph:
        height, width = spec.example_size
    return np.random.default_rng(seed).integers(0, 256, (batch, height, width, 3), np.uint8)
