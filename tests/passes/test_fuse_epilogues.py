import pytest
from passes.pass_helpers import Net, fires, image, keeps_meaning, passed, stays, vector

from cnncc.passes import with_batch
from cnncc.passes.fuse_epilogues import MOST_POST_OPS, fuse_epilogues


def test_fires_on_a_residual_block() -> None:
    net = image().conv("a", "x", 16)("a.relu", "relu", "a").conv("b", "a.relu", 16)
    net("s", "add", "b", "x")("y", "leaky_relu", "s", slope=0.1)
    fires(
        fuse_epilogues,
        net.graph("y"),
        """
        x : 1x16x4x4 = input() {dims=(16, 4, 4)}
        a.relu : 1x16x4x4 = conv(x) weight=a.weight[16x16x1x1] bias=a.bias[16] {out=16, kernel=(1, 1), \
epilogue=(('relu', ()),)}
        y : 1x16x4x4 = conv(a.relu, x) weight=b.weight[16x16x1x1] bias=b.bias[16] {out=16, kernel=(1, 1), \
epilogue=(('add', ()), ('leaky_relu', (('slope', 0.1),)))}
        return y
        """,
    )


def test_the_later_arm_gets_the_post_op() -> None:
    for arms in (("a", "b"), ("b", "a")):
        g = image().conv("a", "x", 8).conv("b", "x", 8)("s", "add", *arms).graph("s")
        after = fuse_epilogues(g)
        assert after["s"].inputs == ("x", "a")
        assert after["s"].weights["weight"] == "b.weight"
        keeps_meaning(g, after)


@pytest.mark.parametrize("op", ["add", "mul"])
def test_merges_take_activations(op: str) -> None:
    g = image()("t", "tanh", "x")("s", op, "x", "t")("r", "relu6", "s").graph("r")
    fires(
        fuse_epilogues,
        g,
        f"""
        x : 1x16x4x4 = input() {{dims=(16, 4, 4)}}
        t : 1x16x4x4 = tanh(x)
        r : 1x16x4x4 = {op}(x, t) {{epilogue=(('relu6', ()),)}}
        return r
        """,
    )


def test_fc_bn_and_conv_transpose() -> None:
    net = vector()("f", "fc", "x", out=16)("n", "bn", "x")("s", "add", "f", "n")("r", "silu", "s")
    g = net.graph("r")
    after = fuse_epilogues(g)
    assert [(n.name, n.op, n.inputs) for n in after.nodes[1:]] == [("f", "fc", ("x",)), ("r", "bn", ("x", "f"))]
    keeps_meaning(g, after)
    g = image()("c", "conv_transpose", "x", out=8, kernel=(1, 1))("r", "hard_swish", "c").graph("r")
    keeps_meaning(g, fuse_epilogues(g))
    assert fuse_epilogues(g)["r"].op == "conv_transpose"


def test_add_then_activation_then_add() -> None:
    net = image().conv("c", "x", 16)("r", "relu", "c")("s", "add", "r", "x")("t", "tanh", "s")("u", "add", "t", "x")
    g = net.graph("u")
    after = fuse_epilogues(g)
    assert [name for name, _ in after["u"].attrs["epilogue"]] == ["relu", "add", "tanh", "add"]
    assert after["u"].inputs == ("x", "x", "x")
    keeps_meaning(g, after)


def test_a_sum_of_several_joins_its_last_producer() -> None:
    """Which reads the other arms, in their order, and then what the sum itself had behind it."""
    net = image().conv("a", "x", 16).conv("b", "x", 16)("t", "tanh", "x")
    g = net("s", "add", "a", "t", "b", "x", epilogue=(("relu", ()),)).graph("s")
    after = fuse_epilogues(g)
    assert after["s"].inputs == ("x", "a", "t", "x")
    assert after["s"].weights["weight"] == "b.weight"
    assert [name for name, _ in after["s"].attrs["epilogue"]] == ["add", "add", "add", "relu"]
    keeps_meaning(g, after)


def conv() -> Net:
    return image().conv("c", "x", 16)


def test_must_not_fire() -> None:
    stays(fuse_epilogues, conv()("r", "relu", "c")("t", "tanh", "c").graph("r", "t"))  # two users
    stays(fuse_epilogues, conv()("r", "relu", "c").graph("r", "c"))  # a graph output
    stays(fuse_epilogues, conv()("s", "add", "c", "c").graph("s"))  # both arms
    stays(fuse_epilogues, conv()("g", "gap", "x")("s", "add", "c", "g").graph("s"))  # broadcasts
    stays(fuse_epilogues, conv()("g", "softmax", "c").graph("g"))  # no activation
    stays(fuse_epilogues, image()("m", "mul", "x", "x")("s", "add", "m", "x").graph("s"))  # mul takes no add


def test_must_not_fire_for_a_producer_all_images_share() -> None:
    g = image()("k", "const", dims=(16, 4, 4)).conv("c", "k", 16)("s", "add", "c", "x").graph("s")
    stays(fuse_epilogues, g)
    assert with_batch(passed(g), 2)["s"].type.shape == (2, 16, 4, 4)


def test_a_long_chain_is_cut() -> None:
    net, last = conv(), "c"
    for i in range(MOST_POST_OPS + 2):
        net, last = net(f"s{i}", "sigmoid" if i % 2 else "tanh", last), f"s{i}"
    g = net.graph(last)
    after = fuse_epilogues(g)
    producer, *rest = after.nodes[1:]
    assert (producer.op, len(producer.attrs["epilogue"])) == ("conv", MOST_POST_OPS)
    assert [n.op for n in rest] == ["tanh", "sigmoid"]
    keeps_meaning(g, after)
    assert fuse_epilogues(after) is after
