"""Every error of the language: its text, its place, its block stack and its hint."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncc import lang
from cnncc.base import resources
from cnncc.base.errors import CnnccError

HEAD = "net t\ninput 3x8x8\n"


def error(text: str) -> CnnccError:
    with pytest.raises(CnnccError) as caught:
        lang.parse(text, "t.net")
    return caught.value


def test_the_whole_message() -> None:
    text = HEAD + "block b(c, s=1) { conv 3x3 c /s\n\tadd { conv 1x1 c+1 | } }\nfoo: b(4)\n"
    assert (
        str(error(text))
        == """t.net:4:2: add: arms differ: 5x8x8 and 4x8x8
  | \tadd { conv 1x1 c+1 | } }
  | \t^^^
  in b, from t.net:5:6
  hint: all arms need the same shape, or c x 1 x 1 or 1 x h x w beside c x h x w; arm b, the current
        value, is 4x8x8, the other 5x8x8: `proj 1x1 5` at its end makes it fit"""
    )


def test_the_example_of_the_issue() -> None:
    assert str(error("net t\ninput 3x8x8\nadd { conv 3x3 4 | }\n")).startswith(
        "t.net:3:1: add: arms differ: 4x8x8 and 3x8x8\n  | add { conv 3x3 4 | }\n  | ^^^\n"
    )


def test_recursion_shows_the_chain() -> None:
    found = error(HEAD + "block b { c }\nblock c { b }\nb\n")
    assert found.message == "block 'b' uses itself: b -> c -> b"
    assert [name for name, _ in found.stack] == ["c", "b"]


CASES = [
    # statements and words
    (
        "convv 3x3 4",
        "3:1 unknown op or block 'convv'",
        "did you mean 'conv'?",
    ),
    ("foo bar", "3:1 unknown op or block 'foo'", "known: "),
    ("conv 3x3 4 reluu", "3:12 conv: unknown word 'reluu'", "did you mean 'relu'? "),
    ("foo(3)", "3:1 unknown block 'foo'", "no blocks are defined; "),
    ("block bottle(c) { relu }\nbotle(3)", "4:1 unknown block 'botle'", "did you mean 'bottle'? "),
    ("conv(3, 4)", "3:1 unknown block 'conv'", "conv takes no parentheses"),
    ("3x3", "3:1 a statement starts with an op or a block, got '3x3'", "e.g. `conv 3x3 64`"),
    ("relu; a : relu", "3:7 a statement starts with an op or a block, got 'a : relu'", "a label starts its line"),
    ("maxpool 2x2 gap", "3:13 maxpool: 'gap' is a statement of its own", "put ';' or a new line"),
    ("relu /2", "3:6 relu: takes no stride", ""),
    ("dropout 0.5 0.6", "3:13 dropout: unexpected '0.6'", ""),
    ("net u", "3:1 a second `net`: a text holds one network", ""),
    # arguments of ops
    ("conv 3x3", "3:1 conv: expected a number of channels, as in `conv 3x3 64`", ""),
    ("conv 3x3 relu", "3:10 conv: expected a number of channels, as in `conv 3x3 64`, got 'relu'", "'relu' is no par"),
    ("fc", "3:1 fc: expected a number of results, as in `fc 1000`", ""),
    ("conv 3 4", "3:6 conv: expected a kernel like 3x3, got '3'", "height x width: `conv 3x3 4`"),
    ("conv 3x3x3 4", "3:6 conv: expected height x width, got 3x3x3", ""),
    ("conv 3x3 0", "3:10 conv: 0 is too small, at least 1", ""),
    ("conv 3x3 1.5", "3:10 conv: 1.5 is not a whole number", ""),
    ("conv 3x3 4 pad 1,2,3", "3:16 conv: expected 1, 2 or 4 numbers such as 1 or 1,2 or 0,1,0,1, got '1,2,3'", ""),
    ("conv 3x3 4 /2 /3", "3:15 conv: stride is given twice", ""),
    ("conv 3x3 4 bias nobias", "3:17 conv: bias is given twice", ""),
    ("conv 3x3 4 groups", "3:1 conv: expected a number", ""),
    ("conv 3x3 4 dil relu", "3:16 conv: expected a number, or two as in 2x1, got 'relu'", ""),
    ("slice 3", "3:7 slice: expected a range like 0:16, got '3'", ""),
    ("crop 1,2,3 4x4", "3:6 crop: expected top,left such as 2,2, got '1,2,3'", ""),
    ("reshape", "3:1 reshape: expected a shape like 3x224x224", ""),
    ("input b 3x8x8 mean relu", "3:20 input: expected numbers such as (0.1, 0.2, 0.3), got 'relu'", ""),
    ("conv 3x3 4 weights a", "3:20 conv: expected a name in quotes, got 'a'", ""),
    ('conv 3x3 4 weights "a"', "3:1 weights: 1 names, conv needs 2 (weight, bias)", ""),
    ('relu weights "a"', "3:1 weights: 1 names, relu needs none", ""),
    (
        'conv 3x3 4 weights "a" "b"; conv 3x3 5 weights "a" "b"',
        "3:29 weights 'a' are shared, but of shapes 4x3x3x3 and 5x4x3x3",
        "",
    ),
    (
        'x: cast float32; const 3 int8 weights "k"; output; const 3 weights "k"',
        "3:52 weights 'k' are shared, but of types int8 and float32",
        "",
    ),
    # shapes
    (
        "conv 3x3 4 exact /2 pad 0",
        "3:1 conv: window 3 with stride 2 does not fit height 8",
        "heights that fit: 7 and 9",
    ),
    ("conv 9x9 4 pad 0", "3:1 conv: window 9 does not fit height 8", "the height must be at least 9"),
    ("flatten; conv 3x3 4", "3:10 conv: needs an image", "`reshape` makes"),
    ("cropcat { flatten | fc 3 }", "3:1 cropcat: arms have to be images", "`concat` joins vectors"),
    # merges
    ("add relu", "3:1 add: expected arms in braces", "e.g. add { conv"),
    (
        "adds { | }",
        "3:1 unknown merge 'adds'",
        "did you mean 'add'? known: add, concat, cropcat, ",
    ),
    ("add { relu }", "3:1 add: takes 2 or more inputs, got 1", ""),
    # expressions
    ("block b(c) { conv 3x3 d+1 }\nb(1)", "3:23 unknown parameter 'd'", "'d' is no parameter here: known: c"),
    ("block b(c) { conv 3x3 (c/2) }\nb(3)", "3:24 3/2 is not a whole number", "`//` rounds down"),
    ("block b(c) { conv 3x3 (c//0) }\nb(3)", "3:24 division by zero", ""),
    ("conv 3x3 99999999999999999999", "3:10 a number of more than 18 digits", ""),
    ("conv 3x3 999999999999999*999999999999999", "3:10 the number is too large", "at most 1000000000000000000"),
    ("dropout 1e999", "3:9 the number is too large", ""),
    # blocks
    ("block b(c, s=1) { relu }\nb(1, 2, 3)", "4:1 b: 3 arguments, takes at most 2", "it is b(c, s=1)"),
    ("block b(c) { relu }\nb()", "4:1 b: argument 'c' is missing", "it is b(c)"),
    ("block b(c) { relu }\nb", "4:1 b: argument 'c' is missing", "it is b(c)"),
    ("block b(c) { relu }\nb(d=3)", "4:3 b: unknown argument 'd'", "known: c"),
    ("block b(c, d=1) { relu }\nb(3, c=3)", "4:6 b: argument 'c' is given twice", ""),
    ("block b { relu }\nblock b { relu }\nb", "4:7 block 'b' is defined twice", "the first is at t.net:3:7"),
    ("block conv(c) { relu }", "3:7 'conv' is a word of the language and cannot name a block", ""),
    ("block b(relu) { relu }", "3:9 'relu' is a word of the language and cannot name a parameter", ""),
    ("block b(x3) { relu }", "3:9 'x3' is a word of the language and cannot name a parameter", ""),
    ("block b(c, c) { relu }", "3:12 parameter 'c' is listed twice", ""),
    ("block b(c=1, d) { relu }", "3:14 parameter 'd' has no default, but follows one that has", ""),
    ("block b { input 3x8x8 }\nb", "3:11 input: inputs belong to the top level of a network", ""),
    # names
    ("a: relu\na: relu", "4:1 'a' is already a label or a saved value here", "choose another"),
    ("save a\nrelu\nsave a", "5:6 'a' is already a label or a saved value here", "choose another"),
    ("const a 1x1x1\nconst a 1x1x1", "4:7 'a' is already a label or a saved value here", "choose another"),
    ("a: save b", "3:1 the label 'a' names no op", "`save NAME` names the current value"),
    ("save a; relu; from b", "3:20 no value is called 'b' yet", "known: a"),
    ("output foo", "3:8 no value is called 'foo' yet", "known: input; `save NAME` names the current value"),
    ("from inptu", "3:6 no value is called 'inptu' yet", "did you mean 'input'? known: input; `save"),
    ("relu; output; output", "3:15 '0' is already an output", ""),
    (
        "relu\ninput 3x8x8",
        "4:1 two values are called 'input'",
        "the first is at t.net:2:1; `input NAME 3x224x224` names",
    ),
    ("a: relu relu\na.relu: tanh", "4:9 two values are called 'a.relu'", "the first is at t.net:3:9; give one of them"),
    (
        "block b { b: relu\nadd { relu | relu } }\nb",
        "3:11 the name 'b' is also that of an arm of the add at t.net:4:1",
        "arms of unlabelled merges are called a, b, c: choose another name, or label the other one too",
    ),
    (
        "block b { add { relu | }\na.x: relu }\nb",
        "4:1 the name 'a' is also that of an arm of the add at t.net:3:11",
        "arms",
    ),
    (
        "add { | const a 3x1x1; add { relu | } }",
        "3:15 the name 'a' is also that of an arm of the add at t.net:3:24",
        "arm",
    ),
    (
        "1: relu\ntanh",
        "3:1 the name '1' is also that of an unlabelled line at t.net:4:1",
        "unlabelled lines are called 0, 1, 2: choose another name, or label the other one too",
    ),
    ("save a\nconv 3x3 4\nfrom a; relu", "4:1 the value '0' is never used", "`from` went on with another value"),
    # limits
    ("relu x0", "3:7 repeat: 0 is too small, at least 1", ""),
    ("relu x100000", "3:7 repeat: 100000 is too many, at most 20000", "a network has at most 20000 ops"),
    ("block b { relu x20000 }\nb x20000", "3:11 the network has more than 20000 ops", "look at the repeats"),
    (
        "block b { proj 1x1 3 }\nblock c { b x20000 }\nc x20000",
        "4:11 more than 200000 statements",
        "look at the repeats (x3) around this",
    ),
    ("fc 99999999999", "3:1 fc: the result would be 99999999999", "16777216 is the most along an axis"),
    ("relu" + " " * 3 + "(" * 65, "3:72 brackets are nested more than 64 deep", "make inner parts blocks"),
    # syntax
    ("add { relu", "3:5 this '{' is never closed", ""),
    ("relu }", "3:6 '}' closes nothing", "there is no open '{' here"),
    ("add { relu )", "3:12 ')' does not close the '{' of line 3, column 5", ""),
    ("relu @", "3:6 unexpected character '@'", ""),
    ('"a: relu', "3:1 unexpected character '\"'", "a text in quotes ends on the line it starts on"),
    ("conv 3x3 4 /", "3:13 the line ends too early: expected an op, a block or a parameter, a number or '('", ""),
    ("relu}" + "y" * 99, "3:5 '}' closes nothing", ""),
    ("save a " + "y" * 99, f"3:8 unexpected '{'y' * 60}...': expected", ""),
    ("save", "3:5 the line ends too early: expected a name", ""),
    ("b (64, s=2)", "3:9 unexpected '=': expected ')' or ','", "arguments by name stand in the parentheses"),
    ("block b(c) { block d { relu } }", "3:22 unexpected '{'", "blocks are defined at the top level"),
    ("a: : relu", "3:4 unexpected ':'", "a label starts its line"),
    ("conv 3x3 (4/2)/2/2 )", "3:20 ')' closes nothing", ""),
]


@pytest.mark.parametrize(("body", "message", "hint"), CASES, ids=[c[0][:40] for c in CASES])
def test_error(body: str, message: str, hint: str) -> None:
    found = error(HEAD + body + "\n")
    assert found.span
    place, _, text = message.partition(" ")
    assert f"{found.span.line}:{found.span.column}" == place
    assert found.message.startswith(text)
    assert found.hint.startswith(hint)
    assert bool(hint) <= bool(found.hint)


NO_HEAD = [
    ("", "the text is empty"),
    ("\n \n", "the text is empty"),
    ("# a\n\n# b\n", "there are only comments"),
    ("relu\n", "unexpected 'relu': a network starts with `net NAME`"),
    ("hello world\n", "unexpected 'hello': a network starts with `net NAME`"),
    ("net\n", "the line ends too early: expected a name"),
    ("net t input 3x3\n", "unexpected 'input': expected the end of the line"),
    ("net t\n", "the network has no layers"),
    ("net t\ninput 3x8x8\n", "the network has no layers"),
    ("net t\nrelu\n", "relu: there is no current value"),
    ("net t\nsave a\n", "save: there is no current value"),
    ("net t\noutput\n", "output: there is no current value"),
    ("net t\nadd { | }\n", "add: an arm has no value"),
]


@pytest.mark.parametrize(("text", "message"), NO_HEAD)
def test_error_of_a_text_without_input(text: str, message: str) -> None:
    found = error(text)
    assert found.message == message
    assert str(found).startswith("t.net:")


def test_deep_nesting_of_blocks_is_refused() -> None:
    blocks = "".join(f"block b{i} {{ b{i + 1} }}\n" for i in range(80)) + "block b80 { relu }\n"
    assert error(f"{HEAD}{blocks}b0\n").message == "blocks and merges are nested more than 64 deep"


def test_long_sums_are_fine() -> None:
    assert lang.parse(f"{HEAD}conv 1x1 {'1+' * 5000}1\n").nodes[-1].attrs["out"] == 5001


MODELS = sorted(resources.directory("models").glob("*.net"))


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from(MODELS), st.integers(0, 1500), st.integers(0, 12), st.text('net{}|();:x/19.,#" \n*-ac', max_size=6)
)
def test_damaged_texts_raise_nothing_else(path: Path, at: int, removed: int, inserted: str) -> None:
    text = path.read_text()
    damaged = text[:at] + inserted + text[at + removed :]
    found = None
    try:
        lang.parse(damaged)
    except CnnccError as error:
        found = str(error)
    assert found is None or re.match(r"<text>:\d+:\d+: ", found)
