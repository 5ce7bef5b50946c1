"""What the parts of a module share: its variants, its weights, and how constants are written as LLVM IR."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cnncc.base.dim import Extent, Symbol, largest, most_of
from cnncc.module.cpu.program import CpuProgram
from cnncc.module.expressions import Expressions
from cnncc.module.names import c_name, size_parameters
from cnncc.runtime.interface import TEXTS, Code

WORTH_PREFAULTING = 1 << 20
"""Bytes of weights that are brought into memory ahead of the first run: some hundred page faults."""


@dataclass(frozen=True)
class Variant:
    """The steps for one target: functions of `cnncc.module.cpu.glue`, one for each size of the inputs, and where its
    weights begin in those of the module."""

    program: CpuProgram
    symbol: str
    """What the names of its functions begin with."""
    weights_offset: int = 0

    @property
    def symbols(self) -> list[str]:
        """The function of each size."""
        return [f"{self.symbol}{f'_{i}' if i else ''}" for i in range(len(self.program.sizes))]


@dataclass(frozen=True)
class SizeMemory:
    """The arena of runs with inputs of one size, whatever the variant: of one image, and what each further one adds."""

    first: Extent
    further: Extent

    def arena_bytes(self, images: int) -> int:
        """The arena that a run of so many images needs; of a range of sizes, of any of them."""
        return most_of(self.first) + (images - 1) * most_of(self.further)

    def told(self, batch: int) -> dict[str, Any]:
        """What a module says of it; of a range of sizes, of its largest."""
        return {"arena_bytes": self.arena_bytes(batch), "arena_bytes_per_image": most_of(self.further)}

    @property
    def expressions(self) -> dict[str, Any]:
        """The two numbers for any size of a range; they may share parts."""
        made = Expressions(shared=True)
        first, further = made.of(self.first), made.of(self.further)
        return {"parts": made.parts, "first_image": first, "further_image": further}


def sizes_of(variants: Sequence[CpuProgram]) -> Sequence[SizeMemory]:
    """The memory of each size of the inputs of a network that was lowered for several targets."""
    return [
        SizeMemory(largest(*(p.arena_bytes_for(1) for p in programs)), largest(*(p.memory.pitch for p in programs)))
        for programs in zip(*(v.sizes for v in variants), strict=True)
    ]


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
    def sizes(self) -> Sequence[SizeMemory]:
        """The memory of each size of the inputs."""
        return sizes_of([v.program for v in self.variants])

    @property
    def several(self) -> bool:
        """Whether a caller must say which size its arrays have."""
        return len(self.program.sizes) > 1

    @property
    def symbols(self) -> Sequence[Symbol]:
        """The sizes that a caller chooses from ranges."""
        return self.program.symbols

    @property
    def size_names(self) -> Sequence[str]:
        """What these are called in C."""
        return size_parameters(self.program.graph, self.symbols)

    @property
    def ranged(self) -> bool:
        """Whether inputs have any size of a range."""
        return bool(self.symbols)

    @property
    def arena_bytes(self) -> int:
        """The arena that a run of the most images of the largest size needs."""
        return max(size.arena_bytes(self.batch) for size in self.sizes)

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


def error_texts(symbols: Sequence[Symbol]) -> Mapping[Code, str]:
    """The text of each code, where callers choose sizes of these ranges."""
    return {**TEXTS, Code.BAD_SIZE: f"the module takes {', '.join(map(str, symbols))}"} if symbols else TEXTS


def string(name: str, text: str, suffix: str = "") -> str:
    """A constant string with a closing 0, as IR."""
    data = text.encode() + b"\0"
    escaped = "".join(chr(b) if 32 <= b < 127 and b not in b'"\\' else f"\\{b:02x}" for b in data)
    return f'@{name} = internal constant [{len(data)} x i8] c"{escaped}"{suffix}'
