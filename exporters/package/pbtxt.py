"""Protocol buffers in text form, which Triton's config.pbtxt is: a writer and a reader without the protobuf package.

Grammar: https://protobuf.dev/reference/protobuf/textformat-spec. Messages are mappings; a repeated field is a list, a map
field is a list of messages with key and value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from edgecnn.errors import BadInput

Message = Mapping[str, Any]
"""Field name -> str, int, float, bool, Word, Message, or a sequence of one of these."""


class Word(str):
    """A value that is written without quotes: the name of an enum's entry."""

    __slots__ = ()


Fields = dict[str, list[Any]]
"""What is read: field name -> its values in order; a message among them is Fields again, a name without quotes a Word."""


def write_text(message: Message) -> str:
    """Return the text form of a message, one field a line, two spaces a level.

    Sequences of messages become one block each; sequences of plain values stand in brackets, empty ones too.
    """
    return "\n".join(_lines(message, "")) + "\n"


def read_text(text: str, *, where: str) -> Fields:
    """Return the fields of a message in text form.

    Args:
        text: of the whole file.
        where: its name, for messages.

    Raises:
        BadInput: it is not the text form of a message; the line is named.
    """
    reader = _Reader(text, where)
    return reader.message("")


def _lines(message: Message, indent: str) -> Iterator[str]:
    for name, value in message.items():
        if isinstance(value, Mapping):
            yield from _block(name, value, indent)
        elif isinstance(value, Sequence) and not isinstance(value, str):
            yield from _repeated(name, value, indent)
        else:
            yield f"{indent}{name}: {_scalar(value)}"


def _repeated(name: str, values: Sequence[Any], indent: str) -> Iterator[str]:
    if values and isinstance(values[0], Mapping):
        for value in values:
            yield from _block(name, value, indent)
    else:
        yield f"{indent}{name}: [{', '.join(_scalar(value) for value in values)}]"


def _block(name: str, message: Message, indent: str) -> Iterator[str]:
    if not message:
        yield f"{indent}{name} {{}}"
        return
    yield f"{indent}{name} {{"
    yield from _lines(message, indent + "  ")
    yield f"{indent}}}"


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Word):
        return str(value)
    return _quoted(value) if isinstance(value, str) else repr(value)


_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\"}


def _quoted(text: str) -> str:
    parts = [_NAMED.get(letter) or (letter if letter >= " " else f"\\{ord(letter):03o}") for letter in text]
    return f'"{"".join(parts)}"'


_TOKEN = re.compile(
    r"""(?P<blank>\s+|\#[^\n]*)
    |(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    |(?P<number>-?\s*(?:0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?[fF]?))
    |(?P<word>-?[A-Za-z_][\w.]*)
    |(?P<mark>[{}<>\[\]:,;])""",
    re.VERBOSE,
)

_CLOSING = {"{": "}", "<": ">"}


class _Reader:
    """Walks over the tokens of one text."""

    def __init__(self, text: str, where: str) -> None:
        self._text = text
        self._where = where
        self._position = 0
        self._kind = self._token = ""
        self._advance()

    def message(self, closing: str) -> Fields:
        """Return the fields up to a closing mark, which is taken; "" stands for the end of the text."""
        fields: Fields = {}
        while self._token != closing:
            if self._kind != "word":
                self._fail("a field's name")
            name = self._take()
            fields.setdefault(name, []).extend(self._values())
            if self._token in (",", ";"):
                self._advance()
        if closing:
            self._advance()
        return fields

    def _values(self) -> list[Any]:
        colon = self._token == ":"
        if colon:
            self._advance()
        if self._token != "[":
            return [self._value(colon)]
        self._advance()
        values: list[Any] = []
        while self._token != "]":
            values.append(self._value(colon))
            if self._token == ",":
                self._advance()
            elif self._token != "]":
                self._fail("a comma or ]")
        self._advance()
        return values

    def _value(self, colon: bool) -> Any:
        if self._kind == "mark" and self._token in _CLOSING:
            return self.message(_CLOSING[self._take()])
        if not colon or self._kind not in ("string", "number", "word"):
            self._fail("a value" if colon else "a colon or {")
        if self._kind == "string":
            return self._joined()
        return _number(self._take()) if self._kind == "number" else _word(self._take())

    def _joined(self) -> str:
        """Return strings that stand side by side as one."""
        parts = []
        while self._kind == "string":
            parts.append(_unquoted(self._take()))
        return "".join(parts)

    def _take(self) -> str:
        token = self._token
        self._advance()
        return token

    def _advance(self) -> None:
        while self._position < len(self._text):
            match = _TOKEN.match(self._text, self._position)
            if match is None:
                self._kind, self._token = "other", self._text[self._position]
                self._fail("the text form of a message")
            self._position = match.end()
            if match.lastgroup != "blank":
                self._kind, self._token = str(match.lastgroup), match[0]
                return
        self._kind = self._token = ""

    def _fail(self, expected: str) -> NoReturn:
        line = self._text.count("\n", 0, self._position) + 1
        raise BadInput(f"{self._where}, line {line}", expected=expected, got=self._token or "the end")


def _word(token: str) -> Any:
    if token in ("true", "false"):
        return token == "true"
    return Word(token)


def _number(token: str) -> int | float:
    token = token.replace(" ", "")
    if "x" in token.lower():
        return int(token, 16)
    digits = token.lstrip("-")
    if digits.isdigit():
        octal = len(digits) > 1 and digits[0] == "0" and set(digits) <= set("01234567")
        return int(token, 8) if octal else int(token)
    return float(token.rstrip("fF"))


_ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.S)
_PLAIN = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def _unquoted(token: str) -> str:
    """Return the text of a quoted string; octal and hexadecimal escapes are bytes of its UTF-8 form."""
    parts: list[bytes] = []
    end = 0
    body = token[1:-1]
    for match in _ESCAPE.finditer(body):
        parts.append(body[end : match.start()].encode())
        octal, hexadecimal, short, long, letter = match.groups()
        if letter is not None:
            parts.append(_PLAIN.get(letter, letter).encode())
        elif octal or hexadecimal:
            parts.append(bytes([int(octal, 8) & 0xFF if octal else int(hexadecimal, 16)]))
        else:
            parts.append(chr(int(short or long, 16)).encode())
        end = match.end()
    parts.append(body[end:].encode())
    return b"".join(parts).decode("utf-8", "replace")
