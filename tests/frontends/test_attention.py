"""Attention between channels (XCiT, EdgeNeXt), as exporters write it with channels last, and as it reads."""

from __future__ import annotations

import numpy as np
from passes.pass_helpers import bound

from cnncc import lang
from cnncc.frontends.onnx.tidy import tidy
from cnncc.frontends.text.write import net_text
from cnncc.ops import reference

EXPORTED = """net t
input 8x4x4
conv 1x1 24
permute 24x16 axes 1,0 to 16x4x6; save qkv
matmul { matmul { from qkv; reshape 16x3x8; strided_slice 16x1x8
                  div { | mul { | }; channel_sum; sqrt clip low 1e-12; expand 1x16x8; reshape 16x1x8 }
                  permute 16x4x2 axes 1,2,0 to 4x2x16
                | from qkv; reshape 16x3x8; strided_slice 16x1x8 at 0,1,0
                  div { | mul { | }; channel_sum; sqrt clip low 1e-12; expand 1x16x8; reshape 16x1x8 }
                  permute 16x4x2 axes 1,0,2 to 4x16x2 }
         permute 4x2x2 axes 2,0,1 to 2x4x2
         softmax
         permute 2x4x2 axes 1,2,0 to 4x2x2
       | from qkv; reshape 16x3x8; strided_slice 16x1x8 at 0,2,0; permute 16x4x2 axes 1,2,0 to 4x2x16 }
permute 4x2x16 axes 2,0,1 to 16x1x8
permute 16x8 axes 1,0 to 8x1x16
conv 1x1 8
reshape 8x4x4
"""
READ = """net t
input "input" 8x4x4
conv 1x1 24
matmul { matmul { slice 0:8; div { | mul { | }; gsum; sqrt clip low 1e-12 }; reshape 4x2x16
                | slice 8:16; div { | mul { | }; gsum; sqrt clip low 1e-12 }; reshape 4x2x16; transpose } softmax_rows
       | slice 16:24; reshape 4x2x16 }
reshape 8x4x4
conv 1x1 8
"""


def test_attention_between_channels_moves_one_transposition() -> None:
    graph = bound(lang.parse(EXPORTED))
    found = tidy(graph)
    written = net_text(found)
    assert written.text == READ
    assert not written.flat
    x = np.random.default_rng(0).standard_normal((1, 8, 4, 4))
    (before,), (after,) = (reference.run(g, [x]).values() for g in (graph, found))
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-12)
