"""Products of bfloat16: the instructions of each unit, in LLVM IR, since TVM has no such type.

A word is an int32 that holds two numbers which lie side by side. Products are added up in float32: how each is rounded
differs between processors, so results have a tolerance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from tvm import tirx

from cnncc.kernels.cpu.lower.micro import Sums
from cnncc.kernels.shared.builder import Buffer, Expr, KernelBuilder, splat, vector_type
from cnncc.machines.units import PairUnit

DOTS: Mapping[str, Callable[[int], str]] = {
    "vdpbf16ps": lambda lanes: f"llvm.x86.avx512bf16.dpbf16ps.{32 * lanes}",
    "bfdot": lambda lanes: f"llvm.aarch64.neon.bfdot.v{lanes}f32.v{2 * lanes}bf16",
}
"""LLVM's name of each instruction, by the name that a unit has in the target's file."""


def dot_text(name: str, instruction: str, lanes: int) -> str:
    """A function of sums, words and words of weights: the sums plus their products."""
    sums, words, pairs = f"<{lanes} x float>", f"<{lanes} x i32>", f"<{2 * lanes} x bfloat>"
    dot = DOTS[instruction](lanes)
    return f"""
declare {sums} @{dot}({sums}, {pairs}, {pairs})
define internal {sums} @{name}({sums} %sums, {words} %x, {words} %w) alwaysinline {{
  %values = bitcast {words} %x to {pairs}
  %weights = bitcast {words} %w to {pairs}
  %added = call {sums} @{dot}({sums} %sums, {pairs} %values, {pairs} %weights)
  ret {sums} %added
}}
"""


def narrow_text(name: str, lanes: int) -> str:
    """A function that rounds float32 to bfloat16, as its bits: one instruction where a processor has it."""
    wide, half, bits = (kind if lanes == 1 else f"<{lanes} x {kind}>" for kind in ("float", "bfloat", "i16"))
    return f"""
define internal {bits} @{name}({wide} %x) alwaysinline {{
  %half = fptrunc {wide} %x to {half}
  %bits = bitcast {half} %half to {bits}
  ret {bits} %bits
}}
"""


def round_by(k: KernelBuilder, instruction: str) -> None:
    """Makes a kernel round to bfloat16 with what comes with an instruction of `PAIRS`; with arithmetic for none."""

    def narrow(value: Expr, lanes: int) -> Expr:
        name = f"cnncc_narrow_{lanes}"
        return k.call(vector_type("uint16", lanes), name, narrow_text(name, lanes), value)

    if instruction:
        k.rounding = narrow


class PairSums(Sums):
    """Sums of products of bfloat16, two at a time. The source is words."""

    def __init__(self, k: KernelBuilder, values: int, vectors: int, lanes: int, unit: PairUnit) -> None:
        super().__init__(k, values, vectors, lanes)
        self.instruction = unit.instruction

    def multiply(self, weights: tuple[Buffer, Expr], source: Buffer, at: Iterable[Expr]) -> None:
        k, lanes = self.k, self.lanes
        buffer, first = weights
        pairs = (buffer.bits(first + v * 2 * lanes, 2 * lanes) for v in range(self.vectors))
        vectors = [k.let(tirx.reinterpret(vector_type("int32", lanes), k.let(pair))) for pair in pairs]
        for p, index in enumerate(at):
            word = k.let(splat(source.load(index), lanes))
            for v, vector in enumerate(vectors):
                to = (p * self.vectors + v) * lanes
                self.acc.store(to, self.added(self.acc.load(to, lanes), word, vector), lanes)

    def added(self, sums: Expr, word: Expr, weights: Expr) -> Expr:
        """Sums plus the products of words and weights."""
        name = f"cnncc_dot_{self.lanes}"
        text = dot_text(name, self.instruction, self.lanes)
        return self.k.call(vector_type("float32", self.lanes), name, text, sums, word, weights)
