"""Statements with holes: what makes two pieces of a network alike."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from cnncc.frontends.text import tree
from cnncc.frontends.text.phrase import Hole, Phrase, Ref, phrase
from cnncc.ir import Graph, Node
from cnncc.lang.forms import PRINTED
from cnncc.lang.print_net import further, name_text


@dataclass(frozen=True)
class Part:
    """A statement as it will be written: arms of phrases, or phrases alone. `nodes` are those it makes, in order."""

    phrases: tuple[Phrase, ...]
    arms: tuple[tuple[Part, ...], ...] | None
    nodes: tuple[str, ...]
    refers: bool = False
    """Whether it has to do with named values: then it belongs to its place and to no block."""
    times: int = 1
    more: tuple[Part, ...] = field(default=(), compare=False)
    """Of a repeated statement, the further ones."""
    within: int = field(default=0, compare=False)
    """How many blocks inside each other the statement itself is a use of."""

    @property
    def depth(self) -> int:
        """Blocks inside each other, here and in arms."""
        return max((part.depth for arm in self.arms or () for part in arm), default=self.within)

    @cached_property
    def key(self) -> Hashable:
        """Equal for statements that differ in holes only."""
        return (
            tuple(tuple(p.kind if isinstance(p, Hole) else (p,) for p in words) for words in self.phrases),
            None if self.arms is None else tuple(tuple(part.key for part in arm) for arm in self.arms),
            self.times,
        )

    @property
    def holes(self) -> tuple[Hole, ...]:
        """In the order in which they are written."""
        inner = () if self.arms is None else (h for arm in self.arms for part in arm for h in part.holes)
        return (*inner, *(p for words in self.phrases for p in words if isinstance(p, Hole)))

    @property
    def lines(self) -> int:
        """About how many lines it takes."""
        return 1 + sum(sum(part.lines for part in arm) for arm in self.arms or ())

    @property
    def free(self) -> bool:
        """Whether it may be a part of a block."""
        return not self.refers and all(part.free for arm in self.arms or () for part in arm)

    @property
    def made(self) -> tuple[str, ...]:
        """The nodes of all repeats."""
        return (*self.nodes, *(name for part in self.more for name in part.made))


def parts(graph: Graph, sequence: tree.Sequence) -> tuple[Part, ...]:
    """The statements of a sequence."""
    return tuple(part(graph, statement) for statement in sequence)


def part(graph: Graph, statement: tree.Statement) -> Part:
    if isinstance(statement, tree.From | tree.Save | tree.Output):
        return Part((reference(statement),), None, (), refers=True)
    nodes = [graph[name] for name in statement.nodes]
    following = [*nodes[1:], None]
    arms = None
    if isinstance(statement, tree.Joined):
        arms = tuple(parts(graph, arm) for arm in statement.arms)
    phrases = tuple(
        words
        for node, then in zip(nodes, following, strict=True)
        for words in (merge_phrases(node) if PRINTED[node.op].arms else [phrase(graph, node, then)])
    )
    inner = (name for arm in arms or () for each in arm for name in each.made)
    return Part(phrases, arms, (*inner, *statement.nodes))


def reference(statement: tree.From | tree.Save | tree.Output) -> Phrase:
    """A statement that names a value, or gives one back."""
    verb: list[str | Ref] = [type(statement).__name__.lower()]
    if statement.name:
        verb += [" ", Ref(statement.name)]
    if isinstance(statement, tree.Output) and statement.port:
        verb.append(f" as {name_text(statement.port)}")
    return tuple(verb)


def merge_phrases(node: Node) -> list[Phrase]:
    """The word in front of the arms, and what follows them."""
    after = " ".join(further(node))
    return [(node.op,), (after,)] if after else [(node.op,)]


def sequences(body: Sequence[Part]) -> Iterator[tuple[Part, ...]]:
    """A sequence and all those inside it."""
    yield tuple(body)
    for each in body:
        for arm in each.arms or ():
            yield from sequences(arm)
