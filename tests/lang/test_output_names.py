"""`output as NAME`, unread inputs, and numbers without end, through parser, printer, formatter and IR text."""

from __future__ import annotations

import math

import pytest
from graph_text import parse_graph

from cnncc import lang
from cnncc.base.errors import CnnccError
from cnncc.ir import Graph
from cnncc.ir.text import print_graph
from cnncc.ir.verify import VerifyError
from cnncc.ops import verify

HEAD = "net t\ninput x 3x8x8\n"


def parsed(body: str, head: str = HEAD) -> Graph:
    """The graph of a text, which survives flat printing, the IR's text and the formatter."""
    text = head + body
    graph = lang.parse(text)
    verify(graph)
    for again in (
        lang.parse(lang.print_net(graph)),
        parse_graph(print_graph(graph)),
        lang.parse(lang.format_text(text)),
    ):
        assert print_graph(again) == print_graph(graph)
        assert again.output_names == graph.output_names
    return graph


@pytest.mark.parametrize(
    ("body", "outputs", "names"),
    [
        ("relu", ("0",), ("0",)),
        ("relu\noutput", ("0",), ("0",)),
        ("relu\noutput as logits", ("0",), ("logits",)),
        ("save a\nrelu\noutput a as first\noutput as second", ("x", "0"), ("first", "second")),
        ("relu\noutput as a\noutput as b\noutput", ("0", "0", "0"), ("a", "b", "0")),
        ("relu\noutput as y\noutput x as x", ("0", "x"), ("y", "x")),
        ("output as y", ("x",), ("y",)),
        ("output", ("x",), ("x",)),
        ('relu\noutput as "StatefulPartitionedCall:0"', ("0",), ("StatefulPartitionedCall:0",)),
        ('relu\noutput as "a b"; output as add; output as 10', ("0",) * 3, ("a b", "add", "10")),
        ('relu\noutput as "画像 \\"q\\" \\\\"', ("0",), ('画像 "q" \\',)),
        ("relu\nsave as\noutput as", ("0",), ("as",)),
        ('relu\nsave as\noutput "as" as as', ("0",), ("as",)),
        ("as: relu\noutput as", ("as",), ("as",)),
        ("a: relu\noutput a as a", ("a",), ("a",)),
        ("a: relu\noutput a", ("a",), ("a",)),
        ("save a; relu; save b\noutput a; output b", ("x", "0"), ("a", "b")),
        ("a: relu relu\noutput a", ("a.relu",), ("a",)),
        ("a: relu\nb: relu\noutput a as b\noutput b as a", ("a", "b"), ("b", "a")),
    ],
)
def test_outputs_are_called_what_the_text_says(body: str, outputs: tuple[str, ...], names: tuple[str, ...]) -> None:
    graph = parsed(body + "\n")
    assert (graph.outputs, graph.output_names) == (outputs, names)


@pytest.mark.parametrize(
    "name", ["images:0", "input.1", "0", "add", "x3", "画像", "a/b c", "from", "as", "inf", "unused"]
)
def test_inputs_are_called_what_the_text_says(name: str) -> None:
    graph = parsed("first: relu\n", f'net t\ninput "{name}" 3x8x8\n')
    assert [n.name for n in graph.inputs] == [name]


@pytest.mark.parametrize(
    ("body", "message", "hint"),
    [
        ("relu\noutput as y\noutput as y", "5:11: 'y' is already an output", "choose another name"),
        ("relu\noutput\noutput", "5:1: '0' is already an output", "`output as NAME` gives it a name"),
        ("relu\noutput as x", "4:11: 'x' is an input", "an output is called otherwise, unless it is that input itself"),
        ("relu\noutput as y\ninput y 3x8x8", "5:7: 'y' is already an output", "choose another name"),
        ("relu\noutput x as", "4:10: unexpected 'as'", "an output's name follows: `output as logits`, or"),
        ("relu\noutput as my-logits", "4:13: unexpected '-'", 'stands in quotes: "my-logits"'),
        ("relu\noutput a as my-logits", "4:15: unexpected '-'", 'stands in quotes: "my-logits"'),
        ("relu\noutput y as z", "4:8: no value is called 'y' yet", "known: "),
        ("input y 3x8x8\nrelu", "2:1: the value 'x' is never used", "`unused` behind it keeps an input that nothing"),
        ("input y 3x8x8 unused\nadd { | from x }", "3:1: the input 'y' is used", "leave `unused` out"),
        ("affine scale 1e999", "3:14: the number is too large", "`inf` is infinity"),
        ("conv 3x3 inf", "3:10: conv: inf is not a whole number", ""),
        ("clip low infinity", "3:10: clip: expected a number, got 'infinity'", ""),
    ],
)
def test_mistakes(body: str, message: str, hint: str) -> None:
    with pytest.raises(CnnccError) as caught:
        lang.parse(HEAD + body + "\n", "t.net")
    text = str(caught.value)
    assert text.startswith(f"t.net:{message}")
    assert hint in text


def test_an_input_that_nothing_reads_is_marked() -> None:
    graph = parsed("input im_shape 2 unused\nfrom x\nrelu\n")
    assert [n.name for n in graph.inputs] == ["x", "im_shape"]
    assert "im_shape: input 2 unused\n" in lang.print_net(graph, shapes=False)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("inf", math.inf),
        ("-inf", -math.inf),
        ("(0-inf)", -math.inf),
        ("nan", math.nan),
        ("(inf-inf)", math.nan),
        ("-3.4028234663852886e+38", -3.4028234663852886e38),
        ("1e+20", 1e20),
        ("1e-12", 1e-12),
        ("-1e-45", -1e-45),
        ("123456789012345678901234567890.0", 123456789012345678901234567890.0),
    ],
)
def test_numbers_of_any_size(written: str, value: float) -> None:
    for word, key in (("clip low", "low"), ("affine shift", "shift"), ("pad 1 value", "value")):
        found = parsed(f"{word} {written}\n").nodes[-1].attrs[key]
        assert repr(found) == repr(value)


def test_infinities_in_lists_and_parameters() -> None:
    graph = parsed("block b(v, inf=2) { clip low v; conv 3x3 inf }\nb(-inf); b(nan, 3)\n")
    assert [n.attrs.get("low") for n in graph.nodes if n.op == "clip"] == [-math.inf, math.nan]
    assert [n.attrs["out"] for n in graph.nodes if n.op == "conv"] == [2, 3]
    assert lang.parse("net t\ninput 3x8x8 mean (-inf, nan, inf)\nrelu\n").nodes[0].attrs["mean"][0] == -math.inf


def test_the_format_has_one_form_for_them() -> None:
    text = lang.format_text('net t\ninput  x 3x8x8\npad 1   value   -inf\noutput   as\t"a b"\n')
    assert text == 'net t\ninput x 3x8x8\npad 1 value -inf\noutput as "a b"\n'


def test_the_verifier_counts_names() -> None:
    graph = lang.parse(HEAD + "relu\noutput as a\n")
    wrong = Graph(graph.name, graph.nodes, graph.outputs, graph.constants, ("a", "b"))
    with pytest.raises(VerifyError, match=r"outputs: 1, with 2 names$"):
        verify(wrong)


def test_passes_keep_the_names() -> None:
    from passes.pass_helpers import passed

    from cnncc import passes

    graph = lang.parse(HEAD + "conv 3x3 4 bn relu\nidentity\noutput as y\noutput as z\noutput x as x\n")
    lowered = passes.assign_layouts(passed(passes.with_batch(graph, 2)), 8)
    assert lowered.ports == ("y", "z", "x")
    assert len(set(lowered.outputs)) == 3
