import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from passes.pass_helpers import Net, fires, image, keeps_meaning, stays, vector

from cnncc.ir import Graph
from cnncc.passes.join_channels import join_channels

SHUFFLE = {"split": (2, 8, 4, 4), "axes": (1, 0, 2, 3), "dims": (16, 4, 4)}


def shuffled() -> Net:
    """A shuffle of two arms."""
    return image(8)("a", "relu", "x")("b", "concat", "x", "a")("s", "permute", "b", **SHUFFLE)


def test_a_unit_of_shufflenet() -> None:
    """Both halves of the shuffled channels are read where they were, through the concat of the next unit too."""
    net = shuffled()("l", "slice", "s", start=0, stop=8)("r", "slice", "s", start=8, stop=16)
    net("t", "tanh", "r")("n", "concat", "l", "t")("u", "permute", "n", **SHUFFLE)("y", "slice", "u", start=0, stop=4)
    fires(
        join_channels,
        net.graph("y"),
        """
        x : 1x8x4x4 = input() {dims=(8, 4, 4)}
        a : 1x8x4x4 = relu(x)
        r : 1x8x4x4 = pick(x, a) {channels=(4, 12, 5, 13, 6, 14, 7, 15)}
        t : 1x8x4x4 = tanh(r)
        y : 1x4x4x4 = pick(x, t, a) {channels=(0, 8, 16, 9)}
        return y
        """,
    )


@pytest.mark.parametrize(
    ("op", "attrs", "channels"),
    [
        (
            "permute",
            {"split": (2, 2, 2, 4, 2, 2), "axes": (2, 1, 0, 3, 4, 5), "dims": (8, 4, 4)},
            (0, 4, 2, 6, 1, 5, 3, 7),
        ),
        ("permute", {"split": (8, 16), "axes": (0, 1), "dims": (8, 4, 4)}, tuple(range(8))),
        ("take", {"indices": (3, 3, 1)}, (3, 3, 1)),
        ("strided_slice", {"dims": (3, 4, 4), "start": (6, 0, 0), "step": (-2, 1, 1)}, (6, 4, 2)),
    ],
)
def test_moves_of_channels(op: str, attrs: dict[str, object], channels: tuple[int, ...]) -> None:
    result = join_channels(image(8)("y", op, "x", **attrs).graph("y"))["y"]
    assert (result.op, result.attrs) == ("pick", {"channels": channels})


@pytest.mark.parametrize(
    ("op", "attrs"),
    [
        ("permute", {"split": (8, 4, 4), "axes": (0, 2, 1), "dims": (8, 4, 4)}),
        ("permute", {"split": (8, 4, 4), "axes": (1, 0, 2), "dims": (4, 8, 4)}),
        ("permute", {"split": (4, 2, 4, 4), "axes": (1, 0, 2, 3), "dims": (4, 8, 4)}),
        ("take", {"indices": (1, 0, 2, 3), "axis": 1}),
        ("strided_slice", {"dims": (8, 2, 4), "start": (0, 0, 0), "step": (1, 2, 1)}),
        ("strided_slice", {"dims": (8, 4, 4), "start": (0, 3, 0), "step": (1, -1, 1)}),
    ],
)
def test_rows_and_columns_move(op: str, attrs: dict[str, object]) -> None:
    stays(join_channels, image(8)("y", op, "x", **attrs).graph("y"))


def test_slices_and_concats_alone() -> None:
    net = image(8)("l", "slice", "x", start=0, stop=3)("c", "concat", "l", "x")("y", "slice", "c", start=2, stop=9)
    stays(join_channels, net.graph("y"))


def test_vectors() -> None:
    stays(join_channels, vector(8)("y", "take", "x", indices=(3, 1)).graph("y"))


def test_what_others_read_is_computed() -> None:
    """A shuffle that is an output, or that a relu reads, is made once; its slice may then be a part of it."""
    net = shuffled()("l", "slice", "s", start=0, stop=8)("t", "relu", "s")("y", "concat", "t", "l")
    for outputs in (("y",), ("l", "s")):
        result = join_channels(net.graph(*outputs))
        assert [result[name].op for name in ("s", "l")] == ["pick", "slice"]


def test_a_concat_that_others_read_stays() -> None:
    result = join_channels(shuffled()("t", "relu", "b").graph("s", "t"))
    assert result["s"].inputs == ("b",)


def test_a_concat_of_shuffled_arms_stays() -> None:
    """Its other arms are computed in their places."""
    net = shuffled()("l", "slice", "s", start=0, stop=8)("r", "tanh", "x")("y", "concat", "l", "r")
    result = join_channels(net.graph("y"))
    assert [result[name].op for name in ("l", "y")] == ["pick", "concat"]


@st.composite
def moves(draw: st.DrawFn) -> Graph:
    """Moves of channels and activations, each of earlier values."""
    net = image(draw(st.integers(1, 5)), 2, 3)
    for i in range(draw(st.integers(1, 9))):
        source = draw(st.sampled_from(list(net.nodes)))
        channels = net.nodes[source].type.shape[1]
        match draw(st.sampled_from(("slice", "concat", "permute", "take", "relu"))):
            case "slice":
                start = draw(st.integers(0, channels - 1))
                net(f"v{i}", "slice", source, start=start, stop=draw(st.integers(start + 1, channels)))
            case "concat":
                net(f"v{i}", "concat", source, draw(st.sampled_from(list(net.nodes))))
            case "permute":
                groups = draw(st.sampled_from([g for g in range(1, channels + 1) if channels % g == 0]))
                attrs = {"split": (groups, channels // groups, 2, 3), "axes": (1, 0, 2, 3), "dims": (channels, 2, 3)}
                net(f"v{i}", "permute", source, **attrs)
            case "take":
                places = draw(st.lists(st.integers(0, channels - 1), min_size=1, max_size=5))
                net(f"v{i}", "take", source, indices=tuple(places))
            case "relu":
                net(f"v{i}", "relu", source)
    g = net.graph(*draw(st.sets(st.sampled_from(list(net.nodes)), min_size=1)))
    return g.rebuild(g.nodes)  # without what no output needs


@settings(max_examples=200, deadline=None)
@given(moves())
def test_keeps_the_meaning_of_random_moves(graph: Graph) -> None:
    joined = join_channels(graph)
    keeps_meaning(graph, joined)
    assert join_channels(joined) is joined
