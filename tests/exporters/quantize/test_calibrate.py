from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgecnn.data.dataset import Split
from edgecnn.errors import BadInput, QuantizeError
from edgecnn.exporters.quantize import QuantizeConfig
from edgecnn.exporters.quantize.calibrate import Calibrator, calibrate
from edgecnn.exporters.quantize.calibration_cache import RangeCache
from edgecnn.exporters.quantize.calibration_images import spread
from edgecnn.exporters.quantize.ranges import Range
from edgecnn.preprocess import prepare
from edgecnn.specs import Preprocess, TensorSpec

Array = NDArray[Any]
RNG = np.random.default_rng(0)
PREPROCESS = Preprocess(size=(8, 8), channels=1, fit="stretch", mean=(0.5,), std=(0.25,))
TEXT = "g (float[N,1,8,8] x) => (float[N,4,6,6] y) { c = Conv(x, w) r = Relu(c) y = Tanh(r) }"


def source(batch: int | str = "N") -> TensorSpec:
    return TensorSpec(name="x", dtype="float32", shape=(batch, 1, 8, 8))


def split(images: Any) -> Split:
    return Split("calibration", images, np.zeros(len(images), np.int64), trained=True)


def values(model: Any, *wanted: str) -> list[Any]:
    found = {value.name: value for node in model.graph for value in node.outputs}
    found.update({value.name: value for value in model.graph.inputs})
    return [found[name] for name in wanted]


@pytest.fixture
def model(parse: Callable[..., Any]) -> Any:
    return parse(TEXT, w=RNG.standard_normal((4, 1, 3, 3)).astype(np.float32))


def observe(model: Any, images: Any, *wanted: str, batch: int | str = "N", **options: Any) -> dict[str, Range]:
    return calibrate(
        model,
        values(model, *wanted),
        source=source(batch),
        preprocess=PREPROCESS,
        images=split(images),
        config=QuantizeConfig(**options),
    )


def test_ranges_are_those_of_all_images_at_once(parse: Any, run: Any, model: Any, images: Array) -> None:
    found = observe(model, images, "x", "c", "r")
    exposed = parse(
        TEXT.replace("y)", "y, float[N,4,6,6] c, float[N,4,6,6] r)", 1),
        w=model.graph.initializers["w"].const_value.numpy(),
    )
    x = prepare(images, PREPROCESS)
    _, c, r = run(exposed, x=x)
    assert found["x"] == Range(float(x.min()), float(x.max()))
    assert found["c"].low == pytest.approx(float(c.min()), rel=1e-5)
    assert found["c"].high == pytest.approx(float(c.max()), rel=1e-5)
    assert found["r"] == Range(0.0, pytest.approx(float(r.max()), rel=1e-5))


@pytest.mark.parametrize("kernel", [1, 3])
def test_ranges_are_those_of_the_graph_as_written(parse: Any, kernel: int) -> None:
    model = parse(
        "g (float[N,1,8,8] x) => (float[N,1,h,w] y) "
        f"{{ n = Neg(x) p = Pad(n, pads) m = MaxPool<kernel_shape=[{kernel},{kernel}]>(p) y = Exp(m) }}",
        pads=np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64),
    )
    white = np.full((2, 8, 8, 1), 255, np.uint8)  # 2 once it is prepared
    white[1, 0, 0] = 254
    found = observe(model, white, "y")
    assert found["y"] == Range(
        0.0, 1.0
    )  # where the window has a zero of the Pad: the greatest value, as all others are about -2


@pytest.mark.parametrize("method", ["percentile", "entropy", "mse"])
def test_histogram_methods_stay_inside_the_observed_range(model: Any, images: Array, method: str) -> None:
    whole, cut = observe(model, images, "c"), observe(model, images, "c", method=method)
    assert whole["c"].low <= cut["c"].low < 0.5 * whole["c"].low
    assert 0.5 * whole["c"].high < cut["c"].high <= whole["c"].high


def test_the_moving_average_steps_by_groups_of_eight(parse: Any, model: Any, images: Array) -> None:
    found = observe(model, images, "x", method="moving-average")["x"]
    x = prepare(images, PREPROCESS).reshape(len(images) // 8, -1)
    low, high = float(x[0].min()), float(x[0].max())
    for group in x:
        low, high = 0.9 * low + 0.1 * float(group.min()), 0.9 * high + 0.1 * float(group.max())
    assert found.low == pytest.approx(min(low, 0), rel=1e-5)
    assert found.high == pytest.approx(max(high, 0), rel=1e-5)
    assert found.high < float(x.max())


def test_prepared_inputs_give_the_ranges_of_their_images(model: Any, images: Array) -> None:
    assert observe(model, prepare(images, PREPROCESS), "x", "c") == observe(model, images, "x", "c")


@pytest.mark.parametrize("shape", [(8, 8, 1), (8, 8, 3), (5, 9, 3)])
@pytest.mark.parametrize("prepared", [False, True])
def test_images_of_one_colour_are_refused(parse: Any, shape: tuple[int, ...], prepared: bool) -> None:
    """Means by channel make three values of one gray, and a border two of any."""
    pads = Preprocess(
        size=(8, 8), channels=shape[2], fit="pad", mean=(0.1, 0.2, 0.3)[: shape[2]], std=(0.5,) * shape[2]
    )
    model = parse(TEXT.replace("N,1,8", f"N,{shape[2]},8"), w=np.ones((4, shape[2], 3, 3), np.float32))
    one = TensorSpec(name="x", dtype="float32", shape=("N", shape[2], 8, 8))
    empty = np.stack([np.full(shape, level, np.uint8) for level in (80, 80, 81)])
    if prepared:
        empty = np.stack([np.full((shape[2], 8, 8), level, np.float32) for level in (0.5, 0.5, 0.7)])
    images = [*empty, empty[0].copy()]
    calibrator = Calibrator(source=one, preprocess=pads, images=split(images))
    with pytest.raises(BadInput, match="all 4 calibration images are of one colour throughout"):
        calibrator.tables(model, values(model, "c"), ("minmax",))
    images[3][0, 0] = 0
    images[3][-1, -1, -1] = 1
    assert calibrator.tables(model, values(model, "c"), ("minmax",))["minmax"].ranges["c"].high > 0


def test_a_constant_activation_is_a_point_and_named(parse: Any, images: Array) -> None:
    model = parse(
        "g (float[N,1,8,8] x) => (float[N,4,6,6] y) { c = Conv(x, w, b) r = Relu(c) y = Tanh(r) }",
        w=np.zeros((4, 1, 3, 3), np.float32),
        b=np.full(4, 2.5, np.float32),
    )
    calibrator = Calibrator(source=source(), preprocess=PREPROCESS, images=split(images))
    table = calibrator.tables(model, values(model, "x", "c", "r"), ("minmax", "entropy"))
    for one in table.values():
        assert set(one.constant) == {"c", "r", "y"}
        assert one.ranges["r"] == Range(0.0, 2.5)


def cached(folder: Path, images: Any, notes: list[str], **options: Any) -> Calibrator:
    cache = RangeCache(folder, notes.append)
    return Calibrator(source=source(), preprocess=PREPROCESS, images=split(images), cache=cache, **options)


def test_ranges_are_found_again_by_content(parse: Any, model: Any, images: Array, tmp_path: Path) -> None:
    notes: list[str] = []
    seen: list[int] = []

    def find(images: Any = images, model: Any = model, *methods: Any, **options: Any) -> Any:
        calibrator = cached(tmp_path, images, notes, **options)
        tables = calibrator.tables(
            model, values(model, "x", "c"), methods or ("mse",), lambda done, total: seen.append(done)
        )
        assert calibrator.from_cache == (not seen)
        seen.clear()
        return calibrator.from_cache, tables

    fresh, table = find()
    assert not fresh
    again = find(images.copy(), model.clone())
    assert again == (True, table)
    other = images.copy()
    other[3, 0, 0] ^= 1
    assert not find(other)[0]
    assert not find(images[:-1])[0]
    assert not find(images[::-1])[0]  # the moving average depends on the order
    assert not find(images, parse(TEXT, w=RNG.standard_normal((4, 1, 3, 3)).astype(np.float32)))[0]
    assert not find(images, model, "percentile")[0]
    assert find(images, model, "percentile")[0]
    assert not find(images, model, "percentile", percentile=99.0)[0]
    both, tables = find(images, model, "mse", "minmax")
    assert not both  # one of them had to be observed
    assert tables["mse"] == table["mse"]
    assert notes == []
    assert all(path.suffix == ".json" for path in tmp_path.iterdir())


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"format": "edgecnn.ranges/1"}', b"\xff\xfe", b"nan"])
def test_a_damaged_cache_counts_for_nothing(model: Any, images: Array, tmp_path: Path, damage: bytes) -> None:
    notes: list[str] = []
    first = cached(tmp_path, images, notes).tables(model, values(model, "c"), ("mse",))
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(damage)
    calibrator = cached(tmp_path, images, notes)
    assert calibrator.tables(model, values(model, "c"), ("mse",)) == first
    assert not calibrator.from_cache
    assert len(notes) == 1
    assert str(path) in notes[0]
    assert path.read_bytes() == whole


def test_a_cache_with_ranges_that_cannot_be_counts_for_nothing(model: Any, images: Array, tmp_path: Path) -> None:
    notes: list[str] = []
    first = cached(tmp_path, images, notes).tables(model, values(model, "c"), ("mse",))
    (path,) = tmp_path.iterdir()
    document = json.loads(path.read_text())
    document["ranges"]["c"] = [1.0, float("nan")]
    path.write_text(json.dumps(document))
    assert cached(tmp_path, images, notes).tables(model, values(model, "c"), ("mse",)) == first
    assert "damaged" in notes[0]


def test_a_cache_that_cannot_be_written_does_not_stop_the_work(model: Any, images: Array, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    notes: list[str] = []
    assert cached(tmp_path / "file", images, notes).tables(model, values(model, "c"), ("minmax",))
    assert any("not cached" in note for note in notes)


def test_a_fixed_batch_is_filled_up(parse: Any, images: Array) -> None:
    w = RNG.standard_normal((4, 1, 3, 3)).astype(np.float32)
    free, fixed = parse(TEXT, w=w), parse(TEXT.replace("N", "5"), w=w)
    assert observe(fixed, images, "c", batch=5)["c"].high == pytest.approx(
        observe(free, images, "c")["c"].high, rel=1e-5
    )


class Images(Sequence[Array]):
    """Images that are made when they are asked for, and how many of them are alive at a time."""

    def __init__(self, count: int) -> None:
        self.count, self.alive, self.most = count, 0, 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, item: Any) -> Any:
        if isinstance(item, slice):
            return [self[i] for i in range(self.count)[item]]
        if not 0 <= item < self.count:
            raise IndexError(item)
        image = np.random.default_rng(item).integers(0, 256, (8, 8, 1)).astype(np.uint8)
        self.alive += 1
        self.most = max(self.most, self.alive)
        weakref.finalize(image, self._gone)
        return image

    def _gone(self) -> None:
        self.alive -= 1

    def __iter__(self) -> Iterator[Array]:
        return (self[i] for i in range(self.count))


def test_no_more_images_are_held_than_a_few_batches_have(model: Any) -> None:
    many = Images(600)
    observe(model, many, "c")
    assert many.most <= 200
    few = Images(60)
    observe(model, few, "c")
    assert few.most == 60


def test_progress_counts_every_image_once_whatever_the_method(model: Any, images: Array) -> None:
    for method, total in (("minmax", 96), ("mse", 96)):
        seen: list[tuple[int, int]] = []
        calibrate(
            model,
            values(model, "c"),
            source=source(),
            preprocess=PREPROCESS,
            images=split(images),
            config=QuantizeConfig(method=method),  # type: ignore[arg-type]
            on_progress=lambda done, whole, seen=seen: seen.append((done, whole)),  # type: ignore[misc]
        )
        assert seen[-1] == (total, total)
        assert [done for done, _ in seen] == sorted({done for done, _ in seen})


@pytest.mark.parametrize(
    ("body", "culprit"),
    [
        ("c = Conv(x, w) n = Sqrt(c) y = Exp(n)", r"sqrt_1 \(Sqrt\)"),
        ("c = Conv(x, w) n = Mul(c, huge) y = Mul(n, huge)", r"mul_2 \(Mul\)"),
        ("c = Conv(x, broken) n = Neg(c) y = Neg(n)", r"conv_0 \(Conv\)"),
    ],
)
def test_the_node_that_breaks_is_named(parse: Any, images: Array, body: str, culprit: str) -> None:
    broken = np.ones((4, 1, 3, 3), np.float32)
    broken[2] = np.nan
    model = parse(
        f"g (float[N,1,8,8] x) => (float[N,4,6,6] y) {{ {body} }}",
        w=np.ones((4, 1, 3, 3), np.float32),
        huge=np.float32(1e30),
        broken=broken,
    )
    with pytest.raises(QuantizeError, match=culprit):
        observe(model, images, "c", "n", "y")


def test_images_are_spread_over_a_sorted_set() -> None:
    numbers = np.arange(100)
    made = Split("train", numbers[:, None, None, None].astype(np.uint8), numbers, trained=True)
    assert spread(made, 5).labels.tolist() == [0, 25, 50, 74, 99]
    assert [int(image[0, 0, 0]) for image in spread(made, 5).images] == [0, 25, 50, 74, 99]
    assert spread(made, None) is made
    assert spread(made, 100) is made


def test_images_are_fetched_one_by_one() -> None:
    lazy = Images(100)
    chosen = spread(split(lazy), 10)
    assert lazy.most == 0
    batch = [images for images, _ in chosen.batches(4)]
    assert [len(images) for images in batch] == [4, 4, 2]
    assert np.array_equal(batch[2][1], lazy[99])
    assert len(chosen.take(3)) == 3
