"""The weights as an ELF object file, written without an assembler: that would copy them twice more."""

from __future__ import annotations

import struct
from typing import BinaryIO

_OTHERS = b"\0.symtab\0.strtab\0.note.GNU-stack\0"
"""Names of the sections but that of the weights, as the string table holds them."""

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")

_RELOCATABLE, _CURRENT = 1, 1
_PROGBITS, _SYMTAB, _STRTAB = 1, 2, 3
_ALLOC = 2
_GLOBAL_OBJECT = 1 << 4 | 1
_HIDDEN = 2


START = 64
"""Where in the file the weights begin, which is also their alignment."""


def finish(file: BinaryIO, like: bytes, symbol: str, size: int, section: str = ".rodata") -> None:
    """Writes all of the object but the weights, `size` bytes from `START` on: read-only data under a hidden symbol, in
    the section named, for the machine that `like`, a 64-bit little-endian ELF object, is for.

    Source: System V ABI, "ELF-64 Object File Format".
    """
    assert like[:6] == b"\x7fELF\x02\x01", "the glue is a 64-bit little-endian ELF object"
    (machine,) = struct.unpack_from("<H", like, 18)
    (flags,) = struct.unpack_from("<I", like, 48)
    own = _OTHERS + section.encode() + b"\0"
    names = own + symbol.encode() + b"\0"
    symbols = _SYMBOL.pack(0, 0, 0, 0, 0, 0) + _SYMBOL.pack(len(own), _GLOBAL_OBJECT, _HIDDEN, 1, 0, size)
    at_symbols = -(-(START + size) // 8) * 8
    at_names = at_symbols + len(symbols)
    at_sections = -(-(at_names + len(names)) // 8) * 8

    def named(name: bytes) -> int:
        return own.index(b"\0" + name + b"\0") + 1

    sections = (
        SECTION.pack(0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
        SECTION.pack(named(section.encode()), _PROGBITS, _ALLOC, 0, START, size, 0, 0, START, 0),
        SECTION.pack(named(b".symtab"), _SYMTAB, 0, 0, at_symbols, len(symbols), 3, 1, 8, _SYMBOL.size),
        SECTION.pack(named(b".strtab"), _STRTAB, 0, 0, at_names, len(names), 0, 0, 1, 0),
        SECTION.pack(named(b".note.GNU-stack"), _PROGBITS, 0, 0, at_names, 0, 0, 0, 1, 0),
    )
    assert START >= _HEADER.size, "the header lies before the weights"
    head = (like[:16], _RELOCATABLE, machine, _CURRENT, 0, 0, at_sections, flags, _HEADER.size, 0, 0, SECTION.size)
    file.seek(0)
    file.write(_HEADER.pack(*head, len(sections), 3))
    file.seek(at_symbols)
    file.write(symbols + names)
    file.seek(at_sections)
    file.write(b"".join(sections))
