"""The weights as the last segment of a library that is linked without them: a linker would copy them once more."""

from __future__ import annotations

import hashlib
import io
import os
import struct
from typing import BinaryIO

from cnncc.base.errors import CnnccError
from cnncc.module.cpu import weights_object
from cnncc.runtime.interface import ALIGN

SECTION = ".cnncc_weights"

SCRIPT = f"SECTIONS {{ {SECTION} ALIGN(CONSTANT(MAXPAGESIZE)) : {{ KEEP(*({SECTION})) }} }} INSERT AFTER .bss;\n"
"""Adds to the linker's own script: nothing lies behind the weights, so they may be of any size."""

MARK = hashlib.blake2b(b"the hash of the weights, once they are written", digest_size=32).digest()
"""Stands for the hash while the library is linked."""

_LOAD = 1
_SEGMENTS_AT, _SECTIONS_AT, _PARTS_AT = 32, 40, 54
"""Where the file's header says where segments and sections are described, and how many there are."""
_SEGMENT = struct.Struct("<IIQQQQQQ")
_PARTS = struct.Struct("<HHHHH")


def stand_in(like: bytes, symbol: str) -> bytes:
    """An object that defines the symbol of the weights in a section of its own, with room for next to none of them."""
    file = io.BytesIO()
    weights_object.finish(file, like, symbol, ALIGN, SECTION)
    return file.getvalue()


def extend(file: BinaryIO, size: int) -> int:
    """Makes the segment of the stand-in, in a library linked by `SCRIPT`, one of `size` bytes at the end of the file.
    Returns where in the file. CnnccError if the linker put the section anywhere but last.

    Only the table of sections moves behind it, so that whoever reads the file sees whether its end is missing.

    Source: System V ABI, "ELF-64 Object File Format" (program headers: type, flags, offset, two addresses, size in
    the file and in memory, alignment).
    """
    end = file.seek(0, os.SEEK_END)
    (at_segments, at_sections), (_, segment_count, each, section_count, names) = _header(file)
    segments = [(at, _read(file, at, _SEGMENT)) for at in range(at_segments, at_segments + 56 * segment_count, 56)]
    loaded = [(at, fields) for at, fields in segments if fields[0] == _LOAD]
    at, last = max(loaded, key=lambda pair: pair[1][3])
    section = _section(file, at_sections, section_count, each, names)
    if section is None or (last[3], last[5]) != (_read(file, section, weights_object.SECTION)[3], ALIGN):
        raise CnnccError("the linker did not put the weights behind all else", hint="set CC to a GCC that uses GNU ld")
    kind, flags, _, address, physical, _, _, align = last
    start = -(-end // align) * align
    _write(file, at, _SEGMENT.pack(kind, flags, start, address, physical, size, size, align))
    fields = list(_read(file, section, weights_object.SECTION))
    fields[4:6] = start, size
    _write(file, section, weights_object.SECTION.pack(*fields))
    file.seek(at_sections)
    table, behind = file.read(each * section_count), -(-(start + size) // 8) * 8
    _write(file, behind, table)
    _write(file, _SECTIONS_AT, struct.pack("<Q", behind))
    return start


def put_digest(file: BinaryIO, digest: bytes, end: int) -> None:
    """Writes the hash, as hexadecimal digits, in the place of the mark within the first `end` bytes."""
    file.seek(0)
    at = file.read(end).find(MARK.hex().encode())
    assert at >= 0, "the description of the module holds the mark"
    _write(file, at, digest.hex().encode())


def _header(file: BinaryIO) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Where segments and sections are described; and how large and how many, and which section holds names."""
    return _read(file, _SEGMENTS_AT, struct.Struct("<QQ")), _read(file, _PARTS_AT, _PARTS)


def _section(file: BinaryIO, start: int, count: int, each: int, names: int) -> int | None:
    """Where in the file the section of the weights is described."""
    described = [start + i * each for i in range(count)]
    strings = _read(file, described[names], weights_object.SECTION)[4]
    for at in described:
        file.seek(strings + _read(file, at, weights_object.SECTION)[0])
        if file.read(len(SECTION) + 1) == SECTION.encode() + b"\0":
            return at
    return None


def _read(file: BinaryIO, at: int, form: struct.Struct) -> tuple[int, ...]:
    file.seek(at)
    return form.unpack(file.read(form.size))


def _write(file: BinaryIO, at: int, data: bytes) -> None:
    file.seek(at)
    file.write(data)
