"""Values of halves in memory: what has them, and that kernels which take them compute what the reference does."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import pytest
from cuda.stand_in import stand_in
from cuda.test_kernels import ORDERS, check_all, program
from cuda.zoo import network
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cnncc import api, lang, weights
from cnncc.base.elements import FLOAT32
from cnncc.base.errors import CnnccError
from cnncc.kernels.gpu import conv
from cnncc.kernels.gpu.lower.half_conv import reciprocal
from cnncc.kernels.gpu.model import TENSOR_TILES, TensorTile
from cnncc.kernels.gpu.rules import TAKES
from cnncc.machines import gpus
from cnncc.module.gpu.build import CudaBuild
from cnncc.module.gpu.program import CudaProgram
from cnncc.module.gpu.source import program_source
from cnncc.module.lower import lower
from cnncc.ops.source import port_type
from cnncc.options import Options

IN_FLOAT32 = {
    "resnet50_v1_5": {"input", "fc", "softmax"},
    "vgg_d": {"input", "fc", "softmax", "relu"},
    "mobilenet_v1": {"input", "fc", "softmax"},
    "mobilenet_v2": {"input", "fc", "softmax"},
    "densenet121": {"input", "fc", "softmax"},
    "shufflenet_v2": {"input", "fc", "softmax"},
    "convnext_tiny": {"input", "layernorm", "fc", "softmax"},
}
"""Networks, and the ops that read no halves in them."""


@pytest.mark.parametrize("name", IN_FLOAT32)
def test_nearly_all_values_are_halves(name: str) -> None:
    chosen = lower(network(name), gpus.load("cuda-sm_90"), Options(dtype="float16"))
    graph = chosen.graph
    apart = {
        n.op for n in graph.nodes if all(graph[i].type.is_float for i in (*n.inputs, n.name)) and n.op != "flatten"
    }
    assert apart <= IN_FLOAT32[name]
    assert [n.op for n in graph.nodes].count("cast") <= 2


@pytest.mark.parametrize("name", IN_FLOAT32)
def test_the_caller_sees_float32(name: str) -> None:
    chosen = lower(network(name), gpus.load("cuda-sm_90"), Options(dtype="bfloat16"))
    assert all(port_type(node).is_float for node in chosen.graph.inputs)
    assert all(chosen.graph[output].type.is_float for output in chosen.graph.outputs)


FAMILIES = {
    "conv": "conv {k}x{k} {d} /{s} relu; conv 1x1 {c} silu",
    "residual": "save a; conv 3x3 {c}; add {{ | from a }} relu6; save b; conv 1x1 {c}; add {{ | from b }} tanh",
    "groups": "conv 3x3 {c} groups {c}; conv 1x1 {n}; conv 3x3 {n} groups 2 dil 2 hard_swish",
    "depthwise": "dwconv {k}x{k} /{s} pad {p} relu6; dwconv 5x5 silu; dwconv 3x1 pad 1,0",
    "transposed": "upconv {k}x{k} {d} /{s} relu; conv 1x1 {d}; upconv 2x2 {c} /3 nobias",
    "pools": "save a; maxpool {k}x{k} /{s} pad {p}; output; from a; avgpool {k}x{k} /{s} pad {p}; output\n"
             "from a; avgpool 3x3 /1 pad 1 countpad; maxpool 2x2 /2 dil 2 pad 1 ceil; output",
    "whole": "save a; gap; output; from a; gmp; conv 1x1 {c}; output; from a; gsum; fc {d} relu; fc 3; output",
    "fc": "save a; fc {d} relu; fc 3; output",
    "merges": "save a; conv 1x1 {c}; save b; mul {{ | from a }}; max {{ | from b }}; add {{ | from a }}; save d\n"
              "mul {{ from d | gap; conv 1x1 {c} sigmoid }}; mul {{ | conv 1x1 1 sigmoid }}\n"
              "max {{ | from b }}",
    "pointwise": "sigmoid; scale; bn; prelu; hard_sigmoid; elu; save a; exp; output\n"
                 "from a; bn relu; clip low 0; output",
    "parts": "save a; slice 1:{c}; save b; conv 1x1 {d}; save d; concat {{ from a | from b | from d }}; conv 1x1 8\n"
             "output; from a; concat {{ | from d | conv 3x3 16 }}; slice 8:16; output",
    "resample": "save a; pad 1,0,2,1 edge; output; from a; pad 0,2,1,0 value 1.5; crop 1,0 {h}x{w}; output\n"
                "from a; upsample 2; output; from a; pad 1,1,1,1 reflect; output; from a; pad 1 wrap; output",
    "norms": "layernorm; rmsnorm gelu; save a; conv 3x3 {c}; layernorm noaffine; add {{ | from a }}; relu; rmsnorm",
    "picked": "save a; concat {{ | conv 1x1 {c} }}; shuffle 2; save b; slice 0:{c}; conv 1x1 {d}; output\n"
              "from b; slice {c}:{c2}; relu; shuffle {c}; conv 1x1 8; output",
    "in float32": "lrn; conv 1x1 {c}; softmax; conv 1x1 {d}; upsample 2 bilinear; layernorm; conv 1x1 {c} gelu",
}  # fmt: skip
"""Behind a convolution, which makes halves; with channels around vectors, and attributes."""


@st.composite
def bodies(draw: st.DrawFn, family: str) -> str:
    channels = st.sampled_from([2, 7, 8, 9, 15, 16, 17, 24, 31, 33, 40])
    c, d, k = draw(channels), draw(channels), draw(st.sampled_from([1, 2, 3, 3]))
    h, w = draw(st.integers(3, 11)), draw(st.integers(3, 11))
    s, p, n = draw(st.integers(1, 2)), draw(st.integers(0, k // 2)), 2 * draw(st.integers(1, 20))
    body = FAMILIES[family].format(c=c, c2=2 * c, d=d, k=k, s=s, p=p, h=h, w=w, n=n)
    return f"input {draw(st.sampled_from([1, 3, 8, 10]))}x{h}x{w}\nconv 1x1 {c} relu; {body}"


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("family", FAMILIES)
@settings(
    max_examples=2, deadline=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(data=st.data())
def test_each_family(family: str, dtype: str, data: st.DataObject, kept: Path) -> None:
    chosen = program(data.draw(bodies(family)), data.draw(st.sampled_from([1, 3])), dtype=dtype)
    check_all(chosen, kept, (1, 3))


TILES = [tile for dtype in ("float16", "bfloat16") for tile in TENSOR_TILES[dtype]]


def with_tile(tile: TensorTile, body: str, batch: int, monkeypatch: pytest.MonkeyPatch) -> CudaProgram:
    """The program with that tile in all its convolutions."""
    monkeypatch.setattr(conv, "tiles_of", lambda site, geometry: (tile,))
    return program(body, batch, dtype=tile.element.name)


@pytest.mark.parametrize("tile", TENSOR_TILES["float16"], ids=lambda tile: tile.label)
@settings(
    max_examples=2, deadline=None, derandomize=True, phases=[Phase.generate],
    suppress_health_check=list(HealthCheck)
)  # fmt: skip
@given(data=st.data())
def test_each_tile(tile: TensorTile, data: st.DataObject, kept: Path) -> None:
    """Around its edges: rows and columns of a tile, depths of fewer steps than stages and of parts of a step."""
    columns = data.draw(st.sampled_from([1, 8, tile.columns - 1, tile.columns, tile.columns + 9]))
    rows = data.draw(st.sampled_from([1, 17, tile.rows - 1, tile.rows, tile.rows + 1]))
    depth = data.draw(st.sampled_from([3, 8, tile.depth - 8, tile.depth, 2 * tile.depth + 9, 6 * tile.depth]))
    window = data.draw(st.sampled_from(["1x1", "3x3", "1x3", "3x3 dil 2", "1x1 /2", "5x5 /2"]))
    height = next(h for h in (7, 5, 3, 2, 1) if rows % h == 0 or h == 1)
    body = f"input {depth}x{height}x{-(-rows // height)}\nconv {window.replace(' ', f' {columns} ', 1)} relu"
    body = body if " " in window else f"{body.split(chr(10))[0]}\nconv {window} {columns} relu"
    with pytest.MonkeyPatch.context() as patch:
        check_all(with_tile(tile, body, data.draw(st.sampled_from([1, 2])), patch), kept, (0, 3))


@pytest.mark.parametrize("divisor", [2, 3, 5, 7, 9, 25, 49, 121, 961])
def test_quotients_by_a_product_and_a_shift(divisor: int) -> None:
    for most in (divisor, divisor + 1, 4 * divisor + 3, 1000, 5000):
        found = reciprocal(divisor, most)
        assert found is not None
        factor, shift = found
        assert [n * factor >> shift for n in range(most)] == [n // divisor for n in range(most)]
    assert reciprocal(divisor, 1 << 26) is None or divisor == 2


def test_a_window_of_more_taps_than_a_word_has_bits(kept: Path) -> None:
    check_all(program("input 8x5x40\nrelu; conv 1x33 8", 1, dtype="float16"), kept, (0,))


def test_what_takes_no_halves_is_refused_where_a_text_makes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """By name; no op of the table is one of these."""
    monkeypatch.setitem(cast(dict[str, object], TAKES), "permute", frozenset({FLOAT32}))
    graph = lang.parse("net t\ninput 3x4x5\ncast float16; permute 3x4x5 axes 0,2,1 to 3x5x4; cast float32\n")
    with pytest.raises(CnnccError, match="permute has no GPU kernel for float16"):
        api.build(graph, Options(("cuda-sm_80",)))


def test_halves_are_moved_as_they_are(kept: Path) -> None:
    """Between convolutions, which read them in blocks."""
    body = (
        "conv 1x1 16 relu; permute 16x9x8 axes 1,2,0 to 9x8x16; conv 3x3 12; resize 5x7 nearest; take 2,0,1; conv 1x1 3"
    )
    chosen = program(f"input 8x9x8\n{body}", 2, dtype="float16")
    assert [n.op for n in chosen.graph.nodes].count("cast") <= 2
    check_all(chosen, kept, (0, 3))


def test_turing_computes_float16_of_a_text_and_no_bfloat16() -> None:
    def text(element: str) -> CudaProgram:
        return program(f"input 3x4x5\ncast {element}; relu; cast float32", 1, "cuda-sm_75")

    assert text("float16").calls
    with pytest.raises(CnnccError, match="target cuda-sm_75 has no instruction that multiplies bfloat16"):
        text("bfloat16")


def test_halves_of_a_text(kept: Path) -> None:
    """Without an option."""
    check_all(program("input 8x4x5\ncast float16; conv 3x3 8 relu; cast float32", 2), kept, ORDERS)


@pytest.mark.parametrize("batch", [1, 3])
def test_the_input_is_normalised_and_rounded_in_one_go(batch: int, kept: Path) -> None:
    """mean and std, and the cast to halves in blocks of channels, are one launch."""
    chosen = program("input 3x9x7 mean (1,2,3) std (4,5,6)\nconv 3x3 16 relu; conv 1x1 8", batch, dtype="float16")
    names = [call.kernel.name for call in chosen.calls]
    assert names[0] == "normalize_f32_nchw_to_f16_nchw8c"
    assert "cast" not in names[1]
    check_all(chosen, kept, ORDERS)
    shared = program("input 3x9x7 mean 1 std 4\nsave a; conv 3x3 3; add { | from a; lrn }", batch, dtype="float16")
    assert shared.graph.inputs[0].type.is_float
    check_all(shared, kept, ORDERS)


def test_resnet50_takes_58_launches() -> None:
    """At batch 1: the image, 53 convolutions, two pools, the last layer and the softmax."""
    chosen = lower(network("resnet50_v1_5"), gpus.load("cuda-sm_90"), Options(dtype="float16"))
    assert len(chosen.calls) == 58


def test_an_output_of_halves(emulated: None) -> None:
    graph = weights.bind(lang.parse("net t\ninput 3x4x5\ncast float16\n"), None)
    chosen = lower(graph, gpus.load("cuda-sm_80"))
    model = CudaBuild(chosen, program_source(chosen), [stand_in("compute_75")]).model()
    x = np.random.default_rng(0).standard_normal((1, 3, 4, 5)).astype(np.float32)
    np.testing.assert_array_equal(np.asarray(model(x), np.float32), x.astype(np.float16).astype(np.float32))
