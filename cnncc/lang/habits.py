"""Ways of writing that people know from other languages. They are recognised by the look of a line that has an
error."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from cnncc.base.errors import CnnccError, Span
from cnncc.lang import foreign
from cnncc.lang.forms import FORMS, MERGES
from cnncc.lang.source import Source
from cnncc.lang.syntax_errors import OTHER_FORMAT

OPS = "|".join(sorted((*FORMS, *MERGES), key=len, reverse=True))
CHAINS = "|".join(sorted((word for word, form in FORMS.items() if form.chains), key=len, reverse=True))
OUTSIDE = r"^(?:[^()]|\([^()]*\))*?"
"""A pattern for the start of a line, such that what follows is not in parentheses."""


@dataclass(frozen=True)
class Habit:
    """A way of writing, and what to say about it.

    The carets are under the group `at` of the pattern. Message and hint may use the groups of the pattern, and `sizes`
    (its numbers, written 3x3), `listed` (written 1, 2) and `here` (the word of the language for the group `op`). If the
    message is empty, that of the error stays.
    """

    pattern: re.Pattern[str]
    message: str
    hint: str
    anywhere: bool = False
    """Whether the error may be anywhere on the line, because the whole line is of another language."""


def habit(pattern: str, message: str, hint: str, anywhere: bool = False) -> Habit:
    return Habit(re.compile(pattern), message, hint, anywhere)


COMMENT = "'{at}' starts no comment"
PYTHON = "this is Python, and a text of a network is not"
MODEL = "a trained model comes in as ONNX: export it there, then `cnncc import model.onnx`"
SIZES = "sizes are written {sizes}, not '{at}'"
LETTER = "the letter x, without spaces: {sizes}"
SHAPE = "a kernel or a shape is written {sizes}"
NO_BATCH = "a shape has no batch, got '{at}'"
NO_BATCH_HINT = "write {rest}; the batch is an option of `cnncc compile`"
LOOP = foreign.LOOP.replace("{", "{{").replace("}", "}}")
HABITS = (
    habit(
        rf"{OUTSIDE}(?<!\S)(?P<at>//+|--+|;;+|/\*|<!--|%+|!+)(?=\s*(?:[^\W\d]|$)).*", COMMENT, "comments start with #"
    ),
    habit(r"(?P<at>'''|\"\"\").*", COMMENT, "comments start with #, on each of their lines"),
    # Lines of other languages
    habit(r"^\s*(?P<at>import\b|from [\w.]+ import\b|class\s+\w+|def\s+\w+\(.*\)\s*(?:->.*)?:)", PYTHON, MODEL, True),
    habit(
        r"^\s*(?:[\w.]+\s*=\s*)?(?P<at>(?:[A-Za-z_]\w*\.)+(?P<op>[A-Za-z_]\w*))\s*\(.*",
        PYTHON,
        f"{{here}}{MODEL}",
        True,
    ),
    habit(r"^\s*(?P<at>(?P<op>[A-Z]\w*))\(.*[(=\[].*", "unknown block '{at}'", "{bare}", True),
    habit(r"^\s*(?P<at>(?:repeat|for|loop|times|while)\b[^{]*)", "there is no loop", LOOP, True),
    # The first line
    habit(r"^\s*(?P<at>net)\s*$", "", "e.g. `net my_net`"),
    habit(r"^\s*net(?P<at>\s*:)\s*(?P<name>\w+)", "", "`net {name}`, without a colon"),
    habit(r"^\s*net\s+\w+\s*(?P<at>\{)", "", "no braces: the statements follow, each on a line of its own"),
    habit(r"^\s*net\s+\w+\s*(?P<at>;)", "", "the name ends its line, without a ';'"),
    habit(
        r"^\s*net\s+\w+\s+(?P<at>\w+)",
        "",
        'the name ends its line; one of several words stands in quotes: net "my net"',
    ),
    # Ranges of sizes
    habit(
        r"\bwhere\b.*?(?P<at>\b(?P<name>[A-Za-z_]\w*)\s*(?:=|:|in\b|from\b|:=)?\s*[\[(]?\s*(?P<low>\d+)\s*"
        r"(?:\.{3,}|-|:|,|to\b)\s*(?P<high>\d+)\s*[\])]?)",
        "",
        "a range is written {name} in {low}..{high}",
    ),
    habit(
        r"\bwhere\b.*?(?P<at>\b(?P<name>[A-Za-z_]\w*)\s*=\s*(?P<low>\d+)\s*\.\.+\s*(?P<high>\d+))",
        "",
        "a range is written {name} in {low}..{high}",
    ),
    habit(
        r"\bwhere\b.*?(?P<at>(?P<low>\d+)\s*<=?\s*(?P<name>[A-Za-z_]\w*)\s*<=?\s*(?P<high>\d+))",
        "",
        "a range is written {name} in {low}..{high}",
    ),
    habit(
        r"\binput\s+(?:\w+\s+)?(?P<at>\d+(?:x\d+)*x[A-Za-z_]\w*)",
        "unexpected '{at}'",
        "sizes that have names stand apart, as in `3 x h x w where h in 32..1024, w in 32..1024`",
    ),
    # Sizes, lists and ranges
    habit(r"(?P<at>\b\d{1,5}\s*(?:[*X\u00d7\u2715\u2716\u0445\u0425]\s*\d{1,5})+)\b", SIZES, LETTER),
    habit(r"(?!.*\bwhere\b)(?<=[a-z_]\s)(?P<at>\d+(?:\s*x\s+\d+|\s+x\s*\d+)+)\b", SIZES, LETTER),
    habit(r"(?P<at>/[\[(]?\s*\d+\s*,\s*\d+\s*[\])]?)", "", "a stride of height and width is written /{sizes}"),
    habit(r"\b(?:mean|std)\s+(?P<at>\[[^\]]*\])", "", "numbers of channels are in parentheses: {listed}"),
    habit(
        r"\b(?:mean|std)\s+(?P<at>[\d.]+(?:\s+[\d.]+)+)", "", "numbers of channels are written with commas: {listed}"
    ),
    habit(
        r"\b(?:slice\s+|:\s*)(?P<at>\[?(?P<low>\d+)\s*(?::|-|\.\.+|,)\s*(?P<high>\d+)\]?)",
        "",
        "a range is written {low}:{high}",
    ),
    habit(r"\b(?:input|const|reshape|expand)\s+(?:[A-Za-z_]\w*\s+)?(?P<at>\d+(?:\s*,\s*\d+)+)", "", SHAPE),
    habit(r"(?<!\w)(?P<at>[\[(]\s*\d+\s*(?:[,x]\s*\d+\s*)+[\])])", "", SHAPE),
    habit(r"(?P<at>\[[^\]\n]*\]?)", "", "lists are written 1,2 or (1, 2), sizes 3x3"),
    habit(r"(?<![\w.])(?P<at>(?:[NnBb]|-1|None)x(?P<rest>\d+(?:x\d+)+))", NO_BATCH, NO_BATCH_HINT, True),
    habit(r"(?P<at>\?x(?P<rest>\d+(?:x\d+)+))", NO_BATCH, NO_BATCH_HINT, True),
    # Repeats and factors
    habit(r"(?P<at>\bx\s+(?P<count>\d+))\s*(?:$|[;|}])", "", "a repeat is written x{count}, without the space"),
    habit(r"\b(?:upsample|resize)\s+(?P<at>x(?P<count>\d+))", "", "a factor is its number: {count}", True),
    habit(
        r"(?P<at>\b(?P<count>\d+)x)(?=\s|$)", "", "a factor is its number, {count}; repeats stand last: `relu x{count}`"
    ),
    habit(r"^\s*(?P<at>(?P<count>\d+)\s*x)\s+[a-z].*", "", "a repeat stands last: `conv 3x3 64 x{count}`", True),
    habit(r"(?P<at>\bx(?P<count>\d+))\s+(?P<op>[a-z]\w*)", "", "a repeat stands last in its statement"),
    # Signs between words
    habit(
        rf"^\s*(?P<at>[-*+\u2022]|\d+[.)])\s+(?:{OPS})\b", "", "a statement starts its line, without a mark or number"
    ),
    habit(rf"^\s*(?P<at>(?P<op>{OPS})\s*[:=])\s*[\d(]", "", "an op is followed by its numbers at once: `{example}`"),
    habit(r"\binput\s+\w+(?P<at>:)\s*\d", "unexpected ':'", "the shape follows at once: `input image 3x224x224`", True),
    habit(
        rf"(?P<at>->|=>|\u2192|[>&+,|])\s*(?P<op>{CHAINS})\b",
        "",
        "what follows is written behind without a sign, as in `conv 3x3 64 bn relu`, or on a line of its own",
    ),
    habit(
        r"\b(?:from|save)\s+\w+(?P<at>,)", "", "one name; several are joined by a merge: `concat {{ from a | from b }}`"
    ),
    habit(r"\boutput\s+\w+(?P<at>,)", "", "one name each: `output a; output b`"),
    habit(r"\bsave\s+(?P<at>as\s+(?P<name>\w+))", "", "`save {name}`"),
    habit(
        rf"(?!.*\bwhere\b){OUTSIDE}(?P<at>,)\s*(?P<op>[a-z]\w*)\b",
        "",
        "words of an op are separated by spaces, as in `conv 3x3 64 pad 1`",
    ),
    habit(r"(?P<at>;;+)", "", "one ';' between two statements"),
    # Blocks
    habit(r"^\s*(?P<at>block\s+\w+\s*\([^)]*\)\s*:)", "", "a body is in braces: `block b(c) {{ conv 3x3 c relu }}`"),
    habit(
        r"^\s*(?P<at>block\s+\w+\s+\w+)\s*\{", "", "parameters are in parentheses: `block b(c) {{ conv 3x3 c relu }}`"
    ),
    habit(r"\bblock\s+\w+\s*\((?:[^)]*,)?\s*(?P<at>(?:int|float)\s+\w+)", "", "parameters have no type: `block b(c)`"),
    habit(r"(?P<at>,\s*)\)", "", "no comma after the last one"),
    habit(r"(?P<at>\$\{?(?P<name>\w+)\}?)", "", "a parameter is its bare name: {name}"),
    # Small things
    habit(r"(?P<at>\d+%)", "", "a share is a number of 0 to 1: 0.5 for 50%"),
    habit(r"(?P<at>\\(?P<count>\d+))", "", "a stride is written /{count}"),
    habit(r"(?P<at>\bno\s+bias\b)", "", "`nobias` is one word"),
    habit(r"(?P<at>\brelu\s+6)\b", "", "`relu6` is one word"),
)


def recognise(source: Source, error: CnnccError) -> CnnccError:
    """The error, or one about the habit that its line shows at the place of the error."""
    span = error.span
    if span is None or not span.text or error.hint.startswith(OTHER_FORMAT):
        return error
    line = without_comment(span.text)
    for known in HABITS:
        for match in known.pattern.finditer(line):
            if known.anywhere or touches(match, span):
                return told(known, match, error, span)
    return error


def without_comment(line: str) -> str:
    """The line up to a # outside quotes."""
    match = re.match(r'(?:"(?:[^"\\]|\\.)*"|"|[^"#])*', line)
    return match[0] if match else line


def touches(match: re.Match[str], span: Span) -> bool:
    """Whether the error is within the match or next to it."""
    start = span.column - 1
    return match.start("at") <= start + span.length and start <= match.end()


def told(known: Habit, match: re.Match[str], error: CnnccError, span: Span) -> CnnccError:
    words = dict(derived(match)) | match.groupdict()
    start, end = match.span("at")
    place = replace(span, column=start + 1, length=max(1, end - start)) if known.message else span
    message = known.message.format_map(words) if known.message else error.message
    return CnnccError(message, place, error.stack, known.hint.format_map(words).strip())


def derived(match: re.Match[str]) -> Iterator[tuple[str, str]]:
    """What messages may use besides the groups."""
    numbers = re.findall(r"\d+(?:\.\d+)?|\.\d+", match["at"])
    yield "sizes", "x".join(numbers)
    yield "listed", f"({', '.join(numbers)})"
    word = match.groupdict().get("op") or ""
    here = foreign.HERE.get(foreign.simplified(word), "")
    yield "example", foreign.EXAMPLES.get(here, "")
    yield "here", f"here it is `{foreign.EXAMPLES[here]}`; " if here else ""
    yield "bare", f"{here} takes no parentheses: `{foreign.EXAMPLES[here]}`" if here else MODEL
