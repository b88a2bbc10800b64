from __future__ import annotations

import io
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from edgecnn import images
from edgecnn.errors import BadInput
from edgecnn.images import (
    MAX_PIXELS,
    SUFFIXES,
    NoImage,
    TooManyPixels,
    decode_image,
    pillow_pixels,
    read_image,
    to_pixels,
)
from edgecnn.quiet import Quiet

ROOT = Path(__file__).parents[1]
Pixels = NDArray[np.uint8]


def _noise(height: int, width: int, channels: int = 3) -> Pixels:
    return np.random.default_rng(1).integers(0, 256, (height, width, channels), dtype=np.uint8)


def _save(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def _encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


# --- PPM and PGM, read without Pillow


@pytest.mark.parametrize("channels", [1, 3])
def test_netpbm_files_of_pillow_are_read(tmp_path: Path, channels: int) -> None:
    pixels = _noise(5, 7, channels)
    path = _save(tmp_path / f"a.{'pgm' if channels == 1 else 'ppm'}", Image.fromarray(pixels.squeeze()))
    assert path.read_bytes()[:2] == (b"P5" if channels == 1 else b"P6")
    out = read_image(path)
    assert (out.dtype, out.shape) == (np.uint8, (5, 7, channels))
    assert np.array_equal(out, pixels)


@pytest.mark.parametrize(
    "header",
    [
        b"P5\n3 2\n255\n",
        b"P5 3 2 255 ",
        b"P5\n# made by hand\n3 # width\n2\n# levels: 1 2 3\n255\n",
        b"P5#no gap\n3\t\r\n2\n255\n",
    ],
)
def test_netpbm_headers(tmp_path: Path, header: bytes) -> None:
    (tmp_path / "a.pgm").write_bytes(header + b"\n 0123" + b"more than one image")
    assert read_image(tmp_path / "a.pgm").ravel().tobytes() == b"\n 0123"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"P5", "is not a PPM or PGM image"),
        (b"P5\n3 2\n255", "is not a PPM or PGM image"),
        (b"P6\nred blue\n255\n", "is not a PPM or PGM image"),
        (b"P5\n-3 -2\n255\n012345", "is not a PPM or PGM image"),
        (b"P5\n1_0 2\n255\n" + bytes(20), "is not a PPM or PGM image"),
        (b"P5" + b"\n" * 5000 + b"#" * 5000, "is not a PPM or PGM image"),
        (b"P5\n" + b"9" * 5000 + b" 2\n255\n", "is not a PPM or PGM image"),
        (b"P5\n3 2\n255\n01234", "is cut short: expected 6 bytes, got 5"),
        (b"P6\n3 2\n255\n", "is cut short: expected 18 bytes, got 0"),
        (b"P5\n3 2\n65535\n" + bytes(12), "expected 255 levels and a size, got 65535 levels, 3 x 2"),
        (b"P5\n0 2\n255\n", "expected 255 levels and a size, got 255 levels, 0 x 2"),
        (b"P6\n99999 99999\n255\n", f"expected at most {MAX_PIXELS} pixels, got 99999 x 99999"),
    ],
)
def test_damaged_netpbm_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "a.pgm").write_bytes(data)
    with pytest.raises(BadInput) as caught:
        read_image(tmp_path / "a.pgm")
    assert message in caught.value.message
    assert str(tmp_path) in caught.value.message


# --- with Pillow


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff", ".webp"])
def test_lossless_formats_give_the_pixels(tmp_path: Path, suffix: str) -> None:
    pixels = _noise(9, 6)
    path = _save(tmp_path / f"a{suffix}", Image.fromarray(pixels), lossless=True)
    assert np.array_equal(read_image(str(path)), pixels)


def test_jpeg_gives_what_pillow_decodes(tmp_path: Path) -> None:
    path = _save(tmp_path / "a.jpg", Image.fromarray(np.full((20, 30, 3), (200, 40, 90), np.uint8)), quality=95)
    out = read_image(path)
    assert out.shape == (20, 30, 3)
    assert np.abs(out.astype(int) - (200, 40, 90)).max() <= 3


def test_the_content_counts_and_not_the_suffix(tmp_path: Path) -> None:
    pixels = _noise(4, 4)
    (tmp_path / "a.jpg").write_bytes(_encoded(Image.fromarray(pixels), "PNG"))
    (tmp_path / "b.png").write_bytes(_encoded(Image.fromarray(pixels), "PPM"))
    assert np.array_equal(read_image(tmp_path / "a.jpg"), pixels)
    assert np.array_equal(read_image(tmp_path / "b.png"), pixels)


@pytest.mark.parametrize(
    ("mode", "channels"),
    [("L", 1), ("1", 1), ("LA", 1), ("RGB", 3), ("RGBA", 3), ("P", 3)],
)
def test_modes_of_png(tmp_path: Path, mode: str, channels: int) -> None:
    image = Image.fromarray(_noise(6, 8)).convert(mode)
    out = read_image(_save(tmp_path / "a.png", image))
    assert (out.dtype, out.shape) == (np.uint8, (6, 8, channels))
    wanted = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    assert np.array_equal(out, wanted.reshape(6, 8, channels))


def test_gif_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (5, 4), colour) for colour in ("red", "lime", "blue")]
    path = _save(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    assert np.array_equal(read_image(path), np.full((4, 5, 3), (255, 0, 0), np.uint8))


def test_cmyk_jpeg_becomes_rgb(tmp_path: Path) -> None:
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    out = read_image(_save(tmp_path / "a.jpg", image, quality=95))
    assert out.shape == (16, 16, 3)
    assert np.abs(out.astype(int) - (255, 0, 0)).max() <= 4


@pytest.mark.parametrize("pixels", [np.full((4, 4), 40_000, np.uint16), np.full((4, 4), 0.5, np.float32)])
def test_more_than_8_bits_are_refused(tmp_path: Path, pixels: NDArray[Any]) -> None:
    path = _save(tmp_path / "a.tiff", Image.fromarray(pixels))
    with pytest.raises(BadInput, match="expected 8 bits per channel, got mode "):
        read_image(path)


# What turns the picture upright, by EXIF orientation (CIPA DC-008, tag 0x0112).
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("suffix", [".png", ".webp", ".tiff"])
def test_exif_orientation_turns_the_image_upright(tmp_path: Path, orientation: int, suffix: str) -> None:
    stored = _noise(3, 5)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = _save(tmp_path / f"a{suffix}", Image.fromarray(stored), exif=exif, lossless=True)
    assert np.array_equal(read_image(path), UPRIGHT[orientation](stored))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "CMYK", "L", "P"])
@pytest.mark.parametrize("orientation", [1, 6, 7])
def test_large_images_are_what_pillow_makes_of_them(tmp_path: Path, mode: str, orientation: int) -> None:
    """They are copied band by band, the last of which is not full."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(_noise(700, 901)).convert(mode)
    path = _save(tmp_path / "a.tif", image, exif=exif)
    wanted = np.asarray(image.convert("L" if mode == "L" else "RGB"))
    out = read_image(path)
    assert np.array_equal(out, UPRIGHT[orientation](wanted.reshape(700, 901, -1)))
    assert out.flags.c_contiguous


def test_decoding_takes_little_more_than_the_image(tmp_path: Path) -> None:
    """Pillow's 4 bytes per pixel and the 3 that are returned, and one band; turning takes nothing besides."""
    tracemalloc = pytest.importorskip("tracemalloc")
    exif = Image.Exif()
    exif[0x0112] = 6
    path = _save(tmp_path / "a.jpg", Image.fromarray(_noise(1200, 1000)), exif=exif)
    tracemalloc.start()
    try:
        out = read_image(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # numpy and Python tell of their memory, Pillow's own blocks are not seen.
    assert out.nbytes <= peak < 1.8 * out.nbytes


def test_a_rotated_jpeg_of_a_telephone(tmp_path: Path) -> None:
    stored = np.zeros((32, 64, 3), np.uint8)
    stored[:, :32] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    out = read_image(_save(tmp_path / "a.jpg", Image.fromarray(stored), exif=exif, quality=95))
    assert out.shape == (64, 32, 3)
    assert out[:28].min() > 240
    assert out[36:].max() < 15


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
def test_a_truncated_file_is_refused(tmp_path: Path, kind: str) -> None:
    data = _encoded(Image.fromarray(_noise(64, 64)), kind)
    for share in (0.3, 0.6, 0.9):
        (tmp_path / "a").write_bytes(data[: int(len(data) * share)])
        with pytest.raises(BadInput, match=r"cannot be decoded: .+|is not an image of a known format"):
            read_image(tmp_path / "a")


def _png_header(width: int, height: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [4_097, 13_000, 60_000])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path: Path, side: int) -> None:
    """Below and above the size from which Pillow raises by itself."""
    assert side * side > MAX_PIXELS
    (tmp_path / "a.png").write_bytes(_png_header(side, side))
    with pytest.raises(BadInput, match=f"expected at most {MAX_PIXELS} pixels, got "):
        read_image(tmp_path / "a.png")


def test_the_limit_is_the_callers(tmp_path: Path) -> None:
    image = Image.fromarray(_noise(10, 10))
    for suffix in ("png", "ppm"):
        path = _save(tmp_path / f"a.{suffix}", image)
        assert read_image(path, max_pixels=100).shape == (10, 10, 3)
        with pytest.raises(TooManyPixels):
            read_image(path, max_pixels=99)
        with pytest.raises(TooManyPixels):
            decode_image(path.read_bytes(), max_pixels=99)
        with pytest.raises(TooManyPixels):
            to_pixels(path, max_pixels=99)
    with pytest.raises(BadInput, match="expected at most 99 pixels, got 10 x 10"):
        pillow_pixels(image, max_pixels=99)


def test_formats_of_other_programs_are_not_tried(tmp_path: Path) -> None:
    """EPS is drawn by Ghostscript, a program of its own."""
    path = _save(tmp_path / "a.eps", Image.fromarray(_noise(4, 4)))
    with pytest.raises(BadInput, match="is not an image of a known format"):
        read_image(path)


def test_the_content_of_a_file_is_decoded_as_the_file(tmp_path: Path) -> None:
    for suffix in ("png", "ppm", "pgm"):
        channels = 1 if suffix == "pgm" else 3
        path = _save(tmp_path / f"a.{suffix}", Image.fromarray(_noise(5, 6, channels).squeeze()))
        assert np.array_equal(decode_image(path.read_bytes()), read_image(path))
    with pytest.raises(BadInput, match=r"^upload is not an image of a known format"):
        decode_image(b"hello, world", name="upload")
    with pytest.raises(NoImage):
        decode_image(b"P5 hello, world", name="upload")


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_an_image_of_pillow_is_turned_and_stays_as_it_is(orientation: int) -> None:
    stored = _noise(3, 5)
    image = Image.fromarray(stored)
    image.getexif()[0x0112] = orientation
    assert np.array_equal(to_pixels(image), UPRIGHT[orientation](stored))
    assert image.size == (5, 3)
    assert image.getexif()[0x0112] == orientation


def test_what_may_be_an_image(tmp_path: Path) -> None:
    pixels = _noise(5, 6)
    path = _save(tmp_path / "a.png", Image.fromarray(pixels))
    for one in (path, str(path), Image.fromarray(pixels), pixels):
        assert np.array_equal(to_pixels(one), pixels)
    with Image.open(path) as image:
        assert np.array_equal(to_pixels(image), pixels)
    closed = Image.open(path)
    closed.close()
    with pytest.raises(BadInput, match="image cannot be decoded"):
        to_pixels(closed)
    for other in (path.read_bytes(), None, 3, [[1]], object()):
        with pytest.raises(BadInput, match="expected a uint8 array, a path or an image of Pillow, got "):
            to_pixels(other)


def test_an_empty_image_of_pillow_is_refused() -> None:
    with pytest.raises(BadInput, match="expected at least one pixel, got 0 x 4"):
        to_pixels(Image.new("RGB", (0, 4)))


def test_16_bits_of_colour_are_their_upper_8(tmp_path: Path) -> None:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    row = b"\0" + struct.pack(">6H", 0x0102, 0x7FFF, 0x8000, 0xFFFF, 0x00FF, 0x0100)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0))
    content = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    assert decode_image(content).ravel().tolist() == [0x01, 0x7F, 0x80, 0xFF, 0x00, 0x01]


def test_a_large_photograph_gives_no_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow warns from a size on that cameras reach; the limit here is another one."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    pixels = _noise(9, 9)
    assert np.array_equal(read_image(_save(tmp_path / "a.png", Image.fromarray(pixels))), pixels)


def test_threads_that_decode_leave_the_filters_of_warnings_alone() -> None:
    """The first to begin is the first to end, while the other still decodes."""
    before = list(warnings.filters)
    first, second = _Held.new((4, 4)), _Held.new((4, 4))
    with ThreadPoolExecutor(2) as threads:
        futures = []
        for image in (first, second):
            futures.append(threads.submit(pillow_pixels, image))
            assert image.entered.wait(20)
        for image, future in zip((first, second), futures, strict=True):
            image.gate.set()
            future.result(20)
    after = list(warnings.filters)
    warnings.filters[:] = before  # type: ignore[index]
    assert after == before


class _Held(Image.Image):
    """An image that is decoded when its gate opens."""

    entered: threading.Event
    gate: threading.Event

    @classmethod
    def new(cls, size: tuple[int, int]) -> _Held:
        made = cls()
        made.__dict__.update(Image.new("RGB", size).__dict__)
        made.entered, made.gate = threading.Event(), threading.Event()
        return made

    def load(self) -> Any:
        self.entered.set()
        assert self.gate.wait(20)
        return super().load()


def test_what_others_warn_of_is_seen_while_an_image_is_decoded() -> None:
    with Quiet("PIL"), Quiet("PIL"):
        with pytest.warns(UserWarning, match="seen"):
            warnings.warn("seen", stacklevel=1)
        warnings.warn_explicit("not seen", UserWarning, "x.py", 1, module="PIL.Image")
    with pytest.warns(UserWarning, match="seen again"):
        warnings.warn_explicit("seen again", UserWarning, "x.py", 1, module="PIL.Image")


@pytest.mark.parametrize("data", [b"", b"x", b"not an image at all", b"\xff\xd8\xff", b"GIF89a", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(BadInput, match=f"^{tmp_path}/a.jpg (is not an image of a known format|cannot be decoded)"):
        read_image(tmp_path / "a.jpg")


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"a.jpg does not exist"):
        read_image(tmp_path / "a.jpg")
    with pytest.raises(BadInput, match="is a folder"):
        read_image(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="cannot be read: Not a directory"):
        read_image(tmp_path / "file" / "a.jpg")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "PPM"])
@settings(deadline=None, max_examples=60)
@given(changes=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=6))
def test_damaged_bytes_give_bad_input_or_an_image(
    kind: str, changes: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = bytearray(_encoded(Image.fromarray(_noise(8, 8)), kind))
    for position, value in changes:
        data[position % len(data)] = value
    path = tmp_path_factory.getbasetemp() / f"damaged.{kind}"
    path.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "MAX_PIXELS", 1 << 16)
        try:
            out = read_image(path)
        except BadInput as error:
            assert str(path) in error.message
        else:
            assert out.dtype == np.uint8
            assert out.ndim == 3
            assert out.shape[2] in (1, 3)


def test_without_pillow_the_command_is_told_and_netpbm_still_read(tmp_path: Path) -> None:
    _save(tmp_path / "a.png", Image.new("RGB", (2, 2)))
    _save(tmp_path / "a.ppm", Image.new("RGB", (2, 2), "white"))
    code = f"""
import sys
sys.modules["PIL"] = None
from edgecnn.errors import MissingDependency
from edgecnn.images import read_image
assert read_image({str(tmp_path / "a.ppm")!r}).min() == 255
try:
    read_image({str(tmp_path / "a.png")!r})
except MissingDependency as error:
    print(error.message, error.hint, error.exit_code, sep="|")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "reading a.png needs the package pillow|pip install 'edgecnn[images]'|3\n"


def test_pillow_is_not_imported_before_a_file_needs_it() -> None:
    code = "import sys, edgecnn.images; assert 'PIL' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_suffixes_are_lower_case() -> None:
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in SUFFIXES)
