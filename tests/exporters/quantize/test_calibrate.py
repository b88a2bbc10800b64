from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgecnn.data.dataset import Split
from edgecnn.errors import QuantizeError
from edgecnn.exporters.quantize import QuantizeConfig
from edgecnn.exporters.quantize.calibrate import calibrate, spread
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
    found = observe(model, np.full((2, 8, 8, 1), 255, np.uint8), "y")  # 2 once it is prepared
    assert found["y"] == Range(
        0.0, 1.0
    )  # where the window has a zero of the Pad: the greatest value, as all others are -2


@pytest.mark.parametrize("method", ["percentile", "mse"])
def test_histogram_methods_stay_inside_the_observed_range(model: Any, images: Array, method: str) -> None:
    whole, cut = observe(model, images, "c"), observe(model, images, "c", method=method)
    assert whole["c"].low <= cut["c"].low < 0.5 * whole["c"].low
    assert 0.5 * whole["c"].high < cut["c"].high <= whole["c"].high


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


def test_progress_counts_every_image_of_every_pass(model: Any, images: Array) -> None:
    for method, total in (("minmax", 96), ("mse", 192)):
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
