"""What the C header of a module says of sizes, where a caller chooses them from ranges; and names for all headers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

from cnncc.base.elements import ELEMENTS, Element
from cnncc.ir import TensorType
from cnncc.module.cpu.variants import Layout
from cnncc.module.expressions import Expressions, c_expression
from cnncc.module.names import parameters
from cnncc.runtime.extents import factor


@dataclass(frozen=True)
class SizeWords:
    """The parts of a header that say what depends on the size of the inputs."""

    chosen: Sequence[str]
    """The parameters that say the size."""
    macros: str
    """Of the sizes that there are."""
    described: Callable[[TensorType], str]
    """The shape of an array, and its type if it is not float32."""
    arena: str
    """What the arena holds, with the macro of its bytes, if there is one."""
    counts: str
    """Macros of the numbers of an image and the type of each array."""
    functions: str
    """Those that tell bytes and shapes, and what is said of the tables of ports."""


def sizes_of_range(layout: Layout) -> SizeWords:
    """Of sizes of a range."""
    return _Range(layout).words()


@dataclass(frozen=True)
class _Range:
    layout: Layout

    @property
    def upper(self) -> str:
        return self.layout.name.upper()

    @property
    def expressions(self) -> Expressions:
        return Expressions(names=dict(zip(self.layout.symbols, self.layout.size_names, strict=True)))

    def words(self) -> SizeWords:
        return SizeWords(
            self.layout.size_names, self._macros(), self._described, self._arena(), self._counts(), self._functions()
        )

    def _macros(self) -> str:
        lines = ["", "/* The sizes that a run is told: from the least to the most, in steps. */"]
        for name, symbol in zip(self.layout.size_names, self.layout.symbols, strict=True):
            numbers = {"LEAST": symbol.least, "MOST": symbol.sizes[-1], "STEP": symbol.step}
            lines += [f"#define {self.upper}_{name.upper()}_{which} {number}" for which, number in numbers.items()]
        return "\n".join([*lines, ""])

    def _described(self, kind: TensorType) -> str:
        dims = [factor(self.expressions.of(extent)) for extent in kind.shape[1:]]
        return " x ".join(["n", *dims]) + ("" if kind.is_float else f", {kind.numbers}")

    def _arena(self) -> str:
        program = max((v.program for v in self.layout.variants), key=lambda p: p.arena.total_bytes)
        held = program.arena
        return f"""\
/* Bytes and alignment of the arena: the most that any run needs. Of {self.layout.batch} images of the largest size:
 * activations {held.bytes}; kernels and {program.threads} threads add {held.added_bytes}. */"""

    def _counts(self) -> str:
        lines, arguments = [], f"({', '.join(self.layout.size_names)})"
        for array, kind in parameters(self.layout.program.graph).items():
            count = self.expressions.of(prod(kind.shape[1:]))
            written = f" {count}" if isinstance(count, int) else f"{arguments} ((size_t)({c_expression(count)}))"
            lines += [
                f"#define {count_macro(self.upper, array, kind)}{written}",
                f"#define {self.upper}_{array.upper()}_DTYPE {dtype(kind.element)}",
            ]
        return "\n".join(lines)

    def _functions(self) -> str:
        name = self.layout.name
        rank = max(len(kind.shape) for kind in parameters(self.layout.program.graph).values())
        ranges = "range" if len(self.layout.symbols) == 1 else "ranges"
        chosen = ", ".join(f"int32_t {size}" for size in self.layout.size_names)
        return f"""\
/* Bytes of the arena: that any run needs at most, and that a run of so many images of a size needs; 0 for a number of
 * images that no run takes, and for a size that is not of the {ranges}. */
size_t {name}_arena_bytes(void);
size_t {name}_arena_bytes_for({chosen}, int32_t images);

/* The shape of an array of one image of a size: 1 x c x h x w, or 1 x k. Arrays are counted from 0 as {name}_run takes
 * them, inputs before outputs. Returns how many numbers it wrote, {rank} at most; it writes none to null. 0 for a size
 * that is not of the {ranges}, and for an array that there is not. */
size_t {name}_shape({chosen}, int32_t array, int64_t *dims);

/* How many inputs and outputs there are, and, unless `ports` is null, the table that describes them: shapes and numbers
 * of the largest size. */"""


def count_macro(upper: str, array: str, kind: TensorType) -> str:
    """What tells the numbers of one image of an array."""
    return f"{upper}_{array.upper()}_{'FLOATS' if kind.is_float else 'COUNT'}"


DTYPES = {element: number for number, element in enumerate(ELEMENTS.values())}
"""Element types by their numbers in enum cnncc_dtype."""


def dtype(element: Element) -> str:
    """What C calls it in that enumeration."""
    return f"CNNCC_{element.name.upper()}"


def described(kind: TensorType) -> str:
    """The shape of an array, and its type if it is not float32."""
    return " x ".join(map(str, ("n", *kind.shape[1:]))) + ("" if kind.is_float else f", {kind.numbers}")
