"""A network whose inputs have any size of a range: what it is at each size, read again when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from cnncc.base.dim import Symbol, value_at
from cnncc.base.errors import CnnccError
from cnncc.base.input_shapes import FixedShapes
from cnncc.ir.graph import Graph

Steps = Mapping[Symbol, int]
"""A size: of each symbol, how many steps it is above its least."""


@dataclass(frozen=True, eq=False)
class Ranged:
    """A network for a range of sizes. `shapes` are those of one image by input, numbers or symbols; `at` reads the
    network for images of given shapes, with its weights."""

    shapes: Mapping[str, Sequence[int | Symbol]]
    at: Callable[[FixedShapes], Graph]

    @cached_property
    def symbols(self) -> tuple[Symbol, ...]:
        """In the order of their indices."""
        return tuple(sorted({s for shape in self.shapes.values() for s in shape if isinstance(s, Symbol)}))

    def sizes(self, steps: Steps) -> dict[str, tuple[int, ...]]:
        """The shapes at one size."""
        return {
            name: tuple(value_at(s.extent, steps) if isinstance(s, Symbol) else s for s in shape)
            for name, shape in self.shapes.items()
        }

    @cached_property
    def _read(self) -> dict[tuple[int, ...], Graph]:
        """The graphs of the sizes that were asked for: of some formats reading one takes long."""
        return {}

    def graph(self, steps: Steps) -> Graph:
        """The network at one size. CnnccError says at which, if it is not one of the network."""
        key = tuple(steps[symbol] for symbol in self.symbols)
        if key not in self._read:
            try:
                self._read[key] = self.at(self.sizes(steps))
            except CnnccError as error:
                raise told_at(error, steps) from None
        return self._read[key]

    @cached_property
    def ends(self) -> tuple[Graph, Graph]:
        """The network at its smallest and at its largest size."""
        return self.graph(self.least), self.graph(self.most)

    @cached_property
    def middle(self) -> Graph:
        """The network at its typical size."""
        return self.graph(self.typical)

    @property
    def compared(self) -> list[Steps]:
        """The sizes at which it shows whether the network is one: the smallest and the largest, and as many more from
        the smallest on as leave every remainder of its strides."""
        count = max(symbol.remainders for symbol in self.symbols)
        more = [{s: min(n, s.count - 1) for s in self.symbols} for n in range(1, count + 1)]
        return [self.least, self.most, *more]

    @property
    def least(self) -> Steps:
        """The smallest size."""
        return dict.fromkeys(self.symbols, 0)

    @property
    def most(self) -> Steps:
        """The largest size."""
        return {s: s.count - 1 for s in self.symbols}

    @property
    def typical(self) -> Steps:
        """The size for which kernels are chosen: in the middle, counted in factors."""
        return {s: s.middle for s in self.symbols}


def told_at(error: CnnccError, steps: Steps) -> CnnccError:
    """The error with the size at which it happened."""
    return CnnccError(f"at {said(steps)}: {error.message}", error.span, error.stack, error.hint)


def said(steps: Steps) -> str:
    """`h = 32, w = 40`."""
    return ", ".join(f"{s.name} = {s.least + n * s.step}" for s, n in steps.items())
