"""What a call reads and writes: one class for each kind of memory."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class _Named:
    name: str
    offset: int = 0
    """In bytes, added to the address."""


class NodeValue(_Named):
    """The value of the node of that name."""


class PackedWeight(_Named):
    """A weight of the module, by its name there."""


class RawInput(_Named):
    """The input of that name as the caller gave it, not yet normalized."""


class Workspace(_Named):
    """Memory between the calls of the node of that name."""


class BlockCounters(Workspace):
    """Counters of a launch on a GPU, all zero before and after it."""


Operand = NodeValue | PackedWeight | RawInput | Workspace
