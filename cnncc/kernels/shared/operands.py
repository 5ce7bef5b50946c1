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


@dataclass(frozen=True)
class ImageCount:
    """How many images the run has, an int32: of a call for the whole batch."""


@dataclass(frozen=True)
class ImageStrides:
    """How far the images of each array that a call takes whole batches of lie apart: int32, in numbers of that array,
    in the order of the operands, of the result last."""


Operand = NodeValue | PackedWeight | RawInput | Workspace | ImageCount | ImageStrides
