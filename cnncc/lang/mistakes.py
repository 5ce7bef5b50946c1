"""Errors for items of a statement that have no meaning there."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Sequence
from itertools import islice
from typing import NoReturn

from cnncc.base.errors import CnnccError, nearest
from cnncc.lang import ast, foreign
from cnncc.lang.blocks import LIKE_A_REPEAT
from cnncc.lang.forms import FORMS, KEYWORDS, MERGE_FORMS, MERGES
from cnncc.lang.items import Items
from cnncc.lang.scope import Scope, letters
from cnncc.ops.shapes import dims

ALIKE = 0.8
"""Similarity (of difflib) from which a word counts as a misspelling of one that the op has."""


def unknown(items: Items, blocks: Collection[str]) -> NoReturn:
    """Raises the error for a statement that does not start with an op or a block."""
    head, word = items.items[0], items.next_word
    if isinstance(head, ast.Call):
        unknown_block(items, head.name, blocks)
    if word in MERGES:
        items.scope.fail(f"{word}: expected arms in braces", head, arms_hint(items, word))
    if word == "net":
        items.scope.fail("a second `net`: a text holds one network", head)
    if word is not None:
        hint = started(items, word) or nearest(word, {*FORMS, *MERGES, *KEYWORDS, *blocks})
        items.scope.fail(f"unknown op or block {word!r}", head, hint)
    message = f"a statement starts with an op or a block, got {items.written(head)!r}"
    items.scope.fail(message, head, no_start(items, head))


def started(items: Items, word: str) -> str:
    """The hint for a word that cannot start a statement, from its meaning in other tools or from what follows it."""
    if word in items.scope.names:
        return f"a saved value is taken up again by `from {word}`"
    second = items.items[1] if len(items.items) > 1 else None
    behind = FORMS.get(second.word or "") if isinstance(second, ast.Value) else None
    if second and behind and not behind.source and simple(word) not in FORMS:
        rest = items.scope.source.text[second.start : items.items[-1].end]
        return foreign.ADVICE.get(foreign.simplified(word)) or f"a label ends in a colon: `{word}: {rest}`"
    return foreign.op(word) or foreign.setting(word)


def simple(word: str) -> str:
    """The word of the language for a word of another tool; an empty text if there is none."""
    return foreign.HERE.get(foreign.simplified(word), word)


def no_start(items: Items, head: ast.Item) -> str:
    """The hint for something that cannot start a statement."""
    if not isinstance(head, ast.Range):
        return "e.g. `conv 3x3 64`"
    if isinstance(head.low, ast.Arith):
        return f'such a label needs quotes: "{items.written(head.low)}": ...'
    return "a label starts its line"


def unknown_block(items: Items, name: ast.Name, blocks: Collection[str]) -> NoReturn:
    hint = nearest(name.name, blocks) if blocks else "no blocks are defined; `block NAME(c) { ... }` does that"
    if here := foreign.HERE.get(foreign.simplified(name.name)):
        hint = f"{here} takes no parentheses: `{foreign.EXAMPLES[here]}`"
    items.scope.fail(f"unknown block {name.name!r}", name, hint)


def unknown_merge(scope: Scope, name: ast.Name) -> NoReturn:
    repeat = foreign.LOOP if LIKE_A_REPEAT.fullmatch(name.name) else ""
    hint = repeat or foreign.op(name.name) or nearest(name.name, MERGES)
    scope.fail(f"unknown merge {name.name!r}", name, hint)


def misplaced(items: Items, blocks: Collection[str]) -> NoReturn:
    """Raises the error for an item that belongs to no op of its chain."""
    item, word, scope = items.next, items.next_word, items.scope
    assert item
    if word in FORMS or word in blocks or word in MERGES or word in KEYWORDS:
        hint = "put ';' or a new line in front of it: only pointwise ops follow in the same statement"
        scope.fail(f"{items.word}: {word!r} is a statement of its own", item, belongs(items) or hint)
    if word is not None and word not in scope.params:
        scope.fail(f"{items.word}: unknown word {word!r}", item, belongs(items) or word_hint(items, word))
    if isinstance(item, ast.Where):
        scope.fail(f"{items.word}: unexpected 'where'", item, "only the sizes of an input have ranges")
    what = "takes no stride" if isinstance(item, ast.Stride) else f"unexpected {items.written(item)!r}"
    scope.fail(f"{items.word}: {what}", item, belongs(items) or surplus(items, item))


def surplus(items: Items, item: ast.Item) -> str:
    """The hint for a number or a call that the op does not take."""
    written = items.written(item)
    if isinstance(item, ast.Call):
        here = simple(item.name.name)
        return f"{here} takes no parentheses: `{foreign.EXAMPLES[here]}`" if here in foreign.EXAMPLES else ""
    if not isinstance(item, ast.Value) or items.word not in foreign.EXAMPLES:
        return ""
    before = items.items[items.index - 2 : items.index - 1]
    if before and isinstance(before[0], ast.Value) and before[0].word == "pad":
        return f"several numbers have commas: pad {items.written(items.items[items.index - 1])},{written}"
    if items.word in OWN_ADVICE:
        return OWN_ADVICE[items.word].format(written)
    return f"a stride is written /{written}" if "/" in own_words(items) else f"e.g. `{foreign.EXAMPLES[items.word]}`"


OWN_ADVICE = {
    "dwconv": "it keeps the channels: leave {0} out, or write mult 2 for twice as many",
    "bn": "it is written eps {0}",
    "scale": "it is learned; a given factor is `affine scale {0}`, and `std (255)` of an input divides pixels by 255",
    "prelu": "its slopes are learned; a given one is leaky_relu {0}",
    "softmax": "it runs along the channels of what comes before",
    "gelu": "`gelu`, or its approximation `gelu_tanh`",
}
"""Hints for a number after an op that takes no number there."""


def arms_hint(items: Items, word: str) -> str:
    """The hint that shows how arms are written. If the line names a saved value, one arm of the example has it."""
    saved = [item.word for item in items.items if isinstance(item, ast.Value) and item.word in items.scope.names]
    return f"e.g. {word} {{ | from {saved[0]} }}" if saved else f"e.g. {word} {{ conv 3x3 64 | }}"


def few_arms(scope: Scope, merge: ast.Merge) -> NoReturn:
    """Raises the error for a merge with one arm. Most likely the bar is missing."""
    word, (arm,) = merge.name.name, merge.arms
    how = "between the two" if sum(len(group.statements) for group in arm) > 1 else f"as in `{foreign.EXAMPLES[word]}`"
    hint = f"arms are separated by |, {how}; an empty arm is the current value"
    scope.fail(f"{word}: takes 2 or more inputs, got 1", merge.name, hint)


ALIKE_ARMS = ("add", "mul", "max", "min", "concat")
"""Merges whose arms need the same shape; those of concat may differ in channels."""


def arms_differ(error: CnnccError, merge: ast.Merge, shapes: Sequence[tuple[int, ...]]) -> CnnccError:
    """The error of a merge, with the arm that differs from the others, and the `proj` that would give it their
    shape."""
    word = merge.name.name
    compared = [shape[2:] if word == "concat" else shape for shape in shapes]
    if word not in ALIKE_ARMS or len(set(compared)) == 1:
        return error
    most = max(compared, key=lambda shape: (compared.count(shape), -pixels(shape), math.prod(shape)))
    wanted = shapes[compared.index(most)]
    odd = next(i for i, shape in enumerate(compared) if shape != most)
    letter = next(islice(letters(), odd, None))
    named = f"arm {letter}{'' if merge.arms[odd] else ', the current value,'}"
    rest = "the others" if len(shapes) > 2 else "the other"
    text = f"{error.hint}; {named} is {dims(shapes[odd])}, {rest} {dims(wanted)}"
    return CnnccError(error.message, error.span, error.stack, text + projection(word, shapes[odd], wanted))


def pixels(shape: tuple[int, ...]) -> int:
    """How many pixels a shape has: a convolution makes fewer, never more. A vector counts as more than any image."""
    count = math.prod(shape[-2:]) if len(shape) in (2, 4) else 1
    return count if count > 1 else 1 << 60


def projection(word: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    """The convolution that makes one shape of another; an empty text if there is none."""
    if len(shape) != 4 or len(wanted) != 4:
        return ""
    (c, h, w), (channels, height, width) = shape[1:], wanted[1:]
    steps = {-(-h // height), -(-w // width)}
    if len(steps) > 1 or (-(-h // min(steps)), -(-w // min(steps))) != (height, width):
        return ""
    step, kept = steps.pop(), c if word == "concat" else channels
    return f": `proj 1x1 {kept}{f' /{step}' if step > 1 else ''}` at its end makes it fit"


def own_words(items: Items) -> set[str]:
    """The words that may follow the op that was read last."""
    form = FORMS.get(items.word) or MERGE_FORMS.get(items.word)
    return set(form.words) if form else set()


def word_hint(items: Items, word: str) -> str:
    """The hint for a word that has no meaning here: what it is called in the language, or the nearest words."""
    chainable = {w for w, form in FORMS.items() if form.chains}
    known = (own_words(items) | chainable) - {"/"}
    own = foreign.picture(word) if items.word == "input" else ""
    close = difflib.get_close_matches(word.lower(), own_words(items) - {"/"}, n=1, cutoff=ALIKE)
    mine = f"did you mean {close[0]!r}?" if close else ""
    return own or foreign.setting(word) or mine or foreign.op(word) or nearest(word, known)


def belongs(items: Items) -> str:
    """The hint for an item that an op further to the left would take."""
    item = items.next
    assert item
    word = "/" if isinstance(item, ast.Stride) else items.next_word
    for earlier in reversed(items.items[: items.index]):
        op = earlier.word if isinstance(earlier, ast.Value) else None
        if op and op in FORMS and word in FORMS[op].words and op not in own_words(items):
            other = "; for a statement of its own put ';' in front" if word in FORMS else ""
            return f"{items.written(item)!r} belongs to {op} and comes before {items.word}{other}"
    return ""
