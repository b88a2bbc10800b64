"""The wire format of protobuf messages, without the protobuf package: a field's number and where its data lies.

Source: https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator

Buffer = bytes | mmap.mmap


class Malformed(Exception):
    """The bytes are not the protobuf message that was expected."""


def text(buffer: Buffer, start: int, stop: int) -> str:
    """Return a field's text.

    Raises:
        Malformed: it is not UTF-8.
    """
    try:
        return buffer[start:stop].decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed("a name is not UTF-8") from None


def fields(buffer: Buffer, start: int, stop: int) -> Iterator[tuple[int, int, int | None]]:
    """Yield (field number, value, None) of numbers and (field number, start, end) of nested data.

    Fields of fixed width, 32 and 64 bits, are passed over.

    Raises:
        Malformed: the bytes are no message, or end inside a field.
    """
    position = start
    while position < stop:
        # Nearly all tags and lengths are one byte, which is worth a look before the call.
        tag, position = buffer[position], position + 1
        if tag > 0x7F:
            tag, position = varint(buffer, position - 1, stop)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise Malformed("field number 0")
        if wire == 0:
            value, position = varint(buffer, position, stop)
            yield number, value, None
            continue
        if wire == 2:
            length, position = buffer[position] if position < stop else 0xFF, position + 1
            if length > 0x7F:
                length, position = varint(buffer, position - 1, stop)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise Malformed(f"wire type {wire}")
        if position + length > stop:
            raise Malformed(f"{length} bytes announced, {stop - position} left")
        if wire == 2:
            yield number, position, position + length
        position += length


def varint(buffer: Buffer, position: int, stop: int) -> tuple[int, int]:
    """Return a number of variable length and the position behind it.

    Raises:
        Malformed: the data ends inside it, or it has more than 64 bits.
    """
    result = 0
    for shift in range(0, 70, 7):
        if position >= stop:
            raise Malformed("the data ends inside a number")
        byte = buffer[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, position
    raise Malformed("a number of more than 64 bits")


def number_field(number: int, value: int) -> bytes:
    """Return the bytes of a field that is a number; a negative one is two's complement in 64 bits."""
    return _varint_bytes(number << 3) + _varint_bytes(value % (1 << 64))


def length_field(number: int, data: bytes) -> bytes:
    """Return the bytes of a field that is nested data or text."""
    return _varint_bytes(number << 3 | 2) + _varint_bytes(len(data)) + data


def _varint_bytes(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*found, value))
