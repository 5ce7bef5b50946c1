"""Text to syntax tree."""

from __future__ import annotations

from functools import cache

from lark import Lark
from lark.exceptions import UnexpectedCharacters, UnexpectedToken

from cnncc.base import resources
from cnncc.base.errors import CnnccError, Span
from cnncc.lang import ast
from cnncc.lang.habits import recognise
from cnncc.lang.nesting import Nesting, NestingError
from cnncc.lang.source import Source, TextPiece
from cnncc.lang.syntax_errors import explain
from cnncc.lang.tables import kept_parser
from cnncc.lang.to_tree import NumberError, ToTree, edges


@cache
def parser() -> Lark:
    """The parser of `grammars/net.lark`; it builds the syntax tree while it reads."""
    grammar = (resources.directory("grammars") / "net.lark").read_text("utf-8")
    return kept_parser(grammar, postlex=Nesting(), transformer=ToTree())


def syntax_tree(source: Source) -> ast.Net:
    """The syntax tree of a text. CnnccError, with what was expected and where, if it does not parse."""
    refuse_blank(source)
    try:
        return parser().parse(source.text)  # type: ignore[return-value]
    except (NestingError, NumberError) as error:
        found = source.error(error.message, TextPiece(*edges([error.token])), error.hint)
        raise recognise(source, found) from None
    except (UnexpectedToken, UnexpectedCharacters) as error:
        raise recognise(source, explain(source, error)) from None


def refuse_blank(source: Source) -> None:
    """CnnccError for a text without any statement."""
    lines = [line.strip() for line in source.text.splitlines()]
    if any(line and not line.startswith("#") for line in lines):
        return
    what = "there are only comments" if any(lines) else "the text is empty"
    raise CnnccError(what, Span(source.file, 1, 1), hint="a network starts with `net NAME` and `input 3x224x224`")
