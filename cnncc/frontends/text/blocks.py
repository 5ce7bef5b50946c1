"""Pieces of a network that occur several times become blocks; what they differ in becomes parameters."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, count

from cnncc.frontends.text.parts import Part, sequences
from cnncc.frontends.text.phrase import Hole, Ref
from cnncc.ir import Graph
from cnncc.lang.forms import RESERVED

LONGEST = 12
"""Statements in a row that are tried as a block."""
LEAST = 2
"""Lines that a block has to save."""
DEEPEST = 12
"""Blocks inside each other."""
BUDGET = 600_000
"""Runs of statements that are looked at, in all searches for a block together: some seconds. A network that large is
written with the blocks found until then."""
LETTERS = {"stride": "s", "kernel": "k", "groups": "g", "out": "cdefhijlmnopq"}
"""Names of parameters by what they stand for."""

Pattern = tuple[int, ...]
"""The numbers of the keys of a run of statements."""
Spot = tuple[Part, ...]
Names = dict[tuple[str, tuple[int, ...]], str]
"""Parameters, by what they stand for and their value in each use."""
Namer = Callable[[Sequence[Spot]], str]


@dataclass(frozen=True)
class FoundBlock:
    """A block: the statements of one of its uses, and what is written for each of their holes."""

    name: str
    params: tuple[tuple[str, int | None], ...]
    body: tuple[Part, ...]
    fills: tuple[str, ...]


def compressed(graph: Graph, top: tuple[Part, ...], name_of: Namer) -> tuple[list[FoundBlock], tuple[Part, ...]]:
    """The blocks, and the statements that use them."""
    blocks: list[FoundBlock] = []
    top = folded(with_projections(graph, top), plain_only=True)  # a merge may be one of a block's uses
    search = BlockSearch()
    while (pattern := search.best(top)) is not None:
        spots = [spot for body in sequences(top) for spot in search.found(body, pattern)]
        block, calls = defined(spots, unused(name_of(spots), blocks))
        blocks.append(block)
        top = search.replaced(top, pattern, iter(calls))
    return blocks, folded(top)


def folded(body: tuple[Part, ...], plain_only: bool = False) -> tuple[Part, ...]:
    """Equal statements in a row as one that is repeated, here and in arms; with `plain_only` no merges."""
    result: list[Part] = []
    for part in body:
        if part.arms is not None:
            part = replace(part, arms=tuple(folded(arm, plain_only) for arm in part.arms))
        last = result[-1] if result else None
        repeatable = part.free and part.nodes and part.times == 1 and not (plain_only and part.arms is not None)
        if last and repeatable and alike(last, part):
            result[-1] = replace(last, times=last.times + 1, more=(*last.more, part))
        else:
            result.append(part)
    return tuple(result)


def alike(a: Part, b: Part) -> bool:
    """Whether they are the same text, but for how often it is repeated."""
    return replace(a, times=1).key == b.key and [h.value for h in a.holes] == [h.value for h in b.holes]


# Where patterns are


class BlockSearch:
    """Looks for the pattern that is worth most as a block, again and again."""

    def __init__(self) -> None:
        self.numbers: defaultdict[Hashable, int] = defaultdict(count().__next__)
        """A number for each key: those are compared and hashed in no time."""
        self.left = BUDGET

    def pattern(self, body: Sequence[Part]) -> Pattern:
        return tuple(self.numbers[part.key] for part in body)

    def best(self, top: tuple[Part, ...]) -> Pattern | None:
        """The pattern that saves most lines as a block; None if none saves enough."""
        spots: Counter[Pattern] = Counter()
        lines: dict[Pattern, int] = {}
        for body in sequences(top):
            ends: dict[Pattern, int] = {}
            above = [0, *accumulate(part.lines for part in body)]
            for pattern, start in self.windows(body):
                if start < ends.get(pattern, 0):
                    continue  # it overlaps the one before
                ends[pattern] = start + len(pattern)
                spots[pattern] += 1
                if pattern not in lines:
                    lines[pattern] = above[start + len(pattern)] - above[start]
        saved = {p: (n - 1) * lines[p] - 2 - n for p, n in spots.items() if n > 1 and lines[p] > 1}
        chosen = max(saved, key=lambda p: (saved[p], -len(p)), default=None)
        return chosen if chosen is not None and saved[chosen] >= LEAST else None

    def windows(self, body: tuple[Part, ...]) -> Iterator[tuple[Pattern, int]]:
        """Every run of statements that could be a block, is no repetition of a shorter run, and holds none of a
        statement: such are better written as one that is repeated."""
        keys = self.pattern(body)
        usable = [part.free and bool(part.nodes) and part.depth < DEEPEST for part in body]
        for start in range(len(body)):
            for size in range(1, min(LONGEST, len(body) - start) + 1):
                last = start + size - 1
                if self.left <= 0 or not usable[last] or (size > 1 and keys[last] == keys[last - 1]):
                    break
                self.left -= 1
                pattern = keys[start : start + size]
                if not any(size % k == 0 and pattern == pattern[:k] * (size // k) for k in range(1, size)):
                    yield pattern, start

    def found(self, body: tuple[Part, ...], pattern: Pattern) -> Iterator[Spot]:
        """Where a pattern occurs in a sequence, without overlap."""
        keys, size, start = self.pattern(body), len(pattern), 0
        while start + size <= len(body):
            if keys[start : start + size] == pattern:
                yield body[start : start + size]
                start += size
            else:
                start += 1

    def replaced(self, body: tuple[Part, ...], pattern: Pattern, calls: Iterator[Part]) -> tuple[Part, ...]:
        """The sequence with a call for each occurrence, here and, in the order of `sequences`, in arms."""
        keys, size, start = self.pattern(body), len(pattern), 0
        outer: list[Part] = []
        while start < len(body):
            fits = keys[start : start + size] == pattern
            outer.append(next(calls) if fits else body[start])
            start += size if fits else 1
        return tuple(
            part
            if part.arms is None
            else replace(part, arms=tuple(self.replaced(arm, pattern, calls) for arm in part.arms))
            for part in outer
        )


# What a block is


def unused(name: str, blocks: list[FoundBlock]) -> str:
    taken = {block.name for block in blocks} | RESERVED
    numbered = (f"{name}{i}" for i in count(2))
    return name if name not in taken else next(n for n in numbered if n not in taken)


def defined(spots: Sequence[Spot], name: str) -> tuple[FoundBlock, list[Part]]:
    """A block for all spots, and the calls that stand for them."""
    rows = [[hole for part in spot for hole in part.holes] for spot in spots]
    columns = [tuple(hole.value for hole in column) for column in zip(*rows, strict=True)]
    names: Names = {}
    fills = [filled(hole, column, names) for hole, column in zip(rows[0], columns, strict=True)]
    params: list[tuple[str, int | None]] = [(p, None) for (kind, _), p in names.items() if kind != "stride"]
    params += [(p, 1) for (kind, _), p in names.items() if kind == "stride"]
    values = {p: column for (_, column), p in names.items()}
    depth = 1 + max(part.depth for part in spots[0])
    calls = []
    for i, spot in enumerate(spots):
        args = [str(values[p][i]) for p, default in params if default is None]
        args += [f"{p}={values[p][i]}" for p, default in params if default is not None and values[p][i] != default]
        text = f"{name}({', '.join(args)})" if params else name
        calls.append(Part(((text,),), None, tuple(n for part in spot for n in part.made), within=depth))
    return FoundBlock(name, tuple(params), spots[0], tuple(fills)), calls


def filled(hole: Hole, column: tuple[int, ...], names: Names) -> str:
    """What stands in a hole: a number, a parameter, or a multiple of one."""
    if len(set(column)) == 1:
        return str(column[0])
    for (kind, known), name in names.items():
        if kind == hole.kind or hole.kind == "groups":
            if factor := multiple(column, known):
                return name if factor == 1 else f"{factor}*{name}"
    letters = LETTERS.get(hole.kind, "n")
    free = (c for c in (*letters, *(f"{letters[0]}{i}" for i in range(2, 99))) if c not in names.values())
    name = names[hole.kind, column] = next(c for c in free if c not in RESERVED)
    return name


def multiple(column: Sequence[int], known: Sequence[int]) -> int:
    """The whole number that makes the one of the other; 0 if there is none."""
    factor = next((a // b for a, b in zip(column, known, strict=True) if b), 0)
    return factor if all(a == factor * b for a, b in zip(column, known, strict=True)) else 0


# Shortcuts


def with_projections(graph: Graph, top: tuple[Part, ...]) -> tuple[Part, ...]:
    """add { a | conv } and add { a | } with the same a: both add { a | proj }, which is a conv where it has to be."""
    groups: dict[Hashable, list[tuple[Part, int]]] = defaultdict(list)
    for body in sequences(top):
        for part in body:
            for side in shortcut_sides(part):
                assert part.arms
                others = tuple(tuple(p.key for p in arm) for i, arm in enumerate(part.arms) if i != side)
                groups[others, side, part.phrases[1:]].append((part, side))
    changes: dict[int, Part] = {}
    for group in groups.values():
        convs = [part.arms[side][0] for part, side in group if part.arms and part.arms[side]]
        if len(convs) == len(group) or not convs or len({c.key for c in convs}) > 1:
            continue
        kernels = {convs_hole.value for c in convs for convs_hole in c.holes if convs_hole.kind == "kernel"}
        if len(kernels) == 1 and all(changes_shape(graph, c) for c in convs):
            changes |= {id(part): projected(graph, part, side, convs[0]) for part, side in group}
    return tuple(rewritten(part, changes) for part in top)


def shortcut_sides(part: Part) -> list[int]:
    """Which arm of an add of two may be a shortcut: an empty one, or one with a convolution alone."""
    if part.phrases[0] != ("add",) or part.arms is None or len(part.arms) != 2:
        return []
    return [
        i for i, arm in enumerate(part.arms) if (not arm and part.arms[1 - i]) or (len(arm) == 1 and is_conv(arm[0]))
    ]


def is_conv(part: Part) -> bool:
    """A convolution, with a batch norm or without."""
    head, *rest = part.phrases
    return (
        part.arms is None
        and head[0] == "conv "
        and isinstance(head[1], Hole)
        and (not rest or (str(rest[0][0]).startswith("bn") and len(rest) == 1))
    )


def changes_shape(graph: Graph, part: Part) -> bool:
    """Whether the convolution cannot be left out: `proj` would be."""
    conv = graph[part.nodes[0]]
    return conv.type.shape != graph[conv.inputs[0]].type.shape


def projected(graph: Graph, part: Part, side: int, example: Part) -> Part:
    """The add with its shortcut as a `proj`."""
    assert part.arms
    (conv,) = part.arms[side] or (example,)
    head: list[str | Hole | Ref] = ["proj ", *conv.phrases[0][1:]]
    nodes = conv.nodes if part.arms[side] else ()
    if not part.arms[side]:
        channels = graph[part.nodes[-len(part.phrases)]].type.shape[1]
        trivial = {"out": channels, "stride": 1}
        head = [replace(h, value=trivial.get(h.kind, h.value)) if isinstance(h, Hole) else h for h in head]
    arm = (replace(conv, phrases=(tuple(head), *conv.phrases[1:]), nodes=nodes),)
    return replace(part, arms=tuple(arm if i == side else other for i, other in enumerate(part.arms)))


def rewritten(part: Part, changes: dict[int, Part]) -> Part:
    """The part with changes made in it and in its arms."""
    new = changes.get(id(part), part)
    if new.arms is None:
        return new
    return replace(new, arms=tuple(tuple(rewritten(p, changes) for p in arm) for arm in new.arms))
