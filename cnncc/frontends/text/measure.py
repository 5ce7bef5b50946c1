"""How much room statements take, before they are written, and which of them share a line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cnncc.frontends.text.phrase import Phrase, Ref

if TYPE_CHECKING:
    from cnncc.frontends.text.parts import Part

NAME = 7
"""Characters of the name of a value."""
WIDE = 100
"""Characters of an arm that stays on one line, and of statements that make a named value."""
NARROW = 84
"""Characters of a merge that stays on one line."""

CHARACTERS = 100
"""Characters that count as much as a line."""
WORDS = 10
"""Words that do, of a text that is written."""
LEVELS = 4
"""Lines in arms of arms that do, each counted once for each arm but the first."""


def effort(text: str) -> float:
    """What a text asks of its reader, in lines: these, their words, and how deep they stand in arms."""
    depth, deep = 0, 0
    for line in text.splitlines():
        deep += max(0, depth - 1)
        depth += line.count("{") - line.count("}")
    return text.count("\n") + len(text.split()) / WORDS + deep / LEVELS


def size(part: Part) -> tuple[int, int]:
    """Lines and characters of a statement, about. `save` and `from` stand beside others."""
    own = sum(map(width, part.phrases)) + len(part.phrases) - 1 + (3 if part.times > 1 else 0)
    if part.arms is None:
        return int(part.verb not in ("save", "from")), own
    arms = [arm_size(arm) for arm in part.arms]
    lines = [max(lines, min(i, 1)) for i, (lines, _) in enumerate(arms)]  # an empty arm that is not the first has one
    chars = sum(chars for _, chars in arms)
    one_line = chars < NARROW and max(lines) <= 1
    return 1 if one_line else sum(lines), own + chars + 3 * len(arms)


def width(words: Phrase) -> int:
    """Characters of an op, about."""
    return sum(len(p) if isinstance(p, str) else NAME if isinstance(p, Ref) else len(str(p.value)) for p in words)


def arm_size(arm: Sequence[Part]) -> tuple[int, int]:
    """Lines and characters of an arm, about: a short one stands on a line."""
    short = all(part.size[0] <= 1 for part in arm) and chars(arm) < WIDE
    lines = text_lines(arm)
    return (min(lines, 1) if short else lines), chars(arm)


def text_lines(body: Sequence[Part]) -> int:
    """Lines of a sequence, about."""
    return sum(max(1, *(part.size[0] for part in group)) for group in grouped(body))


def chars(body: Sequence[Part]) -> int:
    """Characters of a sequence in a line, about."""
    return sum(part.size[1] for part in body) + 2 * max(0, len(body) - 1)


def grouped(body: Sequence[Part]) -> list[list[Part]]:
    """The statements that stand in a line together: short ones from one value with a name to the next; else one, `from`
    before it and `save` behind it."""
    groups: list[list[Part]] = []
    at = 0
    while at < len(body):
        end = named_value(body, at) or at + 1
        after = groups and (body[at].verb == "save" or groups[-1][-1].verb == "from")
        if end == at + 1 and after and body[at].verb != "output" and groups[-1][-1].verb != "output":
            groups[-1].append(body[at])
        else:
            groups.append(list(body[at:end]))
        at = end
    return groups


def named_value(body: Sequence[Part], at: int) -> int | None:
    """Where the statements end that make a value with a name from another one with a name, if they are short."""
    if body[at].verb != "from" and not (at and body[at - 1].verb == "save"):
        return None
    for end in range(at + 1, len(body) + 1):
        part = body[end - 1]
        if part.verb == "output" or part.size[0] > 1 or (part.verb == "from" and end > at + 1):
            return None
        if chars(body[at:end]) >= WIDE:
            return None
        if part.verb == "save":
            return end
    return None
