"""What people write who come from PyTorch or ONNX, or who mistype: every hint says how it is written here."""

from __future__ import annotations

import pytest

from cnncc import lang
from cnncc.base.errors import CnnccError
from cnncc.lang import foreign
from cnncc.lang.forms import FORMS, KEYWORDS, MERGES

HEAD = "net t\ninput 3x8x8\n"
SAVED = "save a\nconv 3x3 3\nadd { | from a }\n"
STRIDE = "a stride is written /2"
KERNEL = "expected a kernel like 3x3, got"
BLOCK = "did you mean 'block'? e.g. `block b(c) { conv 3x3 c relu }`"
QUOTES = "a name with other characters than letters, digits, _ and . stands in quotes: "


def error(text: str) -> CnnccError:
    with pytest.raises(CnnccError) as caught:
        lang.parse(text, "t.net")
    return caught.value


CASES = [
    # mistyped words
    ("relu\nouput", "4:1 unknown op or block 'ouput'", "did you mean 'output'?"),
    ("relu\nOUTPUT", "4:1 unknown op or block 'OUTPUT'", "did you mean 'output'?"),
    ("frm input", "3:1 unknown op or block 'frm'", "did you mean 'from'?"),
    ("sav a", "3:1 unknown op or block 'sav'", "did you mean 'save'?"),
    ("blok b(c) { relu }", "3:1 unknown word 'blok'", BLOCK),
    ("Block b {\nrelu }", "3:1 unknown word 'Block'", BLOCK),
    ("def b(c, s=1) { relu }", "3:1 unknown word 'def'", BLOCK),
    ("relu; mul b { relu | }", "3:13 unexpected '{'", ""),
    ("conv 3x3 4 save a", "3:12 conv: 'save' is a statement of its own", "put ';' or a new line in front of it"),
    # ops
    ("ReLU", "3:1 unknown op or block 'ReLU'", "did you mean 'relu'?"),
    ("conv 3x3 4 ReLU", "3:12 conv: unknown word 'ReLU'", "did you mean 'relu'?"),
    ("ReLU()", "3:1 unknown block 'ReLU'", "relu takes no parentheses: `relu`"),
    ("Conv2d 3x3 4", "3:1 unknown op or block 'Conv2d'", "did you mean 'conv'? e.g. `conv 3x3 64 /2`"),
    ("Conv2d(3, 64, padding=1)", "3:1 unknown block 'Conv2d'", "conv takes no parentheses: `conv 3x3 64 /2`"),
    ("conv 3x3 4 batchnorm", "3:12 conv: unknown word 'batchnorm'", "did you mean 'bn'? e.g. `conv 3x3 64 bn`"),
    ("batch_norm", "3:1 unknown op or block 'batch_norm'", "did you mean 'bn'? e.g. `conv 3x3 64 bn`"),
    ("BatchNormalization", "3:1 unknown op or block 'BatchNormalization'", "did you mean 'bn'?"),
    ("linear 10", "3:1 unknown op or block 'linear'", "did you mean 'fc'? e.g. `fc 1000`"),
    ("Dense 10", "3:1 unknown op or block 'Dense'", "did you mean 'fc'? e.g. `fc 1000`"),
    ("avg_pool 2x2", "3:1 unknown op or block 'avg_pool'", "did you mean 'avgpool'? e.g. `avgpool 2x2 /2`"),
    ("MaxPool2d 2x2", "3:1 unknown op or block 'MaxPool2d'", "did you mean 'maxpool'? e.g. `maxpool 2x2 /2`"),
    ("global_avg_pool", "3:1 unknown op or block 'global_avg_pool'", "did you mean 'gap'?"),
    ("GlobalAveragePool", "3:1 unknown op or block 'GlobalAveragePool'", "did you mean 'gap'?"),
    ("ConvTranspose2d 2x2 4", "3:1 unknown op or block 'ConvTranspose2d'", "did you mean 'upconv'?"),
    ("cat { | }", "3:1 unknown merge 'cat'", "did you mean 'concat'? e.g. `concat { conv 3x3 64 | }`"),
    # pictures
    ("input b 3x8x8 CenterCrop 8", "3:15 input: unknown word 'CenterCrop'", "the middle is cut out after `resize`"),
    ("input b 3x8x8 resize 9 cubic", "3:24 input: unknown word 'cubic'", "a filter is its name: `resize 256 bicubic`"),
    ("input b 3x8x8 normalize", "3:15 input: unknown word 'normalize'", "pixels of 0 to 255: `input 3x224x224 mean ("),
    # attributes
    ("conv 3x3 4 stride 2", "3:12 conv: unknown word 'stride'", f"{STRIDE}, as in `conv 3x3 64 /2`"),
    ("conv 3x3 stride 2 4", "3:10 conv: expected a number of channels", f"{STRIDE}, as in `conv 3x3 64 /2`"),
    ("conv 3x3 4 s2", "3:12 conv: unknown word 's2'", STRIDE),
    ("conv 3x3 4 stride=2", "3:18 unexpected '='", f"{STRIDE}, as in `conv 3x3 64 /2`"),
    ("maxpool 2x2 2", "3:13 maxpool: unexpected '2'", STRIDE),
    ("block b(s) { conv 3x3 4 s }\nb(2)", "3:25 conv: unexpected 's'", "a stride is written /s"),
    (
        "conv 3x3 4 padding 1",
        "3:12 conv: unknown word 'padding'",
        "padding is written pad 1, as in `conv 3x3 64 pad 1`",
    ),
    ("conv 3x3 4 p1", "3:12 conv: unknown word 'p1'", "padding is written pad 1"),
    ("conv 3x3 4 dilation 2", "3:12 conv: unknown word 'dilation'", "dilation is written dil 2"),
    ("conv 3x3 4 bias=False", "3:16 unexpected '='", "convolutions and fc have a bias; `nobias` leaves it out"),
    ("conv 3,3 4", f"3:6 conv: {KERNEL} '3,3'", "height x width: `conv 3x3 4`"),
    ("maxpool 2", f"3:9 maxpool: {KERNEL} '2'", "height x width: `maxpool 2x2`"),
    ("conv 4 3x3", f"3:6 conv: {KERNEL} '4'", "the kernel comes first, as in `conv 3x3 64 /2`"),
    ("conv 3x3,4", "3:9 unexpected ','", "spaces are between kernel and channels, as in `conv 3x3 64`"),
    # words behind an op that does not take them
    ("conv 3x3 16 silu nobias", "3:18 silu: unknown word 'nobias'", "'nobias' belongs to conv and comes before silu"),
    ("conv 3x3 16 bn relu /2", "3:21 relu: takes no stride", "'/2' belongs to conv and comes before relu"),
    (
        "conv 3x3 16 relu pad 1",
        "3:18 relu: 'pad' is a statement of its own",
        "'pad' belongs to conv and comes before relu;",
    ),
    ("relu nobias", "3:6 relu: unknown word 'nobias'", "known: "),
    # names
    ("x = conv 3x3 4", "3:3 unexpected '='", "no equal sign: `x: conv 3x3 64` labels a line, `save x` names a value"),
    ("= relu", "3:1 unexpected '='", "arguments by name stand in the parentheses"),
    ("my-label: relu", "3:1 a statement starts with an op or a block", 'such a label needs quotes: "my-label": ...'),
    ("save my-x", "3:8 unexpected '-'", f'{QUOTES}"my-x"'),
    ("save a {", "3:8 unexpected '{'", ""),
]


@pytest.mark.parametrize(("body", "message", "hint"), CASES, ids=[c[0][:40] for c in CASES])
def test_hints(body: str, message: str, hint: str) -> None:
    found = error(f"{HEAD}{body}\n")
    assert found.span
    place, _, text = message.partition(" ")
    assert f"{found.span.line}:{found.span.column}" == place
    assert found.message.startswith(text)
    assert found.hint.startswith(hint)
    assert bool(hint) == bool(found.hint)


NO_HEAD = [
    ("net my-net\n", "unexpected '-': expected the end of the line", f'{QUOTES}"my-net"'),
    ("net na\u00efve\n", "unexpected character '\u00ef'", f'{QUOTES}"na\u00efve"'),
    (
        "net t\ninput 1x3x32x32\nrelu\n",
        "input: a shape has no batch, got '1x3x32x32'",
        "write 3x32x32; the batch is an option of `cnncc compile`: --batch 1",
    ),
]


@pytest.mark.parametrize(("text", "message", "hint"), NO_HEAD, ids=["dash", "accent", "batch"])
def test_hints_about_the_head(text: str, message: str, hint: str) -> None:
    found = error(text)
    assert (found.message, found.hint) == (message, hint)


def test_every_word_has_an_example_that_works() -> None:
    assert set(foreign.EXAMPLES) == {*FORMS, *MERGES, *KEYWORDS}
    assert set(foreign.SYNONYMS) <= set(foreign.EXAMPLES)
    for word, example in foreign.EXAMPLES.items():
        head = "net t\n" if word in ("input", "const") else HEAD
        on_bytes = "quantize uint8 1\nsave x\n"
        before = {
            "from": "save a\n",
            "output": "relu\n",
            "dequantize": on_bytes,
            **dict.fromkeys(("qconv", "qupconv", "qfc", "qgap", "qadd"), on_bytes),
            "qmul": "save i\ngap\nsave x\nfrom i\nquantize uint8 1\n",
        }.get(word, "")
        back = {"cast": "cast float32\n", "quantize": "dequantize\n"}.get(word, "")
        after = "" if word == "output" else f"{back}relu\n"
        assert lang.parse(f"{head}{before}{example}\n{after}").nodes[-1].op == "relu"


def test_no_word_of_the_language_means_something_else() -> None:
    words = {*FORMS, *MERGES, *KEYWORDS}
    assert all(foreign.HERE[foreign.simplified(w)] == w for w in words)
    assert len(foreign.HERE) == sum(map(len, foreign.SYNONYMS.values())) + len(words)
