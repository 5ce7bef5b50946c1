"""Where in the text a named value is made: in a line of its own, or where it is needed first."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import zip_longest

from cnncc.frontends.text.statements import Chain, From, Joined, Output, Save, Sequence, Statement


class Placing:
    """Puts statements in the order of the text. A value that is not there yet is made where it is needed first, even in
    an arm, and saved there: what comes later takes it up by its name."""

    def __init__(self, parts: Mapping[str, Sequence], made: Iterable[str], deepest: int) -> None:
        self.parts = parts
        self.made = set(made)
        """Values that the text has already, and that have a name in it."""
        self.deepest = deepest
        """Arms inside each other, at most, where a value is made that is named."""
        self.deep: set[str] = set()
        """Values that would be too deep in arms of arms: they want a line of their own."""

    def placed(self, sequence: Sequence, current: str | None, depth: int = 0) -> Sequence:
        """The sequence after the value `current`, with all that it needs made inside it."""
        result: list[Statement] = []
        for piece, name in self.pieces(sequence, current, depth):
            for statement, then in zip_longest(piece, piece[1:]):
                if isinstance(statement, From) and (statement.name == current or (current and independent(then))):
                    continue
                if isinstance(statement, Joined):
                    arms = tuple(self.placed(arm, current, depth + 1) for arm in statement.arms)
                    statement = Joined(arms, statement.nodes)
                result.append(statement)
                current = statement.name if isinstance(statement, From) else result_of(statement)
            if name:
                self.made.add(name)
                result.append(Save(name))
        return tuple(result)

    def pieces(self, sequence: Sequence, current: str | None, depth: int) -> list[tuple[Sequence, str]]:
        """The sequence, and before it, in order, those of the values it starts from; each with its name."""
        found = [(sequence, "")]
        while True:
            first = found[-1][0][0] if found[-1][0] else None
            if not isinstance(first, From) or first.name == current or first.name in self.made:
                break
            if depth + height(self.parts[first.name]) > self.deepest:
                self.deep.add(first.name)
                break
            found[-1] = (found[-1][0][1:], found[-1][1])
            found.append((self.parts[first.name], first.name))
        return found[::-1]


def result_of(statement: Statement) -> str:
    assert isinstance(statement, Chain | Joined)
    return statement.nodes[-1]


def independent(statement: Statement | None) -> bool:
    """Whether it is a merge whose arms all start from named values, whatever the current one is."""
    return isinstance(statement, Joined) and all(
        arm and (isinstance(arm[0], From) or independent(arm[0])) for arm in statement.arms
    )


def height(sequence: Sequence) -> int:
    """Arms inside each other."""
    merges = (s for s in sequence if isinstance(s, Joined))
    return max((1 + max(map(height, s.arms), default=0) for s in merges), default=0)


def without_idle(statements: Iterable[Statement]) -> Sequence:
    """The statements without names that nothing refers to, and without an `output` that goes without saying."""
    top = tuple(statements)
    kept = list(only_wanted(top, set(referred(top))))
    outputs = [s for s in kept if isinstance(s, Output)]
    if outputs == [Output("", "")] and kept[-1] == outputs[0]:
        kept.pop()
    return tuple(kept)


def only_wanted(sequence: Sequence, wanted: Collection[str]) -> Iterator[Statement]:
    """The statements without names that are not wanted, here and in arms."""
    for statement in sequence:
        if isinstance(statement, Joined):
            yield Joined(tuple(tuple(only_wanted(arm, wanted)) for arm in statement.arms), statement.nodes)
        elif not isinstance(statement, Save) or statement.name in wanted:
            yield statement


def referred(sequence: Iterable[Statement]) -> Iterator[str]:
    """The values that statements call by name."""
    for statement in sequence:
        if isinstance(statement, From | Output):
            yield statement.name
        elif isinstance(statement, Joined):
            for arm in statement.arms:
                yield from referred(arm)
