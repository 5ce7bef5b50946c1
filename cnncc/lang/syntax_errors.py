"""Errors of the parser, told in words: what was expected, and what the author may have meant."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from lark import Token
from lark.exceptions import UnexpectedCharacters, UnexpectedToken

from cnncc.base.errors import CnnccError
from cnncc.lang import foreign
from cnncc.lang.characters import character_hint
from cnncc.lang.forms import FORMS
from cnncc.lang.source import Source, TextPiece

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
"""The terminals that errors name as expected, in this order. The others would not help anybody."""
LIKE_A_BLOCK = re.compile(r"(?<![^\s;{|])(\w+)[ \t]+\w+[ \t]*(\([^()]*\))?$")
"""`blok name(c)`, in front of a brace."""
UNQUOTED = re.compile(r"\b(?:net|save|from|output|output[ \t]+as|output[ \t]+[\w.]+[ \t]+as)[ \t]+([\w.]+)\Z")
WHOLE_NAME = re.compile(r"[\w.+@/-]+")
WORD_AT_END = re.compile(r"\w+\Z")
VALUE = re.compile(r"[ \t]*([\w.+-]+)")
WITH_VALUES = {word for form in FORMS.values() for word in form.words} - {"/"}
"""Words of the language for attributes, with or without a number after them."""
FLAGS = {"bias", "nobias", "floor", "ceil", "exact", "countpad", "align", "crd", "antialias", "smallest", "indices"}
"""Those of them without a number."""
NEAR = 200
"""How many characters are searched for the cause. There is a limit because a broken text may be one long line."""
LONGEST = 60
"""How many characters of a word are shown."""
AFTER_KERNEL = re.compile(r"\dx\d+$")
INNER_BLOCK = re.compile(r"\bblock\s+\w+(\([^()]*\))?$")
MANY = 4
"""How many alternatives are listed. If there are more, none is."""


def complaint(token: Token) -> str:
    """The message: `unexpected '}'`, or that the text ends too early."""
    if token.type == "$END":
        return "the text ends too early"
    text = str(token) if len(token) <= LONGEST else f"{token[:LONGEST]}..."
    return "the line ends too early" if token.type == "_NL" else f"unexpected {text!r}"


def expected(error: UnexpectedToken) -> str:
    """`expected a name or '{'`; an empty text if almost anything would be right."""
    accepted = set(error.accepts or error.expected)
    words = [text for terminal, text in WORDS.items() if terminal in accepted]
    if not words or len(words) > MANY:
        return ""
    *head, last = words
    return f": expected {', '.join(head)} or {last}" if head else f": expected {last}"


def hint(source: Source, token: Token) -> str:
    """The hint for a mistake that people often make."""
    before = source.text[: token.start_pos].rstrip(" \t")
    if in_where(source, token.start_pos or 0):
        return RANGES
    if token.type == "BLOCK" or INNER_BLOCK.search(before):
        return "blocks are defined at the top level, each on a line of its own"
    if token.type in ("NET", "LABEL"):
        return "one network a text; start each statement on a line of its own, or after ';'"
    if token.type == "EQUAL":
        return equal_hint(source, token, before)
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


RANGES = "ranges are written `where h in 32..1024 step 32, w in 32..4096 step 8`"


def in_where(source: Source, at: int) -> bool:
    """Whether a place is behind the `where` of its line."""
    line = source.text[source.text.rfind("\n", 0, at) + 1 : at]
    return bool(re.search(r"\binput\b.*\swhere\s", line[-NEAR:]))


def equal_hint(source: Source, token: Token, before: str) -> str:
    """The hint for an equal sign: a setting as other tools write it, an assignment, or an argument."""
    match = WORD_AT_END.search(before, max(0, len(before) - NEAR))
    word = match[0] if match else ""
    value = VALUE.match(source.text, token.end_pos or 0)
    in_line = before[before.rfind("\n") + 1 :]
    if advice := foreign.setting(word) or (in_line.count("(") <= in_line.count(")") and own_hint(word, value)):
        return advice
    if word and word == before[before.rfind("\n") + 1 :].strip():
        return f"no equal sign: `{word}: conv 3x3 64` labels a line, `save {word}` names a value"
    return "arguments by name stand in the parentheses of a block: bottleneck(64, s=2), with no space before '('"


def own_hint(word: str, value: re.Match[str] | None) -> str:
    """The hint for `pad=1`, whose word is one of the language, and for `s=2`, whose word is not."""
    given = value[1] if value else ""
    if word == "net":
        return f"`net {given}`, without the equal sign"
    if word in foreign.LETTERS and given.isdigit():
        return foreign.LETTERS[word].format(given)
    if word == "pad" and not given.isdigit():
        return foreign.PAD
    if word in FLAGS:
        return f"the word alone says it: `{word}`"
    if word in WITH_VALUES:
        return f"`{word} {given}`, without the equal sign"
    return f"no equal sign: `{foreign.EXAMPLES[word]}`" if word in FORMS else ""


def quotes_hint(source: Source, at: int) -> str:
    """The hint for an unexpected character inside a name, as in `net my-net`."""
    before = UNQUOTED.search(source.text, max(0, at - NEAR), at)
    whole = WHOLE_NAME.match(source.text, before.start(1)) if before else None
    if not whole or whole.end() == at:
        return ""
    return f'a name with other characters than letters, digits, _ and . stands in quotes: "{whole[0]}"'


def misspelt_block(source: Source, token: Token) -> CnnccError | None:
    """The error for `blok b(c) {`. The parser stops at the brace, but the first word is wrong."""
    if token.type != "LBRACE":
        return None
    before = source.text[: token.start_pos].rstrip(" \t")
    match = LIKE_A_BLOCK.search(before, max(0, len(before) - NEAR))
    word = match[1] if match else ""
    close = foreign.HERE.get(word.lower()) == "block" or difflib.get_close_matches(word.lower(), ["block"])
    if not match or not close or word == "block":
        return None
    place = TextPiece(match.start(1), match.end(1))
    return source.error(f"unknown word {word!r}", place, f"did you mean 'block'? e.g. `{foreign.EXAMPLES['block']}`")


def explain(source: Source, error: UnexpectedToken | UnexpectedCharacters) -> CnnccError:
    """An error of the parser as one that helps a person."""
    if isinstance(error, UnexpectedCharacters):
        start = error.pos_in_stream or 0
        text = source.text[start]
        quotes = "a text in quotes ends on the line it starts on"
        advice = quotes if text == '"' else quotes_hint(source, start) or character_hint(text)
        advice = RANGES if in_where(source, start) else advice
        if not source.text[:start].strip():
            advice = advice or head_hint(source, source.text[start:])
        return source.error(f"unexpected character {text!r}", TextPiece(start, start + 1), advice)
    token = error.token
    if "NET" in error.expected or (token.line == 1 and source.text.lstrip().lower().startswith("network ")):
        start = source.text[: token.start_pos].rfind("\n") + 1 if token.type == "REF" else token.start_pos or 0
        message = f"{complaint(token)}: a network starts with `net NAME`"
        return source.error(message, place(source, token), head_hint(source, source.text[start:]))
    if unclosed := never_closed(source, token):
        return unclosed
    if misspelt := misspelt_block(source, token):
        return misspelt
    return source.error(f"{complaint(token)}{expected(error)}", place(source, token), hint(source, token))


OTHER_FORMAT = "this looks like"
FORMATS = (
    (r"\s*(import\b|from\s+[\w.]+\s+import\b|class\s|def\s|@)", "Python"),
    (r"\s*<", "XML, as of OpenVINO"),
    (r"\s*[{]\s*\"|\s*\[\s*[{\"\d]", "JSON"),
    (r"\s*\[[a-z_]+\]", "a configuration of Darknet"),
    (r"\s*(name:\s*\"|layers?\s*\{|input:\s*\"|ir_version:)", "a prototxt, as of Caffe"),
    (r"\s*7767517\b", "a param file of ncnn"),
    (r"\s*(---\s*$|%YAML)", "YAML"),
)
"""How texts of other languages begin."""


def head_hint(source: Source, text: str) -> str:
    """The hint for a text that does not begin as a network text."""
    for pattern, what in FORMATS:
        if re.match(pattern, text, re.MULTILINE):
            return f"{OTHER_FORMAT} {what}; cnncc reads its own language (docs/language.md) and ONNX models"
    stem = re.sub(r"\W", "_", Path(source.file).stem).strip("_") or "my_net"
    return f"put the name of the network in the first line, e.g. `net {'my_net' if stem in NO_NAMES else stem}`"


NO_NAMES = ("text", "stdin")
"""The names of texts that are not from a file."""


def never_closed(source: Source, token: Token) -> CnnccError | None:
    """The error for a bracket that is never closed: a parenthesis, or a brace before another block. The parser stops
    later, because newlines in parentheses mean nothing; this error points at the bracket."""
    opened = open_brackets(source.text[: token.start_pos])
    if not opened:
        return None
    at = opened[-1]
    closes_later = source.text.count("}", token.start_pos) > source.text.count("{", token.start_pos)
    later_line = "\n" in source.text[at : token.start_pos]
    bracket = source.text[at]
    if not later_line or (bracket == "{" and (closes_later or not begins_anew(source, token))):
        return None
    piece = TextPiece(at, at + 1)
    return source.error(f"this {bracket!r} is never closed", piece, f"{complaint(token)} in line {token.line}")


def begins_anew(source: Source, token: Token) -> bool:
    """Whether the token starts another block or a `net` line, where no bracket can be open."""
    before = source.text[: token.start_pos].rstrip(" \t")
    return token.type in ("BLOCK", "NET") or (token.type == "LBRACE" and bool(INNER_BLOCK.search(before)))


def open_brackets(text: str) -> list[int]:
    """Where the brackets that are open at the end of a text begin."""
    opened: list[int] = []
    for match in BRACKET.finditer(text):
        if match[0] in "({":
            opened.append(match.start())
        elif match[0] in ")}" and opened:
            opened.pop()
    return opened


BRACKET = re.compile(r'"(?:[^"\\\n]|\\.)*"|#[^\n]*|[(){}]')


def place(source: Source, token: Token) -> TextPiece:
    """The place of the token. The end of the text is the place after its last character that is not blank."""
    if token.type != "$END":
        return TextPiece(token.start_pos or 0, token.end_pos or 0)
    end = len(source.text.rstrip())
    return TextPiece(end, end + 1)
