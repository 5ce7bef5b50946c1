"""Graph -> text with blocks -> the same graph: whatever the graph is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from cases import CASES, Case
from growing import Growing, as_written, holds
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from cnncc import lang, passes
from cnncc.base.errors import CnnccError
from cnncc.frontends.onnx.file import read_model
from cnncc.frontends.onnx.reader import from_onnx
from cnncc.frontends.text import blocks, write
from cnncc.frontends.text.write import net_text
from cnncc.ir import Graph

ODD = (
    *(
        "x",
        "add",
        "0",
        "1",
        "3",
        "input.1",
        "images:0",
        "a b",
        "画像",
        "save",
        "from",
        "inf",
        "x3",
        "conv1.0",
        "a",
        "as",
    ),
    *('q"\\q', "input", "StatefulPartitionedCall:0", "mean", "unused", "0.relu", "/model/out", "block"),
)
SHAPE = (8, 6, 6)
Draw = Callable[[st.SearchStrategy[Any]], Any]


# Pieces of a network: each keeps the shape, and `k` is what its uses differ in


def layer(g: Growing, x: str, k: int) -> str:
    return g.add("relu", g.add("conv", x, out=8, kernel=(3, 3), pad=(1, 1, 1, 1), groups=1 + k % 2))


def channels(g: Growing, x: str, k: int) -> str:
    """Slices that start at 0, at k, and end at the end."""
    cut = 1 + k
    return g.add("concat", g.add("slice", x, start=0, stop=cut), g.add("slice", x, start=cut, stop=8))


def focus(g: Growing, x: str, k: int) -> str:
    parts = [g.add("slice", x, start=k * i, stop=k * i + 2) for i in range(2)]
    return g.add("conv", g.add("concat", *parts), out=8, kernel=(1, 1))


def bounds(g: Growing, x: str, k: int) -> str:
    """Numbers at the ends of float32 and beyond."""
    value = (-np.inf, np.inf, np.nan, -3.4028234663852886e38)[k % 4]
    wide = g.add("pad", x, pad=(1, 1, 1, 1), value=float(value))
    return g.add("clip", g.add("maxpool", wide, kernel=(3, 3)), low=-3.4028234663852886e38, high=1e20)


def scaled(g: Growing, x: str, k: int) -> str:
    return g.add(
        "affine", g.add("affine", x, scale=1e-12 * (k + 1), shift=0.0), scale=1.0, shift=(np.inf, -1e-30)[k % 2]
    )


def twice(g: Growing, x: str, k: int) -> str:
    return g.add("mul", x, x) if k % 2 else g.add("abs", g.add("abs", x))


def learned(g: Growing, x: str, k: int) -> str:
    return g.add(("mul", "add")[k % 2], x, g.add("const", dims=(8, 1, 1)))


PIECES = (layer, channels, focus, bounds, scaled, twice, learned)


@st.composite
def networks(draw: Draw) -> Graph:
    """Pieces drawn from a few, often again and again, nested in merges, from any value made before."""
    g = Growing()
    names = draw(st.lists(st.sampled_from(ODD), min_size=1, max_size=3, unique=True))
    values = [g.add("input", name=name, dims=SHAPE) for name in names]
    if draw(st.booleans()):
        g.add("input", name="spare:0", dims=(2,))
    chosen = draw(st.lists(st.sampled_from(PIECES), min_size=1, max_size=3))
    for _ in range(draw(st.integers(1, 5))):
        values.append(grown(g, draw, values, chosen, depth=0))
    return g.graph(*ends(draw, values, {n.name for n in g.nodes.values() if n.op == "input"}))


def grown(g: Growing, draw: Draw, values: Sequence[str], chosen: Sequence[Any], depth: int) -> str:
    """A run of pieces, a merge of two such runs, or a run repeated with other numbers."""
    kind = draw(st.sampled_from(("run", "run", "again", "merge") if depth < 2 else ("run",)))
    start = draw(st.sampled_from(values[-3:]))
    if kind == "merge":
        arms = [grown(g, draw, [start], chosen, depth + 1) for _ in range(2)]
        return g.add(draw(st.sampled_from(("add", "max"))), *arms)
    pieces = draw(st.lists(st.sampled_from(chosen), min_size=1, max_size=3))
    for _ in range(draw(st.integers(2, 4)) if kind == "again" else 1):
        for piece in pieces:
            start = piece(g, start, draw(st.integers(0, 3)))
    return start


def ends(draw: Draw, values: Sequence[str], inputs: set[str]) -> tuple[list[str], list[str]]:
    """Outputs, some of them twice or inputs, and their names; an input that is an output may keep its name."""
    more = draw(st.lists(st.sampled_from(values), max_size=3))
    free = [name for name in ODD if name not in inputs and name != "spare:0"]
    outputs = [*more, values[-1]]
    ports = draw(st.lists(st.sampled_from(free), min_size=len(outputs), max_size=len(outputs), unique=True))
    if outputs[0] in inputs and draw(st.booleans()):
        ports[0] = outputs[0]
    return outputs, ports if draw(st.booleans()) or len(set(outputs)) < len(outputs) else [""] * len(outputs)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(networks())
def test_random_networks_come_back(graph: Graph) -> None:
    for way in write.candidates(graph):
        written = as_written(graph, way)
        assert written, "a way to write it is not read as the graph"
        holds(graph, written)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_every_case_is_written_with_blocks_or_refused(case: Case) -> None:
    """How often the flat text is needed: never."""
    try:
        imported = from_onnx(read_model(case.model), case.shapes)
    except CnnccError as error:
        assert "\n" in str(error)  # noqa: PT017 - the nodes, one a line
        return
    graph = passes.with_batch(imported.graph, 1)
    written = net_text(graph, imported.sources)
    assert not written.flat
    holds(graph, written)
    assert [port.name for port in imported.inputs] == [n.name for n in written.graph.inputs] == case.meta["ins"]
    assert list(written.graph.output_names) == case.meta["outs"]


def chain(pieces: Sequence[Any]) -> Graph:
    g = Growing()
    x = g.add("input", name="x", dims=SHAPE)
    for piece in pieces:
        x = piece(g, x, 0)
    return g.graph([x], ["y"])


def test_a_text_that_is_read_otherwise_is_not_given_out(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = chain([layer, twice])
    monkeypatch.setattr(write, "format_text", lambda text: text.replace("conv 3x3 8", "conv 3x3 8 /2"))
    written = net_text(graph)
    assert written.flat
    assert written.text.splitlines()[1:3] == ["x: input 8x6x6", '"/n1/conv_output_0": conv 3x3 8']
    assert written.renamed == {n.name: n.name for n in graph.nodes}


def test_a_text_that_is_refused_is_not_given_out(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = chain([layer, scaled])
    monkeypatch.setattr(write, "format_text", lambda text: text + "}\n")
    written = net_text(graph)
    assert written.flat
    assert lang.parse(written.text).output_names == ("y",)


def test_the_search_for_blocks_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its budget spent, the rest of the network is written without blocks; the text is right all the same."""
    graph = chain([layer, twice, bounds, channels, twice] * 6)
    known = net_text(graph)
    assert "block " in known.text
    monkeypatch.setattr(blocks, "BUDGET", 10)
    written = net_text(graph)
    assert "block " not in written.text
    assert not written.flat
    holds(graph, written)


def test_the_budget_is_for_thousands_of_statements(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of statements is looked at once in each search, however many statements there are."""
    tried: list[int] = []
    original = blocks.BlockSearch.ranked

    def counted(search: blocks.BlockSearch, *given: Any) -> Any:
        before = search.left
        try:
            return original(search, *given)
        finally:
            tried.append(before - search.left)

    monkeypatch.setattr(blocks.BlockSearch, "ranked", counted)
    rng = np.random.default_rng(1)
    graph = chain([PIECES[i] for i in rng.integers(0, len(PIECES), 300)])
    written = net_text(graph)
    assert not written.flat
    assert max(tried) <= blocks.LONGEST * len(graph.nodes)
    assert sum(tried) <= blocks.BUDGET


def test_deep_skips_get_names_instead_of_deep_arms() -> None:
    g = Growing()
    x = g.add("input", name="x", dims=SHAPE)
    skips = []
    for _ in range(70):
        skips.append(x)
        x = g.add("abs", g.add("conv", x, out=8, kernel=(1, 1)))
    for skip in reversed(skips):
        x = g.add("add", x, skip)
    graph = g.graph([x], ["y"])
    written = net_text(graph)
    assert not written.flat
    holds(graph, written)


def with_weights(fill: Callable[[tuple[int, ...]], np.ndarray]) -> str:
    """The text of a model whose weights have these values: with biases, a learned image, and numbers per channel."""
    shapes = {
        "filter": (4, 3, 3, 3),
        "bias": (4,),
        "position": (1, 4, 6, 6),
        "column": (4, 1, 1),
        "slope": (4, 1, 1),
        "dense": (144, 5),
        "offset": (5,),
    }
    nodes = [
        helper.make_node("Conv", ["x", "filter", "bias"], ["a"], pads=[1] * 4),
        helper.make_node("Add", ["a", "position"], ["b"]),
        helper.make_node("Mul", ["b", "column"], ["c"]),
        helper.make_node("PRelu", ["c", "slope"], ["d"]),
        helper.make_node("Flatten", ["d"], ["e"]),
        helper.make_node("Gemm", ["e", "dense", "offset"], ["y"]),
    ]
    tensors = [numpy_helper.from_array(fill(shape).astype(np.float32), name) for name, shape in shapes.items()]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", (1, 3, 6, 6)), ("y", (1, 5))))
    model = helper.make_model(helper.make_graph(nodes, "g", [x], [y], tensors))
    imported = from_onnx(model)
    return net_text(imported.graph, imported.sources).text


def test_a_text_does_not_depend_on_the_values_of_weights() -> None:
    texts = {with_weights(fill) for fill in (np.zeros, np.ones, np.random.default_rng(0).standard_normal)}
    assert len(texts) == 1
    text = texts.pop()
    assert "nobias" not in text
    assert "const 4x6x6" in text


@pytest.mark.parametrize("number", [np.inf, -np.inf, np.nan, 1e38, 0.0])
@pytest.mark.parametrize("op", ["Add", "Mul"])
def test_any_number_at_an_input(op: str, number: float) -> None:
    """A normalisation that no mean and std can say stays in the network."""
    nodes = [helper.make_node(op, ["x", "n"], ["a"]), helper.make_node("Relu", ["a"], ["y"])]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, (1, 3, 6, 6)) for n in "xy")
    tensor = numpy_helper.from_array(np.array(number, np.float32), "n")
    imported = from_onnx(helper.make_model(helper.make_graph(nodes, "g", [x], [y], [tensor])))
    written = net_text(imported.graph)
    assert not written.flat
    holds(imported.graph, written)
    assert ("affine" in written.text) == (not np.isfinite(number) or (op == "Mul" and not number))
