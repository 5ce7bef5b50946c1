"""What the parser expected, in words."""

from __future__ import annotations

import difflib
import re

from lark import Token
from lark.exceptions import UnexpectedCharacters, UnexpectedToken

from cnncc.errors import CnnccError
from cnncc.lang import foreign
from cnncc.lang.source import Piece, Source

WORDS = {
    "NET": "`net NAME`",
    "NAME": "an op, a block or a parameter",
    "REF": "a name",
    "INT": "a number",
    "LABEL": "a label",
    "BLOCK": "`block`",
    "LPAR": "'('",
    "RPAR": "')'",
    "LBRACE": "'{'",
    "RBRACE": "'}'",
    "BAR": "'|'",
    "EQUAL": "'='",
    "COLON": "':'",
    "COMMA": "','",
    "SEMICOLON": "';'",
    "_NL": "the end of the line",
}
"""Terminals a person can act on, in the order they are listed; the others go without saying."""
LIKE_A_BLOCK = re.compile(r"(?<![^\s;{|])(\w+)[ \t]+\w+[ \t]*(\([^()]*\))?$")
"""`blok name(c)`, in front of a brace."""
UNQUOTED = re.compile(r"\b(?:net|save|from|output|output[ \t]+as|output[ \t]+[\w.]+[ \t]+as)[ \t]+([\w.]+)\Z")
WHOLE_NAME = re.compile(r"[\w.+@/-]+")
WORD_AT_END = re.compile(r"\w+\Z")
NEAR = 200
"""Characters that are searched for the cause: a broken text may be one long line."""
LONGEST = 60
"""Characters of a word that are worth showing."""
AFTER_KERNEL = re.compile(r"\dx\d+$")
INNER_BLOCK = re.compile(r"\bblock\s+\w+(\([^()]*\))?$")
MANY = 7
"""More alternatives than this are not worth reading."""


def complaint(token: Token) -> str:
    """`unexpected '}'`, or that something is missing at the end."""
    if token.type == "$END":
        return "the text ends too early"
    text = str(token) if len(token) <= LONGEST else f"{token[:LONGEST]}..."
    return "the line ends too early" if token.type == "_NL" else f"unexpected {text!r}"


def expected(error: UnexpectedToken) -> str:
    """`expected a name or '{'`, or nothing if almost anything would do."""
    accepted = set(error.accepts or error.expected)
    words = [text for terminal, text in WORDS.items() if terminal in accepted]
    if not words or len(words) > MANY:
        return ""
    *head, last = words
    return f": expected {', '.join(head)} or {last}" if head else f": expected {last}"


def hint(source: Source, token: Token) -> str:
    """Advice for the mistakes people make."""
    before = source.text[: token.start_pos].rstrip(" \t")
    if token.type == "BLOCK" or INNER_BLOCK.search(before):
        return "blocks are defined at the top level, each on a line of its own"
    if token.type in ("NET", "LABEL"):
        return "one network a text; start each statement on a line of its own, or after ';'"
    if token.type == "EQUAL":
        return equal_hint(source, before)
    if token.type not in ("COLON", "$END") and (advice := quotes_hint(source, token.start_pos or 0)):
        return advice
    if token.type == "COMMA" and AFTER_KERNEL.search(before, max(0, len(before) - NEAR)):
        return "spaces are between kernel and channels, as in `conv 3x3 64`"
    if token.type == "COLON" or before.endswith(":"):
        return "a label starts its line: `conv1: conv 3x3 64`"
    if token == "as":
        return "an output's name follows: `output as logits`, or `output VALUE as logits`"
    if token.type == "SLASH":
        return "outside parentheses '/' is a stride; write (c/2) for a division"
    return ""


def equal_hint(source: Source, before: str) -> str:
    """Advice for an equal sign: a setting written as elsewhere, an assignment, or an argument."""
    match = WORD_AT_END.search(before, max(0, len(before) - NEAR))
    word = match[0] if match else ""
    if advice := foreign.setting(word):
        return advice
    if word and word == before[before.rfind("\n") + 1 :].strip():
        return f"no equal sign: `{word}: conv 3x3 64` labels a line, `save {word}` names a value"
    return "arguments by name stand in the parentheses of a block: bottleneck(64, s=2), with no space before '('"


def quotes_hint(source: Source, at: int) -> str:
    """Advice if the unexpected character at `at` is inside a name, as in `net my-net`."""
    before = UNQUOTED.search(source.text, max(0, at - NEAR), at)
    whole = WHOLE_NAME.match(source.text, before.start(1)) if before else None
    if not whole or whole.end() == at:
        return ""
    return f'a name with other characters than letters, digits, _ and . stands in quotes: "{whole[0]}"'


def misspelt_block(source: Source, token: Token) -> CnnccError | None:
    """`blok b(c) {`: the parser only stumbles over the brace."""
    if token.type != "LBRACE":
        return None
    before = source.text[: token.start_pos].rstrip(" \t")
    match = LIKE_A_BLOCK.search(before, max(0, len(before) - NEAR))
    word = match[1] if match else ""
    close = foreign.HERE.get(word.lower()) == "block" or difflib.get_close_matches(word.lower(), ["block"])
    if not match or not close or word == "block":
        return None
    place = Piece(match.start(1), match.end(1))
    return source.error(f"unknown word {word!r}", place, f"did you mean 'block'? e.g. `{foreign.EXAMPLES['block']}`")


def explain(source: Source, error: UnexpectedToken | UnexpectedCharacters) -> CnnccError:
    """The error of the parser as one a person can use."""
    if isinstance(error, UnexpectedCharacters):
        start = error.pos_in_stream or 0
        text = source.text[start]
        quotes = "a text in quotes ends on the line it starts on"
        advice = quotes if text == '"' else quotes_hint(source, start)
        return source.error(f"unexpected character {text!r}", Piece(start, start + 1), advice)
    token = error.token
    if "NET" in error.expected:
        return source.error(f"{complaint(token)}: a network starts with `net NAME`", place(source, token))
    if misspelt := misspelt_block(source, token):
        return misspelt
    return source.error(f"{complaint(token)}{expected(error)}", place(source, token), hint(source, token))


def place(source: Source, token: Token) -> Piece:
    """Where the token is; for the end of the text, just after the last character that says something."""
    if token.type != "$END":
        return Piece(token.start_pos or 0, token.end_pos or 0)
    end = len(source.text.rstrip())
    return Piece(end, end + 1)
