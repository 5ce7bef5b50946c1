from collections.abc import Callable
from dataclasses import replace

import pytest
from graphs import graphs
from hypothesis import given, settings
from hypothesis import strategies as st
from passes.pass_helpers import Net, bound, image, passed, vector
from plan.arena_simulator import simulate

from cnncc.ir import Graph
from cnncc.passes import assign_layouts, with_batch
from cnncc.plan import ArenaPlan, plan_arena
from cnncc.plan.homes import InArena, InConstant, InInput, InOutput

IMAGE = 4 * 4 * 4
"""Bytes of one channel of the 4x4 images here."""


def planned(g: Graph, block: int = 8, reuse: bool = True, batch: int = 1) -> ArenaPlan:
    """The plan of the laid-out graph, checked by running it with symbols."""
    laid_out = assign_layouts(with_batch(g, batch), block)
    plan = plan_arena(laid_out, reuse=reuse)
    simulate(laid_out, plan, keeps_all=not reuse)
    return plan


def test_inputs_outputs_and_constants_are_not_in_the_arena() -> None:
    net = image()("k", "const", dims=(16, 1, 1))("m", "mul", "x", "k").conv("c", "m", 4)("y", "fc", "m", out=4)
    plan = planned(net.graph("c", "y"))
    homes = {name: plan.placements[name].home for name in ("x", "k", "c", "c.nchw", "y")}
    assert homes == {
        "x": InInput(0),
        "k": InConstant("k"),
        "c": InArena("c"),
        "c.nchw": InOutput(0),
        "y": InOutput(1),
    }
    assert [name for name in homes if plan.placements[name].computed] == ["c", "c.nchw", "y"]


def test_no_arena_at_all() -> None:
    plan = planned(vector()("y", "fc", "x", out=4).graph("y"))
    assert (plan.bytes, plan.bound) == (0, 0)


@pytest.mark.parametrize("attrs", [{"mean": (1.0, 2.0, 3.0)}, {"std": (2.0,)}])
def test_an_input_with_mean_or_std_is_computed_into_the_arena(attrs: dict[str, tuple[float, ...]]) -> None:
    net = Net()("a", "input", dims=(3, 4, 4), **attrs)("b", "input", dims=(3, 4, 4)).conv("c", "a", 8)
    plan = planned(net.conv("d", "b", 8)("s", "add", "c", "d")("y", "fc", "s", out=2).graph("y"))
    assert (plan.placements["a"].home, plan.placements["a"].computed) == (InArena("a"), True)
    assert (plan.placements["b"].home, plan.placements["b"].computed) == (InInput(1), False)


def test_views() -> None:
    net = image(32).conv("c", "x", 32)("s", "slice", "c", start=16, stop=32).conv("d", "s", 8)
    net("t", "slice", "c", start=4, stop=32)("u", "slice", "c", start=8, stop=12)("y", "fc", "t", out=2)
    net("v", "flatten", "d")("z", "softmax", "v")("w", "fc", "u", out=2)
    plan = planned(net.graph("y", "z", "w"))
    c, s = plan.placements["c"], plan.placements["s"]
    assert (s.view, s.home, s.offset, s.inner) == (True, InArena("c"), c.offset, 16 * IMAGE)
    assert not plan.placements["t"].view, "starts inside a block"
    assert not plan.placements["u"].view, "ends inside a block"
    assert (plan.placements["v"].view, plan.placements["v"].home) == (True, InArena("d.nchw"))
    assert planned(net.graph("y", "z", "w"), block=1).placements["t"].inner == 4 * IMAGE


def dense(channels: int = 8) -> Net:
    """x -> c0; twice: concat(previous, conv(previous))."""
    net = image().conv("c0", "x", channels)
    net.conv("c1", "c0", channels)("k1", "concat", "c0", "c1").conv("c2", "k1", channels)
    return net("k2", "concat", "k1", "c2")


@pytest.mark.parametrize("batch", [1, 3])
def test_nested_concats_share_the_outermost_storage(batch: int) -> None:
    plan = planned(dense()("y", "fc", "k2", out=2).graph("y"), batch=batch)
    placements = [plan.placements[n] for n in ("c0", "c1", "k1", "c2", "k2")]
    assert [s.inner for s in placements] == [0, 8 * IMAGE, 0, 16 * IMAGE, 0]
    assert [s.placed for s in placements] == [True, True, True, True, False]
    assert {(s.home, s.image_stride) for s in placements} == {(InArena("k2"), 24 * IMAGE)}
    assert plan.copies == {}
    assert plan.bytes == plan.bound == batch * 24 * IMAGE


def test_arms_that_must_be_copied() -> None:
    """Graph inputs, constants, views, second uses, and channels that end inside a block."""
    net = image(8)("k", "const", dims=(8, 4, 4)).conv("c", "x", 16)("s", "slice", "c", start=0, stop=8)
    net.conv("d", "x", 8)("j1", "concat", "d", "k", "s", "d")("j2", "concat", "d", "c")
    net("y1", "fc", "j1", out=2)("y2", "fc", "j2", out=2)
    assert planned(net.graph("y1", "y2")).copies == {"j1": (0, 1, 2, 3)}
    net = image(8)("k", "const", dims=(8, 4, 4)).conv("c", "x", 16)("j1", "concat", "c", "k")("j2", "concat", "c", "j1")
    plan = planned(net("y", "fc", "j2", out=2).graph("y"))
    assert plan.copies == {"j1": (1,), "j2": (0,)}
    net = image().conv("a", "x", 8).conv("b", "x", 4).conv("c", "x", 8)
    net("j", "concat", "a", "b")("i", "concat", "b", "c")("y1", "fc", "j", out=2)("y2", "fc", "i", out=2)
    plan = planned(net.graph("y1", "y2"))
    assert plan.copies == {"i": (0, 1)}, "the last arm may end inside a block, the first may not"


def test_vectors_are_placed_in_an_output() -> None:
    net = vector()("a", "fc", "x", out=3)("b", "fc", "x", out=5)("y", "concat", "a", "b")
    plan = planned(net.graph("y"), batch=2)
    assert [(s.home, s.inner, s.image_stride) for s in (plan.placements["a"], plan.placements["b"])] == [
        (InOutput(0), 0, 32),
        (InOutput(0), 12, 32),
    ]
    assert planned(net.graph("y", "a")).copies == {"y": (0,)}


def residual() -> Net:
    return image().conv("a", "x", 16).conv("b", "a", 16).conv("c", "b", 16)("s", "add", "c", "a")


def test_in_place() -> None:
    plan = planned(passed(residual()("y", "fc", "s", out=2).graph("y")))
    assert (plan.placements["s"].in_place, plan.placements["s"].home) == (True, InArena("a"))
    net = image().conv("a", "x", 16)("p", "maxpool", "a", kernel=(1, 1))("t", "tanh", "p")
    net("m", "mul", "t", "t")("y", "fc", "m", out=2)
    plan = planned(net.graph("y"))
    assert [plan.placements[n].home for n in ("t", "m")] == [InArena("p")] * 2
    assert plan.bytes == 2 * 16 * IMAGE


MUST_NOT: dict[str, Callable[[], Graph]] = {
    "read later": lambda: passed(
        residual()("d", "maxpool", "a", kernel=(1, 1))("y", "mul", "s", "d")("z", "fc", "y", out=2).graph("z")
    ),
    "read later through a view": lambda: (
        image()("c", "tanh", "x")("v", "slice", "c", start=0, stop=8)("s", "tanh", "c").conv("d", "v", 8)
    )("e", "fc", "d", out=2)("f", "fc", "s", out=2).graph("e", "f"),
    "the result is an output": lambda: vector()("a", "fc", "x", out=4)("s", "tanh", "a").graph("s"),
    "the input is an output": lambda: vector()("a", "fc", "x", out=4)("s", "tanh", "a")("y", "fc", "s", out=2).graph(
        "a", "y"
    ),
    "the result is an arm": lambda: (
        image().conv("a", "x", 8)("s", "tanh", "a").conv("b", "x", 8)("j", "concat", "s", "b")("y", "fc", "j", out=2)
    ).graph("y"),
    "the input is an arm": lambda: (
        image().conv("a", "x", 8).conv("b", "x", 8)("j", "concat", "a", "b")("s", "tanh", "a")("r", "fc", "j", out=2)
    )("y", "fc", "s", out=2).graph("y", "r"),
    "the input is the graph's": lambda: vector()("s", "tanh", "x")("y", "fc", "s", out=2).graph("y"),
    "the conv reads what it would overwrite": lambda: (
        image().conv("a", "x", 16)("s", "conv", "a", out=16, kernel=(3, 3), pad=(1, 1, 1, 1))
    )("t", "add", "s", "a")("y", "fc", "t", out=2).graph("y"),
    "the input is a part": lambda: (
        image(32).conv("c", "x", 32)("v", "slice", "c", start=8, stop=32)("s", "tanh", "v")("y", "fc", "s", out=2)
    ).graph("y"),
    "it broadcasts": lambda: (
        image().conv("a", "x", 16)("g", "gap", "a")("p", "maxpool", "x", kernel=(1, 1))("s", "mul", "g", "p")
    )("y", "fc", "p", out=2)("z", "fc", "s", out=2).graph("y", "z"),
}


@pytest.mark.parametrize("why", MUST_NOT)
def test_not_in_place_when(why: str) -> None:
    g = MUST_NOT[why]()
    plan = planned(passed(g) if "conv reads" in why else g)
    last = "t" if "conv reads" in why else "s"
    assert not plan.placements[last].in_place


def test_the_last_of_several_readers_may_be_in_place() -> None:
    net = dense()("r", "relu", "k2")("y", "fc", "r", out=2)
    assert planned(net.graph("y")).placements["r"].home == InArena("k2")


def test_without_reuse_every_storage_has_its_own_bytes() -> None:
    net = residual()("t", "tanh", "s")("u", "tanh", "t")("y", "fc", "u", out=2)
    plan = planned(net.graph("y"), reuse=False)
    assert not any(s.in_place for s in plan.placements.values())
    assert plan.bytes == 6 * 16 * IMAGE
    assert planned(dense()("y", "fc", "k2", out=2).graph("y"), reuse=False).placements["c0"].placed


def test_offsets_are_aligned() -> None:
    net = vector()("a", "fc", "x", out=3)("b", "fc", "a", out=3)("c", "fc", "b", out=3)
    plan = planned(net("y", "concat", "a", "c")("z", "fc", "y", out=1).graph("z"))
    assert all(s.offset % 64 == 0 for s in plan.placements.values())
    assert plan.bytes == plan.bound == 128


def test_constants_are_shared_by_all_images() -> None:
    net = image()("k", "const", dims=(16, 4, 4))("m", "add", "x", "k")("y", "fc", "m", out=2)
    assert planned(net.graph("y"), batch=2).placements["k"].image_stride == 0
    assert planned(net.graph("y"), batch=2).placements["m"].image_stride == 16 * IMAGE


def test_arms_that_end_inside_a_block() -> None:
    """The first arm is computed in its place: the next one, which is copied, begins in its last block. That is
    padding to those that read the first arm, so all of them must come before the concat."""
    net = image(8).conv("a", "x", 12)("t", "tanh", "a").conv("b", "x", 4).conv("c", "x", 8)
    net("j", "concat", "a", "t", "c", "b")("y", "fc", "j", out=2)
    assert planned(net.graph("y")).copies == {"j": (1,)}
    net = image(8).conv("a", "x", 12).conv("b", "x", 12)("r", "relu", "a")("j", "concat", "a", "b")
    assert planned(net("y", "fc", "j", out=2)("z", "fc", "r", out=2).graph("y", "z")).copies == {"j": (0, 1)}
    net = image(8).conv("a", "x", 12)("v", "slice", "a", start=8, stop=12)("t", "tanh", "v")("j", "concat", "a", "t")
    assert planned(net("y", "fc", "j", out=2)("z", "fc", "v", out=2).graph("y", "z")).copies == {"j": (0, 1)}


@settings(max_examples=400, deadline=None)
@given(graphs(), st.sampled_from([1, 2, 4]), st.sampled_from([1, 2]), st.booleans(), st.booleans())
def test_random_graphs(graph: Graph, block: int, batch: int, fused: bool, reuse: bool) -> None:
    g = bound(graph)
    planned(passed(g) if fused else g, block, reuse, batch)


def test_the_simulator_notices_a_wrong_plan() -> None:
    """Two live values at one offset, an arm in the wrong place, a result over an input it still needs."""
    net = dense()("t", "tanh", "k2").conv("d", "t", 8)("s", "add", "d", "d")("y", "fc", "s", out=2)
    g = assign_layouts(net.graph("y"), 8)
    plan = plan_arena(g)
    for name, change in (
        ("d", {"offset": plan.placements["t"].offset}),
        ("c1", {"inner": 0}),
        ("y", {"home": InArena("y")}),
    ):
        wrong = replace(plan, placements={**plan.placements, name: replace(plan.placements[name], **change)})
        with pytest.raises(AssertionError):
            simulate(g, wrong)
