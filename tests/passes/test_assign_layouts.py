import pytest
from graphs import graphs
from hypothesis import given, settings
from hypothesis import strategies as st
from passes.pass_helpers import Net, bound, fires, image, keeps_meaning, passed, stays, vector

from cnncc import ops
from cnncc.ir import Graph
from cnncc.passes import assign_layouts

PLAIN = (
    *("flatten", "reshape", "permute", "expand", "matmul", "topk", "strided_slice", "take", "unfold"),
    *("gather", "scatter", "unpool", "nms"),
)
"""Ops that read values in logical order."""
ANY = ("fc", "qfc", "relayout", "identity", "cast", "quantize", "dequantize", "lookup")
"""Ops that read any order."""


def in_blocks(g: Graph) -> Graph:
    return assign_layouts(g, 8)


def test_fires() -> None:
    """A conv reads the plain input, a residual and other ops do not; flatten needs it plain; fc reads either."""
    net = image().conv("c", "x", 8)("p", "maxpool", "x", kernel=(2, 2), stride=(2, 2))("a", "add", "x", "x")
    net("f", "flatten", "c")("s", "softmax", "f")("y", "fc", "c", out=4)
    fires(
        in_blocks,
        net.graph("p", "a", "s", "y"),
        """
        x : 1x16x4x4 = input() {dims=(16, 4, 4)}
        c : 1x8x4x4:c8 = conv(x) weight=c.weight[8x16x1x1] bias=c.bias[8] {out=8, kernel=(1, 1)}
        x.nchw8c : 1x16x4x4:c8 = relayout(x)
        p : 1x16x2x2:c8 = maxpool(x.nchw8c) {kernel=(2, 2), stride=(2, 2)}
        a : 1x16x4x4:c8 = add(x.nchw8c, x.nchw8c)
        c.nchw : 1x8x4x4 = relayout(c)
        f : 1x128 = flatten(c.nchw)
        s : 1x128 = softmax(f)
        y : 1x4 = fc(c) weight=y.weight[4x128] bias=y.bias[4] {out=4}
        p.nchw : 1x16x2x2 = relayout(p)
        a.nchw : 1x16x4x4 = relayout(a)
        return p.nchw, a.nchw, s, y
        """,
    )


def test_residuals_reshapes_and_constants() -> None:
    net = image()("k", "const", dims=(16, 1, 1))("m", "mul", "x", "k")("v", "reshape", "m", dims=(4, 8, 8))
    net.conv("g", "v", 4, groups=2)("t", "tanh", "v").conv("c", "v", 4, bias=False)
    fires(
        in_blocks,
        net.graph("g", "t", "c"),
        """
        x : 1x16x4x4 = input() {dims=(16, 4, 4)}
        k : 1x16x1x1:c8 = const() value=k.value[1x16x1x1] {dims=(16, 1, 1)}
        x.nchw8c : 1x16x4x4:c8 = relayout(x)
        m : 1x16x4x4:c8 = mul(x.nchw8c, k)
        m.nchw : 1x16x4x4 = relayout(m)
        v : 1x4x8x8 = reshape(m.nchw) {dims=(4, 8, 8)}
        v.nchw8c : 1x4x8x8:c8 = relayout(v)
        g : 1x4x8x8:c8 = conv(v.nchw8c) weight=g.weight[4x2x1x1] bias=g.bias[4] {out=4, kernel=(1, 1), groups=2}
        t : 1x4x8x8:c8 = tanh(v.nchw8c)
        c : 1x4x8x8:c8 = conv(v) weight=c.weight[4x4x1x1] {out=4, kernel=(1, 1), bias=False}
        g.nchw : 1x4x8x8 = relayout(g)
        t.nchw : 1x4x8x8 = relayout(t)
        c.nchw : 1x4x8x8 = relayout(c)
        return g.nchw, t.nchw, c.nchw
        """,
    )


def test_a_residual_is_blocked() -> None:
    g = image().conv("c", "x", 16)("s", "add", "c", "x").graph("s")
    assert in_blocks(passed(g))["s"].inputs == ("x", "x.nchw8c")


def names(net: Net, *outputs: str, block: int = 8) -> tuple[str, ...]:
    before = Graph("t", tuple(net.nodes.values()), outputs, net.constants)
    after = assign_layouts(before, block)
    ops.verify(after)
    keeps_meaning(before, after)
    assert assign_layouts(after, block) is after
    assert len(set(after.outputs)) == len(outputs)
    return after.outputs


@pytest.mark.parametrize("block", [1, 8])
def test_outputs_that_are_not_computed(block: int) -> None:
    """A graph input, a constant, a view, a value twice: each output gets a node that writes it."""
    assert names(image(), "x", block=block) == ("x.out",)
    assert names(vector(), "x", "x", block=block) == ("x.out", "x.out_")
    assert names(vector()("k", "const", dims=(3,)), "k", block=block) == ("k.out",)
    assert names(image()("f", "flatten", "x"), "f", block=block) == ("f.out",)
    assert names(image()("f", "reshape", "x", dims=(8, 8, 4)), "f", "f", block=block) == ("f.out", "f.out_")
    assert names(vector()("s", "softmax", "x"), "s", "s", block=block) == ("s", "s.out")


def test_outputs_twice_and_taken_names() -> None:
    net = image()("t", "tanh", "x")("t.nchw", "tanh", "t")
    assert names(net, "t", "t", "t.nchw") == ("t.nchw_", "t.nchw_.out", "t.nchw.nchw")
    assert names(net, "t", "t", "t.nchw", block=1) == ("t", "t.out", "t.nchw")


def test_must_not_fire() -> None:
    stays(in_blocks, vector()("y", "fc", "x", out=3)("s", "softmax", "y").graph("s", "y"))
    stays(lambda g: assign_layouts(g, 1), image().conv("c", "x", 4)("p", "tanh", "c")("f", "fc", "p", out=2).graph("f"))
    once = in_blocks(image().conv("c", "x", 4)("t", "tanh", "x").graph("c", "t", "x"))
    stays(in_blocks, once)


@settings(max_examples=150, deadline=None)
@given(graphs(), st.sampled_from([1, 2, 4]))
def test_random_graphs(graph: Graph, block: int) -> None:
    for g in (bound(graph), passed(bound(graph))):
        after = assign_layouts(g, block)
        ops.verify(after)
        keeps_meaning(g, after)
        assert assign_layouts(after, block) is after
        readable(after, block)


def readable(g: Graph, block: int) -> None:
    """Every op reads layouts it can read, and every output is computed, plain and written once."""
    for node in g.nodes:
        for position, name in enumerate(node.inputs):
            source = g[name].type
            if len(source.shape) != 4 or node.op in ANY:
                continue
            if node.op == "group_norm":
                assert source.block == g[node.inputs[0]].type.block == node.type.block, (node.name, name)
                continue
            plain = node.op in PLAIN or (node.op, position) in (("sample", 1), ("roi_align", 1))
            plain = plain or (node.op in ("conv", "qconv") and position == 0 and source.block == 1)
            assert source.block == (1 if plain else block), (node.name, name)
    assert len(set(g.outputs)) == len(g.outputs)
    for name in g.outputs:
        assert g[name].type.block == 1
        assert g[name].op not in ("input", "const", "flatten", "reshape", "slice")
