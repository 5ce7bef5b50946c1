"""Kernels on bytes for a range of sizes: every byte is that of the reference, at sizes around the edges of their
tiles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from kernels.test_range_kernels import SIZES, drawn, expected, text
from quantization.test_rewrite import ranges_of

from cnncc import api
from cnncc.frontends import sources
from cnncc.frontends.sources import NetworkSource
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
    "conv 3x3 32; add { conv 3x3 32 | } relu; conv 3x3 32 silu; mul { | gap; conv 1x1 32 sigmoid }; conv 1x1 8",
    "conv 3x3 32 silu; mul { | gap; conv 1x1 32 sigmoid }; conv 1x1 9 hard_swish; leaky_relu 0.1; conv 1x1 8",
    "conv 3x3 32 relu; shuffle 2; slice 4:28; upsample 2; conv 1x1 8 leaky_relu 0.1; conv 3x3 4",
    "conv 3x3 32 relu; pad 1,2,3,4; conv 3x3 16 pad 0; pad 2 edge; pad 2 reflect; conv 1x1 5",
    "conv 3x3 32; conv 3x3 32 relu; gap; fc 10",
    "conv 3x3 21; gmp; conv 1x1 4",
]


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
