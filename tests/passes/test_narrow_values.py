"""Which values become bfloat16, and where casts stand."""

from __future__ import annotations

from dataclasses import replace

from cnncc import lang, ops
from cnncc.ir import Graph
from cnncc.passes import narrow_values


def narrowed(body: str, dims: str = "16x9x9") -> Graph:
    graph = narrow_values(lang.parse(f"net t\ninput {dims}\n{body}\n"))
    ops.verify(graph)
    return graph


def kinds(graph: Graph) -> dict[str, str]:
    return {node.name: node.type.element.short for node in graph.nodes}


def test_casts_at_the_border() -> None:
    graph = narrowed("conv 3x3 8; relu")
    assert kinds(graph) == {"input": "f32", "input.bf16": "bf16", "0": "bf16", "1": "bf16", "1.f32": "f32"}
    assert graph.outputs == ("1.f32",)


def test_each_cast_is_made_once() -> None:
    graph = narrowed("save x; conv 3x3 16; add { | from x }; save y; lrn; conv 1x1 16; add { | from y }; softmax")
    assert [node.inputs[0] for node in graph.nodes if node.op == "cast"] == ["input", "1", "2", "4"]
    assert graph["1"].type.element.name == "bfloat16"


def test_what_stays_float32() -> None:
    """What takes nothing else, what reads no bfloat16, and results of few numbers."""
    graph = narrowed("relu; conv 3x3 8; lrn; gap; fc 5; softmax")
    assert [n.name for n in graph.nodes if n.type.is_float] == ["input", "0", "1.f32", "2", "3", "4", "5"]
    assert [n.name for n in graph.nodes if n.op == "cast"] == ["0.bf16", "1.f32"]


def test_few_results_of_bfloat16_are_float32() -> None:
    graph = narrowed("conv 3x3 8; gap; fc 5")
    assert kinds(graph)["1"] == "f32"
    assert graph["1"].inputs == ("0",)
    assert kinds(narrowed("conv 3x3 8; fc 5"))["1"] == "f32"


def test_other_numbers_stay() -> None:
    """Bytes take no part, and what is bfloat16 already is so."""
    body = "quantize uint8 0.02 3; save b; dequantize; conv 1x1 8; gap; conv 1x1 16"
    graph = narrowed(f"{body}; qmul {{ from b | }} to int8 scale 0.1")
    assert [kinds(graph)[name] for name in ("0", "1", "2", "3", "4", "5")] == ["u8", "f32", "bf16", "f32", "bf16", "i8"]
    assert graph["5"].inputs == ("0", "4.f32")
    graph = narrowed("cast bfloat16; conv 1x1 8; cast int32")
    assert kinds(graph) == {"input": "f32", "0": "bf16", "1": "bf16", "2": "i32"}


def test_names_are_not_taken_twice() -> None:
    graph = lang.parse("net t\ninput 16x9x9\nrelu; conv 1x1 8\n")
    renamed = replace(
        graph, nodes=tuple(n.with_(name="0.bf16", inputs=n.inputs) if n.name == "1" else n for n in graph.nodes)
    )
    found = narrow_values(replace(renamed, outputs=("0.bf16",)))
    assert {n.name: n.op for n in found.nodes if n.inputs == ("0",)} == {"0.bf16_": "cast"}


def test_must_not_fire() -> None:
    """Without convolutions, on other numbers, or twice."""
    for text in ("relu; maxpool 2x2; gap; fc 3", "cast int32; cast float32"):
        graph = lang.parse(f"net t\ninput 16x9x9\n{text}\n")
        assert narrow_values(graph) is graph
    once = narrowed("conv 3x3 8; relu")
    assert narrow_values(once) is once
