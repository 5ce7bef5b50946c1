"""Kernels for a range of sizes, held to the reference at sizes around the edges of their tiles."""

from __future__ import annotations

import numpy as np
import pytest

import cnncc
from cnncc import api, passes
from cnncc.base.errors import CnnccError
from cnncc.frontends import sources
from cnncc.frontends.sources import NetworkSource
from cnncc.kernels.cpu.rules import RANGES, RULES
from cnncc.ops import reference
from cnncc.options import Options

SIZES = [(9, 9), (9, 120), (120, 9), (33, 47), (64, 64), (100, 31), (57, 119)]
"""Of a range of all sizes from 9 to 120: the corners, and remainders of every tile."""
BODIES = [
    "conv 3x3 32 relu",
    "conv 3x3 20 /2",
    "conv 3x3 32; conv 3x3 32",
    "conv 3x3 32; conv 5x5 32",
    "conv 3x3 32; conv 3x3 48 /2 relu",
    "conv 3x3 32; conv 1x1 70; conv 1x1 9 /2",
    "conv 7x7 32 /2; maxpool 3x3 /2 pad 1",
    "conv 3x3 32; conv 3x3 32 dil 3 relu",
    "conv 3x3 32; conv 3x3 12 dil 12",
    "conv 3x3 32; conv 3x3 32 groups 8; conv 3x3 40 groups 4 /2",
    "conv 3x3 16; conv 3x3 48 groups 8; conv 3x3 64 groups 2",
    "conv 3x3 32; dwconv 3x3 relu6; dwconv 3x3 /2; conv 1x1 7",
    "conv 3x3 32; dwconv 5x5; dwconv 5x5 /2; dwconv 7x7",
    "conv 3x3 32 /2; upconv 2x2 24 /2",
    "conv 3x3 32 /2; upconv 3x3 24 /2 pad 1 relu",
    "conv 3x3 32; maxpool 2x2 /2; avgpool 3x3 /2 pad 1",
    "conv 3x3 32; avgpool 3x3 pad 1 countpad; maxpool 3x3 /2 pad 1 ceil",
    "conv 3x3 20; concat { | conv 1x1 7 | maxpool 3x3 pad 1 }; relu",
    "conv 3x3 32; add { conv 3x3 32 | } relu; mul { | gap; conv 1x1 32 sigmoid }",
    "conv 3x3 32; max { conv 1x1 8 | conv 3x3 8 }; slice 2:6",
    "conv 3x3 32; gap; fc 10",
    "conv 3x3 21; gmp; softmax",
    "conv 3x3 40; lrn",
    "conv 3x3 21; softmax",
    "conv 3x3 32; layernorm; rmsnorm; conv 1x1 32; grn",
    "conv 3x3 32; channel_mean",
    "conv 3x3 12; conv 1x1 19 gelu; prelu; bn",
    "conv 3x3 32; upsample 2",
    "conv 3x3 32; upsample 2 bilinear",
    "conv 3x3 8; upsample 3 bilinear align; conv 1x1 5",
    "conv 3x3 32; pad 1,2,3,4; conv 3x3 16 pad 0",
    "conv 3x3 32; pad 2 edge; pad 2 reflect; conv 3x3 16 pad 0",
    "conv 3x3 24; shuffle 3",
    "conv 3x3 8; save a; conv 3x3 8 pad 0; cropcat { | from a }",
]
FIXED = frozenset(("fc", "qfc"))
"""Ops whose weights are for images of one size, so that a network for a range of sizes may not have them where their
images change."""


def text(body: str, least: int = 9, most: int = 120, step: int = 1) -> str:
    sizes = ", ".join(f"{name} in {least}..{most} step {step}" for name in "hw")
    lines = "\n".join(body.split("; "))
    return f"net ranged\ninput 3 x h x w where {sizes}\n{lines}\n"


def expected(network: NetworkSource, x: np.ndarray) -> list[np.ndarray]:
    assert network.ranged is not None
    graph = passes.with_batch(network.ranged.at({"input": x.shape[1:]}), len(x))
    return list(reference.run(graph, [x], np.float32).values())


def drawn(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("body", BODIES)
def test_right_at_all_sizes(body: str) -> None:
    source = text(body)
    network = sources.read_source(source, None, 0)
    model = api.link([network], Options(batch=2, threads=2))
    for number, (h, w) in enumerate(SIZES):
        x = drawn((1 + number % 2, 3, h, w))
        for got, want in zip([model(x)], expected(network, x), strict=True):
            np.testing.assert_allclose(got, want, rtol=0, atol=2e-5 * float(np.abs(want).max()))


def test_every_op_says_whether_it_has_them() -> None:
    assert RULES.keys() - RANGES.keys() == FIXED


def test_others_are_refused_with_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnncc.kernels.cpu.rules.RANGES", {op: RANGES[op] for op in RANGES if op != "group_norm"})
    with pytest.raises(CnnccError) as refused:
        cnncc.compile(text("conv 3x3 8; group_norm 2"), seed=0)
    assert refused.value.message == "group_norm has no kernel for a range of sizes yet"
    assert refused.value.span is not None
    assert refused.value.span.line == 4


def test_an_op_whose_images_do_not_change_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnncc.kernels.cpu.rules.RANGES", {op: RANGES[op] for op in RANGES if op != "group_norm"})
    network = sources.read_source(text("conv 3x3 8; gap; group_norm 2"), None, 0)
    x = drawn((1, 3, 10, 12))
    np.testing.assert_allclose(api.link([network], Options())(x), expected(network, x)[0], atol=1e-5)


def test_more_sizes_than_can_be_looked_at() -> None:
    source = "net long\ninput 3 x 32 x w where w in 32..100031\nconv 3x3 16\nconv 3x3 16\nupsample 1x2 bilinear\n"
    network = sources.read_source(source, None, 0)
    x = drawn((1, 3, 32, 45))
    np.testing.assert_allclose(api.link([network], Options())(x), expected(network, x)[0], atol=1e-4)


def test_a_bilinear_row_of_many_pixels() -> None:
    """Indices times sizes would not fit into 32 bits."""
    source = "net row\ninput 1 x 1 x w where w in 32..40960 step 32\nupsample 1x2 bilinear\n"
    x = drawn((1, 1, 1, 40960))
    wanted = np.interp((np.arange(81920) + 0.5) / 2 - 0.5, np.arange(40960), x.ravel())
    np.testing.assert_allclose(np.ravel(cnncc.compile(source, seed=0)(x)), wanted, atol=1e-5)
