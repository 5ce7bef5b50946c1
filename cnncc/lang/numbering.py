"""Which path segment a statement adds to the names of its values, and how often it runs."""

from __future__ import annotations

from collections.abc import Iterator

from cnncc.lang import ast
from cnncc.lang.build import MAX_NODES
from cnncc.lang.scope import Scope


def computes(statement: ast.Statement) -> bool:
    """Whether a statement counts in the numbering of its sequence. `save`, `from`, `output` and inputs do not count, so
    that the first layer has number 0."""
    return not isinstance(statement, ast.Refer) and not is_input(statement)


def is_input(statement: ast.Statement) -> bool:
    head = statement.items[0] if isinstance(statement, ast.Op) else None
    return isinstance(head, ast.Value) and head.word == "input"


def segments(group: ast.Group, scope: Scope, position: int) -> Iterator[list[str]]:
    """For each statement that computes values, the path segment of each of its repeats.

    `position` is the number of the group's first statement in its sequence. Under a label, numbers start at 0 and go on
    through the statements of the line."""
    statements = [s for s in group.statements if not isinstance(s, ast.Refer)]
    index = 0
    for statement in statements:
        times = repeats(statement, scope)
        if group.label and len(statements) == 1 and times is None:
            yield [group.label.text]
        elif group.label:
            yield [f"{group.label.text}.{index + k}" for k in range(times or 1)]
            index += times or 1
        elif is_input(statement):
            yield ["input"]
        else:
            scope.generate(str(position), "an unlabelled line", statement)
            yield [str(position)] if times is None else [f"{position}.{k}" for k in range(times)]
            position += 1


def repeats(statement: ast.Op | ast.Merge, scope: Scope) -> int | None:
    """How often a statement is repeated; None if the text does not say."""
    if statement.times is None:
        return None
    times = scope.whole(statement.times, "repeat", 1)
    if times > MAX_NODES:
        message = f"repeat: {times} is too many, at most {MAX_NODES}"
        scope.fail(message, statement.times, f"a network has at most {MAX_NODES} ops")
    return times
