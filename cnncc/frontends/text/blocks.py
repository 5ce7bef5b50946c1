"""Pieces of a network that occur several times become blocks; what they differ in becomes parameters."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count

from cnncc.frontends.text.parts import Part, sequences
from cnncc.frontends.text.phrase import Hole
from cnncc.ir import Graph
from cnncc.lang.forms import RESERVED

LONGEST = 12
"""Statements in a row that are tried as a block."""
LEAST = 2
"""Lines that a block has to save."""
LETTERS = {"stride": "s", "kernel": "k", "groups": "g", "out": "cdefhijlmnopq", "start": "a", "stop": "b"}
"""Names of parameters by what they stand for."""

Pattern = tuple[Hashable, ...]
Spot = tuple[Part, ...]
Namer = Callable[[Sequence[Spot]], str]


@dataclass(frozen=True)
class Block:
    """A block: the statements of one of its uses, and what is written for each of their holes."""

    name: str
    params: tuple[tuple[str, int | None], ...]
    body: tuple[Part, ...]
    fills: tuple[str, ...]


def compressed(graph: Graph, top: tuple[Part, ...], name_of: Namer) -> tuple[list[Block], tuple[Part, ...]]:
    """The blocks, and the statements that use them."""
    blocks: list[Block] = []
    top = folded(with_projections(graph, top), plain_only=True)  # a merge may be one of a block's uses
    while (pattern := best(top)) is not None:
        spots = [spot for body in sequences(top) for spot in found(body, pattern)]
        block, calls = defined(spots, unused(name_of(spots), blocks))
        blocks.append(block)
        top = replaced(top, pattern, iter(calls))
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


def best(top: tuple[Part, ...]) -> Pattern | None:
    """The pattern that saves most lines as a block; None if none saves enough."""
    spots: dict[Pattern, int] = defaultdict(int)
    lines: dict[Pattern, int] = {}
    for body in sequences(top):
        keys = [part.key for part in body]
        usable = [part.free and bool(part.nodes) for part in body]
        for pattern, spot in windows(body, keys, usable):
            if pattern not in lines:
                lines[pattern] = sum(part.lines for part in spot)
    for pattern in lines:
        spots[pattern] = sum(1 for body in sequences(top) for _ in found(body, pattern))
    saved = {p: (spots[p] - 1) * lines[p] - 2 - spots[p] for p in lines if spots[p] > 1 and lines[p] > 1}
    chosen = max(saved, key=lambda p: (saved[p], -len(p)), default=None)
    return chosen if chosen is not None and saved[chosen] >= LEAST else None


def windows(body: tuple[Part, ...], keys: list[Hashable], usable: list[bool]) -> Iterator[tuple[Pattern, Spot]]:
    """Every run of statements that could be a block, is no repetition of a shorter run, and holds none of a statement:
    such are better written as one that is repeated."""
    for start in range(len(body)):
        for size in range(1, min(LONGEST, len(body) - start) + 1):
            if not usable[start + size - 1] or (size > 1 and keys[start + size - 1] == keys[start + size - 2]):
                break
            pattern = tuple(keys[start : start + size])
            if not any(size % k == 0 and pattern == pattern[:k] * (size // k) for k in range(1, size)):
                yield pattern, body[start : start + size]


def found(body: tuple[Part, ...], pattern: Pattern) -> Iterator[Spot]:
    """Where a pattern occurs in a sequence, without overlap."""
    size, start = len(pattern), 0
    while start + size <= len(body):
        spot = body[start : start + size]
        if spot[0].key == pattern[0] and tuple(part.key for part in spot) == pattern:
            yield spot
            start += size
        else:
            start += 1


def replaced(body: tuple[Part, ...], pattern: Pattern, calls: Iterator[Part]) -> tuple[Part, ...]:
    """The sequence with a call for each occurrence, here and, in the order of `sequences`, in arms."""
    size = len(pattern)
    outer: list[Part] = []
    start = 0
    while start < len(body):
        if tuple(part.key for part in body[start : start + size]) == pattern:
            outer.append(next(calls))
            start += size
        else:
            outer.append(body[start])
            start += 1
    return tuple(
        replace(part, arms=tuple(replaced(arm, pattern, calls) for arm in part.arms)) if part.arms is not None else part
        for part in outer
    )


# What a block is


def unused(name: str, blocks: list[Block]) -> str:
    taken = {block.name for block in blocks} | RESERVED
    numbered = (f"{name}{i}" for i in count(2))
    return name if name not in taken else next(n for n in numbered if n not in taken)


def defined(spots: Sequence[Spot], name: str) -> tuple[Block, list[Part]]:
    """A block for all spots, and the calls that stand for them."""
    rows = [[hole for part in spot for hole in part.holes] for spot in spots]
    columns = [tuple(hole.value for hole in column) for column in zip(*rows, strict=True)]
    names: dict[tuple[int, ...], str] = {}
    kinds: dict[str, str] = {}
    fills = [filled(hole, column, names, kinds) for hole, column in zip(rows[0], columns, strict=True)]
    params: list[tuple[str, int | None]] = [(p, None) for p in names.values() if kinds[p] != "stride"]
    params += [(p, 1) for p in names.values() if kinds[p] == "stride"]
    values = {p: column for column, p in names.items()}
    calls = []
    for i, spot in enumerate(spots):
        args = [str(values[p][i]) for p, default in params if default is None]
        args += [f"{p}={values[p][i]}" for p, default in params if default is not None and values[p][i] != default]
        text = f"{name}({', '.join(args)})" if params else name
        calls.append(Part(((text,),), None, tuple(n for part in spot for n in part.made)))
    return Block(name, tuple(params), spots[0], tuple(fills)), calls


def filled(hole: Hole, column: tuple[int, ...], names: dict[tuple[int, ...], str], kinds: dict[str, str]) -> str:
    """What stands in a hole: a number, a parameter, or a multiple of one."""
    if len(set(column)) == 1:
        return str(column[0])
    for known, name in names.items():
        if kinds[name] == hole.kind or hole.kind == "groups":
            factors = {a / b for a, b in zip(column, known, strict=True)}
            if len(factors) == 1 and (factor := factors.pop()) == int(factor):
                return name if factor == 1 else f"{int(factor)}*{name}"
    letters = LETTERS.get(hole.kind, "n")
    free = (c for c in (*letters, *(f"{letters[0]}{i}" for i in range(2, 99))) if c not in names.values())
    names[column] = next(c for c in free if c not in RESERVED)
    kinds[names[column]] = hole.kind
    return names[column]


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
    head: list[str | Hole] = ["proj ", *conv.phrases[0][1:]]
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
