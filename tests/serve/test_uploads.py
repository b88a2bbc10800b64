"""The image in a request's body."""

from __future__ import annotations

import pytest

pytest.importorskip("python_multipart")
pytest.importorskip("starlette")

from edgecnn.errors import BadInput
from edgecnn.serve.limits import Problem
from edgecnn.serve.uploads import image_bytes

FORM = "multipart/form-data; boundary=abc"


def part(name: str, content: bytes, more: str = '; filename="a.png"') -> bytes:
    head = f'--abc\r\nContent-Disposition: form-data; name="{name}"{more}\r\nContent-Type: image/png\r\n\r\n'
    return head.encode() + content + b"\r\n"


@pytest.mark.parametrize("kind", ["image/png", "IMAGE/JPEG; q=1", "application/octet-stream"])
def test_a_raw_body_is_the_image(kind: str) -> None:
    assert image_bytes(b"pixels", kind) == b"pixels"


def test_the_field_image_of_a_form_is_the_image() -> None:
    content = bytes(range(256)) * 50 + b"\r\n--ab\r\n"
    body = part("other", b"x") + part("image", content) + part("image", b"second") + b"--abc--\r\n"
    assert image_bytes(body, FORM) == content
    assert image_bytes(part("image", content, "") + b"--abc--", 'multipart/form-data; boundary="abc"') == content


@pytest.mark.parametrize("kind", ["", "text/plain", "application/json", "multipart/mixed; boundary=abc"])
def test_other_types_are_415(kind: str) -> None:
    with pytest.raises(Problem) as caught:
        image_bytes(b"pixels", kind)
    assert caught.value.status == 415


@pytest.mark.parametrize(
    ("body", "kind", "text"),
    [
        (b"", "image/png", "no bytes"),
        (part("image", b"") + b"--abc--", FORM, "no bytes"),
        (part("photo", b"x") + b"--abc--", FORM, "expected a field image, got photo"),
        (b"--abc--", FORM, ""),
        (b"nothing of the kind", FORM, "the form is damaged"),
        (part("image", b"x"), FORM, "the form is cut short"),
        (part("image", b"x") + b"--abc--", "multipart/form-data", ""),
        (part("image", b"x") + b"--abc--", "multipart/form-data; boundary=\u20ac", "the form is damaged"),
        (b"--abc\r\nA" * 10_000, FORM, "the form"),
        (part("image", b"x") + part("other", b"") * 64 + b"--abc--", FORM, "expected at most 64 fields, got more"),
    ],
)
def test_damaged_bodies_are_refused(body: bytes, kind: str, text: str) -> None:
    with pytest.raises(BadInput) as caught:
        image_bytes(body, kind)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
