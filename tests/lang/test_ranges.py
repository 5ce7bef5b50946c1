"""Inputs whose sizes a caller chooses: `input 3 x h x w where h in 32..1024 step 32, w in 32..4096 step 8`."""

from __future__ import annotations

import pytest

from cnncc import lang
from cnncc.base.dim import Symbol
from cnncc.base.errors import CnnccError
from cnncc.frontends.input_shapes import sizes_by_name
from cnncc.frontends.text.write import net_text
from cnncc.ir import Graph
from cnncc.ir.text import print_graph
from cnncc.ops import TABLE, ShapeError

H, W = Symbol(0, "h", 32, 64, 8), Symbol(1, "w", 20, 45)
NET = "net t\ninput 3 x h x w where h in 32..64 step 8, w in 20..45\nconv 3x3 4\n"
PAIR = (
    "net t\ninput a 3 x h x w where h in 32..64 step 8, w in 20..45\ninput b 3 x h x w\nadd { from a | from b }\nrelu\n"
)


def error(text: str) -> CnnccError:
    with pytest.raises(CnnccError) as caught:
        lang.parse(text, "t.net")
    return caught.value


def test_the_graph_is_that_of_the_size_in_the_middle() -> None:
    (node,) = lang.parse(NET).inputs
    assert (node.attrs["dims"], node.attrs["range"]) == ((3, 48, 30), (3, H, W))
    assert node.type.shape == (1, 3, 48, 30)
    assert (
        lang.parse(NET.replace("3 x h x w where h in 32..64 step 8, w in 20..45", "3x48x30")).inputs[0].attrs["range"]
        == ()
    )


@pytest.mark.parametrize(
    ("line", "sizes"),
    [
        ("3 x 8 x w where w in 1..9", (3, 8, Symbol(0, "w", 1, 9))),
        ("3 x h x 8 where h in 1..9 step 2", (3, Symbol(0, "h", 1, 9, 2), 8)),
        ("3 x s x s where s in 1..9", (3, Symbol(0, "s", 1, 9), Symbol(0, "s", 1, 9))),
        ("x 3 x h x w where w in 20..45, h in 32..64 step 8", (3, H, W)),  # in the order of the shape
        ("3 x (2*4) x width where width in 1 .. 9", (3, 8, Symbol(0, "width", 1, 9))),
        ("3 x h x w mean (1) where h in 32..64 step 8, w in 20..45 std (2) uint8", (3, H, W)),
    ],
)
def test_sizes(line: str, sizes: tuple[int | Symbol, ...]) -> None:
    graph = lang.parse(f"net t\ninput {line}\nconv 3x3 4\n")
    assert graph.inputs[0].attrs["range"] == sizes
    assert_survives(graph)


def assert_survives(graph: Graph) -> None:
    """In all texts that are made of a graph."""
    assert lang.parse(lang.print_net(graph)) == graph
    again = lang.parse(net_text(graph, {}).text)
    assert [n.attrs for n in again.inputs] == [n.attrs for n in graph.inputs]


def test_inputs_share_a_size() -> None:
    graph = lang.parse(PAIR)
    assert [n.attrs["range"] for n in graph.inputs] == [(3, H, W), (3, H, W)]
    assert_survives(graph)
    assert graph == lang.parse(PAIR.replace("b 3 x h x w", "b 3 x h x w where w in 20..45, h in 32..64 step 8"))


def test_a_size_of_its_own_has_the_next_number() -> None:
    graph = lang.parse(PAIR.replace("b 3 x h x w", "b 3 x 48 x v where v in 25..36"))
    assert graph.inputs[1].attrs["range"] == (3, 48, Symbol(2, "v", 25, 36))


def test_where_is_still_a_merge() -> None:
    text = "net t\ninput where 3x4x4\ngreater 0\nsave c\nwhere { from c | from where | from where }\n"
    assert [n.op for n in lang.parse(text.replace("greater 0", "relu")).nodes][-1] == "where"


def test_the_dump_says_the_range() -> None:
    assert "range=(3, (0, 'h', 32, 64, 8), (1, 'w', 20, 45, 1))" in print_graph(lang.parse(NET))


def test_layout() -> None:
    text = NET.replace(", w in 20..45", ",w   in 20 .. 45").replace("h in", "h  in")
    assert lang.format_text(text) == NET
    without = "net t\ninput 3 x h x w where h in 2..3,w in 4..5 mean (1,2,3)\nconv 3x3 4 pad 1,2\n"
    assert lang.format_text(without).splitlines()[1:] == [
        "input 3 x h x w where h in 2..3, w in 4..5 mean (1, 2, 3)",
        "conv 3x3 4 pad 1,2",
    ]


LINES = [
    ("3 x h x w", "2:11 input: the size 'h' has no range", "`where h in 32..1024 step 32`, or write a number"),
    ("3 x h x w where h in 2..4 by 8, w in 2..4", "2:15 input: the size 'w' has no range", "`where h in 2..4, w in "),
    ("3 x h x w where h in 2..4; w in 2..4", "2:15 input: the size 'w' has no range", "all ranges stand behind one"),
    ("3xhxw where h in 2..4, w in 2..4", "2:7 unexpected '3xhxw'", "as in `3 x h x w where h in"),
    ("3 x h x 4 where h = 2..4", "2:25 unexpected '='", "a range is written h in 2..4"),
    ("3 x h x 4 where h in 2-4", "2:28 unexpected '2'", "a range is written h in 2..4"),
    ("3 x h x 4 where h in 2:4", "2:28 unexpected '2'", "a range is written h in 2..4"),
    ("3 x h x 4 where h in [2, 4]", "2:28 unexpected character '['", "a range is written h in 2..4"),
    ("3 x h x 4 where h in (2, 4)", "2:28 unexpected '('", "a range is written h in 2..4"),
    ("3 x h x 4 where 2 <= h <= 4", "2:25 unexpected character '<'", "a range is written h in 2..4"),
    ("3 x h x 4 where h in 2...4", "2:28 unexpected '2.'", "a range is written h in 2..4"),
    ("3 x h x 4 where h in -1..4", "2:28 unexpected '-1.'", "ranges are written `where h in 32..1024"),
    ("3 x h x 4 where h in 2..", "2:28 unexpected '2.'", "ranges are written `where"),
    ("3 x h x 4 where h in 2..4,", "2:33 the line ends too early", "ranges are written `where"),
    ("3 x h x 4 where h in 2..9 step 2", "2:23 input: h in 2..9 step 2: 9 is none of the sizes", "h in 2..8 step 2"),
    (
        "3 x h x 4 where h in 2..9 step 20",
        "2:23 input: h in 2..9 step 20: 9 is none of",
        "a single size is a number: 2",
    ),
    ("3 x h x 4 where h in 2..9 step 0", "2:23 input: h: the step must be at least 1, got 0", ""),
    ("3 x h x 4 where h in 0..9", "2:23 input: h: sizes must be at least 1, got 0", ""),
    ("3 x h x 4 where h in 9..2", "2:23 input: h in 9..2: a range goes up", "write h in 2..9"),
    ("3 x h x 4 where h in 9..9", "2:23 input: h in 9..9: a range goes up", "write 9"),
    ("3 x h x 4 where h in 1..4294967296", "2:23 input: h: 4294967296 is too large, at most 2147483647", ""),
    ("3 x h x 4 where h in 2..4, v in 2..4", "2:34 'v' is no size of this input", "known: h"),
    ("3 x h x 4 where h in 2..4 where h in 2..4", "2:33 input: `where` is given twice", "a comma between the ranges"),
    ("3x8x8 where h in 2..4", "2:13 input: the shape has no names of sizes", "`3 x h x w`"),
    ("c x h x 4 where h in 2..4", "2:7 input: the first size, that of channels, is a number", "e.g. `input 3 x h x w"),
    ("1 x 3 x h x 4 where h in 2..4", "2:7 input: a shape has no batch, got '1 x 3 x h x 4'", "e.g. `input 3 x h"),
    ("3 x h where h in 2..4", "2:1 input: dims 3x3: an image is channels x height x width", "1x3x3"),
    ("3 x relu x 4 where relu in 2..4", "2:26 input: a size cannot be called 'relu'", "a word of the language"),
    ("3 x x x 4 where x in 2..4", "2:23 input: a size cannot be called 'x'", "e.g. w"),
    ("3x8x8\nconv 3x3 4 where h in 2..4", "3:12 conv: unexpected 'where'", "only the sizes of an input"),
    (
        "a 3 x h x 4 where h in 2..4\ninput b 3 x h x 4 where h in 2..5",
        "3:25 input: h in 2..5, but for another input h in 2..4",
        "names of their own",
    ),
]


@pytest.mark.parametrize(("line", "message", "hint"), LINES, ids=[line for line, *_ in LINES])
def test_what_is_no_range(line: str, message: str, hint: str) -> None:
    found = error(f"net t\ninput {line}\nconv 3x3 4\n")
    assert found.span
    assert f"{found.span.line}:{found.span.column} {found.message}".startswith(message)
    assert hint in found.hint


def test_a_rule_that_the_middle_breaks_is_told_with_the_size() -> None:
    found = error("net t\ninput 3 x h x h where h in 32..64\nmaxpool 2x2 /2 exact\n")
    assert found.message.startswith("at h = 45: maxpool: window 2 with stride 2 does not fit height 45: ")


def test_the_op_knows_what_has_a_range() -> None:
    attrs = lang.parse(NET).inputs[0].attrs
    for sizes, message in (((H, 48, 30), "only height and width"), ((3, H, 31), "are none of the range 3 x h x 31")):
        with pytest.raises(ShapeError, match=message):
            TABLE["input"].shape((), {**attrs, "range": sizes})


# Other shapes than the text's


def test_one_size_of_the_range() -> None:
    graph = lang.parse(NET, shapes={"": (3, 40, 33)})
    assert graph == lang.parse("net t\ninput 3x40x33\nconv 3x3 4\n")


def test_a_part_of_the_range() -> None:
    (given,) = sizes_by_name("3xhxw where h in 32..64 step 16, w in 20..30 step 5")
    (node,) = lang.parse(NET, shapes=given).inputs
    assert node.attrs["range"] == (3, Symbol(0, "h", 32, 64, 16), Symbol(1, "w", 20, 30, 5))


@pytest.mark.parametrize(
    "shape", ["3x33x40", "3x32x46", "1x32x40", "3xhx20 where h in 32..64", "3xhx20 where h in 8..64 step 8"]
)
def test_nothing_outside_of_the_range(shape: str) -> None:
    (given,) = sizes_by_name(shape)
    with pytest.raises(
        CnnccError, match=r"is not within 3 x h x w where h in 32\.\.64 step 8, w in 20\.\.45"
    ) as caught:
        lang.parse(NET, "t.net", given)
    assert (caught.value.span and caught.value.span.line, caught.value.hint) == (
        2,
        "the text says which sizes it takes",
    )


def test_a_text_of_one_size_gets_a_range() -> None:
    (given,) = sizes_by_name((3, range(32, 65, 8), range(20, 46)))
    graph = lang.parse("net t\ninput 3x9x9\nconv 3x3 4\n", shapes=given)
    assert graph == lang.parse(NET)


def test_a_size_that_is_fixed_is_so_for_all_inputs() -> None:
    graph = lang.parse(PAIR, shapes={"a": (3, 40, 33)})
    assert [(n.attrs["dims"], n.attrs["range"]) for n in graph.inputs] == [((3, 40, 33), ())] * 2
    (given,) = sizes_by_name({"b": "3xsx30 where s in 40..48 step 8"})
    assert [n.attrs["range"] for n in lang.parse(PAIR, shapes=given).inputs] == [(3, Symbol(0, "s", 40, 48, 8), 30)] * 2
    with pytest.raises(CnnccError, match="input 'b': h is 48 here and 40 elsewhere"):
        lang.parse(PAIR, shapes={"a": (3, 40, 33), "b": (3, 48, 33)})


def test_names_of_a_caller_beside_those_of_the_text() -> None:
    pair = PAIR.replace("b 3 x h x w", "b 3x48x30")
    (given,) = sizes_by_name({"b": (3, range(32, 65, 16), 30)})
    with pytest.raises(CnnccError, match=r"input 'b': h in .* step 16, but for another input h in .* step 8"):
        lang.parse(pair, shapes=given)


def test_a_weight_of_one_size_refuses_a_range() -> None:
    (given,) = sizes_by_name("1xhxw where h in 24..48, w in 24..48")
    with pytest.raises(CnnccError, match="fc: with input 1x34x34 its weight would be "):
        lang.parse("net t\ninput 1x9x9\nfc 3\n", shapes=given)
