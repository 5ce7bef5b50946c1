"""Names, biases, projections, merges, attributes: what a text means."""

from __future__ import annotations

from typing import Any

import pytest

from cnncc import lang
from cnncc.ir import Graph

HEAD = "net t\ninput 3x8x8\n"


def graph(body: str) -> Graph:
    return lang.parse(HEAD + body + "\n")


def names(body: str) -> list[str]:
    return [n.name for n in graph(body).nodes if n.op != "input"]


BLOCK = "block b(c) { add { conv 1x1 c relu; conv 3x3 c | proj 1x1 c }\nrelu }\n"
NAMES = [
    ("conv 3x3 4 bn relu; relu relu", ["0", "0.bn", "0.relu", "1", "1.relu"]),
    ("a: relu relu relu", ["a", "a.relu", "a.relu2"]),
    ("relu\na: relu\nrelu", ["0", "a", "2"]),
    ("save s; relu; from s\nconv 3x3 4; save u\nadd { from 0 | from 1; conv 1x1 3 }", ["0", "1", "2.b.0", "2"]),
    ("relu x2", ["0.0", "0.1"]),
    ("a: relu x2", ["a.0", "a.1"]),
    ("a: relu; tanh x2", ["a.0", "a.1", "a.2"]),
    (
        BLOCK + "r: b(4) x2",
        "r.0.a.0 r.0.a.0.relu r.0.a.1 r.0.b.0 r.0.0 r.0.1 r.1.a.0 r.1.a.0.relu r.1.a.1 r.1.0 r.1.1".split(),
    ),
    (BLOCK + "r: b(3)\nb(3) tanh", "r.a.0 r.a.0.relu r.a.1 r.0 r.1 1.a.0 1.a.0.relu 1.a.1 1.0 1.1 1.tanh".split()),
    ("add { relu | }\nm: mul { l: relu | add { tanh | } }", ["0.a.0", "0", "m.a.l", "m.b.a.0", "m.b.0", "m"]),
    ("concat { | relu } relu\ncropcat { crop 1,1 4x4 | }", ["0.b.0", "0", "0.relu", "1.a.0", "1.crop", "1"]),
    ("mul { | const scale 3x1x1 }\nmul { | const 3x1x1 }", ["0.b.scale", "0", "1.b.0", "1"]),
    ("mix: concat { conv 1x1 4 | conv 3x3 4 }", ["mix.a.0", "mix.b.0", "mix"]),
    ("add { relu | } x2", ["0.0.a.0", "0.0", "0.1.a.0", "0.1"]),
    ("m: relu; add { relu | tanh }\nb: tanh", ["m.0", "m.1.a.0", "m.1.b.0", "m.1", "b"]),
    # in a body or an arm only a label gives a merge a path of its own; letters run on past the others
    (
        "block b { add { relu | }\nm: add { relu | }\nadd { | relu } x2 }\nb",
        ["0.a.0", "0.0", "0.m.a.0", "0.m", "0.d.0", "0.2.0", "0.f.0", "0.2.1"],
    ),
    ("add { add { | relu }\nadd { | relu } | }", ["0.a.b.0", "0.a.0", "0.a.d.0", "0.a.1", "0"]),
]


@pytest.mark.parametrize(("body", "expected"), NAMES)
def test_names(body: str, expected: list[str]) -> None:
    assert names(body) == expected


def test_a_merge_further_up_renames_nothing_that_is_labelled() -> None:
    tail = "mix: concat { conv 1x1 4 | conv 3x3 4 }\nfc: fc 2"
    assert names(f"add {{ relu | }}\n{tail}")[2:] == names(tail)


ATTRS: list[tuple[str, str, dict[str, Any]]] = [
    ("conv 3x5 4", "conv", {"out": 4, "kernel": (3, 5), "pad": (1, 2, 1, 2), "stride": (1, 1), "bias": True}),
    ("conv 2x2 4", "conv", {"pad": (0, 0, 0, 0)}),
    ("conv 3x3 4 dil 2x1 /2x1", "conv", {"pad": (2, 1, 2, 1), "dilation": (2, 1), "stride": (2, 1)}),
    ("conv 3x3 4 pad 0,1,2,3 nobias ceil", "conv", {"pad": (0, 1, 2, 3), "bias": False, "rounding": "ceil"}),
    ("conv 3x3 6 groups 3 pad (1, 2)", "conv", {"groups": 3, "pad": (1, 2, 1, 2)}),
    ("conv 3x3 4 bn", "conv", {"bias": False}),
    ("conv 3x3 4 bias bn", "conv", {"bias": True}),
    ("conv 3x3 4 relu bn", "conv", {"bias": True}),
    ("conv (1+2)x3 2*2 /(4/2)", "conv", {"kernel": (3, 3), "out": 4, "stride": (2, 2)}),
    ("dwconv 3x3 /2", "conv", {"out": 3, "groups": 3, "pad": (1, 1, 1, 1), "stride": (2, 2)}),
    ("dwconv 3x3 mult 2 nobias", "conv", {"out": 6, "groups": 3, "bias": False}),
    ("upconv 2x2 5 /2 outpad 1x0", "conv_transpose", {"out": 5, "output_pad": (1, 0), "pad": (0, 0, 0, 0)}),
    ("fc 5 nobias", "fc", {"out": 5, "bias": False}),
    ("maxpool 3x3 /2 pad 1 ceil", "maxpool", {"pad": (1, 1, 1, 1), "rounding": "ceil"}),
    ("avgpool 2x2 exact countpad", "avgpool", {"rounding": "exact", "count_include_pad": True}),
    ("relu bn eps 1e-3", "bn", {"eps": 1e-3}),
    ("lrn size 3 alpha 1e-3 beta 0.5 k 2", "lrn", {"size": 3, "alpha": 1e-3, "beta": 0.5, "k": 2.0}),
    ("leaky_relu 0.1", "leaky_relu", {"slope": 0.1}),
    ("leaky_relu slope 0.2", "leaky_relu", {"slope": 0.2}),
    ("hard_sigmoid alpha 0.2", "hard_sigmoid", {"alpha": 0.2, "beta": 0.5}),
    ("dropout 0.4", "dropout", {"p": 0.4}),
    ("slice 0:2", "slice", {"start": 0, "stop": 2}),
    ("crop 1,2 3x4", "crop", {"top": 1, "left": 2, "height": 3, "width": 4}),
    ("strided_slice 3x4x8 at 2,1,0 step -1,2,1", "strided_slice", {"start": (2, 1, 0), "step": (-1, 2, 1)}),
    ("take 2,0,2 axis 1", "take", {"indices": (2, 0, 2), "axis": 1}),
    ("unfold 3x1 /2x1 pad 1,0 dil 2", "unfold", {"stride": (2, 1), "pad": (1, 0, 1, 0), "dilation": (2, 2)}),
    ("pad 1 wrap", "pad", {"mode": "wrap"}),
    ("reshape 12x4x4", "reshape", {"dims": (12, 4, 4)}),
    ("upsample 2 bilinear align", "upsample", {"scale": (2, 2), "mode": "bilinear", "align_corners": True}),
    ("upsample 1x2", "upsample", {"scale": (1, 2), "mode": "nearest"}),
    ("pad 1,2 reflect", "pad", {"pad": (1, 2, 1, 2), "mode": "reflect"}),
    ("pad 1 value -1.5", "pad", {"pad": (1, 1, 1, 1), "value": -1.5}),
    (
        "save x; input two 3x8x8 resize 9 bicubic bgr; add { | from x }",
        "input",
        {"resize": (9,), "filter": "bicubic", "order": "bgr", "crop": 1.0},
    ),
    (
        "save x; input two 3x8x8 crop 0.875 resize 8x9 rgb; add { | from x }",
        "input",
        {"resize": (8, 9), "crop": 0.875, "filter": "bilinear", "order": "rgb"},
    ),
    ("save x; input two 3x8x8 mean (1, 2, 3); add { | from x }", "input", {"mean": (1.0, 2.0, 3.0), "std": ()}),
]


@pytest.mark.parametrize(("body", "op", "attrs"), ATTRS, ids=[a[0] for a in ATTRS])
def test_attributes(body: str, op: str, attrs: dict[str, Any]) -> None:
    node = [n for n in graph(body).nodes if n.op == op][-1]
    assert {k: node.attrs[k] for k in attrs} == attrs


def test_weight_slots_are_unbound_constants() -> None:
    g = graph("c: conv 3x3 4 bn")
    assert g["c"].weights == {"weight": "c.weight"}
    assert list(g["c.bn"].weights) == ["weight", "bias", "running_mean", "running_var"]
    assert g.constants["c.weight"].shape == (4, 3, 3, 3)
    assert not g.constants["c.weight"].bound


def test_spans_and_stacks() -> None:
    g = graph("block b(c) {\n  conv 3x3 c relu\n}\nfoo: b(4)")
    node = g["foo.0.relu"]
    assert node.span
    assert (node.span.line, node.span.column, node.span.length) == (4, 14, 4)
    assert [(name, str(span)) for name, span in node.stack] == [("b", "<text>:6:6")]


def test_projection_is_left_out_when_the_shape_fits() -> None:
    assert len(graph("add { | proj 1x1 3 bn }").nodes) == 2
    assert graph("add { relu | proj 1x1 3 /1 bn }").nodes[-1].inputs == ("0.a.0", "input")
    assert len(graph("add { conv 3x3 4 | proj 1x1 4 bn }").nodes) == 5


def test_the_same_value_twice() -> None:
    assert graph("add { | }").nodes[-1].inputs == ("input", "input")


def test_cropcat_crops_to_the_middle_of_the_larger() -> None:
    g = graph("cropcat { | crop 0,0 5x4 }")
    assert g["0.crop"].attrs == {"top": 1, "left": 2, "height": 5, "width": 4}
    assert g["0"].type.shape == (1, 6, 5, 4)


def test_outputs_and_inputs() -> None:
    g = lang.parse("net t\ninput a 3x4x4\ninput b 3x4x4\nadd { from a | from b }\noutput\nrelu\noutput\n")
    assert [n.name for n in g.inputs] == ["a", "b"]
    assert g.outputs == ("0", "1")
    assert lang.parse("net t\nx: input 3x4x4\nc: relu relu\noutput c\n").outputs == ("c.relu",)


def test_from_finds_saved_values_labels_and_paths() -> None:
    g = graph("a: relu tanh\nadd { from a | from a.tanh | from input }")
    assert g.nodes[-1].inputs == ("a.tanh", "a.tanh", "input")
    g = graph("add { l: relu; save s | from s; tanh }\nadd { | from 0.a.l | from s }")
    assert g.nodes[-1].inputs == ("0", "0.a.l", "0.a.l")


def test_defaults_may_use_earlier_parameters() -> None:
    g = graph("block b(c, d=2*c, p=0.5) { conv 1x1 d dropout p }\nb(4)\nb(c=1, p=0.25)")
    assert [n.attrs["out"] for n in g.nodes if n.op == "conv"] == [8, 2]
    assert [n.attrs["p"] for n in g.nodes if n.op == "dropout"] == [0.5, 0.25]


def test_repeats_by_parameter_and_division() -> None:
    assert len(graph("block b(n) { relu x(n//2) }\nb(7)").nodes) == 4


def test_shared_weights() -> None:
    g = graph('conv 3x3 3 weights "w" "b" x2')
    assert list(g.constants) == ["w", "b"]
