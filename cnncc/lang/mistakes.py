"""The errors for items of a statement that nothing can be made of."""

from __future__ import annotations

from collections.abc import Collection
from typing import NoReturn

from cnncc.errors import nearest
from cnncc.lang import ast, foreign
from cnncc.lang.forms import FORMS, KEYWORDS, MERGE_FORMS, MERGES
from cnncc.lang.items import Items
from cnncc.lang.scope import Scope


def unknown(items: Items, blocks: Collection[str]) -> NoReturn:
    """A statement starts with no op or block."""
    head, word = items.items[0], items.next_word
    if isinstance(head, ast.Call):
        unknown_block(items, head.name, blocks)
    if word in MERGES:
        items.scope.fail(f"{word}: expected arms in braces", head, f"e.g. {word} {{ conv 3x3 64 | }}")
    if word == "net":
        items.scope.fail("a second `net`: a text holds one network", head)
    if word is not None:
        hint = foreign.op(word) or foreign.setting(word) or nearest(word, {*FORMS, *MERGES, *KEYWORDS, *blocks})
        items.scope.fail(f"unknown op or block {word!r}", head, hint)
    message = f"a statement starts with an op or a block, got {items.written(head)!r}"
    items.scope.fail(message, head, no_start(items, head))


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
    hint = foreign.op(name.name) or nearest(name.name, MERGES)
    scope.fail(f"unknown merge {name.name!r}", name, hint)


def misplaced(items: Items, blocks: Collection[str]) -> NoReturn:
    """An item belongs to no op of its chain."""
    item, word, scope = items.next, items.next_word, items.scope
    assert item
    if word in FORMS or word in blocks or word in MERGES or word in KEYWORDS:
        hint = "put ';' or a new line in front of it: only pointwise ops follow in the same statement"
        scope.fail(f"{items.word}: {word!r} is a statement of its own", item, belongs(items) or hint)
    if word is not None and word not in scope.params:
        scope.fail(f"{items.word}: unknown word {word!r}", item, belongs(items) or word_hint(items, word))
    what = "takes no stride" if isinstance(item, ast.Stride) else f"unexpected {items.written(item)!r}"
    number = isinstance(item, ast.Value) and "/" in own_words(items)
    hint = f"a stride is written /{items.written(item)}" if number else belongs(items)
    scope.fail(f"{items.word}: {what}", item, hint)


def own_words(items: Items) -> set[str]:
    """What may follow the op that was read last."""
    form = FORMS.get(items.word) or MERGE_FORMS.get(items.word)
    return set(form.words) if form else set()


def word_hint(items: Items, word: str) -> str:
    """For a word that is none of the language here: its translation, or the nearest ones."""
    chainable = {w for w, form in FORMS.items() if form.chains}
    known = (own_words(items) | chainable) - {"/"}
    own = foreign.picture(word) if items.word == "input" else ""
    return own or foreign.setting(word) or foreign.op(word) or nearest(word, known)


def belongs(items: Items) -> str:
    """The hint for something that an op further to the left would take."""
    item = items.next
    assert item
    word = "/" if isinstance(item, ast.Stride) else items.next_word
    for earlier in reversed(items.items[: items.index]):
        op = earlier.word if isinstance(earlier, ast.Value) else None
        if op and op in FORMS and word in FORMS[op].words and op not in own_words(items):
            other = "; for a statement of its own put ';' in front" if word in FORMS else ""
            return f"{items.written(item)!r} belongs to {op} and comes before {items.word}{other}"
    return ""
