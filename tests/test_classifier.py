"""What an app embeds."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import threading
import weakref
from concurrent.futures import Future, wait
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import edgecnn
from edgecnn.artifacts import load_artifact
from edgecnn.classifier import Classifier
from edgecnn.data import open_dataset
from edgecnn.errors import BadInput, Contradiction, InferenceError, UnknownName
from edgecnn.preprocess import Canvas, prepare
from edgecnn.runtimes import OpenOptions
from edgecnn.runtimes.base import Array, Feeds
from edgecnn.specs import SPEC_KEY, Preprocess, TensorSpec
from edgecnn.testing.fakes import FakeSession
from edgecnn.testing.models import TINY, TINY_BATCH1

pytest.importorskip("onnxruntime")


def test_public_names_are_complete_and_sorted() -> None:
    assert sorted(edgecnn.__all__) == dir(edgecnn)
    for name in edgecnn.__all__:
        assert getattr(edgecnn, name) is not None
    with pytest.raises(AttributeError):
        edgecnn.nothing  # noqa: B018


def test_one_image_several_images_and_sizes() -> None:
    generator = np.random.default_rng(0)
    images = [generator.integers(0, 256, shape, np.uint8) for shape in ((8, 8), (30, 20, 1), (5, 9, 3), (16, 16, 4))]
    with edgecnn.load(TINY) as classifier:
        together = classifier.classify(images, top=3)
        apart = [classifier.classify(image, top=3) for image in images]
    for one, other in zip(together, apart, strict=True):
        assert [best.index for best in one] == [best.index for best in other]
        assert [best.probability for best in one] == pytest.approx([best.probability for best in other], rel=1e-5)
        assert sum(best.probability for best in one) == pytest.approx(1)


def test_a_stacked_array_is_a_batch() -> None:
    images = np.zeros((3, 8, 8, 1), np.uint8)
    with edgecnn.load(TINY) as classifier:
        assert len(classifier.classify(images, top=1)) == 3


def test_a_file_for_one_image_takes_a_batch_one_by_one() -> None:
    images = np.random.default_rng(1).integers(0, 256, (4, 8, 8, 1), np.uint8)
    with edgecnn.load(TINY) as free, edgecnn.load(TINY_BATCH1) as fixed:
        np.testing.assert_allclose(fixed.scores(list(images)), free.scores(list(images)), rtol=1e-5, atol=1e-6)


def test_a_file_for_several_images_takes_any_number(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(TINY)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 4
    onnx.save(model, tmp_path / "four.onnx")
    images = list(np.random.default_rng(2).integers(0, 256, (6, 8, 8, 1), np.uint8))
    with edgecnn.load(TINY) as free, edgecnn.load(tmp_path / "four.onnx", trusted=True) as fixed:
        for count in (1, 4, 6):
            np.testing.assert_allclose(fixed.scores(images[:count]), free.scores(images[:count]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((8, 8), np.float32),
        np.full((8, 8, 3), np.nan),
        np.zeros((8, 8, 2), np.uint8),
        np.zeros((3, 8, 8), np.uint8),
        np.zeros((0, 8), np.uint8),
        np.zeros(8, np.uint8),
        np.asarray(5, np.uint8),
        np.zeros((0, 8, 8, 3), np.uint8),
        np.zeros((1, 1, 8, 8, 3), np.uint8),
        [],
        "no-such-shoe.png",
        [None],
        None,
        3,
        b"\x89PNG",
        [[1, 2], [3, 4]],
        ["no-such-shoe.png"],
    ],
    ids=[
        *(
            "float",
            "NaN",
            "channels",
            "channels first",
            "empty",
            "a row",
            "a pixel",
            "empty batch",
            "5 dimensions",
            "none",
        ),
        *("missing file", "not an image", "nothing", "a number", "bytes", "numbers", "missing files"),
    ],
)
def test_what_is_no_image_is_refused(images: object) -> None:
    with edgecnn.load(TINY) as classifier:
        with pytest.raises(BadInput):
            classifier.classify(images)  # type: ignore[call-overload]
        with pytest.raises(BadInput):
            classifier.classify(np.zeros((8, 8), np.uint8), top=0)


def test_a_file_of_another_origin_runs_but_does_not_classify(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(TINY)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "foreign.onnx")
    with edgecnn.load(tmp_path / "foreign.onnx") as classifier:
        assert classifier.run({"input": np.zeros((2, 1, 8, 8), np.float32)})["logits"].shape == (2, 3)
        with pytest.raises(BadInput, match="does not say how images become its input"):
            classifier.classify(np.zeros((8, 8), np.uint8))


def test_labels_that_only_a_run_shows_to_be_too_few_are_refused(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(TINY)
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "classes"
    (entry,) = (entry for entry in model.metadata_props if entry.key == SPEC_KEY)
    entry.value = json.dumps({**json.loads(entry.value), "labels": ["square"]})
    onnx.save(model, tmp_path / "open.onnx")
    with edgecnn.load(tmp_path / "open.onnx", trusted=True) as classifier:
        assert classifier.artifact.spec.outputs[0].shape == ("N", "classes")
        with pytest.raises(BadInput, match="labels: expected 3 names, got 1"):
            classifier.classify(np.zeros((8, 8), np.uint8))


def test_trained_weights_know_clothes(lenet5: Path) -> None:
    data = open_dataset("fashion-mnist").split("test")
    with edgecnn.load(lenet5) as classifier:
        answers = classifier.classify([data.images[i] for i in range(200)], top=1)
    right = sum(best[0].index == label for best, label in zip(answers, data.labels, strict=False))
    assert right >= 170


# --- what load takes


def test_preset_and_options_exclude_each_other() -> None:
    with pytest.raises(Contradiction, match="preset and options exclude each other"):
        edgecnn.load(TINY, preset="embedded", options=OpenOptions(threads=1))


def test_a_preset_is_what_runs(tmp_path: Path) -> None:
    with edgecnn.load(TINY, preset="shared") as shared, edgecnn.load(TINY) as plain:
        assert shared.info().threads == 1
        assert (shared.info().options["spinning"], plain.info().options["spinning"]) == (False, True)
    with pytest.raises(UnknownName, match="unknown preset 'embeded'"):
        edgecnn.load(TINY, preset="embeded")


@pytest.mark.parametrize("path", [None, 3, b"a.onnx", "a\0.onnx", "", "missing.onnx", "."])
def test_what_is_no_model_is_refused(path: object) -> None:
    with pytest.raises(BadInput):
        edgecnn.load(path)  # type: ignore[arg-type]


# --- what classify takes


def test_paths_and_images_of_pillow_are_images(tmp_path: Path) -> None:
    image_module = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    picture = image_module.fromarray(pixels)
    picture.save(tmp_path / "a.png")
    with edgecnn.load(TINY) as classifier:
        wanted = classifier.classify(pixels)
        for given in (tmp_path / "a.png", str(tmp_path / "a.png"), picture):
            assert classifier.classify(given) == wanted
        together = classifier.classify([pixels, picture, tmp_path / "a.png"])
        assert [[one.index for one in best] for best in together] == [[one.index for one in wanted]] * 3
        assert classifier.classify(iter([pixels])) == [wanted]


def test_an_array_needs_no_pillow() -> None:
    code = (
        "import sys; sys.modules['PIL'] = None\n"
        "import numpy, edgecnn\n"
        "from edgecnn.errors import MissingDependency\n"
        "from edgecnn.testing.models import TINY\n"
        "with edgecnn.load(TINY) as classifier:\n"
        "    classifier.classify(numpy.zeros((9, 9, 3), numpy.uint8))\n"
        "    try:\n"
        "        classifier.classify(TINY)\n"
        "    except MissingDependency as error:\n"
        "        print(error.hint)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "pip install 'edgecnn[images]'\n"


def test_views_of_larger_images_are_images() -> None:
    whole = np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)
    with edgecnn.load(TINY) as classifier:
        for view in (whole[5:21, 7:31], whole[::-1, ::2], whole[..., ::-1], whole[:8, :8], np.asfortranarray(whole)):
            assert classifier.classify(view) == classifier.classify(view.copy())
        frozen = whole.copy()
        frozen.flags.writeable = False
        assert classifier.classify(frozen) == classifier.classify(whole)


@pytest.mark.parametrize("dtype", ["int8", "bool", "uint16", ">u2", "float32", "float64"])
def test_arrays_of_exactly_the_models_size_are_looked_at_too(dtype: str) -> None:
    with (
        edgecnn.load(TINY) as classifier,
        pytest.raises(BadInput, match=r"image: expected uint8 \[height, width, 1, 3 or 4\]"),
    ):
        classifier.classify(np.zeros((8, 8, 1), dtype))


def test_an_image_of_exactly_the_models_size_goes_straight_to_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = np.random.default_rng(3).integers(0, 256, (8, 8, 1), np.uint8)
    with edgecnn.load(TINY) as classifier:
        expected = classifier.classify([exact])[0]
        monkeypatch.setattr(Canvas, "prepare", None)
        assert classifier.classify(exact) == expected


def test_scores_are_of_whatever_is_an_image(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    exact = np.random.default_rng(3).integers(0, 256, (8, 8, 1), np.uint8)
    image.fromarray(exact[..., 0]).save(tmp_path / "a.png")
    with edgecnn.load(TINY) as classifier:
        expected = classifier.scores([exact])
        for given in (tmp_path / "a.png", image.open(tmp_path / "a.png")):
            np.testing.assert_array_equal(classifier.scores([given]), expected)
        np.testing.assert_array_equal(classifier.scores(exact[None]), expected)
        with pytest.raises(BadInput, match="images: expected several"):
            classifier.scores(exact)  # type: ignore[arg-type]


@pytest.mark.parametrize("top", ["3", 1.5, True, 0, None])
def test_top_is_a_whole_number(top: object) -> None:
    with edgecnn.load(TINY) as classifier, pytest.raises(BadInput, match="top: expected"):
        classifier.classify(np.zeros((8, 8), np.uint8), top=top)  # type: ignore[call-overload]


def test_top_is_never_more_than_the_classes() -> None:
    with edgecnn.load(TINY) as classifier:
        for top in (1, 2, 3, 4, 1000):
            assert len(classifier.classify(np.zeros((8, 8), np.uint8), top=top)) == min(top, 3)


def test_scores_are_those_of_the_prepared_input_to_the_bit() -> None:
    images = [np.random.default_rng(size).integers(0, 256, (size, 2 * size, 3), np.uint8) for size in (4, 8, 20)]
    with edgecnn.load(TINY) as classifier:
        preprocess = classifier.artifact.spec.preprocess
        assert preprocess is not None
        for batch in (images, images[:1], images[1:]):
            prepared = prepare(batch, preprocess)
            np.testing.assert_array_equal(classifier.scores(batch), classifier.run({"input": prepared})["logits"])


def test_an_earlier_answer_is_not_changed_by_a_later_one() -> None:
    generator = np.random.default_rng(0)
    with edgecnn.load(TINY) as classifier:
        first = classifier.scores([generator.integers(0, 256, (8, 8), np.uint8)])
        kept = first.copy()
        classifier.scores([generator.integers(0, 256, (8, 8), np.uint8)])
        assert np.array_equal(first, kept)


# --- what an engine may answer


class _Scores(FakeSession):
    """A session that answers with given scores."""

    def __init__(self, scores: Array, shape: tuple[int | str, ...] = ("N", 1, 8, 8)) -> None:
        super().__init__(lambda: None, inputs=(TensorSpec(name="input", dtype="float32", shape=shape),))
        self._scores = scores

    def _run(self, feeds: Feeds) -> dict[str, Array]:
        self.feeds.append({name: array.copy() for name, array in feeds.items()})
        return {"y": self._scores}


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scores_that_are_no_numbers_name_the_output(value: float) -> None:
    scores = np.array([[1.0, value, 2.0]], np.float32)
    with (
        Classifier(load_artifact(TINY), _Scores(scores)) as classifier,
        pytest.raises(InferenceError, match="output y "),
    ):
        classifier.classify(np.zeros((8, 8), np.uint8))


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (1, 0), (0, 3)])
def test_scores_of_another_shape_name_the_output(shape: tuple[int, ...]) -> None:
    classifier = Classifier(load_artifact(TINY), _Scores(np.zeros(shape, np.float32)))
    with pytest.raises(InferenceError, match="output y: expected scores of 1 images, got shape"):
        classifier.classify(np.zeros((8, 8), np.uint8))


@pytest.mark.parametrize("shape", [("N", 3, 8, 8), ("N", 1, 8, 9), ("N", 64), (), (0, 1, 8, 8)])
def test_a_graph_that_takes_something_else_is_named(shape: tuple[int | str, ...]) -> None:
    classifier = Classifier(load_artifact(TINY), _Scores(np.zeros((1, 3), np.float32), shape))
    with pytest.raises(BadInput, match=r"preprocess makes \[1, 8, 8\] of an image, the graph takes \["):
        classifier.classify(np.zeros((8, 8), np.uint8))


def test_a_preprocess_that_nobody_can_pay_for_is_refused() -> None:
    artifact = load_artifact(TINY)
    assert artifact.spec.preprocess is not None
    for changes, message in (
        ({"size": (1 << 20, 1 << 20)}, "preprocess makes"),
        ({"std": (1e-42,)}, "mean and std that float32 can work with"),
        ({"mean": (float("nan"),)}, "mean and std that float32 can work with"),
    ):
        preprocess: Preprocess = replace(artifact.spec.preprocess, **changes)  # type: ignore[arg-type]
        strange = replace(artifact, spec=replace(artifact.spec, preprocess=preprocess))
        session = _Scores(np.zeros((1, 3), np.float32), ("N", 1, "H", "W"))
        with pytest.raises(BadInput, match=message):
            Classifier(strange, session).classify(np.zeros((8, 8), np.uint8))


# --- warm-up


def test_warm_up_runs_every_batch_and_tells_the_times() -> None:
    session = _Scores(np.zeros((1, 3), np.float32))
    classifier = Classifier(load_artifact(TINY), session)
    times = classifier.warm_up((1, 4), runs=2)
    assert list(times) == [1, 4]
    assert all(len(runs) == 2 and min(runs) > 0 for runs in times.values())
    assert [feeds["input"].shape[0] for feeds in session.feeds] == [1, 1, 4, 4]
    assert not any(feeds["input"].any() for feeds in session.feeds)
    assert list(classifier.warm_up()) == [1]


def test_warm_up_of_a_fixed_batch_runs_that() -> None:
    with edgecnn.load(TINY_BATCH1) as classifier:
        assert len(classifier.warm_up(8, runs=1)[8]) == 1


@pytest.mark.parametrize(("batch", "runs"), [(0, 1), (-1, 1), (1, 0), ((), 1), ((1, 0), 1)])
def test_warm_up_of_nothing_is_refused(batch: int | tuple[int, ...], runs: int) -> None:
    with edgecnn.load(TINY) as classifier, pytest.raises(BadInput, match=r"(runs|batch|batches): expected"):
        classifier.warm_up(batch, runs=runs)


def test_warm_up_cannot_guess_a_free_size() -> None:
    classifier = Classifier(load_artifact(TINY), _Scores(np.zeros((1, 3), np.float32), ("N", 1, "H", "W")))
    with pytest.raises(BadInput, match=r"input of shape \[N, 1, H, W\] has no size of its own"):
        classifier.warm_up()


# --- futures


def test_futures_give_what_the_calls_give() -> None:
    generator = np.random.default_rng(0)
    images = list(generator.integers(0, 256, (50, 8, 8, 1), np.uint8))
    feeds = {"input": generator.standard_normal((3, 1, 8, 8), np.float32)}
    with edgecnn.load(TINY) as classifier:
        answers = [classifier.classify_async(image, top=2) for image in images]
        ran = classifier.run_async(feeds)
        assert [answer.result(30) for answer in answers] == [classifier.classify(image, top=2) for image in images]
        np.testing.assert_array_equal(ran.result(30)["logits"], classifier.run(feeds)["logits"])
        assert [len(best) for best in classifier.classify_async(images[:2]).result(30)] == [3, 3]
        with pytest.raises(BadInput):
            classifier.classify_async("missing.png").result(30)


def test_without_futures_there_are_no_threads() -> None:
    before = threading.active_count()
    with edgecnn.load(TINY, options=OpenOptions(threads=1)) as classifier:
        classifier.classify(np.zeros((8, 8), np.uint8))
        assert threading.active_count() == before
        classifier.classify_async(np.zeros((8, 8), np.uint8)).result(30)
        assert threading.active_count() > before
    assert threading.active_count() == before


class _Slow(_Scores):
    """A session whose runs wait to be let go."""

    def __init__(self) -> None:
        super().__init__(np.zeros((1, 3), np.float32))
        self.begun, self.go = threading.Semaphore(0), threading.Event()

    def _run(self, feeds: Feeds) -> dict[str, Array]:
        self.begun.release()
        assert self.go.wait(30)
        return super()._run(feeds)


def test_closing_ends_what_has_begun_and_refuses_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgecnn.classifier.usable_threads", lambda: 1)
    session = _Slow()
    classifier = Classifier(load_artifact(TINY), session)
    futures = [classifier.classify_async(np.zeros((8, 8), np.uint8)) for _ in range(3)]
    assert session.begun.acquire(timeout=30)
    closing = threading.Thread(target=classifier.close)
    closing.start()
    session.go.set()
    closing.join(30)
    assert not closing.is_alive()
    done, _ = wait(futures, 30)
    assert len(done) == 3
    assert len(futures[0].result(0)) == 3
    for future in futures[1:]:
        with pytest.raises(RuntimeError, match="this classifier is closed"):
            future.result(0)
    assert session.feeds == session.feeds[:1]


def test_a_classifier_may_be_closed_by_its_own_thread() -> None:
    classifier = edgecnn.load(TINY)
    closed: Future[None] = Future()

    def close(_: object) -> None:
        classifier.close()
        closed.set_result(None)

    classifier.classify_async(np.zeros((8, 8), np.uint8)).add_done_callback(close)
    closed.result(30)


# --- after close


def test_use_after_close_is_said() -> None:
    classifier = edgecnn.load(TINY)
    image = np.zeros((8, 8), np.uint8)
    classifier.classify(image)
    classifier.close()
    classifier.close()
    for call in (
        lambda: classifier.classify(image),
        lambda: classifier.classify([]),
        lambda: classifier.scores([image]),
        lambda: classifier.run({"input": np.zeros((1, 1, 8, 8), np.float32)}),
        lambda: classifier.run_async({}),
        lambda: classifier.classify_async(image),
        classifier.warm_up,
        classifier.info,
    ):
        with pytest.raises(RuntimeError, match="this classifier is closed"):
            call()
    assert classifier.inputs[0].name == "input"


@pytest.mark.usefixtures("few_objects")
def test_a_classifier_that_nobody_holds_is_gone() -> None:
    classifier = edgecnn.load(TINY)
    classifier.classify(np.zeros((8, 8), np.uint8))
    gone = weakref.ref(classifier)
    del classifier
    gc.collect()
    assert gone() is None


# --- threads


def _agree(path: Path, *, calls: int, threads: int, shapes: tuple[tuple[int, ...], ...]) -> int:
    """Return how many answers of several threads differ from one thread's in any bit."""
    generator = np.random.default_rng(0)
    images = [generator.integers(0, 256, shape, np.uint8) for shape in shapes * 4]
    wrong: list[int] = []
    with edgecnn.load(path, options=OpenOptions(threads=1)) as classifier:
        wanted = [classifier.classify(image) for image in images]

        def work(offset: int) -> None:
            for step in range(calls // threads):
                index = (step * 7 + offset) % len(images)
                if classifier.classify(images[index]) != wanted[index]:
                    wrong.append(index)

        workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    return len(wrong)


def test_threads_get_what_one_thread_gets() -> None:
    assert _agree(TINY, calls=800, threads=8, shapes=((8, 8), (30, 20, 3), (9, 9, 4))) == 0


def test_objects_say_what_they_are_in_a_line() -> None:
    threads = OpenOptions(threads=1)
    with edgecnn.load(TINY, options=threads) as classifier, edgecnn.Pool(TINY, 2, options=threads) as pool:
        version = classifier.info().engine_version
        session = f"on cpu (onnxruntime {version}), threads 1>"
        assert repr(classifier).startswith("<Classifier tiny.onnx: <")
        assert repr(classifier).endswith(f"{session}>")
        assert str(TINY.parent) not in repr(classifier)
        with pool.lend():
            assert repr(pool) == f"<Pool of 2, 1 free: {classifier!r}>"
        batcher = edgecnn.Batcher(classifier, max_batch=4)
        assert repr(batcher) == f"<Batcher, batches of 1 to 4: {classifier!r}>"
        batcher.close()
        assert repr(batcher) == f"<Batcher, closed: {classifier!r}>"
    assert repr(classifier) == "<Classifier tiny.onnx: closed>"
    assert repr(pool) == "<Pool of 2, closed: <Classifier tiny.onnx: closed>>"


@pytest.mark.slow
def test_a_larger_image_file_is_refused_unless_it_is_allowed(tmp_path: Path) -> None:
    from edgecnn.images import MAX_PIXELS, TooManyPixels

    (tmp_path / "a.ppm").write_bytes(b"P6 30 20 255\n" + bytes(1800))
    wide = tmp_path / "wide.pgm"
    wide.write_bytes(b"P5 5000 5000 255\n" + bytes(25_000_000))
    assert MAX_PIXELS < 25_000_000
    with edgecnn.load(TINY, max_pixels=599) as small, edgecnn.load(TINY, max_pixels=25_000_000) as large:
        with pytest.raises(TooManyPixels, match="expected at most 599 pixels, got 30 x 20"):
            small.classify(tmp_path / "a.ppm")
        with edgecnn.Batcher(small) as batcher, pytest.raises(TooManyPixels):
            batcher.submit(tmp_path / "a.ppm")
        assert len(small.classify(np.zeros((20, 30), np.uint8))) == 3, "arrays may have any size"
        assert len(large.classify(wide)) == 3
    with edgecnn.Pool(TINY, 1, max_pixels=599) as pool, pytest.raises(TooManyPixels):
        pool.classify(tmp_path / "a.ppm")
    with edgecnn.load(TINY) as usual, pytest.raises(TooManyPixels):
        usual.classify(wide)
    for wrong in (0, 1.5, "many"):
        with pytest.raises(BadInput, match="max_pixels"):
            edgecnn.load(TINY, max_pixels=wrong)  # type: ignore[arg-type]
