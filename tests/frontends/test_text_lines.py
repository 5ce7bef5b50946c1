"""Sums of several, and lines: what stands together in one, and which blocks are worth theirs."""

from __future__ import annotations

import numpy as np
import pytest
from growing import Growing, as_written, holds

from cnncc.frontends.onnx.tidy import sums_of_several, tidy
from cnncc.frontends.text.blocks import BlockSearch
from cnncc.frontends.text.labels import layer
from cnncc.frontends.text.measure import effort, grouped, text_lines
from cnncc.frontends.text.parts import parts
from cnncc.frontends.text.statements import Chain, From, Output, Save, Statement
from cnncc.frontends.text.tree import tree
from cnncc.frontends.text.write import candidates, draft, net_text
from cnncc.ir import Graph
from cnncc.ops import reference


def start() -> tuple[Growing, str]:
    g = Growing()
    return g, g.add("input", name="x", dims=(8, 6, 6))


def sums(nested_first: bool = True, several: bool = False, output: bool = False, column: bool = False) -> Graph:
    """(a + b) + c, or what is nearly that."""
    g, x = start()
    a, b = g.add("tanh", x), g.add("sigmoid", x)
    c = g.add("gap", x) if column else g.add("relu", x)
    inner = g.add("add", a, b, name="inner")
    last = g.add("add", *((inner, c) if nested_first else (c, inner)), name="sum")
    if several:
        last = g.add("mul", last, inner)
    return g.graph([last, inner] if output else [last], ["", ""] if output else [""])


def test_a_sum_of_a_sum_is_one_sum_from_left_to_right() -> None:
    for nested_first in (True, False):
        graph = sums(nested_first)
        wide = sums_of_several(graph)
        assert [wide[i].op for i in wide["sum"].inputs] == ["tanh", "sigmoid", "relu"]
        x = np.random.default_rng(0).standard_normal((1, 8, 6, 6), np.float32)
        before, after = (reference.run(g, [x], np.float32)["sum"] for g in (graph, wide))
        assert np.array_equal(before, after)


def test_sums_that_stay_two() -> None:
    for graph in (sums(several=True), sums(output=True), sums(column=True)):
        assert sums_of_several(graph) is graph


def test_a_sum_of_branches_of_a_value_of_its_own_stays_apart() -> None:
    """RepGhostNet: what two branches of a layer add up to, and a shortcut. It reads as in the paper."""
    g, x = start()
    layer = g.add("tanh", x)
    inner = g.add("add", g.add("sigmoid", layer), layer)
    graph = g.graph([g.add("add", inner, x)], [""])
    assert sums_of_several(graph) is graph


def grouped_verbs(*statements: Statement) -> list[int]:
    """How many statements each line has, of a network of convolutions a, b, c, one after the other."""
    g, x = start()
    for name in "abc":
        x = g.add("conv", x, out=8, kernel=(1, 1), name=name)
    return [len(group) for group in grouped(parts(g.graph([x], [""]), statements))]


def test_statements_from_a_named_value_to_the_next_share_a_line() -> None:
    a, b, c = (Chain((name,)) for name in "abc")
    assert grouped_verbs(From("x"), a, b, Save("b"), c) == [4, 1]
    assert grouped_verbs(a, Save("a"), b, c, Save("c")) == [2, 3]
    assert grouped_verbs(a, b, Save("b"), c) == [1, 2, 1]  # it starts from no name
    assert grouped_verbs(From("x"), a, b, From("b"), c, Save("c")) == [2, 1, 3]
    assert grouped_verbs(From("x"), a, b, Output("b", ""), Save("b")) == [2, 1, 1, 1]
    assert grouped_verbs(From("x"), *[a] * 9, Save("a")) == [2, *[1] * 7, 2]  # too long for a line


def test_the_length_of_a_text_is_known_before_it_is_written() -> None:
    """Blocks are chosen by it: one line for merges that are short, one for each arm of others."""
    g, x = start()
    for i in range(4):
        sizes = range(2 * i + 2)
        arms = [g.add("conv", x, out=8, kernel=(2 * n + 1,) * 2, pad=(n,) * 4) for n in sizes]
        first = g.add("conv", g.add("softmax", arms[0]), out=8, kernel=(1, 1))
        x = g.add("softmax", g.add("add", first, *arms[1:], *([x] if i == 1 else [])), name=f"sum{i}")
    graph = g.graph([x], [""])
    for way in candidates(graph):
        body = parts(graph, way)
        assert 2 + text_lines(body) == draft(graph, way, {}, [], BlockSearch()).text.count("\n")
        assert [part.size[0] for part in body] == [1, 1, 1, 8]


def repeated(times: int) -> str:
    """The text of so many merges with two convolutions in each arm, and something between them."""
    g, x = start()
    for _ in range(times):
        arms = [g.add("conv", g.add("conv", x, out=4, kernel=(1, 1)), out=8, kernel=(1, 1)) for _ in range(2)]
        x = g.add("softmax", g.add("mul", *arms))
    return net_text(g.graph([x], [""])).text


def test_a_block_that_saves_no_line_is_not_written() -> None:
    """Arms that stand on a line as they are."""
    assert "block " not in repeated(4)


def test_repeats_of_a_block_are_one_line() -> None:
    """So a short piece that occurs often makes a shorter text than a long one that occurs less often."""
    g, x = start()
    for _ in range(32):
        x = g.add("softmax", g.add("bn", g.add("relu", g.add("conv", x, out=8, kernel=(1, 1)))))
    text = net_text(g.graph([x], [""])).text
    assert text.splitlines()[-1].endswith("x32"), text


def branches(sizes: int = 3) -> Graph:
    """HRNet: each branch is added up of all, and all of these of one another."""
    g, x = start()
    inner = [g.add("conv", x, out=4, kernel=(1, 1)) for _ in range(sizes)]
    sums = []
    for i in range(sizes):
        arms = [a if i == j else g.add("conv", a, out=4, kernel=(1, 1)) for j, a in enumerate(inner)]
        sums.append(g.add("relu", g.add("add", *arms)))
    last = sums[0]
    for other in sums[1:]:
        last = g.add("add", g.add("tanh", other), g.add("sigmoid", last))
    return g.graph([last], [""])


def test_sums_of_named_values_stand_in_lines_of_their_own() -> None:
    graph = branches()
    deep, apart = (as_written(graph, way) for way in (tree(graph, 0), tree(graph, 0, apart=True)))
    assert deep
    assert apart
    assert "add { add {" in deep.text
    assert "add { add {" not in apart.text
    assert apart.text.count("save ") == 3 + 3
    for written in (deep, apart, net_text(graph)):
        holds(graph, written)
    ways = [as_written(graph, way) for way in candidates(graph)]
    assert apart.text in [way.text for way in ways if way]
    assert effort(net_text(graph).text) == min(effort(way.text) for way in ways if way)


def test_what_a_text_asks_of_its_reader() -> None:
    flat = "net a\nadd { relu\n    | tanh }\n"
    assert effort(flat) == pytest.approx(3 + 8 / 10)
    assert effort("net a\nadd { mul { relu\n    | tanh\n    | } | }\n") == pytest.approx(4 + 13 / 10 + 2 / 4)
    assert effort(flat.replace("relu", "relu relu")) == pytest.approx(effort(flat) + 1 / 10)


def test_layers_are_called_after_their_weights() -> None:
    names = {
        "stem.relu:weight": "stem",
        "layer1.0.a.0.bn.relu:weight": "layer1.0.a.0",
        "head.cls:weight": "head.cls",
        "features.relu.weight": "features.relu",
        "conv1_w_0": "conv1",
        "onnx::Conv_12": "",
        "view": "",
        "view_12": "",
        "permute_11_2": "",
        "view_of_it.weight": "view_of_it",
    }
    assert {name: layer(name) for name in names} == names


def test_factors_have_the_digits_of_float32() -> None:
    def text(*scales: float) -> str:
        g, x = start()
        x = g.add("tanh", x)
        for scale in scales:
            x = g.add("affine", x, scale=scale, shift=0.0)
        return net_text(tidy(g.graph([g.add("tanh", x)], [""]))).text

    assert "affine scale 0.15743516 tanh" in text(0.2, 0.7871758)
    assert "affine scale 1e-60 tanh" in text(1e-60)
    assert "affine scale inf tanh" in text(float("inf"))
    assert "affine scale nan tanh" in text(float("nan"))
