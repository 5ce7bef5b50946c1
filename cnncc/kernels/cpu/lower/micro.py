"""The code of the micro-kernel: sums in registers, one step of them, and how they begin."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cnncc.base.elements import FLOAT32, Element
from cnncc.kernels.shared.builder import Buffer, Expr, KernelBuilder, filled, splat


class Sums:
    """`values` x `vectors` vectors of sums, [value][vector][lane]: local arrays that LLVM keeps in registers."""

    def __init__(self, k: KernelBuilder, values: int, vectors: int, lanes: int, kind: Element = FLOAT32) -> None:
        self.k = k
        self.values, self.vectors, self.lanes = values, vectors, lanes
        self.acc = k.registers(values * vectors * lanes, kind)

    @property
    def floats(self) -> int:
        return self.values * self.vectors * self.lanes

    def start(self, bias: Buffer | None = None, at: Sequence[Expr] = ()) -> None:
        """The vectors of a bias that begin at these indices, for every value; or zeros."""
        if bias is None:
            for i in range(self.values * self.vectors):
                self.acc.store(i * self.lanes, filled(0, self.lanes, self.acc.kind), self.lanes)
            return
        for v, index in enumerate(at):
            vector = self.k.let(bias.load(index, self.lanes))
            for p in range(self.values):
                self.acc.store((p * self.vectors + v) * self.lanes, vector, self.lanes)

    def multiply(self, weights: tuple[Buffer, Expr], source: Buffer, at: Iterable[Expr]) -> None:
        """One step: adds the products of each value, which lies at an index of the source, and the vectors of weights
        that begin at an index of their buffer."""
        self.add(weights, (source.load(index) for index in at))

    def add(self, weights: tuple[Buffer, Expr], numbers: Iterable[Expr]) -> None:
        """The same for values that may lie in different buffers."""
        k, lanes = self.k, self.lanes
        buffer, first = weights
        vectors = [k.let(buffer.load(first + v * lanes, lanes)) for v in range(self.vectors)]
        for p, number in enumerate(numbers):
            value = k.let(splat(number, lanes))
            for v, vector in enumerate(vectors):
                to = (p * self.vectors + v) * lanes
                self.acc.store(to, self.acc.load(to, lanes) + value * vector, lanes)
