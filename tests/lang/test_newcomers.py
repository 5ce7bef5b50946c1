"""What newcomers write: each mistake is told at its place, in one message, with what to write instead."""

from __future__ import annotations

import re

import pytest

from cnncc import lang
from cnncc.base.errors import CnnccError
from cnncc.lang.read import decode

HEAD = "net t\ninput 3x8x8\n"
SIGN = "what follows is written behind without a sign"
PYTHON = "this is Python, and a text of a network is not"
ONNX = "a trained model comes in as ONNX: export it there, then `cnncc import model.onnx`"


def error(text: str) -> CnnccError:
    with pytest.raises(CnnccError) as caught:
        lang.parse(text, "t.net")
    return caught.value


CASES = [
    # sizes
    ("conv 3*3 16", "3:6 sizes are written 3x3, not '3*3'", "the letter x, without spaces: 3x3"),
    ("conv 3\u00d73 16", "3:6 sizes are written 3x3, not '3\u00d73'", "the letter x, without spaces: 3x3"),
    ("conv 3 x 3 16", "3:6 sizes are written 3x3, not '3 x 3'", "the letter x"),
    ("conv 3X3 16", "3:6 sizes are written 3x3, not '3X3'", "the letter x"),
    ("maxpool 3 * 3 /2", "3:9 sizes are written 3x3, not '3 * 3'", "the letter x"),
    ("conv [3,3] 16", "3:6 unexpected character '['", "a kernel or a shape is written 3x3"),
    ("conv (3x3) 16", "3:8 unexpected 'x'", "a kernel or a shape is written 3x3"),
    ("conv 3x3x16", "3:6 conv: expected height x width, got 3x3x16", "what follows stands apart: `conv 3x3 16`"),
    ("conv 16", "3:6 conv: expected a kernel like 3x3, got '16'", "the kernel comes first, as in `conv 3x3 64 /2`"),
    ("maxpool 2 2", "3:9 maxpool: expected a kernel like 3x3, got '2'", "height x width: `maxpool 2x2 /2`"),
    ("resize 8 linear", "3:8 resize: expected a kernel like 3x3, got '8'", "height x width: `resize 8x8 linear`"),
    ("conv 3x3 16.0", "3:10 conv: 16.0 is not a whole number", "write 16"),
    ("block b(c) { conv 3x3 c*1.5 }\nb(4)", "3:23 conv: 6.0 is not a whole number", "`//` rounds down"),
    ("slice 0-2", "3:7 slice: expected a range like 0:16, got '0-2'", "a range is written 0:2"),
    ("slice [0:2]", "3:7 unexpected character '['", "a range is written 0:2"),
    ("reshape 3,8,8", "3:9 reshape: expected a shape like 3x224x224", "a kernel or a shape is written 3x8x8"),
    ("crop 4x4", "3:6 crop: expected top,left such as 2,2, got '4x4'", "e.g. `crop 1,1 4x4`"),
    # comments
    ("conv 3x3 16 // first", "3:13 '//' starts no comment", "comments start with #"),
    ("// first\nrelu", "3:1 '//' starts no comment", "comments start with #"),
    ("relu -- x", "3:6 '--' starts no comment", "comments start with #"),
    ("relu ;; x", "3:6 ';;' starts no comment", "comments start with #"),
    ("relu % x", "3:6 '%' starts no comment", "comments start with #"),
    ("/* x */\nrelu", "3:1 '/*' starts no comment", "comments start with #"),
    ("<!-- x -->", "3:1 '<!--' starts no comment", "comments start with #"),
    ("relu ! x", "3:6 '!' starts no comment", "comments start with #"),
    ('"""', '3:1 \'"""\' starts no comment', "comments start with #, on each of their lines"),
    ("relu;;relu", "3:6 unexpected ';'", "one ';' between two statements"),
    # settings
    ("conv kernel=3 16", "3:12 unexpected '='", "the kernel comes first, as in `conv 3x3 64`"),
    ("conv 3x3 out=16", "3:13 unexpected '='", "the channels follow the kernel, as in `conv 3x3 64`"),
    ("conv 3x3 16 padding=1", "3:20 unexpected '='", "padding is written pad 1"),
    ("conv 3x3 16 pad=1", "3:16 unexpected '='", "`pad 1`, without the equal sign"),
    ("conv 3x3 16 pad=same", "3:16 unexpected '='", "padding is written pad 1"),
    ("conv 3x3 16 groups=4", "3:19 unexpected '='", "`groups 4`, without the equal sign"),
    ("conv 3x3 16 s=2", "3:14 unexpected '='", "a stride is written /2"),
    ("conv 3x3 16 nobias=true", "3:19 unexpected '='", "the word alone says it: `nobias`"),
    ("conv 3x3 16 activation=relu", "3:23 unexpected '='", "it is a word of its own, as in `conv 3x3 64 relu`"),
    ("conv 3x3 16 name=a", "3:17 unexpected '='", "a label names a line, as in `conv1: conv 3x3 64`"),
    ("conv 3x3 16 in_channels=3", "3:24 unexpected '='", "leave it out: those of the current value are known"),
    ("bn eps=1e-3", "3:7 unexpected '='", "`eps 1e-3`, without the equal sign"),
    ("fc=10", "3:3 unexpected '='", "an op is followed by its numbers at once: `fc 1000`"),
    ("conv 3x3 16 \\2", "3:13 unexpected character '\\\\'", "a stride is written /2"),
    ("conv 3x3 16 /(2,2)", "3:16 unexpected ','", "a stride of height and width is written /2x2"),
    ("conv 3x3 16 pad 1 1", "3:19 conv: unexpected '1'", "several numbers have commas: pad 1,1"),
    ("conv 3x3 16 no bias", "3:13 conv: unknown word 'no'", "`nobias` is one word"),
    ("dwconv 3x3 16", "3:12 dwconv: unexpected '16'", "it keeps the channels: leave 16 out, or write mult 2"),
    ("bn 1e-3", "3:4 bn: unexpected '1e-3'", "it is written eps 1e-3"),
    ("prelu 0.25", "3:7 prelu: unexpected '0.25'", "its slopes are learned; a given one is leaky_relu 0.25"),
    ("fc 10 10", "3:7 fc: unexpected '10'", "e.g. `fc 1000`"),
    ("relu 6", "3:6 relu: unexpected '6'", "`relu6` is one word"),
    ("dropout 50%", "3:11 unexpected character '%'", "a share is a number of 0 to 1: 0.5 for 50%"),
    ("pad reflect 1", "3:5 pad: expected 1, 2 or 4 numbers", "the numbers come first: `pad 1 reflect`"),
    ("upsample scale 2", "3:10 upsample: expected a number", "the numbers come first: `upsample 2`"),
    ("upsample 2x", "3:11 upsample: unknown word 'x'", "a factor is its number, 2;"),
    ("upsample 2 linear", "3:12 upsample: unknown word 'linear'", "did you mean 'bilinear'?"),
    ("resize 16x16 bilinear", "3:14 resize: unknown word 'bilinear'", "did you mean 'linear'?"),
    ("relu x 2", "3:6 relu: unknown word 'x'", "a repeat is written x2, without the space"),
    ("3 x conv 3x3 16", "3:1 a statement starts with an op or a block", "a repeat stands last: `conv 3x3 64 x3`"),
    ("conv 3x3 16 x3 relu", "3:16 unexpected 'relu'", "a repeat stands last in its statement"),
    (
        "repeat 3 { conv 3x3 3 }",
        "3:1 there is no loop",
        "a line is repeated by x3 at its end; several lines are made a",
    ),
    ("for i in 3 {\nrelu\n}", "3:1 there is no loop", "a line is repeated by x3 at its end"),
    ("x3 { conv 3x3 3 }", "3:1 unknown merge 'x3'", "a line is repeated by x3 at its end"),
    # signs
    ("conv 3x3 16, relu", "3:10 conv: expected a number of channels", SIGN),
    ("conv 3x3 16 -> relu", "3:14 unexpected character '>'", SIGN),
    ("conv 3x3 16 | relu", "3:13 unexpected '|'", SIGN),
    ("conv 3x3 16 + relu", "3:15 unknown parameter 'relu'", SIGN),
    ("conv 3x3 16, pad 1", "3:10 conv: expected a number of channels", "words of an op are separated by spaces"),
    ("conv: 3x3 16", "3:7 a statement starts with an op", "an op is followed by its numbers at once: `conv 3x3 64 /2`"),
    ("- conv 3x3 16", "3:1 unexpected '-'", "a statement starts its line, without a mark or number"),
    ("1) conv 3x3 16", "3:2 ')' closes nothing", "a statement starts its line, without a mark or number"),
    ("conv1 conv 3x3 16", "3:1 unknown op or block 'conv1'", "a label ends in a colon: `conv1: conv 3x3 16`"),
    ("conv 3x3 16 bn(eps=1e-3)", "3:13 conv: unexpected 'bn(eps=1e-3)'", "bn takes no parentheses: `conv 3x3 64 bn`"),
    # other languages
    ("nn.Conv2d(3, 16, 3)", f"3:1 {PYTHON}", f"here it is `conv 3x3 64 /2`; {ONNX}"),
    ("x = nn.ReLU()(x)", f"3:5 {PYTHON}", "here it is `relu`;"),
    ("self.conv1 = nn.Conv2d(3, 16, 3)", f"3:14 {PYTHON}", "here it is `conv 3x3 64 /2`;"),
    ("import torch", f"3:1 {PYTHON}", ONNX),
    ("def b(c): relu", f"3:1 {PYTHON}", ONNX),
    ("Conv2D(16, (3,3), activation='relu')", "3:1 unknown block 'Conv2D'", "conv takes no parentheses: `conv 3x3"),
    ("lrelu 0.1", "3:1 unknown op or block 'lrelu'", "did you mean 'leaky_relu'? e.g. `leaky_relu 0.1`"),
    ("lstm 10", "3:1 unknown op or block 'lstm'", "the language has no such layer"),
    ("pointwise 16", "3:1 unknown op or block 'pointwise'", "a pointwise convolution is `conv 1x1 64`"),
    ("layer_norm", "3:1 unknown op or block 'layer_norm'", "did you mean 'layernorm'?"),
    ("end", "3:1 unknown op or block 'end'", "nothing ends a text"),
    ("avgpool global", "3:9 avgpool: expected a kernel like 3x3, got 'global'", "over the whole image: `gap`"),
    # characters
    (
        "conv\u00a03x3 16",
        "3:5 unexpected character",
        "no-break space is invisible here and no space: type a plain space",
    ),
    ("\u200brelu", "3:1 unexpected character", "zero width space is invisible here and no space"),
    ("\u201ca\u201d: relu", "3:1 unexpected character", 'left double quotation mark looks like ", and is not: type "'),
    ("'a': relu", "3:1 unexpected character", 'type "'),
    ("conv 3x3 16 pad \u22121", "3:17 unexpected character", "minus sign looks like -, and is not: type -"),
    ("\u0441onv 3x3 16", "3:1 unexpected character", "cyrillic small letter es looks like c, and is not: type c"),
    ("relu \u65e5", "3:6 unexpected character", "cjk unified ideograph-65e5: names with such letters stand in quotes"),
    # merges
    (
        "add { conv 3x3 3 }",
        "3:1 add: takes 2 or more inputs, got 1",
        "arms are separated by |, as in `add { conv 3x3 3 | }`",
    ),
    ("add { relu\ntanh }", "3:1 add: takes 2 or more inputs, got 1", "arms are separated by |, between the two"),
    ("save a; relu; add a", "3:15 add: expected arms in braces", "e.g. add { | from a }"),
    ("save a; relu; add { a | }", "3:21 unknown op or block 'a'", "a saved value is taken up again by `from a`"),
    ("skip { relu }", "3:1 unknown merge 'skip'", "a shortcut is an empty arm: `add { conv 3x3 64 | }`"),
    ("from a, b", "3:7 unexpected ','", "one name; several are joined by a merge: `concat { from a | from b }`"),
    ("output a, b", "3:9 unexpected ','", "one name each: `output a; output b`"),
    ("save as a", "3:9 unexpected 'a'", "`save a`"),
    # blocks and brackets
    ("block b(c): relu", "3:11 unexpected ':'", "a body is in braces: `block b(c) { conv 3x3 c relu }`"),
    ("block b c { relu }", "3:9 unexpected 'c'", "parameters are in parentheses: `block b(c) { conv 3x3 c relu }`"),
    ("block b(int c) { relu }", "3:13 unexpected 'c'", "parameters have no type: `block b(c)`"),
    ("block b(c) { conv 3x3 $c }", "3:23 unexpected character '$'", "a parameter is its bare name: c"),
    ("block b(c) { relu }\nb(c=3,)", "4:7 unexpected ')'", "no comma after the last one"),
    ("block b(c) {\nrelu\nblock d { relu }\nd", "3:12 this '{' is never closed", "unexpected '{' in line 5"),
    ("block b(c) { conv 3x3 c }\nb(3\nrelu", "4:2 this '(' is never closed", "unexpected 'relu' in line 5"),
    ("add {\nconv 3x3 3\n|\nrelu", "3:5 this '{' is never closed", ""),
]


@pytest.mark.parametrize(("body", "message", "hint"), CASES, ids=[ascii(c[0])[:40] for c in CASES])
def test_a_mistake(body: str, message: str, hint: str) -> None:
    found = error(f"{HEAD}{body}\n")
    place, _, text = message.partition(" ")
    assert found.span
    assert f"{found.span.line}:{found.span.column}" == place
    assert found.message.startswith(text)
    assert found.hint.startswith(hint)
    assert bool(hint) == bool(found.hint)


HEADS = [
    ("net\ninput 3x8x8", "1:4 the line ends too early: expected a name", "e.g. `net my_net`"),
    (
        "input 3x8x8",
        "1:1 unexpected 'input': a network starts with `net NAME`",
        "put the name of the network in the first",
    ),
    (
        "# c\nNet t",
        "2:1 unexpected 'Net': a network starts with `net NAME`",
        "put the name of the network in the first",
    ),
    (
        "network t\nrelu",
        "1:9 unexpected 't': a network starts with `net NAME`",
        "put the name of the network in the first",
    ),
    ("net: t", "1:4 unexpected ':'", "`net t`, without a colon"),
    ("net = t", "1:5 unexpected '='", "`net t`, without the equal sign"),
    ("net t {", "1:7 unexpected '{'", "no braces: the statements follow, each on a line of its own"),
    ("net t;\nrelu", "1:6 unexpected ';'", "the name ends its line, without a ';'"),
    ("net my net\nrelu", "1:8 unexpected 'net'", "the name ends its line; one of several words stands in quotes"),
    (
        "import torch",
        "1:1 unexpected 'import'",
        "this looks like Python; cnncc reads its own language (docs/language.md)",
    ),
    ('{"a": 1}', "1:1 unexpected '{'", "this looks like JSON;"),
    ("<net>", "1:1 unexpected character '<'", "this looks like XML, as of OpenVINO;"),
    ("[net]\nbatch=1", "1:1 unexpected character '['", "this looks like a configuration of Darknet;"),
    ('name: "x"', "1:1 unexpected 'name'", "this looks like a prototxt, as of Caffe;"),
    ("7767517\n1 2", "1:1 unexpected '7767517'", "this looks like a param file of ncnn;"),
    ("---\na: b", "1:1 unexpected '-'", "this looks like YAML;"),
    ("// c\nnet t", "1:1 '//' starts no comment", "comments start with #"),
    ("net t\ninput 3 x 8 x 8\nrelu", "2:7 sizes are written 3x8x8, not '3 x 8 x 8'", "the letter x"),
    ("net t\ninput [3,8,8]\nrelu", "2:7 unexpected character '['", "a kernel or a shape is written 3x8x8"),
    ("net t\ninput 3,8,8\nrelu", "2:7 input: expected a shape like", "a kernel or a shape is written 3x8x8"),
    ("net t\ninput 8x8\nrelu", "2:1 input: dims 8x8: an image is channels x height x width", "a grey image is 1x8x8"),
    (
        "net t\ninput: 3x8x8",
        "2:8 a statement starts with an op",
        "an op is followed by its numbers at once: `input 3x22",
    ),
    ("net t\ninput x: 3x8x8", "2:8 unexpected ':'", "the shape follows at once: `input image 3x224x224`"),
    ("net t\ninput Nx3x8x8\nrelu", "2:7 a shape has no batch, got 'Nx3x8x8'", "write 3x8x8;"),
    ("net t\ninput -1x3x8x8\nrelu", "2:7 a shape has no batch, got '-1x3x8x8'", "write 3x8x8;"),
    ("net t\ninput ?x3x8x8\nrelu", "2:7 a shape has no batch, got '?x3x8x8'", "write 3x8x8;"),
    ("net t\ninput 3x8x8 float32\nrelu", "2:13 input: unknown word 'float32'", "leave it out: inputs are float32"),
    (
        "net t\ninput 3x8x8 mean 1 2 3\nrelu",
        "2:20 input: unexpected '2'",
        "numbers of channels are written with commas: (1",
    ),
    (
        "net t\ninput 3x8x8 mean [1,2,3]\nrelu",
        "2:18 unexpected character '['",
        "numbers of channels are in parentheses: (1",
    ),
    ("net t\ninput 3x8x8 scale 2\nrelu", "2:19 scale: unexpected '2'", "it is learned; a given factor is"),
]


@pytest.mark.parametrize(("text", "message", "hint"), HEADS, ids=[ascii(c[0])[:40] for c in HEADS])
def test_a_mistake_at_the_start(text: str, message: str, hint: str) -> None:
    found = error(f"{text}\n")
    place, _, said = message.partition(" ")
    assert found.span
    assert f"{found.span.line}:{found.span.column}" == place
    assert found.message.startswith(said)
    assert found.hint.startswith(hint)


ARMS = [
    (
        "add { conv 3x3 4 | }",
        "arm b, the current value, is 3x8x8, the other 4x8x8: `proj 1x1 4` at its end makes it fit",
    ),
    ("add { | conv 3x3 4 /2 }", "arm a, the current value, is 3x8x8, the other 4x4x4: `proj 1x1 4 /2` at its end"),
    ("add { conv 1x1 4 | conv 1x1 5 | conv 1x1 4 }", "arm b is 5x8x8, the others 4x8x8: `proj 1x1 4` at its end"),
    ("mul { conv 3x3 3 pad 0 | }", "arm b, the current value, is 3x8x8, the other 3x6x6"),
    ("concat { conv 3x3 4 /2 | }", "arm b, the current value, is 3x8x8, the other 4x4x4: `proj 1x1 3 /2` at its end"),
]


@pytest.mark.parametrize(("merge", "told"), ARMS, ids=[c[0] for c in ARMS])
def test_the_arm_that_differs_is_named_and_what_would_mend_it(merge: str, told: str) -> None:
    found = error(f"{HEAD}{merge}\n")
    assert "arms differ: " in found.message
    assert f"; {told}" in found.hint
    for projection in re.findall(r"`(proj [^`]*)`", found.hint):
        mended = merge.replace("| }", f"| {projection} }}").replace("{ |", f"{{ {projection} |")
        mended = mended.replace("conv 1x1 5 |", f"conv 1x1 5; {projection} |")
        lang.parse(f"{HEAD}{mended}\n")


def test_lines_of_old_macs_and_of_windows_are_lines() -> None:
    for end in ("\r", "\r\n"):
        text = decode(f"net t{end}input 3x8x8{end}relu{end}".encode(), "t.net")
        assert lang.parse(text).nodes[-1].op == "relu"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_text_in_utf_16_is_told(encoding: str) -> None:
    with pytest.raises(CnnccError, match=r"t\.net: is UTF-16\n  hint: save it as UTF-8"):
        decode(f"\ufeff{HEAD}".encode(encoding), "t.net")
