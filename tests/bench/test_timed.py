from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgecnn.answers import Prediction
from edgecnn.artifacts import load_artifact
from edgecnn.bench import make_job, make_plan
from edgecnn.bench.timed import make_images, open_timed, timed_with_copies
from edgecnn.errors import BadInput, Contradiction
from edgecnn.runtimes.base import OpenOptions
from edgecnn.specs import Artifact, ModelSpec, TensorSpec
from edgecnn.testing.models import TINY


def _plain() -> Artifact:
    spec = ModelSpec(
        network="n",
        inputs=(TensorSpec(name="x", dtype="float32", shape=("N", 3)),),
        outputs=(TensorSpec(name="y", dtype="float32", shape=("N", 2)),),
    )
    return Artifact(path=Path("n.onnx"), format="onnx", precision="fp32", sha256="0", size_bytes=1, spec=spec)


def test_a_bare_run_gives_the_outputs() -> None:
    session, run = open_timed(make_job(_plain(), backend="null", plan=make_plan(batch=3)))()
    answer = run()
    session.close()
    assert isinstance(answer, dict)
    assert answer["y"].shape == (3, 2)


def test_an_application_gets_labels_for_camera_images() -> None:
    pytest.importorskip("onnxruntime")
    artifact = load_artifact(TINY)
    job = make_job(artifact, plan=make_plan(batch=2, timed="app"), options=OpenOptions(threads=1))
    session, run = open_timed(job)()
    answer = run()
    session.close()
    assert isinstance(answer, list)
    assert len(answer) == 2
    assert all(isinstance(one, Prediction) for row in answer for one in row)


def test_camera_images_are_larger_than_the_input_and_the_same_for_a_seed() -> None:
    artifact = load_artifact(TINY)
    assert artifact.spec.preprocess is not None
    height, width = artifact.spec.preprocess.size
    images = make_images(artifact, batch=2, seed=3)
    assert images.dtype == np.uint8
    assert images.shape == (2, round(height * 8 / 7), round(width * 8 / 7), 3)
    np.testing.assert_array_equal(images, make_images(artifact, batch=2, seed=3))
    assert (images != make_images(artifact, batch=2, seed=4)).any()


def test_a_file_that_does_not_say_how_images_are_prepared_is_no_application() -> None:
    with pytest.raises(BadInput, match="does not say how images become its input"):
        open_timed(make_job(_plain(), backend="null", plan=make_plan(timed="app")))
    assert timed_with_copies(_plain(), "cpu") == ("run",)


def test_what_is_timed_with_copies_depends_on_the_backend() -> None:
    artifact = load_artifact(TINY)
    assert timed_with_copies(artifact, "cpu") == ("run", "app")
    assert timed_with_copies(artifact, "trt") == ("device", "run", "app")


def test_a_backend_that_cannot_keep_its_inputs_says_so() -> None:
    with pytest.raises(Contradiction, match="backend null cannot leave its inputs on a device"):
        open_timed(make_job(_plain(), backend="null", plan=make_plan(timed="device")))()
    with pytest.raises(BadInput, match="timed"):
        open_timed(make_job(_plain(), backend="null", plan=make_plan(timed="everything")))
