"""Kernels on bytes for a range of sizes: every byte is that of the reference, at sizes around the edges of their
tiles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from kernels.test_convert_kernels import TYPES
from kernels.test_range_kernels import SIZES, drawn, expected, text
from quantised_models import Model, image, runtime, small_weights
from quantization.test_rewrite import ranges_of

from cnncc import api, passes
from cnncc.base.elements import ELEMENTS
from cnncc.frontends import sources
from cnncc.frontends.input_shapes import sizes_by_name
from cnncc.frontends.sources import NetworkSource
from cnncc.ops import reference
from cnncc.options import Options
from cnncc.quantization import scheme
from cnncc.quantization.rewrite import prepared

TARGETS = ["host", "x86-64-v3", "x86-64-v2"]
QUANTISED = [
    "conv 3x3 32 relu",
    "conv 3x3 20 /2; conv 3x3 32 relu; conv 1x1 70; conv 1x1 9 /2",
    "conv 3x3 32; conv 5x5 32 relu6; conv 3x3 32 dil 3 relu; conv 3x3 12 dil 12",
    "conv 3x3 32; conv 3x3 32 groups 8; conv 3x3 40 groups 4 /2",
    "conv 3x3 32; dwconv 3x3 relu6; dwconv 3x3 /2; conv 1x1 7",
    "conv 3x3 40; dwconv 5x5; dwconv 5x5 /2; dwconv 7x7; dwconv 3x3 dil 3; dwconv 3x3 pad 0; conv 1x1 7",
    "conv 3x3 32 /2; upconv 2x2 24 /2; upconv 3x3 24 /2 pad 1 relu; conv 1x1 5",
    "conv 3x3 32; maxpool 2x2 /2; maxpool 5x5 pad 2; conv 1x1 6",
    "conv 3x3 32; avgpool 3x3 /2 pad 1; conv 1x1 6",
    "conv 3x3 20; concat { conv 1x1 7 | conv 3x3 32 }; maxpool 3x3 /2 pad 1; conv 3x3 5",
    "conv 3x3 32 relu; shuffle 2; slice 4:28; upsample 2; conv 1x1 8 leaky_relu 0.1; conv 3x3 4",
    "conv 3x3 32 relu; pad 1,2,3,4; conv 3x3 16 pad 0; pad 2 edge; pad 2 reflect; conv 1x1 5",
    "conv 3x3 32; conv 3x3 32 relu; gap; fc 10",
    "conv 3x3 21; gmp; conv 1x1 4",
]
GATED = [
    "conv 3x3 32; add { conv 3x3 32 | } relu; conv 3x3 32 silu; mul { | gap; conv 1x1 32 sigmoid }; conv 1x1 8",
    "conv 3x3 32 silu; mul { | gap; conv 1x1 32 sigmoid }; conv 1x1 9 hard_swish; leaky_relu 0.1; conv 1x1 8",
]
"""With factors that are computed in float32, which the reference computes a little otherwise."""


def quantised(body: str, folder: Path) -> NetworkSource:
    """A network with the scales of one image of its middle size."""
    source = text(body)
    plain = sources.read_source(source, None, 0).graph
    path = folder / "w.safetensors"
    scheme.save(plain, scheme.Scheme(ranges_of(prepared(plain))), path)
    return sources.read_source(source, path, 0)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("body", QUANTISED)
def test_every_byte_at_all_sizes(body: str, target: str, tmp_path: Path) -> None:
    network = quantised(body, tmp_path)
    on_bytes = {node.op for node in network.graph.nodes}
    assert on_bytes & {"qconv", "qconv_transpose"}
    model = api.link([network], Options((target,), batch=2, threads=2))
    for number, (h, w) in enumerate(SIZES):
        x = drawn((1 + number % 2, 3, h, w))
        np.testing.assert_array_equal(model(x), expected(network, x)[0], f"{h}x{w}")


@pytest.mark.parametrize("body", GATED)
def test_every_byte_is_that_of_a_module_for_the_size(body: str, tmp_path: Path) -> None:
    network = quantised(body, tmp_path)
    model = api.link([network], Options(batch=2, threads=2))
    assert network.ranged is not None
    for h, w in SIZES[:5]:
        x = drawn((2, 3, h, w))
        own = api.build(network.ranged.at({"input": (3, h, w)}), Options(batch=2)).model()
        np.testing.assert_array_equal(model(x), own(x), f"{h}x{w}")


MOVES = [
    "maxpool 3x3 /2 pad 1",
    "maxpool 5x5 pad 2",
    "maxpool 2x2 /2 ceil",
    "pad 1,2 value 3",
    "pad 2 edge",
    "pad 2 reflect",
    "pad 2 wrap",
    "crop 1,2 5x4",
    "slice 3:19",
    "slice 0:16",
    "concat { slice 0:5 | slice 2:19 | }",
    "upsample 2x3",
    "shuffle 4",
    "depth_to_space 2",
    "concat { shuffle 4; slice 0:9 | }",
    "take 3,0,7 axis 2",
    "take 19,3,3",
    "identity; maxpool 2x2",
    "crop 0,0 9x1; expand 20x9x6",
]


@pytest.mark.parametrize("move", MOVES)
def test_moves_of_all_types(move: str) -> None:
    """Bytes, int32 and halves."""
    body = "".join(f"from x\n{there}; {move}; {back}\noutput\n" for there, back in TYPES.items())
    network = sources.read_source(f"net t\ninput x 20 x h x w where h in 9..120, w in 9..120\n{body}", None, 0)
    assert network.ranged is not None
    model = api.link([network], Options(batch=2, threads=2))
    for h, w in SIZES:
        x = drawn((1, 20, h, w))
        graph = network.ranged.at({"x": x.shape[1:]})
        for got, want in zip(model(x), reference.run(graph, [x], np.float32).values(), strict=True):
            assert got.tobytes() == want.tobytes(), f"{h}x{w}"


@pytest.mark.parametrize("first", [e for e in ELEMENTS if e != "float16"])
def test_casts(first: str) -> None:
    """On plain images and, behind a relu, in blocks."""
    lines = [
        f"affine scale 512 shift 3; {relu}cast {first}; cast {e}; cast float32"
        for e in ELEMENTS
        for relu in ("", "relu; ")
    ]
    body = "".join(f"from x\n{line}\noutput\n" for line in lines)
    network = sources.read_source(f"net t\ninput x 5 x h x w where h in 9..120, w in 9..120\n{body}", None, 0)
    assert network.ranged is not None
    model = api.link([network], Options(batch=2, threads=2))
    for h, w in SIZES:
        x = drawn((2, 5, h, w))
        graph = passes.with_batch(network.ranged.at({"x": x.shape[1:]}), 2)
        for got, want in zip(model(x), reference.run(graph, [x], np.float32).values(), strict=True):
            assert got.tobytes() == want.tobytes(), f"{h}x{w}"


@pytest.mark.parametrize("given", ["", "uint8", "mean (0.485, 0.456, 0.406) std (0.229, 0.224, 0.225)"])
def test_an_input_becomes_bytes_in_one_step(given: str) -> None:
    scale = 1.87 if given == "uint8" else 0.0187
    body = f"input x 3 x h x w {given} where h in 1..120, w in 1..120\nquantize uint8 {scale} 114\ndequantize\n"
    network = sources.read_source(f"net t\n{body}", None, 0)
    assert network.ranged is not None
    model = api.link([network], Options(batch=2, threads=2))
    for h, w in [*SIZES, (1, 1), (1, 120), (3, 5)]:
        x = np.random.default_rng(0).integers(0, 256, (2, 3, h, w)).astype(np.uint8 if given == "uint8" else np.float32)
        graph = passes.with_batch(network.ranged.at({"x": x.shape[1:]}), 2)
        (want,) = reference.run(graph, [x], np.float32).values()
        np.testing.assert_array_equal(model(x), want, f"{h}x{w}")


def qdq_model(h: int, w: int, kind: type) -> Model:
    """A QDQ model of convolutions, a pool, a sum, a mean and a resize of bytes on images of a size."""
    rng = np.random.default_rng(5)
    m, zero = Model(), kind(3)
    x = m.there_and_back(m.input("x", image(np.random.default_rng(h), 1, 8, h, w)), 0.02, zero)

    def conv(source: str, name: str, out: int, width: int, per_group: int, scale: float, **attributes: object) -> str:
        size = attributes["kernel_shape"]
        weight = m.dequantize(
            m.known(f"{name}.w", small_weights(rng, np.int8, out, per_group, *size)),
            rng.uniform(0.002, 0.01, out).astype(np.float32),
            np.zeros(out, np.int8),
            axis=0,
        )
        return m.there_and_back(m.add("Relu", m.add("Conv", source, weight, **attributes)), scale, zero)

    a = conv(x, "a", 24, 8, 8, 0.03, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2])
    b = conv(a, "b", 24, 8, 1, 0.02, kernel_shape=[3, 3], pads=[1, 1, 1, 1], group=24)
    c = m.there_and_back(m.add("Add", a, b), 0.05, zero)
    pooled = m.add("MaxPool", c, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2])
    d = conv(pooled, "d", 10, 24, 24, 0.04, kernel_shape=[1, 1])
    m.quantize(d, 0.04, zero)
    m.quantize(m.add("GlobalAveragePool", d), 0.04, zero)
    return m


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
def test_a_qdq_model_has_the_bytes_of_onnx_runtime(kind: type, tmp_path: Path) -> None:
    m = qdq_model(24, 24, kind)
    outputs = [m.nodes[-3].output[0], m.nodes[-1].output[0]]
    onnx.save(m.proto(*outputs), tmp_path / "m.onnx")
    shape = sizes_by_name("x=1,8,h,w where h in 9..120, w in 9..120")[0]
    network = sources.read_source(tmp_path / "m.onnx", None, 0, shape)
    assert {"qconv", "qadd", "qgap"} <= {node.op for node in network.graph.nodes}
    model = network.declare(api.link([network], Options(threads=2)))
    for h, w in SIZES:
        own = qdq_model(h, w, kind)
        for got, want in zip(model(own.inputs["x"]), runtime(own.proto(*outputs), own.inputs), strict=True):
            np.testing.assert_array_equal(got, want, f"{h}x{w}")
