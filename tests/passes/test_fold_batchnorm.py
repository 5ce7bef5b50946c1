from typing import Any

import pytest
from passes.pass_helpers import Net, fires, golden, image, keeps_meaning, stays, vector

from cnncc.passes.fold_batchnorm import fold_batchnorm
from cnncc.passes.fuse_epilogues import fuse_epilogues


def conv_bn(**attrs: Any) -> Net:
    return image().conv("c", "x", 8, **attrs)("b", "bn", "c", eps=1e-3)


@pytest.mark.parametrize("bias", [True, False])
def test_fires(bias: bool) -> None:
    fires(
        fold_batchnorm,
        conv_bn(bias=bias).graph("b"),
        """
        x : 1x16x4x4 = input() {dims=(16, 4, 4)}
        b : 1x8x4x4 = conv(x) weight=c.weight[8x16x1x1] bias=c.bias[8] {out=8, kernel=(1, 1)}
        return b
        """,
    )


def test_fires_twice_in_a_row_and_into_groups() -> None:
    g = conv_bn(groups=4)("b2", "bn", "b")("r", "relu", "b2").graph("r")
    fires(
        fold_batchnorm,
        g,
        """
        x : 1x16x4x4 = input() {dims=(16, 4, 4)}
        b2 : 1x8x4x4 = conv(x) weight=c.weight[8x4x1x1] bias=c.bias[8] {out=8, kernel=(1, 1), groups=4}
        r : 1x8x4x4 = relu(b2)
        return r
        """,
    )


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_conv_transpose(groups: int) -> None:
    net = image()("c", "conv_transpose", "x", out=8, kernel=(2, 2), stride=(2, 2), groups=groups)
    g = net("b", "bn", "c").graph("b")
    after = fold_batchnorm(g)
    assert [n.op for n in after.nodes] == ["input", "conv_transpose"]
    keeps_meaning(g, after)


def test_fc() -> None:
    g = vector()("c", "fc", "x", out=8, bias=False)("b", "bn", "c").graph("b")
    after = fold_batchnorm(g)
    assert [n.op for n in after.nodes] == ["input", "fc"]
    keeps_meaning(g, after)


def test_takes_the_epilogue_of_the_bn_along() -> None:
    net = image().conv("y", "x", 8).conv("c", "x", 8)("b", "bn", "c")("s", "add", "y", "b")("r", "relu", "s")
    g = fuse_epilogues(net.graph("r"))
    assert g["r"].op == "bn"
    after = fold_batchnorm(g)
    keeps_meaning(g, after)
    golden(
        after,
        """
        x : 1x16x4x4 = input() {dims=(16, 4, 4)}
        y : 1x8x4x4 = conv(x) weight=y.weight[8x16x1x1] bias=y.bias[8] {out=8, kernel=(1, 1)}
        r : 1x8x4x4 = conv(x, y) weight=c.weight[8x16x1x1] bias=c.bias[8] {out=8, kernel=(1, 1), \
epilogue=(('add', ()), ('relu', ()))}
        return r
        """,
    )


def test_must_not_fire() -> None:
    stays(fold_batchnorm, conv_bn()("t", "tanh", "c").graph("b", "t"))  # two users
    stays(fold_batchnorm, conv_bn().graph("b", "c"))  # a graph output
    stays(fold_batchnorm, image()("r", "relu", "x")("b", "bn", "r").graph("b"))  # DenseNet
    with_relu = image().conv("c", "x", 8, epilogue=(("relu", ()),))("b", "bn", "c").graph("b")
    stays(fold_batchnorm, with_relu)


def test_must_not_fire_on_shared_weights() -> None:
    net = conv_bn()("d", "conv", "x", out=8, kernel=(1, 1))
    net.nodes["d"] = net.nodes["d"].with_(weights=net.nodes["c"].weights)
    stays(fold_batchnorm, net.graph("b", "d"))
