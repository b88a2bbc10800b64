"""The image in a request's body: raw, or one field of a form. All of it stays in memory, nothing is put on disk."""

from __future__ import annotations

from email.message import Message

from edgecnn.errors import BadInput
from edgecnn.serve.limits import Problem

FIELD = "image"
"""Name of the form's field that has the image."""

# Each costs some work, and a body has room for a million.
_MOST_FIELDS = 64


def image_bytes(body: bytes, content_type: str) -> bytes:
    """Return the content of the image file in a body.

    Args:
        body: of the request.
        content_type: its header: multipart/form-data, image/* or application/octet-stream.

    Raises:
        Problem: 415, another type.
        BadInput: no image in it, or a damaged form.
    """
    kind, parameters = _parsed(content_type)
    if kind == "multipart/form-data":
        content = _field(body, parameters.get("boundary", ""))
    elif kind.startswith("image/") or kind == "application/octet-stream":
        content = body
    else:
        raise Problem(
            415,
            "Content-Type: expected image/*, application/octet-stream or multipart/form-data, "
            f"got {kind[:100] or 'none'} (send the image file as it is, or as the field {FIELD} of a form)",
        )
    if not content:
        raise BadInput("the image", "send the content of the file", expected="an image file", got="no bytes")
    return content


def _parsed(header: str) -> tuple[str, dict[str, str]]:
    """Return value and parameters of a header such as `form-data; name="image"`."""
    message = Message()
    message["content-type"] = header.replace("\r", " ").replace("\n", " ")
    pairs = message.get_params(failobj=[("", "")])
    return pairs[0][0].strip().lower(), {key.lower(): value for key, value in pairs[1:] if isinstance(value, str)}


def _field(body: bytes, boundary: str) -> bytes:
    from python_multipart.exceptions import FormParserError  # noqa: PLC0415 (needed for forms only)
    from python_multipart.multipart import MultipartParser  # noqa: PLC0415

    if not boundary:
        raise BadInput("Content-Type", "let the HTTP client write it", expected="a form's boundary", got="none")
    form = _Form()
    try:
        parser = MultipartParser(boundary.encode("latin-1"), form.callbacks())  # type: ignore[arg-type]
        parser.write(body)
        parser.finalize()
    except (FormParserError, UnicodeEncodeError) as error:
        raise BadInput(f"the form is damaged: {error}"[:200], "let an HTTP client write it") from None
    if not form.ended:
        raise BadInput("the form is cut short", "send all of it")
    if form.image is None:
        got = ", ".join(form.names)[:100] or "no field"
        raise BadInput("the form", f"rename the field to {FIELD}", expected=f"a field {FIELD}", got=got)
    return bytes(form.image)


class _Form:
    """Collects the field that is wanted; passes over the others."""

    def __init__(self) -> None:
        self.image: bytearray | None = None
        self.names: list[str] = []
        self.ended = False
        self._key = b""
        self._value = b""
        self._disposition = b""
        self._wanted = False

    def callbacks(self) -> dict[str, object]:
        return {
            "on_part_begin": self._on_part_begin,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_part_data,
            "on_end": self._on_end,
        }

    def _on_part_begin(self) -> None:
        self._key = self._value = self._disposition = b""
        self._wanted = False

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._key += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._key.lower() == b"content-disposition":
            self._disposition = self._value
        self._key = self._value = b""

    def _on_headers_finished(self) -> None:
        name = _parsed(self._disposition.decode("latin-1"))[1].get("name", "")
        if len(self.names) == _MOST_FIELDS:
            raise BadInput("the form", expected=f"at most {_MOST_FIELDS} fields", got="more")
        self.names.append(name)
        self._wanted = name == FIELD and self.image is None
        if self._wanted:
            self.image = bytearray()

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._wanted and self.image is not None:
            self.image += data[start:end]

    def _on_end(self) -> None:
        self.ended = True
