"""Statements with holes: what makes two pieces of a network alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from cnncc.frontends.text.phrase import Hole, Phrase, Ref, phrase
from cnncc.frontends.text.statements import From, Joined, Output, Save, Statement
from cnncc.frontends.text.statements import Sequence as Statements
from cnncc.ir import Graph, Node
from cnncc.lang.forms import form_of
from cnncc.lang.print_net import further, name_text


@dataclass(frozen=True)
class Part:
    """A statement as it will be written: arms of phrases, or phrases alone. `nodes` are those it makes, in order."""

    phrases: tuple[Phrase, ...]
    arms: tuple[tuple[Part, ...], ...] | None
    nodes: tuple[str, ...]
    fixed: bool = False
    """Whether it belongs to the network itself, as outputs do, and to no block."""
    times: int = 1
    more: tuple[Part, ...] = field(default=(), compare=False)
    """Of a repeated statement, the further ones."""
    within: int = field(default=0, compare=False)
    """How many blocks inside each other the statement itself is a use of."""

    @cached_property
    def depth(self) -> int:
        """Blocks inside each other, here and in arms."""
        return max((part.depth for arm in self.arms or () for part in arm), default=self.within)

    @cached_property
    def key(self) -> Hashable:
        """Equal for statements that differ in holes and in the names of values only."""
        return (
            tuple(tuple((p,) if isinstance(p, str) else p.kind for p in words) for words in self.phrases),
            None if self.arms is None else tuple(tuple(part.key for part in arm) for arm in self.arms),
            self.times,
        )

    @property
    def holes(self) -> tuple[Hole, ...]:
        """In the order in which they are written."""
        inner = () if self.arms is None else (h for arm in self.arms for part in arm for h in part.holes)
        return (*inner, *(p for words in self.phrases for p in words if isinstance(p, Hole)))

    @cached_property
    def refs(self) -> tuple[Ref, ...]:
        """The values that it names, in the order in which they are written."""
        inner = (ref for arm in self.arms or () for part in arm for ref in part.refs)
        return (*inner, *(p for words in self.phrases for p in words if isinstance(p, Ref)))

    @cached_property
    def lines(self) -> int:
        """About how many lines it takes: `save` and `from` stand beside others."""
        if self.verb in ("save", "from"):
            return 0
        return 1 + sum(sum(part.lines for part in arm) for arm in self.arms or ())

    @property
    def verb(self) -> str:
        """`save`, `from` or `output`, if it is that."""
        return self.refs[0].kind if self.refs and not self.made else "output" if self.fixed else ""

    @property
    def made(self) -> tuple[str, ...]:
        """The nodes of all repeats."""
        return (*self.nodes, *(name for part in self.more for name in part.made))

    def after(self, value: str) -> str:
        """The current value after the statement, if it is `value` before."""
        if self.made:
            return self.made[-1]
        return next((ref.value for ref in self.refs if ref.kind == "from"), value)


@dataclass(frozen=True)
class Run:
    """Statements in a row, and the current value before each of them."""

    parts: tuple[Part, ...]
    values: tuple[str, ...]

    def __getitem__(self, place: slice) -> Run:
        return Run(self.parts[place], self.values[place])

    @property
    def names(self) -> dict[str, int] | None:
        """For a run that can be a block, a number for each value that it names: 0 for the one it starts from. None if
        it takes up a value from elsewhere."""
        start = self.values[0]
        found: dict[str, int] = {}
        for ref in (ref for part in self.parts for ref in part.refs):
            if ref.value == start:
                found[start] = 0
            elif ref.kind == "save":
                found[ref.value] = 1 + len(found.keys() - {start})
            elif ref.value not in found:
                return None
        return found


def runs(body: tuple[Part, ...], start: str) -> Iterator[Run]:
    """A sequence that starts from a value, and all those inside it."""
    values = [start]
    for part in body:
        values.append(part.after(values[-1]))
    yield Run(body, tuple(values[:-1]))
    for part, value in zip(body, values, strict=False):
        for arm in part.arms or ():
            yield from runs(arm, value)


def uses(body: Sequence[Part]) -> Counter[str]:
    """How often each value is taken up by its name."""
    return Counter(ref.value for part in body for ref in part.refs if ref.kind != "save")


def without_idle(body: Sequence[Part], used: Mapping[str, int]) -> tuple[Part, ...]:
    """The sequence without names for values that nothing takes up, here and in arms."""
    kept = (part for part in body if part.verb != "save" or used[part.refs[0].value])
    return tuple(
        part if part.arms is None else replace(part, arms=tuple(without_idle(arm, used) for arm in part.arms))
        for part in kept
    )


def parts(graph: Graph, sequence: Statements) -> tuple[Part, ...]:
    """The statements of a sequence."""
    return tuple(part(graph, statement) for statement in sequence)


def part(graph: Graph, statement: Statement) -> Part:
    if isinstance(statement, From | Save | Output):
        return Part((reference(statement),), None, (), fixed=isinstance(statement, Output))
    nodes = [graph[name] for name in statement.nodes]
    following = [*nodes[1:], None]
    arms = None
    if isinstance(statement, Joined):
        arms = tuple(parts(graph, arm) for arm in statement.arms)
    phrases = tuple(
        words
        for node, then in zip(nodes, following, strict=True)
        for words in (merge_phrases(node) if form_of(node).arms else [phrase(graph, node, then)])
    )
    inner = (name for arm in arms or () for each in arm for name in each.made)
    return Part(phrases, arms, (*inner, *statement.nodes))


def reference(statement: From | Save | Output) -> Phrase:
    """A statement that names a value, or gives one back."""
    verb = type(statement).__name__.lower()
    words: list[str | Ref] = [verb]
    if statement.name:
        words += [" ", Ref(verb, statement.name)]
    if isinstance(statement, Output) and statement.port:
        words.append(f" as {name_text(statement.port)}")
    return tuple(words)


def saved(value: str) -> Part:
    """The statement that names a value."""
    return Part((reference(Save(value)),), None, ())


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
