"""Dot products of bytes: the instruction of each unit, and what its values and weights are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from tvm import tirx
from tvm.tirx import IntImm

from cnncc.base.elements import INT32
from cnncc.kernels.cpu.lower.micro import Sums
from cnncc.kernels.cpu.micro import Micro
from cnncc.kernels.shared.builder import Buffer, Expr, KernelBuilder, splat, vector_type
from cnncc.machines.units import DotUnit


@dataclass(frozen=True)
class Dot:
    """How a unit multiplies. A word is the values of one step: int32, which holds `depth` numbers."""

    number: str
    """TVM's type of the numbers of a word, and of the weights they are multiplied with."""
    add: Callable[[Expr, Expr, Expr, int], Expr]
    """Sums (int32) plus products of words and weights, on so many lanes."""


def _call(dtype: str, name: str, *args: Expr) -> Expr:
    return tirx.call_llvm_pure_intrin(dtype, name, *args)


def _as(dtype: str, word: Expr, lanes: int) -> Expr:
    """Words as their numbers."""
    return tirx.reinterpret(vector_type(dtype, lanes), word)


def _vpdpbusd(acc: Expr, word: Expr, weight: Expr, lanes: int) -> Expr:
    name = f"llvm.x86.avx512.vpdpbusd.{32 * lanes}"  # of AVX-VNNI, too
    return _call(vector_type("int32", lanes), name, acc, _as("int8", word, 4 * lanes), weight)


def _sdot(acc: Expr, word: Expr, weight: Expr, lanes: int) -> Expr:
    return _call("int32x4", "llvm.aarch64.neon.sdot", acc, weight, _as("int8", word, 4 * lanes))


MADD = {4: "llvm.x86.sse2.pmadd.wd", 8: "llvm.x86.avx2.pmadd.wd", 16: "llvm.x86.avx512.pmaddw.d.512"}


def _vpmaddwd(acc: Expr, word: Expr, weight: Expr, lanes: int) -> Expr:
    products = _call(vector_type("int32", lanes), MADD[lanes], _as("int16", word, 2 * lanes), weight)
    return _in_order(acc + products, lanes)


def _in_order(total: Expr, lanes: int) -> Expr:
    """A sum of int32 that LLVM does not take apart: it would add up products of several steps before it adds them to
    the sums, and then has no registers for the sums. There is such a fence for floats only."""
    floats = apart(tirx.reinterpret(vector_type("float32", lanes), total), lanes)
    return tirx.reinterpret(vector_type("int32", lanes), floats)


def _dot_i16x8(acc: Expr, word: Expr, weight: Expr, lanes: int) -> Expr:
    return acc + _call("int32x4", "llvm.wasm.dot", _as("int16", word, 2 * lanes), weight)


def _mla(acc: Expr, word: Expr, weight: Expr, lanes: int) -> Expr:
    return acc + word * weight


INSTRUCTIONS: Mapping[str, Dot] = {
    "vpdpbusd": Dot("int8", _vpdpbusd),
    "sdot": Dot("int8", _sdot),
    "vpmaddwd": Dot("int16", _vpmaddwd),
    "dot_i16x8": Dot("int16", _dot_i16x8),
    "mla": Dot("int32", _mla),
}
"""By the name that a unit has in the target's file."""


class DotSums(Sums):
    """Sums of dot products."""

    def __init__(self, k: KernelBuilder, values: int, vectors: int, micro: Micro) -> None:
        assert isinstance(micro.unit, DotUnit)
        super().__init__(k, values, vectors, micro.lanes, INT32)
        self.depth, self.dot = micro.unit.depth, INSTRUCTIONS[micro.unit.instruction]

    def multiply(self, weights: tuple[Buffer, Expr], source: Buffer, at: Iterable[Expr]) -> None:
        lanes, count = self.lanes, self.lanes * self.depth
        buffer, first = weights
        vectors = [self.widened(buffer.load(first + v * count, count)) for v in range(self.vectors)]
        for p, index in enumerate(at):
            for v, (word, vector) in enumerate(zip(self.words(source, index), vectors, strict=True)):
                to = (p * self.vectors + v) * lanes
                self.acc.store(to, self.dot.add(self.acc.load(to, lanes), word, vector, lanes), lanes)

    def words(self, source: Buffer, index: Expr) -> list[Expr]:
        """What each vector of weights is multiplied with: the word of a value, in all lanes."""
        return [self.k.let(splat(source.load(index), self.lanes))] * self.vectors

    def widened(self, weights: Expr) -> Expr:
        """A vector of weights as the instruction takes them."""
        if self.dot.number == "int8":
            return self.k.let(weights)
        return self.k.let(tirx.Cast(vector_type(self.dot.number, self.lanes * self.depth), weights))


def is_x86(unit: DotUnit) -> bool:
    return unit.instruction.startswith("vp")


def rounded(k: KernelBuilder, value: Expr, lanes: int, unit: DotUnit) -> Expr:
    """float32 to the nearest int32, ties to even. It must lie within int32."""
    if is_x86(unit):  # one instruction; elsewhere it may become calls of the C library
        return _call(vector_type("int32", lanes), "llvm.lrint", value)
    return tirx.Cast(vector_type("int32", lanes), k.let(tirx.nearbyint(value)))


def apart(value: Expr, lanes: int) -> Expr:
    """A product that is rounded before it is added: LLVM would make a fused multiply-add of both."""
    return _call(vector_type("float32", lanes), "llvm.arithmetic.fence", value)


PACKS = {
    4: ("llvm.x86.sse2.packssdw.128", "llvm.x86.sse2.packuswb.128", "llvm.x86.sse2.packsswb.128"),
    8: ("llvm.x86.avx2.packssdw", "llvm.x86.avx2.packuswb", "llvm.x86.avx2.packsswb"),
    16: ("llvm.x86.avx512.packssdw.512", "llvm.x86.avx512.packuswb.512", "llvm.x86.avx512.packsswb.512"),
}
"""int32 to int16, int16 to uint8 and to int8, on so many lanes of int32. All saturate, each in parts of 128 bits."""


def packed(four: list[Expr], lanes: int, kind: str, zero: Expr) -> Expr:
    """Four vectors of int32, plus a zero point of that kind, saturated to 8 bits, one after the other. The zero is
    added between, to 16 bits and saturating: what is cut off there lies outside 8 bits with or without it."""
    halves, to_unsigned, to_signed = PACKS[lanes]
    half = vector_type("int16", 2 * lanes)
    zeros = splat(tirx.Cast("int16", zero), 2 * lanes)
    a, b = (_call(half, "llvm.sadd.sat", _call(half, halves, four[i], four[i + 1]), zeros) for i in (0, 2))
    name = to_unsigned if kind == "uint8" else to_signed
    mixed = _call(vector_type(kind, 4 * lanes), name, a, b)
    parts = lanes // 4
    if parts == 1:
        return mixed
    words = tirx.reinterpret(vector_type("int32", lanes), mixed)
    order = [IntImm("int32", 4 * part + v) for v in range(4) for part in range(parts)]
    return tirx.reinterpret(vector_type(kind, 4 * lanes), tirx.Shuffle([words], order))
