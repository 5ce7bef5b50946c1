"""Pieces of a network that occur several times become blocks; what they differ in becomes parameters."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from heapq import nsmallest
from itertools import accumulate, count

from cnncc.frontends.text.define import FoundBlock, defined
from cnncc.frontends.text.measure import CHARACTERS, chars, text_lines
from cnncc.frontends.text.parts import Part, Run, runs, uses, without_idle
from cnncc.frontends.text.shortcuts import with_projections
from cnncc.ir import Graph
from cnncc.lang.forms import RESERVED

LONGEST = 12
"""Statements in a row that are tried as a block."""
TRIED = 12
"""Patterns of which each is written as a block: the one with the shortest text is kept."""
LEAST = 2
"""Statements fewer that a pattern needs to be tried."""
SAVED = 1
"""Lines that a block has to save."""
DEEPEST = 12
"""Blocks inside each other."""
BUDGET = 600_000
"""Runs of statements that are looked at, in all searches for a block and all ways to write a network together: some
seconds. A network that large is written with the blocks found until then."""

Pattern = tuple[tuple[int, ...], tuple[int, ...]]
"""The numbers of the keys of a run of statements, and those of the values that it names, in the order of the text."""
Namer = Callable[[Sequence[Run]], str]


@dataclass(frozen=True)
class Attempt:
    """A network with blocks."""

    blocks: tuple[FoundBlock, ...]
    top: tuple[Part, ...]

    @cached_property
    def length(self) -> float:
        """Lines of the text, about; long ones count more than short ones."""
        bodies = [*(block.body for block in self.blocks), folded(self.top)]
        return sum(text_lines(body) + chars(body) / CHARACTERS for body in bodies) + 2 * len(self.blocks)


def compressed(
    graph: Graph, top: tuple[Part, ...], name_of: Namer, search: BlockSearch
) -> tuple[tuple[FoundBlock, ...], tuple[Part, ...]]:
    """The blocks, and the statements that use them."""
    start = graph.inputs[-1].name if graph.inputs else ""
    now = Attempt((), folded(with_projections(graph, top), plain_only=True))  # a merge may be one of a block's uses
    while True:
        patterns = search.ranked(now.top, start)
        tried = [with_block(now, list(search.found(now.top, start, p)), name_of) for p in patterns]
        shortest = min(tried, key=lambda attempt: attempt.length, default=now)
        if shortest.length > now.length - SAVED:
            return now.blocks, folded(now.top)
        now = shortest


def with_block(attempt: Attempt, found: list[Run], name_of: Namer) -> Attempt:
    """One more block, for the runs that were found."""
    block, calls = defined(found, unused(name_of(found), attempt.blocks))
    of = dict(zip((id(run.parts[0]) for run in found), calls, strict=True))
    top = replaced(attempt.top, of, len(found[0].parts))
    return Attempt((*attempt.blocks, block), without_idle(top, uses(top)))


def unused(name: str, blocks: Sequence[FoundBlock]) -> str:
    taken = {block.name for block in blocks} | RESERVED
    numbered = (f"{name}{i}" for i in count(2))
    return name if name not in taken else next(n for n in numbered if n not in taken)


def replaced(body: tuple[Part, ...], calls: dict[int, Part], size: int) -> tuple[Part, ...]:
    """The sequence with calls for the runs of so many statements whose first one has that id, here and in arms."""
    result: list[Part] = []
    at = 0
    while at < len(body):
        part = body[at]
        call = calls.get(id(part))
        if call is None and part.arms is not None:
            part = part.with_arms(tuple(replaced(arm, calls, size) for arm in part.arms))
        result.append(call or part)
        at += size if call else 1
    return tuple(result)


def folded(body: tuple[Part, ...], plain_only: bool = False) -> tuple[Part, ...]:
    """Equal statements in a row as one that is repeated, here and in arms; with `plain_only` no merges."""
    result: list[Part] = []
    for part in body:
        if part.arms is not None:
            part = part.with_arms(tuple(folded(arm, plain_only) for arm in part.arms))
        last = result[-1] if result else None
        repeatable = part.nodes and not part.refs and part.times == 1 and not (plain_only and part.arms is not None)
        if last and repeatable and alike(last, part):
            result[-1] = replace(last, times=last.times + 1, more=(*last.more, part))
        else:
            result.append(part)
    return tuple(result)


def alike(a: Part, b: Part) -> bool:
    """Whether they are the same text, but for how often it is repeated."""
    return a.form == b.form and [h.value for h in a.holes] == [h.value for h in b.holes]


class BlockSearch:
    """Looks for the patterns that are worth most as a block, again and again."""

    def __init__(self) -> None:
        self.numbers: defaultdict[Hashable, int] = defaultdict(count().__next__)
        """A number for each key: those are compared and hashed in no time."""
        self.known: dict[int, tuple[Part, int]] = {}
        """Those of statements that were seen, by the ids of these."""
        self.left = BUDGET

    def ranked(self, top: tuple[Part, ...], start: str) -> list[Pattern]:
        """The patterns that save most statements as a block, in statements that start from the value `start`: at most
        TRIED of them."""
        spots: Counter[Pattern] = Counter()
        lines: dict[Pattern, int] = {}
        used = uses(top)
        for body in runs(top, start):
            ends: dict[Pattern, int] = {}
            above = [0, *accumulate(part.lines for part in body.parts)]
            for pattern, first in self.windows(body, used):
                if first < ends.get(pattern, 0):
                    continue  # it overlaps the one before
                size = len(pattern[0])
                ends[pattern] = first + size
                spots[pattern] += 1
                if pattern not in lines:
                    lines[pattern] = above[first + size] - above[first]
        saved = {p: (n - 1) * lines[p] - 2 - n - (0 in p[1]) for p, n in spots.items() if n > 1 and lines[p] > 1}
        most = nsmallest(TRIED, saved, key=lambda p: (-saved[p], len(p[0])))
        return [p for p in most if saved[p] >= LEAST]

    def number(self, part: Part) -> int:
        """The number of its key."""
        if id(part) not in self.known:
            self.known[id(part)] = part, self.numbers[part.key]
        return self.known[id(part)][1]

    def windows(self, body: Run, used: Counter[str]) -> Iterator[tuple[Pattern, int]]:
        """Every run of statements that could be a block, is no repetition of a shorter run, and holds none of a
        statement: such are better written as one that is repeated."""
        keys = tuple(map(self.number, body.parts))
        usable = [not part.fixed and part.depth < DEEPEST for part in body.parts]
        makes = [bool(part.nodes) for part in body.parts]
        named = [bool(part.refs) for part in body.parts]
        for start in range(len(keys)):
            for size in range(1, min(LONGEST, len(keys) - start) + 1):
                last = start + size - 1
                twice = size > 1 and keys[last] == keys[last - 1] and not named[last]
                if self.left <= 0 or not usable[last] or twice or not makes[start]:
                    break
                self.left -= 1
                if not makes[last]:
                    continue
                window = slice(start, last + 1)
                values = closed(body[window], used) if any(named[window]) else ()
                if values is not None and (values or not repeats(keys[window])):
                    yield (keys[window], values), start

    def found(self, top: tuple[Part, ...], start: str, pattern: Pattern) -> Iterator[Run]:
        """Where a pattern occurs, without overlap."""
        used, size = uses(top), len(pattern[0])
        for body in runs(top, start):
            keys = tuple(map(self.number, body.parts))
            at = 0
            while at + size <= len(keys):
                window = body[at : at + size]
                fits = keys[at : at + size] == pattern[0] and closed(window, used) == pattern[1]
                if fits:
                    yield window
                at += size if fits else 1


def closed(run: Run, used: Counter[str]) -> tuple[int, ...] | None:
    """For a run whose values have names in it alone, the numbers of those that it names, in the order of the text; 0 is
    the one it starts from. None for a run that has to do with a value of a name elsewhere."""
    names = run.names
    if names is None:
        return None
    refs = [ref for part in run.parts for ref in part.refs]
    inside = Counter(ref.value for ref in refs if ref.kind != "save")
    if any(inside[value] < used[value] for value, number in names.items() if number):
        return None
    return tuple(names[ref.value] for ref in refs)


def repeats(keys: tuple[int, ...]) -> bool:
    """Whether it is a repetition of something shorter."""
    size = len(keys)
    return any(size % k == 0 and keys == keys[:k] * (size // k) for k in range(1, size))
