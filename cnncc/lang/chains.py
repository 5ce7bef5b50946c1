"""The attributes of one op of a chain, read by its form."""

from __future__ import annotations

from typing import Any

from cnncc.lang import ast
from cnncc.lang import items as read
from cnncc.lang.forms import Form
from cnncc.lang.items import Items

BIASED = frozenset({"conv", "conv_transpose", "fc"})


def read_attrs(form: Form, items: Items, shape: tuple[int, ...]) -> dict[str, Any]:
    """The attributes that the text writes, and those that follow from them; the others keep their defaults. `shape` is
    the shape of the op's input."""
    attrs: dict[str, Any] = {attribute: reader(items) for attribute, reader in form.positional}
    if form.optional and isinstance(items.next, ast.Value) and not items.is_unknown_word():
        attribute, reader = form.optional
        attrs[attribute] = reader(items)
    read_words(form, items, attrs)
    if form.op in BIASED and items.next_word == "bn":
        attrs.setdefault("bias", False)
    return form.finish(attrs, (*shape, 0, 0))


def read_words(form: Form, items: Items, attrs: dict[str, Any]) -> None:
    """Reads further words, in any order. Each attribute may be set once."""
    while (word := "/" if isinstance(items.next, ast.Stride) else items.next_word) and word in form.words:
        attribute, reader = form.words[word]
        item = items.next
        assert item
        if attribute in attrs:
            items.scope.fail(f"{items.word}: {attribute} is given twice", item)
        attrs[attribute] = stride(items) if word == "/" else after_word(items, reader)


def stride(items: Items) -> read.Pair:
    item = items.take()
    assert isinstance(item, ast.Stride)
    return read.two(items, item.sides, least=1)


def after_word(items: Items, reader: read.Reader) -> Any:
    items.take()
    return reader(items)


def read_weights(items: Items) -> tuple[str, ...]:
    """`weights "a" "b"`: names of the op's constants if they are not `<path>.<slot>`."""
    if items.next_word != "weights":
        return ()
    items.take()
    return read.texts(items)
