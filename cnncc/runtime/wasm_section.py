"""Custom sections of WebAssembly modules: where a module says what it is, as an ELF file does in a section.

Source: WebAssembly Core Specification 2.0, 5.5 "Modules" (binary format).
"""

from __future__ import annotations

from mmap import mmap

MAGIC = b"\0asm\1\0\0\0"
_CUSTOM = 0


def custom_section(name: bytes, content: bytes) -> bytes:
    """The bytes of a custom section, which go after the last section of a module."""
    body = _number(len(name)) + name + content
    return bytes([_CUSTOM]) + _number(len(body)) + body


def find_custom_section(data: bytes | mmap, name: bytes) -> bytes | None:
    """The content of the first custom section of that name; None if there is none. IndexError if the module ends inside
    a section."""
    at = len(MAGIC)
    while at < len(data):
        kind = data[at]
        size, start = _read_number(data, at + 1)
        at = start + size
        if at > len(data):
            raise IndexError("the module ends within a section")
        if kind == _CUSTOM:
            length, text = _read_number(data, start)
            if data[text : text + length] == name:
                return data[text + length : at]
    return None


def _number(value: int) -> bytes:
    """Unsigned LEB128."""
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])


def _read_number(data: bytes | mmap, at: int) -> tuple[int, int]:
    """The number that starts at byte `at`, and the byte after its end."""
    value, shift = 0, 0
    while True:
        digit = data[at]
        at += 1
        value |= (digit & 0x7F) << shift
        if digit < 0x80:
            return value, at
        shift += 7
