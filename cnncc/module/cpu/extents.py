"""Numbers of a module that depend on the sizes of a call, as LLVM IR: a run computes them once, into a table."""

from __future__ import annotations

from collections.abc import Sequence

from cnncc.base.dim import Atom, Dim, Extent, Largest, Quotient, Smallest, Symbol


class Formulas:
    """Instructions that compute numbers from `%steps`, which points to an int32 for each symbol. What several numbers
    are made of is computed once."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._known: dict[Dim | Atom, str] = {}

    def value(self, extent: Extent) -> str:
        """The operand, an i64, that has the number."""
        if not isinstance(extent, Dim):
            return str(extent)
        if extent not in self._known:
            parts = [self._product(product, factor) for product, factor in extent.terms.items()]
            total = parts[0]
            for part in parts[1:]:
                total = self._made(f"add i64 {total}, {part}")
            self._known[extent] = total
        return self._known[extent]

    def _product(self, product: tuple[Atom, ...], factor: int) -> str:
        value = str(factor)
        for atom in product:
            value = self._atom(atom) if value == "1" else self._made(f"mul i64 {value}, {self._atom(atom)}")
        return value

    def _atom(self, atom: Atom) -> str:
        if atom not in self._known:
            match atom:
                case Symbol(index=index):
                    at = self._made(f"getelementptr i32, ptr %steps, i64 {index}")
                    found = self._made(f"sext i32 {self._made(f'load i32, ptr {at}')} to i64")
                case Quotient(over, under):
                    found = self._floored(self.value(over), under, over.reach[0] >= 0)
                case Largest(of):
                    found = self._extreme("smax", of)
                case Smallest(of):
                    found = self._extreme("smin", of)
            self._known[atom] = found
        return self._known[atom]

    def _floored(self, over: str, under: int, positive: bool) -> str:
        if positive:
            return self._made(f"udiv i64 {over}, {under}")
        quotient = self._made(f"sdiv i64 {over}, {under}")
        rest = self._made(f"srem i64 {over}, {under}")
        below = self._made(f"icmp slt i64 {rest}, 0")
        return self._made(f"sub i64 {quotient}, {self._made(f'zext i1 {below} to i64')}")

    def _extreme(self, name: str, of: tuple[Extent, ...]) -> str:
        first, *others = (self.value(part) for part in of)
        for other in others:
            first = self._made(f"call i64 @llvm.{name}.i64(i64 {first}, i64 {other})")
        return first

    def _made(self, instruction: str) -> str:
        name = f"%f{len(self.lines)}"
        self.lines.append(f"  {name} = {instruction}")
        return name


def steps_of(symbols: Sequence[Symbol]) -> list[str]:
    """Defines `%steps`, the size as `Formulas` read it, from `%chosen0`, `%chosen1` and so on; and `%in.range`, whether
    it is one of the range."""
    lines, fits = [f"  %steps = alloca [{len(symbols)} x i32], align 4"], "true"
    for i, symbol in enumerate(symbols):
        lines += [
            f"  %above{i} = sub i32 %chosen{i}, {symbol.least}",
            f"  %steps{i} = udiv i32 %above{i}, {symbol.step}",
            f"  %rest{i} = urem i32 %above{i}, {symbol.step}",
            f"  %even{i} = icmp eq i32 %rest{i}, 0",
            f"  %within{i} = icmp ule i32 %steps{i}, {symbol.count - 1}",
            f"  %size.ok{i} = and i1 %even{i}, %within{i}",
            f"  %so.far{i} = and i1 {fits}, %size.ok{i}",
            f"  %steps.at{i} = getelementptr i32, ptr %steps, i32 {i}",
            f"  store i32 %steps{i}, ptr %steps.at{i}",
        ]
        fits = f"%so.far{i}"
    return [*lines, f"  %in.range = and i1 {fits}, true"]


DECLARATIONS = ["declare i64 @llvm.smax.i64(i64, i64)", "declare i64 @llvm.smin.i64(i64, i64)"]


class Table:
    """The numbers that functions use, each of which has a place of 8 bytes in a table; rows of them for kernels have
    places of 4 bytes for each."""

    def __init__(self) -> None:
        self.nbytes = 0
        self._places: dict[Dim, int] = {}
        self._rows: dict[int, tuple[Extent, ...]] = {}
        self._loaded: dict[tuple[Dim, str], str] = {}

    def _place(self, nbytes: int) -> int:
        at = self.nbytes
        self.nbytes += -(-nbytes // 8) * 8
        return at

    def row(self, numbers: Sequence[Extent]) -> int:
        """Where a row of int32 begins, in bytes from the start of the table."""
        at = self._place(4 * len(numbers))
        self._rows[at] = tuple(numbers)
        return at

    def known(self, extent: Extent, bits: int = 64) -> str:
        """The operand that has a number: itself, or a name that `loads` defines."""
        if not isinstance(extent, Dim):
            return str(extent)
        if extent not in self._places:
            self._places[extent] = self._place(8)
        place = self._places[extent]
        return self._loaded.setdefault((extent, f"i{bits}"), f"%extent{place}.{bits}")

    def loads(self) -> list[str]:
        """Defines the names that were used since the last call, from `%table`."""
        lines = []
        for (extent, kind), name in self._loaded.items():
            place = self._places[extent]
            lines += [
                f"  {name}.at = getelementptr i8, ptr %table, i64 {place}",
                f"  {name} = load {kind}, ptr {name}.at",  # the lower half comes first
            ]
        self._loaded.clear()
        return lines

    def function(self) -> str:
        """`@measure`, which fills the table."""
        formulas = Formulas()
        stores = []
        for extent, place in self._places.items():
            value = formulas.value(extent)
            stores += [
                f"  %to{place} = getelementptr i8, ptr %table, i64 {place}",
                f"  store i64 {value}, ptr %to{place}",
            ]
        for place, numbers in self._rows.items():
            for i, extent in enumerate(numbers):
                value = formulas.value(extent)
                at = f"{place + 4 * i}"
                stores += [
                    f"  %low{at} = trunc i64 {value} to i32",
                    f"  %to{at} = getelementptr i8, ptr %table, i64 {at}",
                    f"  store i32 %low{at}, ptr %to{at}",
                ]
        return "\n".join(
            [
                "define internal void @measure(ptr %table, ptr %steps) noinline {",
                *formulas.lines,
                *stores,
                "  ret void",
                "}",
            ]
        )
