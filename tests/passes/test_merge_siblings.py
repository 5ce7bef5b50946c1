from typing import Any

import pytest
from passes.pass_helpers import Net, fires, image, stays

from cnncc.passes.merge_siblings import merge_siblings

RELU = (("relu", ()),)


def siblings(a: dict[str, Any] | None = None, b: dict[str, Any] | None = None) -> Net:
    """Two 1x1 convs that read x, and a reader of each."""
    net = image().conv("a", "x", **{"out": 16, "epilogue": RELU, **(a or {})})
    net.conv("b", "x", **{"out": 32, "epilogue": RELU, **(b or {})})
    return net("p", "tanh", "a")("q", "tanh", "b")


def test_fires() -> None:
    fires(
        merge_siblings,
        siblings().graph("p", "q"),
        """
        x : 1x16x4x4 = input() {dims=(16, 4, 4)}
        a.merged : 1x48x4x4 = conv(x) weight=a.merged.weight[48x16x1x1] bias=a.merged.bias[48] {out=48, \
kernel=(1, 1), epilogue=(('relu', ()),)}
        a : 1x16x4x4 = slice(a.merged) {start=0, stop=16}
        b : 1x32x4x4 = slice(a.merged) {start=16, stop=48}
        p : 1x16x4x4 = tanh(a)
        q : 1x32x4x4 = tanh(b)
        return p, q
        """,
    )


def test_the_new_name_is_free() -> None:
    g = siblings()("a.merged", "relu", "p").graph("a.merged", "q")
    assert "a.merged_" in merge_siblings(g).by_name


def test_inception_merges_the_reductions_only() -> None:
    net = image(32).conv("a", "x", 16, epilogue=RELU).conv("b.r", "x", 16, epilogue=RELU)
    net.conv("b", "b.r", 16, kernel=(3, 3), pad=(1, 1, 1, 1)).conv("c.r", "x", 16, epilogue=RELU)
    net.conv("c", "c.r", 16, kernel=(5, 5), pad=(2, 2, 2, 2))("y", "concat", "a", "b", "c")
    after = merge_siblings(net.graph("y"))
    assert [n.name for n in after.nodes if n.op == "slice"] == ["b.r", "c.r"]
    assert after["a"].op == "conv"


@pytest.mark.parametrize(
    "difference",
    [
        {"out": 24},
        {"epilogue": ()},
        {"bias": False},
        {"groups": 2},
        {"stride": (2, 2)},
        {"kernel": (3, 3)},
        {"pad": (1, 1, 1, 1)},
        {"rounding": "ceil"},
    ],
)
def test_must_not_fire_for_other_attributes(difference: dict[str, Any]) -> None:
    stays(merge_siblings, siblings(b=difference).graph("p", "q"))


@pytest.mark.parametrize("both", [{"out": 8}, {"groups": 2}, {"stride": (2, 2)}, {"pad": (1, 1, 1, 1)}])
def test_must_not_fire_for_convs_of_another_kind(both: dict[str, Any]) -> None:
    stays(merge_siblings, siblings(both, both).graph("p", "q"))


def test_must_not_fire_for_outputs_arms_and_other_tensors() -> None:
    stays(merge_siblings, siblings().graph("p", "b"))
    stays(merge_siblings, siblings()("y", "concat", "b", "p").graph("y", "q"))
    net = image().conv("a", "x", 16)("t", "tanh", "x").conv("b", "t", 16)("p", "tanh", "a")("q", "tanh", "b")
    stays(merge_siblings, net.graph("p", "q"))


def test_must_not_fire_for_residual_inputs() -> None:
    added = {"epilogue": (("add", ()),), "out": 16}
    net = image()
    for name in "ab":
        net("_", "conv", "x", kernel=(1, 1), out=16)
        net(name, "conv", "x", "x", kernel=(1, 1), **added)
    del net.nodes["_"]
    stays(merge_siblings, net("p", "tanh", "a")("q", "tanh", "b").graph("p", "q"))
