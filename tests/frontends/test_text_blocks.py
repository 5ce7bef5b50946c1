"""Values with names in blocks: pieces of networks whose arms refer to each other are blocks all the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from growing import Growing, as_written, holds

from cnncc.frontends.text import write
from cnncc.frontends.text.tree import tree
from cnncc.frontends.text.write import net_text
from cnncc.ir import Graph

Piece = Callable[[Growing, str, int], str]


def conv(g: Growing, x: str, out: int, kernel: int = 3) -> str:
    pad = (kernel // 2,) * 4
    return g.add("relu", g.add("conv", x, out=out, kernel=(kernel, kernel), pad=pad))


def scales(g: Growing, x: str, c: int) -> str:
    """Res2Net: each quarter of the channels is added to the result of the one before it."""
    wide = conv(g, x, 4 * c, kernel=1)
    results: list[str] = []
    for i in range(3):
        part = g.add("slice", wide, start=i * c, stop=(i + 1) * c)
        results.append(conv(g, g.add("add", results[-1], part) if results else part, c))
    last = g.add("slice", wide, start=3 * c, stop=4 * c)
    return conv(g, g.add("add", conv(g, g.add("concat", *results, last), 8, kernel=1), x), 8)


def collected(g: Growing, x: str, c: int) -> str:
    """VoVNet: a row of convolutions, and all their results together."""
    results = [x]
    for _ in range(4):
        results.append(conv(g, results[-1], c))
    return conv(g, g.add("concat", *results), 8, kernel=1)


def nested(g: Growing, x: str, c: int) -> str:
    """One kind inside the other, beside a value that both sides of the merge need."""
    start = conv(g, x, 8)
    inner = scales(g, collected(g, start, c), c)
    both = conv(g, g.add("add", inner, start), 8)
    return conv(g, g.add("concat", both, inner, start), 8, kernel=1)


def network(piece: Piece, sizes: list[int]) -> Graph:
    g = Growing()
    x = g.add("input", name="x", dims=(8, 6, 6))
    for size in sizes:
        x = piece(g, x, size)
    return g.graph([x], [""])


def text_of(graph: Graph) -> str:
    """The text; it holds the graph, whichever way it is written."""
    for way in write.candidates(graph):
        found = as_written(graph, way)
        assert found, "a way to write it is not read as the graph"
        holds(graph, found)
    written = net_text(graph)
    assert not written.flat
    holds(graph, written)
    return written.text


@pytest.mark.parametrize(("piece", "longest"), [(scales, 16), (collected, 14), (nested, 30)])
def test_a_piece_with_names_in_it_is_a_block(piece: Piece, longest: int) -> None:
    text = text_of(network(piece, [2, 4, 2, 6]))
    assert len(text.splitlines()) <= longest, text
    top = text[text.rindex("}") :]
    assert "save" not in top, text
    assert "save a" in text


def test_repeats_of_a_block_with_names_are_one_line() -> None:
    text = text_of(network(scales, [2, 4, 4, 4]))
    assert "(16, 4) x3" in text


def test_alike_runs_of_other_connections_are_not_the_same_block() -> None:
    """The words are the same, but two arms start from the same values the other way round."""

    def crossed(g: Growing, x: str, k: int) -> str:
        a = conv(g, x, 8)
        b = conv(g, a, 8)
        c = conv(g, b, 8)
        arms = [conv(g, start, 8) for start in ((b, c), (c, b))[k]]
        return conv(g, g.add("concat", a, b, c, *arms), 8, kernel=1)

    text = text_of(network(crossed, [0, 1, 0, 1, 1, 0]))
    assert text.count("block") == 2, text


def test_a_name_that_is_used_elsewhere_is_in_no_block() -> None:
    """Six pieces of one form; a value from inside the first two is needed at the end, so they are no block's uses."""

    def build(needed: int) -> Graph:
        g = Growing()
        x = g.add("input", name="x", dims=(8, 6, 6))
        inside = []
        for _ in range(6):
            a = conv(g, x, 8)
            b = conv(g, a, 8)
            x = conv(g, g.add("concat", a, b, conv(g, b, 8)), 8, kernel=1)
            inside.append(b)
        return g.graph([g.add("concat", x, *(inside[:needed] or [x]))], [""])

    def calls(graph: Graph) -> int:
        lines = [line.strip() for line in text_of(graph).splitlines()]
        name = next(line.split()[1] for line in lines if line.startswith("block"))
        return sum(int(line.rpartition(" x")[2] or 1) if " x" in line else 1 for line in lines if line.startswith(name))

    assert calls(build(0)) == 6
    assert calls(build(2)) == 4


def test_a_value_before_the_piece_is_where_it_starts() -> None:
    """With values in lines of their own a piece takes up the value before it by a name: in the block it is `x`."""
    graph = network(collected, [4, 4, 4, 4])
    written = as_written(graph, tree(graph, 0))
    assert written
    holds(graph, written)
    assert "block dense {\n  save x\n  conv 3x3 4 relu; save a\n" in written.text
    assert "from x; concat { | from a" in written.text
    assert written.text.endswith("}\ndense x4\n")


def test_factors_and_sizes_are_parameters() -> None:
    def piece(g: Growing, x: str, c: int) -> str:
        wide = g.add("conv", x, out=2 * c, kernel=(1, 1))
        image = g.add("reshape", g.add("affine", wide, scale=1.0 / c, shift=0.0), dims=(2, c, 36))
        soft = g.add("softmax", image)
        back = g.add("reshape", soft, dims=(2 * c, 6, 6))
        return g.add("conv", back, out=8, kernel=(1, 1))

    text = text_of(network(piece, [2, 4, 8]))
    assert "affine scale r" in text
    assert "reshape 2x(" in text
    assert "(16, 0.125, 8)" in text
