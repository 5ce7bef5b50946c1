"""The code of a network for a processor, and of the same network for others that share a module with it."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, asdict, dataclass
from importlib.metadata import version
from typing import Any, Self

import numpy as np

from cnncc.module import describe
from cnncc.module.built import Built
from cnncc.module.cpu.packing import Packing
from cnncc.module.cpu.program import CpuProgram
from cnncc.module.cpu.variants import sizes_of
from cnncc.module.keys import glue_llvm_version, tvm_llvm_version
from cnncc.module.program import Arena
from cnncc.runtime.interface import ALIGN


@dataclass(frozen=True, eq=False)
class CpuCode(Built[CpuProgram], ABC):
    """A program with the machine code of its kernels."""

    objects: Sequence[bytes]
    _: KW_ONLY
    others: Sequence[Self] = ()
    """The same network for further targets, in the order in which a processor takes them after this one."""

    @property
    def variants(self) -> Sequence[Self]:
        """One for each target, best first."""
        return (self, *self.others)

    @property
    def arena(self) -> Arena:
        """Of the variant that needs most, at the size that needs most."""
        programs = (program for variant in self.variants for program in variant.program.sizes)
        return max((program.arena for program in programs), key=lambda arena: arena.total_bytes)

    @property
    def weight_bytes(self) -> int:
        """Of all variants: each has its own, in the order in which its kernels read them."""
        *others, last = (variant.program.weight_bytes for variant in self.variants)
        return sum(map(aligned, others)) + last

    def _of_machine(self) -> Mapping[str, Any]:
        p, least = self.program, self.variants[-1].program.target
        target = {k: v for k, v in asdict(least).items() if k in ("name", "triple", "cpu", "requires", "isa")}
        memories = sizes_of([variant.program for variant in self.variants])
        sizes = [memory.told(p.batch) for memory in memories]
        memory = {**asdict(p.arena), **sizes[0], "arena_align": ALIGN, "weight_bytes": self.weight_bytes}
        if p.symbols:
            memory["arena"] = memories[0].expressions
        return {
            "memory": memory,
            **self._sizes(sizes),
            **describe.ranges(p.symbols, p.macs),
            "target": {**target, "name": ",".join(variant.program.target.name for variant in self.variants)},
            "compiler": describe.compiler(
                llvmlite=version("llvmlite"),
                llvm=f"{tvm_llvm_version()} (kernels), {glue_llvm_version()} (glue)",
            ),
        }

    def _sizes(self, memories: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Of several sizes of the inputs, what tells them apart: what the module says elsewhere is of the first."""
        programs = self.program.sizes
        if len(programs) == 1:
            return {}
        return {"sizes": [{**describe.ports(p), "memory": m} for p, m in zip(programs, memories, strict=True)]}

    def weights(self) -> np.ndarray:
        """All packed weights of this variant in one aligned array of bytes."""
        raw = np.zeros(self.program.weight_bytes + ALIGN, np.uint8)
        start = -raw.ctypes.data % ALIGN
        array = raw[start : start + self.program.weight_bytes]
        for i, (offset, packed) in enumerate(Packing(self.program.weights), start=1):
            array[offset : offset + packed.nbytes] = packed.view(np.uint8)
            self._tell("packing weights", i)
        return array

    def write_weights(self, write: Callable[[bytes | memoryview], object], packing: Packing | None = None) -> None:
        """Hands over all packed weights of this variant, piece by piece from first to last, with zeros between them.
        `packing` is of these weights, if it has begun."""
        if packing is None:
            packing = Packing(self.program.weights)
        at = 0
        for i, (offset, packed) in enumerate(packing, start=1):
            write(bytes(offset - at))
            write(packed.view(np.uint8).data)
            at = offset + packed.nbytes
            self._tell("writing weights", i)

    def _tell(self, what: str, done: int) -> None:
        if self.progress is not None:
            self.progress(what, done, len(self.program.weights))


def aligned(size: int) -> int:
    """Bytes rounded up to where the next weights may begin."""
    return -(-size // ALIGN) * ALIGN
