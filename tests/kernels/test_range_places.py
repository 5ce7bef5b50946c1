"""Norms of groups, and kernels that read and write at computed places, for a range of sizes: held to the reference at
sizes around the edges of their vectors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from kernels.test_range_kernels import SIZES, drawn, text
from onnx import TensorProto, helper, numpy_helper

from cnncc import api, passes
from cnncc.base.errors import CnnccError
from cnncc.frontends import sources
from cnncc.frontends.input_shapes import sizes_by_name
from cnncc.frontends.sources import NetworkSource
from cnncc.ops import reference
from cnncc.options import Options

GROUPS = [
    "conv 3x3 32; group_norm 4 relu",
    "conv 3x3 40; group_norm 5; group_norm 40; group_norm 1 gelu",
    "group_norm 3; conv 3x3 20; group_norm 20; group_norm 10 noaffine",
    "conv 3x3 96 /2; group_norm 32; conv 3x3 40 /2; save x; group_norm 2; add { | from x }",
]
PLACES = [
    "conv 3x3 12; topk 3",
    "topk 3 smallest indices",
    "conv 3x3 12; topk 10 last",
    "conv 3x3 12; take 3,0,7",
    "conv 3x3 12; take 3,0,7 axis 1",
    "conv 3x3 12; take 8,2,2,5 axis 2",
    "argmaxpool 3x2 /2 pad 1,0,1,1 ceil",
    "unpool { maxpool 2x2 /2 dil 2 | argmaxpool 2x2 /2 dil 2 } 120x121",
    "unfold 3x2 /2 dil 2 pad 1",
    "unfold 5x5 /3x1 pad 2,0",
]


def ranged(source: str, **options: int) -> tuple[NetworkSource, api.Model]:
    network = sources.read_source(source, None, 0)
    return network, api.link([network], Options(**{"batch": 2, "threads": 2, **options}))


def held(network: NetworkSource, model: api.Model, arrays: Sequence[np.ndarray], bound: float) -> None:
    """Every output, NaN where the reference has it."""
    assert network.ranged is not None
    names = [node.name for node in network.graph.inputs]
    graph = network.ranged.at({name: a.shape[1:] for name, a in zip(names, arrays, strict=True)})
    wanted = list(reference.run(passes.with_batch(graph, len(arrays[0])), list(arrays), np.float32).values())
    for got, want in zip([model(*arrays)], wanted, strict=True):
        atol = bound * float(np.nanmax(np.abs(want), initial=0))
        np.testing.assert_allclose(got, want, rtol=0, atol=atol, err_msg=str([a.shape for a in arrays]))


@pytest.mark.parametrize("body", GROUPS + PLACES)
def test_right_at_all_sizes(body: str) -> None:
    network, model = ranged(text(body))
    for number, (h, w) in enumerate(SIZES):
        held(network, model, [drawn((1 + number % 2, 3, h, w))], 2e-5)


def test_groups_as_large_as_units_and_larger() -> None:
    """From groups of one vector to some that many units share, in blocks and as planes."""
    network, model = ranged(text("conv 1x1 48 relu; group_norm 3; group_norm 16", 1, 300))
    for size in ((1, 1), (1, 300), (3, 2), (17, 16), (300, 300)):
        held(network, model, [drawn((1, 3, *size))], 2e-5)


RNG = np.random.default_rng(11)


def real(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def within(low: float, high: float, *shape: int) -> np.ndarray:
    return RNG.uniform(low, high, shape).astype(np.float32)


def whole(low: int, high: int, *shape: int) -> np.ndarray:
    return RNG.integers(low, high, shape).astype(np.float32)


FREE = "where h in 1..40, w in 1..40"
PAIRS = [(1, 1), (1, 40), (40, 1), (7, 9), (16, 17), (33, 8), (40, 40)]
HOW = ["linear zeros", "nearest border align_corners", "cubic reflection", "linear reflection align_corners", "cubic"]


@pytest.mark.parametrize("how", HOW)
def test_sample(how: str) -> None:
    """Image and places of any size, and places far outside or of no number."""
    inputs = f"input x 9 x h x w {FREE}\ninput g 2 x rows x 5 where rows in 1..30"
    network, model = ranged(f"net t\n{inputs}\nsample {{ from x | from g }} {how}\n")
    for h, w in PAIRS:
        places = within(-1.7, 1.7, 1, 2, 1 + h % 30, 5)
        if "reflection" not in how:
            places[0, 0, 0, :3] = np.nan, np.inf, -1e30
        held(network, model, [real(1, 9, h, w), places], 5e-5)


def test_sample_of_a_volume() -> None:
    inputs = "input x 9 x h x 7 where h in 12..48 step 4\ninput g 3 x 6 x w where w in 3..20"
    network, model = ranged(f"net t\n{inputs}\nsample {{ from x | from g }} depth 4 linear reflection\n")
    for h, w in ((12, 3), (20, 20), (48, 7)):
        held(network, model, [real(2, 9, h, 7), within(-1.3, 1.3, 2, 3, 6, w)], 5e-5)


@pytest.mark.parametrize("words", ["", " wrap"])
def test_gather(words: str) -> None:
    inputs = f"input x 7 x h x w {FREE}\ninput i 7 x n x 1 where n in 1..20"
    network, model = ranged(f"net t\n{inputs}\ngather {{ from x | from i }}{words}\n")
    for h, w in PAIRS:
        held(network, model, [real(1, 7, h, w), whole(-h - 1, h + 2, 1, 7, 1 + w % 20, 1)], 0)


@pytest.mark.parametrize("how", ["replace", "add wrap", "max"])
def test_scatter(how: str) -> None:
    inputs = f"input x 7 x h x w {FREE}\ninput i 7x11x1\ninput y 7 x 11 x w where w in 1..40"
    network, model = ranged(f"net t\n{inputs}\nscatter {{ from x | from i | from y }} {how}\n")
    for h, w in PAIRS:
        held(network, model, [real(1, 7, h, w), whole(-h - 1, h + 2, 1, 7, 11, 1), real(1, 7, 11, w)], 1e-6)


@pytest.mark.parametrize("how", ["", "max", "samples 2 scale 0.5", "samples 3 max output_half_pixel"])
@pytest.mark.parametrize("first", ["", "; relu6"])
def test_roi_align(how: str, first: str) -> None:
    """Regions of an image in planes and in blocks."""
    inputs = f"input x 20 x h x w {FREE}\ninput r 5x1x4"
    network, model = ranged(f"net t\n{inputs}\nroi_align {{ from x{first} | from r }} 3x2 {how}\n")
    for h, w in PAIRS:
        low = within(-3, 20, 1, 5, 1, 2)
        regions = np.concatenate([low, low + within(0, 15, *low.shape)], axis=-1)
        held(network, model, [real(1, 20, h, w), regions], 2e-5)


@pytest.mark.parametrize("how", ["10 iou 0.3", "3 iou 0.5 score 0.1"])
def test_nms(how: str) -> None:
    inputs = "input b 2 x n x 4 where n in 12..200\ninput s 2 x 3 x n where n in 12..200"
    network, model = ranged(f"net t\n{inputs}\nnms {{ from b | from s }} {how}\n")
    for n in (12, 13, 64, 199, 200):
        low = within(0, 20, 1, 2, n, 2)
        boxes = np.concatenate([low, low + within(1, 9, 1, 2, n, 2)], axis=-1)
        held(network, model, [boxes, np.round(2 * real(1, 2, 3, n)) / 2], 0)


def rows_of(path: Path, places: Sequence[str]) -> NetworkSource:
    """A model that reads rows of an image, among them the last one."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, "h", 8])
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "two"], ["h"]),
        helper.make_node("Sub", ["h", "one"], ["last"]),
        helper.make_node("Concat", places, ["places"], axis=0),
        helper.make_node("Gather", ["x", "places"], ["y"], axis=2),
    ]
    known = [numpy_helper.from_array(np.array([n]), name) for n, name in ((0, "zero"), (1, "one"), (2, "two"))]
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, len(places), 8])
    onnx.save(helper.make_model(helper.make_graph(nodes, "m", [x], [y], known)), path)
    return sources.read_source(path, None, 0, sizes_by_name("x=1,3,h,8 where h in 9..20")[0])


def test_the_first_and_the_last_row(tmp_path: Path) -> None:
    network = rows_of(tmp_path / "m.onnx", ["zero", "last"])
    model = api.link([network], Options())
    for h in (9, 14, 20):
        held(network, model, [real(1, 3, h, 8)], 0)


def test_positions_that_follow_the_size_are_refused(tmp_path: Path) -> None:
    network = rows_of(tmp_path / "m.onnx", ["zero", "last", "one"])
    with pytest.raises(CnnccError, match="take: positions that change with the size have no kernel yet"):
        api.link([network], Options())


def test_every_second_row_and_column(tmp_path: Path) -> None:
    """A slice whose extent follows the size."""
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, c, None, None]) for name, c in (("x", 3), ("y", 6))
    )
    ends = {"ends": [9999, 9999], "axes": [2, 3], "steps": [2, 2], "first": [0, 0], "second": [1, 0]}
    nodes = [
        helper.make_node("Slice", ["x", start, "ends", "axes", "steps"], [start[0]]) for start in ("first", "second")
    ]
    nodes.append(helper.make_node("Concat", ["f", "s"], ["y"], axis=1))
    known = [numpy_helper.from_array(np.array(values), name) for name, values in ends.items()]
    onnx.save(helper.make_model(helper.make_graph(nodes, "m", [x], [y], known)), tmp_path / "m.onnx")
    shape = sizes_by_name("x=1,3,h,w where h in 10..120 step 2, w in 9..120")[0]
    network = sources.read_source(tmp_path / "m.onnx", None, 0, shape)
    model = api.link([network], Options(threads=2))
    for h, w in ((10, 9), (10, 120), (120, 10), (64, 33), (34, 119)):
        held(network, model, [real(1, 3, h, w)], 0)
