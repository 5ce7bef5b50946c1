"""What follows a merge in its statement, as a statement of its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator

from cnncc.frontends.text.parts import part
from cnncc.frontends.text.statements import Chain, Joined, Sequence, Statement, merges
from cnncc.ir import Graph


def without_tails(graph: Graph, sequence: Sequence) -> Sequence:
    """The statements; where alike merges are followed by something else, that stands in a line of its own. So the
    merges may be uses of one block."""
    tails: defaultdict[Hashable, set[Hashable]] = defaultdict(set)
    keys: dict[str, Hashable] = {}
    for merge in merges(sequence):
        key = keys[merge.nodes[0]] = part(graph, Joined(merge.arms, merge.nodes[:1])).key
        tails[key].add(part(graph, Chain(merge.nodes[1:])).key if merge.nodes[1:] else None)
    loose = {name for name, key in keys.items() if len(tails[key]) > 1}
    return tuple(split(sequence, loose))


def split(sequence: Sequence, loose: set[str]) -> Iterator[Statement]:
    """The sequence with the merges of those names apart from what follows them."""
    for statement in sequence:
        if not isinstance(statement, Joined):
            yield statement
            continue
        arms = tuple(tuple(split(arm, loose)) for arm in statement.arms)
        own, tail = statement.nodes[:1], statement.nodes[1:]
        apart = bool(tail) and own[0] in loose
        yield Joined(arms, own if apart else statement.nodes)
        if apart:
            yield Chain(tail)
