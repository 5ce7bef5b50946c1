"""drop_taps on windows of any shape: what is left computes the same, and its first and last taps see the image."""

from __future__ import annotations

import random

import numpy as np
import pytest
from passes.pass_helpers import Net, image, keeps_meaning, passed

from cnncc import ops
from cnncc.ir import Graph, Node
from cnncc.ops.window import windows
from cnncc.passes.drop_taps import drop_taps


def any_conv(rng: random.Random) -> Net:
    """y = conv(x), with padding as wide as the window or not, alike on both sides or not."""
    while True:
        kernel, dilation = ((rng.randint(1, 4), rng.randint(1, 4)), (rng.randint(1, 9), rng.randint(1, 9)))
        attrs = {"kernel": kernel, "dilation": dilation, "stride": (rng.randint(1, 3), rng.randint(1, 9))}
        reach = tuple(d * (k - 1) for k, d in zip(kernel, dilation, strict=True)) * 2
        pad = tuple(rng.choice([0, (r + 1) // 2, r, rng.randint(0, 12)]) for r in reach)
        try:
            net = image(2, rng.randint(1, 7), rng.randint(1, 7))
            return net("y", "conv", "x", out=2, pad=pad, rounding=rng.choice(["floor", "ceil"]), **attrs)
        except ops.ShapeError:
            continue


def seen(node: Node, source: Node) -> np.ndarray:
    """(kh, kw): whether a tap lies in the image in some window."""
    view = windows(np.ones(source.type.shape), node.attrs, fill=0)
    return view.reshape(*view.shape[:2], -1).any(axis=-1)


@pytest.mark.parametrize("block", range(4))
def test_any_window(block: int) -> None:
    fired = 0
    for seed in range(100 * block, 100 * block + 100):
        before: Graph = any_conv(random.Random(seed)).graph("y")
        after = drop_taps(before)
        ops.verify(after)
        keeps_meaning(before, after)
        assert drop_taps(after) is after
        x, old = before["x"], before["y"]
        if after is before:
            continue
        fired += 1
        kept = seen(after["y"], x)
        assert kept.sum() == seen(old, x).sum()
        if kept.any():
            assert all(edge.any() for edge in (kept[0], kept[-1], kept[:, 0], kept[:, -1]))
    assert fired > 20


def test_rates_as_large_as_the_image_leave_one_tap() -> None:
    """An atrous pyramid: the padding is the rate. Its 1x1 then is one with another of the same tensor."""
    net = image(16, 14, 14)
    for rate in (12, 24, 36):
        net(f"d{rate}", "conv", "x", out=16, kernel=(3, 3), dilation=(rate, rate), pad=(rate,) * 4)
    net.conv("p", "x", 16)
    g = passed(net("y", "concat", "d12", "d24", "d36", "p")("r", "gap", "y").graph("r"))
    assert [g[f"d{rate}"].attrs["kernel"] for rate in (12, 24, 36)] == [(3, 3), (1, 1), (1, 1)]
