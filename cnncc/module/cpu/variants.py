"""What the parts of a module share: its variants, its weights, and how constants are written as LLVM IR."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cnncc.module.cpu.program import CpuProgram
from cnncc.module.names import c_name

WORTH_PREFAULTING = 1 << 20
"""Bytes of weights that are brought into memory ahead of the first run: some hundred page faults."""


@dataclass(frozen=True)
class Variant:
    """The steps for one target: a function of `cnncc.module.cpu.glue`, and where its weights begin in those of the
    module."""

    program: CpuProgram
    symbol: str
    weights_offset: int = 0


@dataclass(frozen=True)
class Layout:
    """The variants of a module, best first, all of one platform and for as many threads; the bytes of their weights
    together, and the digest of these (of BLAKE2b, 32 bytes) if they are in a file of their own."""

    variants: Sequence[Variant]
    weight_bytes: int
    digest: bytes | None = None

    @property
    def program(self) -> CpuProgram:
        """What all variants agree on may be asked of the first."""
        return self.variants[0].program

    @property
    def name(self) -> str:
        return c_name(self.program.graph.name)

    @property
    def batch(self) -> int:
        """Most images of a run."""
        return self.program.batch

    @property
    def first_bytes(self) -> int:
        """The arena that a run of one image needs, whatever the variant."""
        return max(v.program.arena_bytes_for(1) for v in self.variants)

    @property
    def pitch(self) -> int:
        """Bytes that each further image of a run adds to the arena."""
        return max(v.program.memory.pitch for v in self.variants)

    @property
    def arena_bytes(self) -> int:
        """The arena that a run of the most images needs."""
        return self.first_bytes + (self.batch - 1) * self.pitch

    @property
    def pooled(self) -> bool:
        """Whether a run may want more than one thread."""
        return self.program.threads > 1

    @property
    def checked(self) -> bool:
        """Whether the module looks for the features it needs when it runs."""
        return bool(self.program.target.baseline)

    @property
    def prefaulted(self) -> bool:
        """Whether giving the model brings its weights into memory, so that the first run need not."""
        return self.digest is None and self.weight_bytes >= WORTH_PREFAULTING

    @property
    def size(self) -> str:
        """`size_t` of the platform."""
        return f"i{8 * self.program.target.pointer_bytes}"


def string(name: str, text: str, suffix: str = "") -> str:
    """A constant string with a closing 0, as IR."""
    data = text.encode() + b"\0"
    escaped = "".join(chr(b) if 32 <= b < 127 and b not in b'"\\' else f"\\{b:02x}" for b in data)
    return f'@{name} = internal constant [{len(data)} x i8] c"{escaped}"{suffix}'
