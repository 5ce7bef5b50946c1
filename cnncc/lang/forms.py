"""The words of the language, collected from the ops that they stand for (see `cnncc.ops.forms`)."""

from __future__ import annotations

from collections.abc import Mapping

from cnncc.ir import Node
from cnncc.ops import TABLE
from cnncc.ops.forms import Form

_FORMS = [(form, name) for name, op in TABLE.items() for form in op.forms]
FORMS: Mapping[str, Form] = {form.word: form for form, _ in _FORMS if not form.arms}
"""Every op word."""
MERGE_FORMS: Mapping[str, Form] = {form.word: form for form, _ in _FORMS if form.arms}
"""Words in front of arms in braces; what else belongs to them follows the closing brace. `cropcat` crops all arms to
the smallest, centred, and concatenates them."""
MERGES = tuple(MERGE_FORMS)
OP_OF: Mapping[str, str] = {form.word: name for form, name in _FORMS}
"""The op that each word stands for."""
KEYWORDS = ("block", "save", "from", "output")
"""Words that start what is neither op nor merge; `net` is only for the first line."""
CALLED = frozenset({"bias", "nobias", "floor", "ceil", "exact", "dil", "groups", "mult", "countpad", "outpad"})
RESERVED = frozenset({*FORMS, *MERGES, *KEYWORDS, *CALLED, "net", "weights"})
"""Words that cannot name a block or a parameter."""


def has_form(node: Node) -> bool:
    """Whether the language has words for a node: what passes have made of ops has none."""
    return any(form.epilogue == node.attrs.get("epilogue", ()) for form in TABLE[node.op].forms)


def form_of(node: Node) -> Form:
    """The form that a node is printed in."""
    return next(form for form in TABLE[node.op].forms if form.epilogue == node.attrs.get("epilogue", ()))
