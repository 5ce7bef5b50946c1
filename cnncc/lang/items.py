"""The items of one statement, and readers that take the values of attributes from their front."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from cnncc.base import size_ranges
from cnncc.base.dim import Symbol
from cnncc.base.elements import ELEMENTS
from cnncc.base.errors import CnnccError, nearest
from cnncc.lang import ast, foreign
from cnncc.lang.forms import RESERVED
from cnncc.lang.scope import LARGEST, NUMBERS, Number, Scope
from cnncc.lang.source import TextPiece
from cnncc.ops.forms import Always, Syntax

Pair = tuple[int, int]


@dataclass
class Items:
    """A statement's items from left to right. `op` is the word of the op that is being read, for messages."""

    items: tuple[ast.Item, ...]
    scope: Scope
    op: TextPiece
    word: str = ""
    index: int = 0

    @property
    def next(self) -> ast.Item | None:
        return self.items[self.index] if self.index < len(self.items) else None

    @property
    def next_word(self) -> str | None:
        return self.next.word if isinstance(self.next, ast.Value) else None

    def take(self) -> ast.Item:
        self.index += 1
        return self.items[self.index - 1]

    def written(self, piece: TextPiece) -> str:
        return self.scope.source.text[piece.start : piece.end]

    def wanted(self, what: str, hint: str = "") -> NoReturn:
        """The error for a missing or a wrong item."""
        found, word = self.next, self.next_word
        got = f", got {self.written(found)!r}" if found else ""
        if word and self.is_unknown_word():
            advice = self.forward(word) or foreign.setting(word) or foreign.ADVICE.get(foreign.simplified(word))
            hint = advice or self.scope.known_parameters(word)
        if not hint and found and self.word in foreign.EXAMPLES:
            hint = f"e.g. `{foreign.EXAMPLES[self.word]}`"
        self.scope.fail(f"{self.word}: expected {what}{got}", found or self.op, hint)

    def forward(self, word: str) -> str:
        """The hint for a word in front of the numbers of its op, as in `upsample bilinear 2`."""
        behind = self.items[self.index + 1 : self.index + 2]
        known = word in foreign.OWN_WORDS.get(self.word, ()) or foreign.simplified(word) in foreign.LEFT_OUT
        if not behind or not known:
            return ""
        numbers = self.written(behind[0])
        kept = "" if foreign.simplified(word) in foreign.LEFT_OUT else f" {word}"
        return f"the numbers come first: `{self.word} {numbers}{kept}`"

    def expect(self, kind: type | tuple[type, ...], what: str) -> Any:
        """The next item. CnnccError if it is of another kind."""
        if not isinstance(self.next, kind) or self.is_unknown_word():
            self.wanted(what)
        return self.take()

    def is_unknown_word(self) -> bool:
        """Whether the next item is a single word that is not a parameter, and so not a number."""
        return self.next_word is not None and self.next_word not in self.scope.params and self.next_word not in NUMBERS

    def whole(self, expr: ast.Expr, least: int = 1) -> int:
        return self.scope.whole(expr, self.word, least)


Reader = Callable[[Items], Any]


def count(items: Items) -> int:
    """A whole number, at least 1."""
    return items.whole(items.expect(ast.Value, "a number").expr)


def channels(items: Items) -> int:
    return items.whole(items.expect(ast.Value, "a number of channels, as in `conv 3x3 64`").expr)


def results(items: Items) -> int:
    return items.whole(items.expect(ast.Value, "a number of results, as in `fc 1000`").expr)


def number(items: Items) -> float:
    return float(items.scope.number(items.expect(ast.Value, "a number").expr))


def kernel(items: Items) -> Pair:
    """`3x3`."""
    what = "a kernel like 3x3"
    if isinstance(items.next, ast.Value | ast.Listing) and not items.is_unknown_word():
        items.wanted(what, kernel_hint(items, items.next))
    return two(items, items.expect(ast.Sizes, what).sides, least=1)


def kernel_hint(items: Items, found: ast.Value | ast.Listing) -> str:
    """The hint for numbers in the place of a kernel, which comes first and is written height x width."""
    rest = items.items[items.index + 1 : items.index + 2]
    wants_channels = " 64" in foreign.EXAMPLES.get(items.word, "")
    if any(isinstance(item, ast.Sizes) for item in items.items[items.index + 1 :]) or (wants_channels and not rest):
        return f"the kernel comes first, as in `{foreign.EXAMPLES[items.word]}`"
    sides = found.values if isinstance(found, ast.Listing) else (found.expr, found.expr)
    kernel = "x".join(map(items.written, sides))
    strides = [not wants_channels and isinstance(item, ast.Value) and not item.word for item in rest]
    behind = [f"{'/' * stride}{items.written(item)}" for stride, item in zip(strides, rest, strict=True)]
    return f"height x width: `{' '.join([items.word, kernel, *behind])}`"


def two(items: Items, sides: tuple[ast.Expr, ...], least: int) -> Pair:
    """Height and width; one number stands for both."""
    values = [items.whole(s, least) for s in sides]
    if len(values) > 2:
        height, width, *rest = values
        hint = f"what follows stands apart: `{items.word} {height}x{width} {rest[0]}`"
        message = f"{items.word}: expected height x width, got {'x'.join(map(str, values))}"
        items.scope.fail(message, TextPiece(sides[0].start, sides[-1].end), hint)
    return values[0], values[-1]


def pair(least: int) -> Reader:
    """`2` or `2x1`."""

    def read(items: Items) -> Pair:
        item = items.expect((ast.Value, ast.Sizes), "a number, or two as in 2x1")
        return two(items, (item.expr,) if isinstance(item, ast.Value) else item.sides, least)

    return read


def pads(items: Items) -> tuple[int, int, int, int]:
    """`1` all around; `1,2` above and below, left and right; `0,1,2,3` top, left, bottom, right."""
    what = "1, 2 or 4 numbers such as 1 or 1,2 or 0,1,0,1"
    values = several(items, what, 0, (1, 2, 4))
    return (*values, *values) if len(values) == 2 else (*values * (4 // len(values)),)  # type: ignore[return-value]


def several(items: Items, what: str, least: int, lengths: tuple[int, ...]) -> tuple[int, ...]:
    """A list of whole numbers of one of the given lengths."""
    values = expressions(items, what)
    if len(values) not in lengths:
        items.index -= 1
        items.wanted(what)
    return tuple(items.whole(e, least) for e in values)


def expressions(items: Items, what: str) -> tuple[ast.Expr, ...]:
    item = items.expect((ast.Value, ast.Listing), what)
    return item.values if isinstance(item, ast.Listing) else (item.expr,)


def numbers(items: Items) -> tuple[float, ...]:
    """`0.5`, `0.1,0.2` or `(0.1, 0.2)`."""
    values: tuple[Number, ...] = tuple(map(items.scope.number, expressions(items, "numbers such as (0.1, 0.2, 0.3)")))
    return tuple(map(float, values))


def dims(items: Items) -> tuple[int, ...]:
    """`3x224x224`, or `10` for a vector."""
    item = items.expect((ast.Sizes, ast.Value), "a shape like 3x224x224")
    found = tuple(items.whole(s) for s in (item.sides if isinstance(item, ast.Sizes) else (item.expr,)))
    if len(found) == 4:
        shorter = "x".join(map(str, found[1:]))
        hint = f"write {shorter}; the batch is an option of `cnncc compile`: --batch {found[0]}"
        items.scope.fail(f"{items.word}: a shape has no batch, got {items.written(item)!r}", item, hint)
    return found


def ranged(items: Items) -> tuple[tuple[int, ...], tuple[int | Symbol, ...]]:
    """`3x224x224`, or `3 x h x w` with the ranges of its names behind `where`: the shape in the middle of them, and
    the shape with names."""
    named = named_sides(items)
    if not named:
        if items.next_word == "x":
            items.scope.fail(f"{items.word}: the first size, that of channels, is a number", items.items[1], RANGED)
        return dims(items), ()
    if len(named) == 4:
        shape = " x ".join(map(items.written, named))
        items.scope.fail(f"{items.word}: a shape has no batch, got '{shape}'", named[0], RANGED)
    places = {choice.name.name: choice for choice in choices(items)}
    given = {item.word for item in named if item.word}
    for name, choice in places.items():
        if name not in given:
            items.scope.fail(f"{name!r} is no size of this input", choice.name, nearest(name, given))
    sizes = tuple(chosen(items, item, places) if item.word else items.whole(item.expr) for item in named)
    return size_ranges.usual(sizes), size_ranges.ranged(sizes)


def named_sides(items: Items) -> list[ast.Value]:
    """Takes `3`, `h` and `w` of `3 x h x w`; nothing where no such shape is next."""
    left = items.items[items.index :]
    words = [item.word if isinstance(item, ast.Value) else None for item in left]
    count = 1
    while count + 1 < len(left) and words[count] == "x":
        count += 2
    found = [item for item in left[:count:2] if isinstance(item, ast.Value)]
    if len(found) <= count // 2 or not any(item.word for item in found[1:]):
        return []
    items.index += count
    return found


def choices(items: Items) -> Sequence[ast.Choice]:
    """What follows `where` in a statement."""
    return [choice for item in items.items if isinstance(item, ast.Where) for choice in item.choices]


def chosen(items: Items, item: ast.Value, places: Mapping[str, ast.Choice]) -> Symbol:
    """The size of a name, with the range that this input or one before it gives it."""
    name, known = item.word or "", items.scope.sizes
    choice = places.get(name)
    if choice is None:
        if name not in known:
            given = ", ".join(map(items.written, places.values()))
            hint = f"all ranges stand behind one `where`: `where {given}, {name} in 32..1024`"
            hint = hint if places else NO_RANGE.format(name)
            items.scope.fail(f"{items.word}: the size {name!r} has no range", item, hint)
        return known[name]
    if name in RESERVED:
        items.scope.fail(f"{items.word}: a size cannot be called {name!r}", choice.name, "it is a word of the language")
    index = known[name].index if name in known else len(known)
    try:
        made = size_ranges.symbol(index, name, choice.least, choice.most, choice.step)
    except CnnccError as error:
        items.scope.fail(f"{items.word}: {error.message}", choice, error.hint)
    if known.setdefault(name, made) != made:
        hint = "inputs with sizes of their own give them names of their own"
        items.scope.fail(f"{items.word}: {made}, but for another input {known[name]}", choice, hint)
    return made


RANGED = "e.g. `input 3 x h x w where h in 32..1024 step 32, w in 32..4096 step 8`"
NO_RANGE = "say it at the end of the line: `where {} in 32..1024 step 32`, or write a number"


def sides(items: Items) -> tuple[int, ...]:
    """`256` for the shorter side, or `256x320`."""
    item = items.expect((ast.Value, ast.Sizes), "the shorter side, as in 256, or height x width, as in 256x320")
    if isinstance(item, ast.Value):
        return (items.whole(item.expr),)
    return two(items, item.sides, least=1)


def sizes(items: Items) -> tuple[int, ...]:
    """`3x80x28x28`, of any number of sides."""
    item = items.expect((ast.Sizes, ast.Value), "sizes like 3x80x28x28")
    return tuple(items.whole(s) for s in (item.sides if isinstance(item, ast.Sizes) else (item.expr,)))


def order(items: Items) -> tuple[int, ...]:
    """`1,0,2`: axes, counted from 0."""
    return tuple(items.whole(e, 0) for e in expressions(items, "axes such as 1,0,2"))


def positions(items: Items) -> tuple[int, ...]:
    """`0,2,1`: positions, counted from 0."""
    return tuple(items.whole(e, 0) for e in expressions(items, "positions such as 0,2,1"))


def axis(items: Items) -> int:
    """`1`: an axis, counted from 0."""
    return items.whole(items.expect(ast.Value, "an axis, counted from 0").expr, 0)


def integer(items: Items) -> int:
    """`-3`: a whole number of either sign."""
    return items.whole(items.expect(ast.Value, "a whole number").expr, -LARGEST)


def scale(items: Items) -> float:
    """`0.02`: the float32 nearest to that."""
    import numpy as np

    with np.errstate(over="ignore", under="ignore"):
        return float(np.float32(number(items)))


def element(items: Items) -> str:
    """`uint8`: the name of an element type."""
    word = items.next_word
    if word is None or items.next is None:
        items.wanted("an element type such as uint8")
    if word not in ELEMENTS:
        items.scope.fail(f"{items.word}: no element type {word!r}", items.next, nearest(word, ELEMENTS))
    items.take()
    return word


def steps(items: Items) -> tuple[int, ...]:
    """`1,2,-2`: steps along axes, negative ones backwards."""
    return tuple(items.whole(e, -LARGEST) for e in expressions(items, "steps such as 1,2,2"))


def factors(items: Items) -> tuple[float, float]:
    """`1.5` or `1.5,2`: along height and width."""
    values = numbers(items)
    if len(values) > 2:
        items.index -= 1
        items.wanted("one number or two")
    return values[0], values[-1]


def bounds(items: Items) -> Pair:
    """`0:16`."""
    item = items.expect(ast.Range, "a range like 0:16")
    return items.whole(item.low, 0), items.whole(item.high, 1)


def corner(items: Items) -> Pair:
    """`2,3`: the first row and column."""
    values = several(items, "top,left such as 2,2", 0, (1, 2))
    return values[0], values[-1]


def texts(items: Items) -> tuple[str, ...]:
    """One or more names in quotes."""
    names = [items.expect(ast.Text, "a name in quotes").text]
    while isinstance(items.next, ast.Text):
        names.append(items.take().text)  # type: ignore[union-attr]
    return tuple(names)


READERS: Mapping[Syntax, Reader] = {
    Syntax.DIMS: dims,
    Syntax.RANGED: ranged,
    Syntax.SIZES: sizes,
    Syntax.SIDES: sides,
    Syntax.KERNEL: kernel,
    Syntax.CHANNELS: channels,
    Syntax.RESULTS: results,
    Syntax.COUNT: count,
    Syntax.NUMBER: number,
    Syntax.NUMBERS: numbers,
    Syntax.FACTORS: factors,
    Syntax.PAIR: pair(1),
    Syntax.PAIR_OR_ZERO: pair(0),
    Syntax.PADS: pads,
    Syntax.BOUNDS: bounds,
    Syntax.CORNER: corner,
    Syntax.ORDER: order,
    Syntax.POSITIONS: positions,
    Syntax.STEPS: steps,
    Syntax.AXIS: axis,
    Syntax.INTEGER: integer,
    Syntax.SCALE: scale,
    Syntax.ELEMENT: element,
}
"""How the value of an attribute is read."""


def value(items: Items, how: Syntax | Always) -> Any:
    """The value of an attribute; of a word that says it all, that."""
    return how.value if isinstance(how, Always) else READERS[how](items)
