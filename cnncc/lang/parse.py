"""Text to syntax tree."""

from __future__ import annotations

import contextlib
from functools import cache

from lark import Lark
from lark.exceptions import UnexpectedCharacters, UnexpectedToken

from cnncc import resources
from cnncc.cache_folder import cache_folder
from cnncc.errors import CnnccError, Span
from cnncc.lang import ast
from cnncc.lang.nesting import Nesting, NestingError
from cnncc.lang.source import Piece, Source
from cnncc.lang.syntax_errors import explain
from cnncc.lang.to_tree import NumberError, ToTree, edges


@cache
def parser() -> Lark:
    """The parser of `grammars/net.lark`; it builds the syntax tree while it reads.

    Its tables are kept: making them takes 0.1 s, reading them 5 ms. Lark makes them anew where the file is of another
    grammar, Lark or Python, is damaged or cannot be read, and goes on where it cannot be written.
    """
    grammar = (resources.directory("grammars") / "net.lark").read_text("utf-8")
    folder = cache_folder()
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    kept = str(folder / "grammar")
    return Lark(grammar, parser="lalr", postlex=Nesting(), transformer=ToTree(), maybe_placeholders=True, cache=kept)


def syntax_tree(source: Source) -> ast.Net:
    """The syntax tree of a text, or CnnccError that says what was expected where."""
    refuse_blank(source)
    try:
        return parser().parse(source.text)  # type: ignore[return-value]
    except (NestingError, NumberError) as error:
        raise source.error(error.message, Piece(*edges([error.token])), error.hint) from None
    except (UnexpectedToken, UnexpectedCharacters) as error:
        raise explain(source, error) from None


def refuse_blank(source: Source) -> None:
    """CnnccError for a text without any statement."""
    lines = [line.strip() for line in source.text.splitlines()]
    if any(line and not line.startswith("#") for line in lines):
        return
    what = "there are only comments" if any(lines) else "the text is empty"
    raise CnnccError(what, Span(source.file, 1, 1), hint="a network starts with `net NAME` and `input 3x224x224`")
