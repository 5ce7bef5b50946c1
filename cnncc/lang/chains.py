"""The attributes of one op of a chain, read by its form."""

from __future__ import annotations

from typing import Any

from cnncc.lang import ast
from cnncc.lang import items as read
from cnncc.lang.forms import FORMS, OP_OF
from cnncc.lang.items import Items
from cnncc.ops import TABLE
from cnncc.ops.forms import Always, Form, Syntax
from cnncc.ops.source import WHERE
from cnncc.ops.traits import Kind


def read_attrs(form: Form, items: Items, shape: tuple[int, ...]) -> dict[str, Any]:
    """The attributes that the text writes, and those that follow from them; the others keep their defaults. `shape` is
    the shape of the op's input."""
    attrs: dict[str, Any] = {attribute: read.value(items, how) for attribute, how in form.positional}
    if form.optional and isinstance(items.next, ast.Value) and not items.is_unknown_word():
        attribute, how = form.optional
        attrs[attribute] = read.value(items, how)
    read_words(form, items, attrs)
    following = FORMS.get(items.next_word or "")
    if following and following.unbiased and TABLE[OP_OF[form.word]].traits.kind is Kind.LINEAR:
        attrs.setdefault("bias", False)
    said = form.finish(attrs, (*shape, 0, 0))
    return {**said, "epilogue": form.epilogue} if form.epilogue else said


def read_words(form: Form, items: Items, attrs: dict[str, Any]) -> None:
    """Reads further words, in any order. Each attribute may be set once."""
    while (word := word_of(items)) and word in form.words:
        attribute, how = form.words[word]
        if how is Syntax.WHERE:
            ranges(items, attrs)
            continue
        item = items.next
        assert item
        if attribute in attrs:
            items.scope.fail(f"{items.word}: {attribute} is given twice", item)
        attrs[attribute] = stride(items) if word == "/" else after_word(items, how)


def word_of(items: Items) -> str | None:
    """The word that the next item is of."""
    if isinstance(items.next, ast.Stride):
        return "/"
    return WHERE if isinstance(items.next, ast.Where) else items.next_word


def ranges(items: Items, attrs: dict[str, Any]) -> None:
    """Takes what follows `where`, which was read with the shape. CnnccError where that has no names."""
    item = items.take()
    if not isinstance(item, ast.Where):
        items.scope.fail(f"{items.word}: expected ranges behind `where`", item, read.RANGED)
    if any(isinstance(other, ast.Where) for other in items.items[: items.index - 1]):
        items.scope.fail(f"{items.word}: `where` is given twice", item, "one `where`, with a comma between the ranges")
    if not attrs["dims+range"][1]:
        items.scope.fail(f"{items.word}: the shape has no names of sizes", item, NAMES)


NAMES = "a size with a range is a name, with spaces around each x: `3 x h x w`"


def stride(items: Items) -> read.Pair:
    item = items.take()
    assert isinstance(item, ast.Stride)
    return read.two(items, item.sides, least=1)


def after_word(items: Items, how: Syntax | Always) -> Any:
    items.take()
    return read.value(items, how)


def read_weights(items: Items) -> tuple[str, ...]:
    """`weights "a" "b"`: names of the op's constants if they are not `<path>.<slot>`."""
    if items.next_word != "weights":
        return ()
    items.take()
    return read.texts(items)
