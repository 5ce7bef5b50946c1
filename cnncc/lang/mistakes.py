"""The errors for items of a statement that nothing can be made of."""

from __future__ import annotations

from collections.abc import Collection
from typing import NoReturn

from cnncc.errors import nearest
from cnncc.lang import ast
from cnncc.lang.forms import FORMS, MERGES
from cnncc.lang.items import Items


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
        items.scope.fail(f"unknown op or block {word!r}", head, nearest(word, {*FORMS, *MERGES, *blocks}))
    hint = "a label starts its line" if isinstance(head, ast.Range) else "e.g. `conv 3x3 64`"
    items.scope.fail(f"a statement starts with an op or a block, got {items.written(head)!r}", head, hint)


def unknown_block(items: Items, name: ast.Name, blocks: Collection[str]) -> NoReturn:
    hint = nearest(name.name, blocks) if blocks else "no blocks are defined; `block NAME(c) { ... }` does that"
    if name.name in FORMS:
        hint = f"{name.name} takes no parentheses"
    items.scope.fail(f"unknown block {name.name!r}", name, hint)


def misplaced(items: Items, blocks: Collection[str]) -> NoReturn:
    """An item belongs to no op of its chain."""
    item, word, scope = items.next, items.next_word, items.scope
    assert item
    if word in FORMS or word in blocks or word in MERGES:
        hint = "put ';' or a new line in front of it: only pointwise ops follow in the same statement"
        scope.fail(f"{items.word}: {word!r} is a statement of its own", item, hint)
    if word is not None:
        chainable = {w for w, form in FORMS.items() if form.chains}
        own = set(FORMS[items.word].words) if items.word in FORMS else set()
        scope.fail(f"{items.word}: unknown word {word!r}", item, nearest(word, (own | chainable) - {"/"}))
    what = "takes no stride" if isinstance(item, ast.Stride) else f"unexpected {items.written(item)!r}"
    scope.fail(f"{items.word}: {what}", item)
