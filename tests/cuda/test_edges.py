"""Kernels on sizes around the edges of their tiles, vectors and blocks, with every choice forced, and on numbers that
are none: each value is held to the reference of what its kernel read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cuda.checked import flow
from cuda.stand_in import stand_in
from cuda.test_every_op import held, program_of
from kernels.test_infinities import agrees

from cnncc import lang, passes, weights
from cnncc.kernels.gpu import group_norm, matmul, topk
from cnncc.kernels.gpu.model import SHAPES
from cnncc.machines import gpus
from cnncc.module.gpu.build import CudaBuild
from cnncc.module.gpu.source import program_source
from cnncc.module.lower import lower
from cnncc.ops import reference
from cnncc.options import Options

RNG = np.random.default_rng(5)


# Matrix products


@pytest.mark.parametrize("tile", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
@pytest.mark.parametrize("depth", [8, 16])
def test_every_tile_of_a_matmul(tile: tuple[int, ...], depth: int, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One row, column and product more than whole tiles have, and one less; the loads one number at a time, and in
    vectors."""
    made = matmul.MatmulTile(*tile, depth)
    monkeypatch.setattr(matmul, "matmul_tiles", lambda: (made,))
    rows, columns = made.rows + 1, made.columns - 1
    for a, b, c in ((rows, depth + 1, columns), (made.rows - 4, 2 * depth + 4, made.columns + 4)):
        body = f"input a 2x{a}x{b}\ninput b 2x{b}x{c}\nmatmul {{ from a | from b }} relu"
        assert f"matmul_relu_f32_{made.label}" in held(body, 1, kept)


@pytest.mark.parametrize(("rows", "depth", "columns"), [
    (1, 1, 1), (1, 64, 1), (49, 32, 49), (7, 33, 130), (130, 5, 3), (64, 128, 64),
])  # fmt: skip
def test_matmul_of_any_size(rows: int, depth: int, columns: int, kept: Path) -> None:
    """With what is added to it, and an operand that all images share."""
    body = (
        f"input a 3x{rows}x{depth}\ninput b 3x{depth}x{columns}\ninput r 3x{rows}x{columns}\n"
        f"matmul {{ from a | from b }}; add {{ | from r }} silu; output\n"
        f"from a; matmul {{ | const 3x{depth}x{columns} }}; output"
    )
    for batch in (1, 3):
        held(body, batch, kept)


# Moved numbers


@pytest.mark.parametrize("height", [7, 8, 31, 33])
@pytest.mark.parametrize("width", [8, 32, 65])
def test_squares_are_turned(height: int, width: int, kept: Path) -> None:
    """A transposition, channels last, and the way back."""
    body = (
        f"input 3x{height}x{width}\nsave a; permute 3x{height}x{width} axes 0,2,1 to 3x{width}x{height}; output\n"
        f"from a; permute 3x{height}x{width} axes 1,2,0 to {height}x{width}x3; output\n"
        f"from a; permute 3x{height}x{width} axes 2,1,0 to {width}x{height}x3; output"
    )
    found = [held(body, batch, kept) for batch in (1, 3)]
    assert all(("permute_turn_f32" in kernels) == (height >= 8) for kernels in found)


@pytest.mark.parametrize("groups", [2, 3, 5])
def test_channels_in_any_order(groups: int, kept: Path) -> None:
    """Passes make one op of slices, concats and permutations of channels: it picks those of several values."""
    body = (
        f"input 20x5x6\nrelu; conv 1x1 {groups * 6}; shuffle {groups}; relu; slice 1:{groups * 5}; save a\n"
        f"concat {{ take 2,0,1 | const 5x5x6 | slice 1:{groups * 2}; shuffle {2 * groups - 1} }}; conv 1x1 4"
    )
    for batch in (1, 3):
        assert "pick_f32" in held(body, batch, kept)


@pytest.mark.parametrize("words", [
    "7x9 nearest tf_crop_and_resize region -0.5,-0.5,1.5,1.5", "7x9 linear tf_crop_and_resize region 1.5,1.5,1.9,1.9",
    "7x9 nearest tf_crop_and_resize region 0.2,0.1,0.9,0.8", "1x1 nearest", "15x12 nearest", "3x11 linear",
])  # fmt: skip
def test_regions_beyond_the_image(words: str, kept: Path) -> None:
    """Nothing is there, also where a single pixel would be taken."""
    for batch in (1, 3):
        held(f"input 5x4x6\nresize {words}", batch, kept)


# Norms


@pytest.mark.parametrize("channels", [1, 3, 4, 5, 31, 33, 127, 129, 260, 1029])
@pytest.mark.parametrize("size", ["1x1", "1x7", "2x4", "3x3"])
def test_norms_of_channels(channels: int, size: str, kept: Path) -> None:
    body = (
        f"input {channels}x{size}\nrelu; save a; layernorm; add {{ | from a }} gelu; output\nfrom a; rmsnorm eps 0.1; "
        "output\nfrom a; grn silu; output\nfrom a; channel_max; output\nfrom a; channel_mean; output"
    )
    held(body, 3 if channels < 100 else 1, kept)


@pytest.mark.parametrize("count", [1, 31, 256, 257, 1000])
def test_norms_of_vectors(count: int, kept: Path) -> None:
    body = (
        f"input {count}\nsave a; layernorm noaffine; output\nfrom a; layernorm nobias; output\nfrom a; rmsnorm; output"
        "\nfrom a; group_norm 1; output\nfrom a; grn; output\nfrom a; prelu; output\nfrom a; topk 1 indices; output"
    )
    held(body, 3, kept)


@pytest.mark.parametrize("groups", [1, 3, 4, 6, 12, 24])
@pytest.mark.parametrize("at_once", [True, False])
def test_groups_at_once_and_in_parts(groups: int, at_once: bool, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups of whole vectors of channels and such as cut them; each part of a large one has its mean and squares."""
    monkeypatch.setattr(group_norm, "AT_ONCE", 10**6 if at_once else 1)
    body = f"input 24x9x7\nrelu; save a; group_norm {groups}; add {{ | from a }} relu; group_norm {groups} noaffine"
    found = held(body, 3, kept)
    assert ("group_moments" in found) == (not at_once or 24 // groups % 4 > 0)


@pytest.mark.parametrize(("channels", "groups"), [(8, 2), (6, 3), (6, 6), (5, 1)])
def test_many_parts(channels: int, groups: int, kept: Path) -> None:
    """So large an image that a group, or a vector of channels, is shared out among blocks; it is far from 0."""
    body = f"input {channels}x67x67\nrelu; scale bias; group_norm {groups}"
    held(body, 1, kept)


# Rows, places


@pytest.mark.parametrize("columns", [1, 31, 33, 197, 300])
def test_softmax_of_rows(columns: int, kept: Path) -> None:
    assert "softmax_rows" in held(f"input 3x2x{columns}\nsoftmax_rows", 3, kept)


@pytest.mark.parametrize("ranked", [True, False])
@pytest.mark.parametrize("words", ["", "indices", "smallest indices", "last indices", "smallest last"])
@pytest.mark.parametrize("k", [1, 3, 8])
def test_topk_in_both_ways(k: int, words: str, ranked: bool, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of values of which many are equal, and some are no numbers."""
    monkeypatch.setattr(topk, "ENOUGH", 10**9 if ranked else 0)
    graph = weights.bind(lang.parse(f"net t\ninput 9x3x5\ntopk {k} {words}\n"), None)
    x = np.round(RNG.standard_normal((2, 9, 3, 5))).astype(np.float32)
    x[:, 2:7, 1, 1], x[:, :, 2, 2], x[:, 4, 0] = np.nan, np.nan, -np.inf
    program = program_of(graph, 2)
    assert ("ranks" in " ".join(c.kernel.name for c in program.calls)) == ranked
    check_special(graph, (x,), kept)


def check_special(graph: object, arrays: tuple[np.ndarray, ...], folder: Path) -> None:
    """The output is what the reference has, with its infinities and what is no number."""
    batch = len(arrays[0])
    program = program_of(graph, batch)  # type: ignore[arg-type]
    raw = {node.name: array for node, array in zip(program.graph.inputs, arrays, strict=True)}
    *_, (_, _, got) = flow(program, raw, folder)
    with np.errstate(all="ignore"):
        (wanted,) = reference.run(passes.with_batch(graph, batch), list(arrays)).values()  # type: ignore[arg-type]
    agrees(got, wanted.astype(np.float32), 2e-5)


@pytest.mark.parametrize("boxes", [1, 33, 300])
def test_boxes_with_equal_scores(boxes: int, kept: Path) -> None:
    """Of two images of a detector and a batch; of equal scores the first box is taken. A score that is no number is
    of no box."""
    text = f"net t\ninput boxes 2x{boxes}x4\ninput scores 2x3x{boxes}\nnms {{ from boxes | from scores }} 7 iou 0.3\n"
    corners = RNG.uniform(0, 9, (3, 2, boxes, 4)).astype(np.float32)
    scores = np.round(RNG.uniform(0, 3, (3, 2, 3, boxes))).astype(np.float32)
    scores[1, 1], scores[2, 0, 1, ::2] = -np.inf, np.nan
    check_special(weights.bind(lang.parse(text), None), (corners, scores), kept)


@pytest.mark.parametrize("reduction", ["", "add", "max", "mul"])
@pytest.mark.parametrize(("rows", "places", "width"), [(5, 300, 3), (600, 257, 2), (4, 3, 1)])
def test_rows_at_equal_places(reduction: str, rows: int, places: int, width: int, kept: Path) -> None:
    """More places than are looked at together, and such as do not exist: rows are written one after the other."""
    text = (
        f"net t\ninput x 3x{rows}x{width}\ninput p 3x{places}x1\ninput u 3x{places}x{width}\n"
        f"scatter {{ from x | from p | from u }} {reduction} wrap\n"
    )
    x, updates = (RNG.standard_normal((2, 3, n, width)).astype(np.float32) for n in (rows, places))
    where = RNG.integers(-rows - 1, rows + 1, (2, 3, places, 1)).astype(np.float32)
    where[0, 0, 0], where[0, 0, 1] = np.nan, 3e9
    check_special(weights.bind(lang.parse(text), None), (x, where, updates), kept)
    gather = f"net t\ninput x 3x{rows}x{width}\ninput p 3x{places}x1\ngather {{ from x | from p }} wrap\n"
    check_special(weights.bind(lang.parse(gather), None), (x, where), kept)


# Whole networks

ATTENTION = """net small
input 12x8x8
conv 3x3 24 group_norm 6 relu; group_norm 24; layernorm; conv 1x1 24 gelu; grn; rmsnorm; prelu; save b
reshape 4x6x64; save q; permute 4x6x64 axes 0,2,1 to 4x64x6; save v; matmul { | from q }; softmax_rows
matmul { | from v }; add { | from v }; permute 4x64x6 axes 0,2,1 to 4x6x64; reshape 24x8x8
conv 1x1 20; shuffle 5; slice 1:14; resize 11x9 cubic; sample { | conv 1x1 2 tanh } border; save c; output
from c; sigmoid; log; channel_mean; output; from c; roi_align { | const 5x1x4 } 3x3; output
from c; maxpool 2x2 /2; unpool { | from c; argmaxpool 2x2 /2 } 11x9; gsum; output
"""


def test_a_module_whose_launches_hand_each_other_memory(emulated: None) -> None:
    """Values share memory, and the launches of a norm have room beside them: each network of a batch, and of a part of
    one."""
    graph = weights.bind(lang.parse(ATTENTION), None)
    program = lower(graph, gpus.load("cuda-sm_80"), Options(batch=3))
    assert program.workspace_bytes
    model = CudaBuild(program, program_source(program), [stand_in("compute_75")]).model()
    image = RNG.standard_normal((3, 12, 8, 8)).astype(np.float32)
    values = reference.run(program.source, [image])
    for images in (3, 1):
        for got, name in zip(model(image[:images]), program.source.outputs, strict=True):
            wanted = values[name][:images]
            np.testing.assert_allclose(got, wanted, atol=2e-4 * np.abs(wanted).max())


# Numbers that are none, and what fills up vectors of channels


@pytest.mark.parametrize("body", [
    "layernorm", "rmsnorm", "grn", "group_norm 3", "group_norm 2", "channel_max", "channel_mean", "softmax_rows",
    "resize 4x9 linear", "resize 3x2 cubic antialias", "permute 6x5x6 axes 2,1,0 to 6x5x6", "unfold 3x3 pad 1",
    "prelu", "argmaxpool 2x2", "expand 6x5x6", "strided_slice 3x5x6 step 2,1,1", "take 2,0,1",
])  # fmt: skip
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_none_goes_where_it_should(body: str, value: float, kept: Path) -> None:
    graph = weights.bind(lang.parse(f"net t\ninput 6x5x6\n{body}\n"), None)
    image = RNG.standard_normal((1, 6, 5, 6)).astype(np.float32)
    image[0, 3, 2, 4] = value
    check_special(graph, (image,), kept)


@pytest.mark.parametrize("body", ["log", "reciprocal", "power -0.5", "acosh", "div { | sigmoid }", "mod { | relu }"])
@pytest.mark.parametrize("channels", [3, 5, 8])
def test_what_fills_up_a_vector_stays_finite(body: str, channels: int, kept: Path) -> None:
    """A convolution multiplies it by zero: infinity would become no number."""
    held(f"input {channels}x4x5\nsigmoid; {body}; conv 1x1 4", 2, kept)
    graph = weights.bind(lang.parse(f"net t\ninput {channels}x4x5\nclip low 2; {body}; conv 3x3 5\n"), None)
    check_special(graph, (np.abs(RNG.standard_normal((1, channels, 4, 5))).astype(np.float32) + 2,), kept)
