from __future__ import annotations

import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from edgecnn.errors import BadInput
from edgecnn.preprocess import Canvas, check_image, frame, normalise, prepare, raw_pixels, runs_of_one_size
from edgecnn.resample import Cut, resample
from edgecnn.specs import Preprocess

MIB = 1 << 20
RGB = Preprocess(size=(224, 224), channels=3, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
GRAY = Preprocess(size=(32, 32), channels=1, fit="pad", mean=(0.286,), std=(0.353,))

Pixels = NDArray[np.uint8]


def _noise(height: int, width: int, channels: int = 3, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def _pillow(image: Pixels, height: int, width: int, method: Image.Resampling = Image.Resampling.BILINEAR) -> Pixels:
    single = image.shape[2] == 1
    scaled = np.asarray(Image.fromarray(image[..., 0] if single else image).resize((width, height), method))
    return scaled[..., None] if single else scaled


def _levels(a: Pixels, b: Pixels) -> NDArray[np.int64]:
    assert a.shape == b.shape
    assert a.dtype == b.dtype == np.uint8
    return np.abs(a.astype(np.int64) - b)


# --- scaling

side = st.integers(1, 150)


@given(
    old=st.tuples(side, side),
    new=st.tuples(side, side),
    channels=st.sampled_from([1, 3]),
    seed=st.integers(0, 99),
    method=st.sampled_from(["bilinear", "bicubic"]),
)
def test_filters_equal_pillow_bit_for_bit(
    old: tuple[int, int], new: tuple[int, int], channels: int, seed: int, method: str
) -> None:
    """Columns, then rows; Pillow 13 may take rows first where they shrink far more than columns, others never do."""
    image = _noise(*old, channels, seed)
    if seed % 2:
        image = (image & 1) * np.uint8(255)
    ours = resample(image, Cut(new[0], 0, new[0]), Cut(new[1], 0, new[1]), method)
    theirs = Image.Resampling[method.upper()]
    assert np.array_equal(ours, _pillow(_pillow(image, old[0], new[1], theirs), *new, theirs))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((375, 500), (256, 341)),
        ((1200, 1600), (256, 341)),
        ((1600, 1200), (341, 256)),
        ((28, 28), (224, 224)),
        ((600, 2400), (64, 256)),
        ((1000, 1000), (3, 3)),
    ],
)
def test_sizes_as_they_come_equal_pillow_in_one_call(old: tuple[int, int], new: tuple[int, int]) -> None:
    image = _noise(*old)
    ours = resample(image, Cut(new[0], 0, new[0]), Cut(new[1], 0, new[1]))
    assert np.array_equal(ours, _pillow(image, *new))


@given(old=st.tuples(side, side), new=st.tuples(side, side))
def test_any_sizes_equal_pillow_in_one_call_to_one_level(old: tuple[int, int], new: tuple[int, int]) -> None:
    image = _noise(*old)
    ours = resample(image, Cut(new[0], 0, new[0]), Cut(new[1], 0, new[1]))
    assert _levels(ours, _pillow(image, *new)).max() <= 1


@settings(deadline=None, max_examples=60)
@given(
    old=st.tuples(side, side),
    new=st.tuples(side, side),
    part=st.tuples(*[st.floats(0, 1)] * 4),
    method=st.sampled_from(["bilinear", "bicubic", "nearest"]),
)
def test_a_part_is_that_part_of_the_whole(
    old: tuple[int, int], new: tuple[int, int], part: tuple[float, ...], method: str
) -> None:
    image = _noise(*old)
    whole = resample(image, Cut(new[0], 0, new[0]), Cut(new[1], 0, new[1]), method)
    top, left = int(part[0] * (new[0] - 1)), int(part[1] * (new[1] - 1))
    height, width = 1 + int(part[2] * (new[0] - top - 1)), 1 + int(part[3] * (new[1] - left - 1))
    cut = resample(image, Cut(new[0], top, height), Cut(new[1], left, width), method)
    assert np.array_equal(cut, whole[top : top + height, left : left + width])
    assert cut.flags.c_contiguous


@settings(deadline=None, max_examples=60)
@given(old=st.tuples(side, side), new=st.tuples(side, side))
def test_nearest_takes_the_pixel_under_the_centre(old: tuple[int, int], new: tuple[int, int]) -> None:
    image = _noise(*old)
    ours = resample(image, Cut(new[0], 0, new[0]), Cut(new[1], 0, new[1]), "nearest")
    rows = [min(old[0] - 1, (2 * i + 1) * old[0] // (2 * new[0])) for i in range(new[0])]
    columns = [min(old[1] - 1, (2 * i + 1) * old[1] // (2 * new[1])) for i in range(new[1])]
    assert np.array_equal(ours, image[np.ix_(rows, columns)])


@pytest.mark.parametrize("value", [0, 1, 127, 254, 255])
def test_an_even_image_stays_even(value: int) -> None:
    image = np.full((97, 61, 3), value, np.uint8)
    assert np.all(resample(image, Cut(40, 0, 40), Cut(200, 0, 200)) == value)


# --- geometry


@pytest.mark.parametrize(
    ("old", "scaled", "left", "top"),
    [
        # torchvision: Resize(256) makes the shorter side 256 and the longer one int(256 * long / short); CenterCrop(224)
        # starts at int(round((side - 224) / 2)), where round goes to the even neighbour. Worked out by hand.
        ((375, 500), (256, 341), 58, 16),  # 341.33; (341 - 224) / 2 = 58.5 -> 58
        ((500, 375), (341, 256), 16, 58),
        ((480, 640), (256, 341), 58, 16),
        ((683, 1024), (256, 383), 80, 16),  # 383.81 is cut, not rounded; 79.5 -> 80
        ((400, 600), (256, 384), 80, 16),
        ((333, 500), (256, 384), 80, 16),  # 384.38
        ((100, 101), (256, 258), 17, 16),  # 258.56, upwards
        ((256, 256), (256, 256), 16, 16),
        ((225, 225), (256, 256), 16, 16),
        ((300, 300), (256, 256), 16, 16),
        ((257, 256), (257, 256), 16, 16),  # 16.5 -> 16
        ((259, 256), (259, 256), 16, 18),  # 17.5 -> 18
    ],
)
def test_crop_is_torchvisions_resize_and_center_crop(
    old: tuple[int, int], scaled: tuple[int, int], left: int, top: int
) -> None:
    image = _noise(*old)
    expected = _pillow(image, *scaled)[top : top + 224, left : left + 224]
    assert np.array_equal(frame(image, RGB), expected)


def test_crop_fractions_as_published() -> None:
    """Resize 232 and crop 224 is 224/232, as torchvision's newer weights have it."""
    image = _noise(464, 696)
    spec = replace(RGB, crop_fraction=224 / 232)
    assert np.array_equal(frame(image, spec), _pillow(image, 232, 348)[4:228, 62:286])
    assert np.array_equal(frame(image, replace(RGB, crop_fraction=1.0)), _pillow(image, 224, 336)[:, 56:280])


def test_crop_to_an_oblong() -> None:
    image = _noise(400, 400)
    spec = replace(RGB, size=(128, 64), crop_fraction=1.0)
    assert np.array_equal(frame(image, spec), _pillow(image, 128, 128)[:, 32:96])


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_an_image_of_the_models_size_is_taken_as_it_is(fit: Any) -> None:
    image = _noise(224, 224)
    assert np.array_equal(frame(image, replace(RGB, fit=fit)), image)
    gray = replace(GRAY, fit=fit, size=(224, 224))
    assert np.array_equal(frame(image, gray)[..., 0], np.asarray(Image.fromarray(image).convert("L")))


def test_pad_puts_a_28_pixel_image_untouched_into_32() -> None:
    image = _noise(28, 28, 1)
    framed = frame(image, GRAY)
    assert framed.shape == (32, 32, 1)
    assert np.array_equal(framed[2:30, 2:30], image)
    assert framed.sum(dtype=np.int64) == image.sum(dtype=np.int64)


@pytest.mark.parametrize(
    ("old", "scaled", "top", "left"),
    [((56, 28), (28, 14), 2, 9), ((28, 56), (14, 28), 9, 2), ((10, 10), (28, 28), 2, 2), ((1000, 1), (28, 1), 2, 15)],
)
def test_pad_scales_the_longer_side_and_centres(
    old: tuple[int, int], scaled: tuple[int, int], top: int, left: int
) -> None:
    image = np.full((*old, 1), 200, np.uint8)
    framed = frame(image, GRAY)
    expected = np.zeros((32, 32, 1), np.uint8)
    expected[top : top + scaled[0], left : left + scaled[1]] = 200
    assert np.array_equal(framed, expected)


def test_stretch_ignores_the_aspect() -> None:
    image = _noise(30, 90)
    spec = replace(RGB, size=(48, 40), fit="stretch")
    assert np.array_equal(frame(image, spec), _pillow(image, 48, 40))


def test_nearest_is_kept_through_every_fit() -> None:
    image = np.repeat(np.repeat(_noise(4, 4), 8, axis=0), 8, axis=1)
    spec = replace(RGB, size=(4, 4), crop_fraction=1.0, interpolation="nearest")
    for fit in ("crop", "pad", "stretch"):
        assert np.array_equal(frame(image, replace(spec, fit=fit)), image[::8, ::8])  # type: ignore[arg-type]


# --- colour


def test_luma_is_pillows_exactly() -> None:
    image = _noise(1024, 1024)
    steps = np.array([0, 1, 2, 126, 127, 128, 253, 254, 255], np.uint8)
    corners = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(27, 27, 3)
    for colour in (image, corners):
        spec = Preprocess(size=colour.shape[:2], channels=1, fit="stretch", mean=(0.0,), std=(1.0,))
        assert np.array_equal(frame(colour, spec)[..., 0], np.asarray(Image.fromarray(colour).convert("L")))


def test_gray_becomes_three_equal_channels() -> None:
    image = _noise(224, 224, 1)
    spec = replace(RGB, crop_fraction=1.0)
    assert np.array_equal(frame(image, spec), np.repeat(image, 3, axis=2))
    assert np.array_equal(frame(image[..., 0], spec), np.repeat(image, 3, axis=2))


def test_alpha_is_dropped() -> None:
    image = _noise(40, 50, 4)
    assert np.array_equal(frame(image, RGB), frame(image[..., :3], RGB))
    assert np.array_equal(frame(image, GRAY), frame(image[..., :3], GRAY))


# --- arithmetic


def test_normalise_is_the_formula() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    out = normalise(levels, RGB)
    assert (out.shape, out.dtype, out.flags.c_contiguous) == ((1, 3, 16, 16), np.float32, True)
    for channel in range(3):
        exact = (levels[0, ..., 0] / 255.0 - RGB.mean[channel]) / RGB.std[channel]
        # Two float32 roundings of values up to 4.4 = 1 / 0.225.
        assert np.abs(out[0, channel] - exact).max() < 2 * 4.4 * np.finfo(np.float32).eps


@settings(deadline=None, max_examples=60)
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 70), st.integers(1, 70), st.sampled_from([1, 3])),
    step=st.tuples(st.sampled_from([-2, -1, 1, 3]), st.sampled_from([-1, 1, 2])),
    seed=st.integers(0, 99),
)
def test_normalise_is_one_product_and_one_difference_to_the_bit(
    shape: tuple[int, int, int, int], step: tuple[int, int], seed: int
) -> None:
    spec = replace(RGB, channels=3) if shape[3] == 3 else GRAY
    whole = np.random.default_rng(seed).integers(0, 256, (shape[0], 3 * shape[1], 2 * shape[2], shape[3]), np.uint8)
    frames = whole[:, :: step[0], :: step[1]]
    scale = (1 / (255 * np.asarray(spec.std, np.float32))).astype(np.float32)
    shift = np.asarray(spec.mean, np.float32) / np.asarray(spec.std, np.float32)
    wanted = (frames.astype(np.float32) * scale - shift).transpose(0, 3, 1, 2)
    out = normalise(frames, spec)
    assert out.flags.c_contiguous
    assert np.array_equal(out.view(np.int32), np.ascontiguousarray(wanted).view(np.int32))


@pytest.mark.parametrize("size", [(224, 224), (299, 299), (600, 500)])
def test_large_inputs_are_the_sum_of_their_bands(size: tuple[int, int]) -> None:
    frames = np.stack([_noise(*size), _noise(*size)[::-1]])
    rows = [normalise(frames[:, start : start + 1], RGB) for start in range(size[0])]
    assert np.array_equal(normalise(frames, RGB), np.concatenate(rows, axis=2))


def test_a_canvas_gives_what_prepare_gives_again_and_again() -> None:
    for spec in (RGB, GRAY, replace(RGB, in_graph=True, layout="NHWC")):
        canvas = Canvas(spec)
        for count in (1, 4, 2, 1, 30, 1):
            images = [_noise(40 + count, 30, 3, seed) for seed in range(count)] + [_noise(*spec.size, spec.channels)]
            assert np.array_equal(canvas.prepare(images), prepare(images, spec))


def test_a_canvas_uses_its_memory_again_and_keeps_no_large_batch() -> None:
    canvas = Canvas(RGB)
    image = _noise(224, 224)
    first = canvas.prepare([image])
    assert np.shares_memory(first, canvas.prepare([image]))
    assert first.ctypes.data % 64 == 0
    large = canvas.prepare([image] * 40)
    assert not np.shares_memory(large, canvas.prepare([image] * 40))


def test_prepare_never_gives_the_callers_own_memory() -> None:
    image = _noise(224, 224)
    for spec in (RGB, replace(RGB, in_graph=True, layout="NHWC")):
        assert not np.shares_memory(prepare([image], spec), image)


def test_normalise_by_hand() -> None:
    spec = Preprocess(size=(1, 3), channels=1, mean=(0.5,), std=(0.25,))
    frames = np.array([0, 51, 255], np.uint8).reshape(1, 1, 3, 1)
    assert normalise(frames, spec).ravel().tolist() == pytest.approx([-2.0, -1.2, 2.0], abs=1e-6)


def test_channels_keep_their_order_and_place() -> None:
    frames = np.zeros((1, 2, 2, 3), np.uint8)
    frames[0, 0, 1] = (255, 51, 102)
    spec = Preprocess(size=(2, 2), channels=3, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    out = normalise(frames, spec)
    assert out[0, :, 0, 1].tolist() == pytest.approx([1.0, 0.2, 0.4])
    assert np.count_nonzero(out) == 3


def test_prepare_takes_images_of_many_sizes() -> None:
    images = [_noise(40, 60), _noise(300, 20), _noise(28, 28, 1), _noise(9, 9, 4)]
    out = prepare(images, RGB)
    assert (out.shape, out.dtype) == ((4, 3, 224, 224), np.float32)
    for row, image in zip(out, images, strict=True):
        assert np.array_equal(row, normalise(frame(image, RGB)[None], RGB)[0])


def test_prepare_leaves_pixels_to_a_graph_that_normalises() -> None:
    spec = replace(RGB, in_graph=True, layout="NHWC")
    image = _noise(300, 300)
    out = prepare([image, image], spec)
    assert (out.shape, out.dtype) == ((2, 224, 224, 3), np.uint8)
    assert np.array_equal(out[0], frame(image, RGB))


def test_prepare_takes_a_batch_as_one_array() -> None:
    batch = np.stack([_noise(28, 28, 1, seed) for seed in range(5)])
    assert np.array_equal(prepare(batch, GRAY), prepare(list(batch), GRAY))


# --- bad input


@pytest.mark.parametrize(
    ("image", "got"),
    [
        (np.zeros((4, 4, 3), np.float32), r"float32 \[4, 4, 3\] \(if 0\.\.1: \(255 \* image\).*"),
        (np.zeros((4, 4, 3), np.uint16), r"uint16 \[4, 4, 3\] \(if all 16 bits are used: \(image >> 8\).*"),
        (np.zeros((4, 4), np.int64), r"int64 \[4, 4\] \(if 0\.\.255: image.astype\('uint8'\)\)"),
        (np.zeros((4, 4), bool), r"bool \[4, 4\]"),
        (np.zeros((4, 4, 2), np.uint8), r"uint8 \[4, 4, 2\]"),
        (
            np.zeros((3, 4, 5), np.uint8),
            r"uint8 \[3, 4, 5\] \(channels come last: image\.transpose\(1, 2, 0\)\)",
        ),
        (np.zeros((1, 4, 4, 3), np.uint8), r"uint8 \[1, 4, 4, 3\] \(a batch is a list of images, or one array alone\)"),
        (np.zeros(16, np.uint8), r"uint8 \[16\]"),
        (np.zeros((0, 4, 3), np.uint8), r"uint8 \[0, 4, 3\]"),
        ([[1, 2], [3, 4]], "list"),
        ("photo.jpg", "str"),
        (None, "NoneType"),
    ],
)
def test_what_is_no_image_is_refused(image: Any, got: str) -> None:
    for call in (check_image, lambda given: frame(given, RGB), lambda given: prepare([given], RGB)):
        with pytest.raises(BadInput, match=rf"^image: expected uint8 \[height, width, 1, 3 or 4\], got {got}$"):
            call(image)


@pytest.mark.parametrize(("images", "got"), [([], "none"), (np.zeros((0, 4, 4, 3), np.uint8), "none")])
def test_no_images_are_refused(images: Any, got: str) -> None:
    with pytest.raises(BadInput, match=f"^images: expected a list .*, got {got}$"):
        prepare(images, RGB)


@pytest.mark.parametrize("shape", [(40, 40, 3), (40, 40)])
def test_one_image_is_not_taken_for_a_batch_of_rows(shape: tuple[int, ...]) -> None:
    with pytest.raises(BadInput, match=r"got one image$"):
        prepare(np.zeros(shape, np.uint8), RGB)


# --- memory


def _peak_mib(image: Pixels, spec: Preprocess) -> float:
    tracemalloc.start()
    try:
        frame(image, spec)
        return tracemalloc.get_traced_memory()[1] / MIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("fit", ["crop", *(pytest.param(fit, marks=pytest.mark.slow) for fit in ("pad", "stretch"))])
def test_memory_of_a_photograph_of_12_megapixels(fit: Any) -> None:
    """The photograph itself is 34 MiB; a gray copy of it is 11.4 MiB."""
    image = np.zeros((3000, 4000, 3), np.uint8)
    assert _peak_mib(image, replace(RGB, fit=fit)) < 12
    assert _peak_mib(image, replace(GRAY, fit=fit, size=(224, 224))) < 20


@pytest.mark.parametrize("shape", [(1, 200_000, 3), (200_000, 1, 3), (3, 30_000, 3)])
def test_memory_of_a_long_strip(shape: tuple[int, ...]) -> None:
    image = np.zeros(shape, np.uint8)
    assert frame(image, RGB).shape == (224, 224, 3)
    assert _peak_mib(image, RGB) < 12


# --- for a graph that scales images itself


def test_images_are_put_together_as_long_as_their_size_is_the_same() -> None:
    images = [_noise(4, 5), _noise(4, 5, 1), _noise(5, 4), _noise(4, 5)]
    assert [[image.shape for image in run] for run in runs_of_one_size(images)] == [
        [(4, 5, 3), (4, 5, 1)],
        [(5, 4, 3)],
        [(4, 5, 3)],
    ]
    assert list(runs_of_one_size([])) == []
    large = [_noise(2048, 2048)] * 3
    assert [len(run) for run in runs_of_one_size(large)] == [1, 1, 1]
    with pytest.raises(BadInput, match="got uint16"):
        list(runs_of_one_size([np.zeros((4, 4), np.uint16)]))  # type: ignore[list-item]


def test_pixels_of_any_size_pass_as_they_are() -> None:
    takes = replace(RGB, layout="NHWC", in_graph=True, resize_in_graph=True)
    image = _noise(300, 200)
    assert raw_pixels(image, takes) is image
    assert np.shares_memory(Canvas(takes).prepare([image]), image)
    assert prepare([image, image], takes).shape == (2, 300, 200, 3)
    assert prepare([image[..., 0]], takes).shape == (1, 300, 200, 3)
    with pytest.raises(BadInput, match="one size, 300 x 200 as the first, got 200 x 300"):
        prepare([image, image, image.transpose(1, 0, 2)], takes)
