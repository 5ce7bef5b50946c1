"""What a CUDA compiler gives: machine code, and what its assembler says of each kernel."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Resources:
    """What the assembler says a kernel needs. Spills are bytes of a thread's registers kept in memory."""

    registers: int
    shared_bytes: int
    stack_bytes: int
    spill_stores: int
    spill_loads: int


@dataclass(frozen=True)
class Compiled:
    """Machine code (or PTX) of all kernels of a source, and what each of them needs, by symbol."""

    image: bytes
    resources: Mapping[str, Resources]


_PROPERTIES = re.compile(
    r"Function properties for (?P<name>\w+)[^\n]*\n\D*(?P<stack>\d+) bytes stack frame, "
    r"(?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads\s.*?"
    r"Used (?P<registers>\d+) registers(?P<rest>[^\n]*)",
    re.DOTALL,
)


def parse_resources(log: str) -> dict[str, Resources]:
    """What the assembler's report says of each kernel."""
    found = {}
    for match in _PROPERTIES.finditer(log):
        shared = re.search(r"(\d+) bytes smem", match["rest"])
        numbers = [int(match[key]) for key in ("stack", "stores", "loads")]
        found[match["name"]] = Resources(int(match["registers"]), int(shared[1]) if shared else 0, *numbers)
    return found
