"""Values with names in blocks: pieces of networks whose arms refer to each other are blocks all the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from growing import Growing, as_written, holds

from cnncc.frontends.text import write
from cnncc.frontends.text.define import filled, parameters
from cnncc.frontends.text.phrase import Hole
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
    assert "(4) x3" in text


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
    assert "(16, 0.125)" in text


def fill_of(*rows: tuple[str, list[int]]) -> tuple[list[str], list[str]]:
    """What stands in holes of these kinds and numbers, use by use, and the parameters."""
    holes = [Hole(kind, numbers[0]) for kind, numbers in rows]
    columns = [tuple(numbers) for _, numbers in rows]
    names = parameters(holes, columns)
    return [filled(hole, column, names) for hole, column in zip(holes, columns, strict=True)], [*names.values()]


def test_the_number_that_stands_in_most_places_is_the_parameter() -> None:
    rows = [("out", [144, 264]), ("out", [48, 88]), ("out", [48, 88]), ("size", [12, 22]), ("out", [48, 88])]
    assert fill_of(*rows) == (["3*c", "c", "c", "c//4", "c"], ["c"])


def test_of_numbers_in_as_many_places_the_smallest_is_the_parameter() -> None:
    assert fill_of(("out", [96, 144]), ("out", [16, 24])) == (["6*c", "c"], ["c"])


def test_a_product_of_parameters() -> None:
    pixels = [("size", [1024, 256]), ("size", [1024, 256]), ("size", [32, 16]), ("size", [24, 24])]
    assert fill_of(*pixels) == (["c*c", "c*c", "c", "24"], ["c"])


def test_groups_are_counted_in_channels() -> None:
    assert fill_of(("out", [48, 104]), ("groups", [6, 13])) == (["c", "c//8"], ["c"])
    assert fill_of(("groups", [2, 3]), ("out", [8, 12])) == (["c//4", "c"], ["c"])
    assert fill_of(("out", [2, 3]), ("groups", [8, 12])) == (["c", "4*c"], ["c"])
    assert fill_of(("groups", [2, 3]), ("out", [9, 12]), ("groups", [3, 4])) == (["g", "c", "c//3"], ["g", "c"])


def test_numbers_of_another_kind_are_parameters_of_their_own() -> None:
    rows = [("out", [3, 5]), ("kernel", [3, 5]), ("stride", [1, 2]), ("real", [3, 5]), ("kernel", [6, 10])]
    assert fill_of(*rows) == (["c", "k", "s", "r", "k2"], ["c", "k", "s", "r", "k2"])


def test_numbers_that_are_no_whole_part_are_parameters_of_their_own() -> None:
    assert fill_of(("out", [8, 12]), ("out", [8, 12]), ("out", [12, 18])) == (["c", "c", "d"], ["c", "d"])
    assert fill_of(("out", [0, 12]), ("out", [8, 12])) == (["c", "d"], ["c", "d"])
