"""Every kernel that is no convolution, against the reference, on sizes around the blocks."""

from __future__ import annotations

import numpy as np
import pytest
from kernels.compare import RUNNABLE, network, worst_error

from cnncc import api
from cnncc.ops import reference
from cnncc.options import Options

BOUND = 1e-5

NEW = (
    *(
        "clip low -0.5 high 0.7",
        "affine scale -2 shift 3",
        "elu 0.7",
        "softplus",
        "softsign",
        "mish",
        "gelu",
        "gelu_tanh",
    ),
    *("erf", "thresholded_relu 0.5", "abs", "exp"),
)
CASES = {
    "fc of an image": ("relu; fc 10", "5x3x3"),
    "fc of blocks": ("relu; fc 33 relu", "32x2x2"),
    "fc chain": ("fc 100 relu; fc 17 tanh; fc 1", "40"),
    "fc many outputs": ("fc 1000", "16x1x1"),
    "fc residual": ("fc 37 relu; add { fc 37 | }; relu", "11"),
    "max pool": ("relu; maxpool 3x3 /2", "20x13x14"),
    "max pool of negatives with padding": ("conv 1x1 8; maxpool 3x3 /2 pad 1", "8x7x7"),
    "max pool ceil": ("relu; maxpool 3x3 /2 ceil", "16x14x14"),
    "max pool dilated": ("relu; maxpool 2x2 dil 2", "8x9x9"),
    "max pool wide": ("relu; maxpool 3x3 /1 pad 1", "16x9x29"),
    "max pool of one pixel": ("relu; maxpool 3x3 /2 pad 1", "16x1x1"),
    "average pool of the image": ("relu; avgpool 7x7", "16x7x7"),
    "average pool": ("relu; avgpool 2x2 /2", "33x8x10"),
    "average pool padded": ("conv 1x1 8; avgpool 3x3 /2 pad 1", "8x9x11"),
    "average pool counting pads": ("conv 1x1 8; avgpool 3x3 /2 pad 1 countpad", "8x9x11"),
    "average pool ceil": ("conv 1x1 8; avgpool 3x3 /2 ceil", "8x10x12"),
    "average pool ceil counting pads": ("conv 1x1 8; avgpool 3x3 /2 pad 1 ceil countpad", "8x10x12"),
    "gap": ("conv 1x1 20; gap", "8x7x9"),
    "gmp": ("conv 1x1 20; gmp", "8x5x5"),
    "gsum": ("conv 1x1 20; gsum", "8x5x5"),
    "gap of a pixel": ("relu; gap", "16x1x1"),
    "lrn": ("relu; lrn", "40x6x7"),
    "lrn other exponent": ("relu; lrn size 3 alpha 0.3 beta 0.6 k 2", "17x5x5"),
    "lrn wide": ("relu; lrn size 9 alpha 1.0", "5x4x4"),
    "softmax of a vector": ("fc 10 softmax", "12"),
    "softmax of many": ("fc 1001 softmax", "12"),
    "softmax of pixels": ("conv 1x1 2; softmax", "3x9x9"),
    "softmax of channels": ("conv 1x1 21; softmax", "3x13x5"),
    "softmax large": ("relu; softmax", "3x4x4"),
    "bn alone": ("bn; relu; bn", "20x5x6"),
    "bn of a vector": ("fc 19; relu; bn; relu", "8"),
    "add of three": ("relu; add { | conv 1x1 20 relu | tanh }", "20x5x7"),
    "add to itself": ("relu; add { | }", "20x5x7"),
    "mul": ("relu; mul { | conv 1x1 20 | tanh }; sigmoid", "20x5x7"),
    "squeeze and excite": ("relu; mul { | gap; conv 1x1 5 relu; conv 1x1 20 sigmoid }", "20x7x7"),
    "learned tensor": ("relu; save x; const w 20x1x1; mul { from x | from w }", "20x5x7"),
    "concat of blocks": ("relu; concat { conv 1x1 16 | conv 1x1 32 | maxpool 3x3 /1 pad 1 }", "16x6x7"),
    "concat of odd channels": ("relu; concat { conv 1x1 5 | | conv 1x1 18 }", "7x6x7"),
    "concat of inputs": ("concat { | }; conv 1x1 3", "5x6x7"),
    "concat of vectors": ("relu; save x; fc 5; save a; from x; fc 6; save b; concat { from a | from b }; relu", "4"),
    "dense block": ("relu; concat { | conv 3x3 16 }; concat { | conv 3x3 16 }; bn; relu; conv 1x1 8", "16x6x6"),
    "slice of blocks": ("relu; slice 16:48; conv 1x1 4", "64x5x5"),
    "slice inside a block": ("relu; slice 3:17; relu", "20x5x5"),
    "flatten": ("conv 1x1 5; flatten; relu", "4x3x5"),
    "reshape": ("conv 1x1 6; reshape 3x5x4; conv 1x1 4", "2x5x2"),
    "crop": ("relu; crop 1,2 3x4", "20x6x9"),
    "pad": ("relu; pad 1,0,2,3", "20x6x9"),
    "pad with a value": ("relu; pad 1,0,2,3 value -1.5", "5x6x9"),
    "pad edge": ("relu; pad 2,1,2,3 edge", "20x6x9"),
    "pad reflect": ("relu; pad 2,1,2,3 reflect", "20x6x9"),
    **{f"{op} of an image": (f"affine scale 2; {op}", "5x4x5") for op in NEW},
    **{f"{op} of a vector": (f"fc 19 {op}", "8") for op in NEW},
    "sqrt, log, exp": ("abs; affine shift 0.001; log; exp; sqrt; reciprocal", "20x3x4"),
    "max and min": ("relu; max { | tanh }; min { | const 20x1x1 }; max { fc 7 | fc 7 } relu6", "20x3x5"),
    "prelu": ("conv 1x1 20 prelu; fc 5 prelu", "3x4x5"),
    "group norm": ("conv 1x1 20; group_norm 4; relu; group_norm 20 eps 0.1; group_norm 1 noaffine", "3x5x7"),
    "group norm of a vector": ("fc 24; group_norm 3 relu", "5"),
    "shuffle": ("conv 1x1 24; shuffle 3; relu", "3x5x7"),
    "depth to space": ("conv 1x1 24; depth_to_space 2; space_to_depth 2; depth_to_space 2 crd; relu", "3x5x7"),
    "transposed": ("relu; permute 20x3x4 axes 2,0,1 to 4x20x3; conv 1x1 5", "20x3x4"),
    "expanded": ("gap; expand 20x3x4; relu; fc 1; expand 9", "20x5x5"),
    "matmul": (
        "save x; permute 3x5x70 axes 0,2,1 to 3x70x5; relu; save y; matmul { from x | from y };"
        " matmul { | from x } relu",
        "3x5x70",
    ),
    "topk": ("relu; topk 3", "20x4x5"),
    "topk of the smallest": ("tanh; topk 20 smallest last", "20x1x2"),
    "arg max": ("fc 30; topk 5 indices", "12"),
    "resize nearest": ("relu; resize 7x5", "20x4x9"),
    "resize linear": ("relu; resize 7x5 linear antialias", "20x4x9"),
    "resize cubic": ("relu; resize 13x5 cubic align_corners", "20x4x9"),
    "resize by factors": ("relu; resize 6x6 linear asymmetric scale 1.6,0.7", "20x4x9"),
    "nearest": ("relu; upsample 2x3", "20x4x5"),
    "bilinear": ("relu; upsample 2x3 bilinear", "20x4x5"),
    "bilinear aligned": ("relu; upsample 3 bilinear align", "20x4x5"),
    "image output": ("conv 3x3 5", "3x6x7"),
    "input to output": ("relu", "3x6x7"),
    "two outputs": ("conv 3x3 8; output; gap; fc 3; output", "3x6x7"),
    "mean and std": ("conv 3x3 8", "3x6x7 mean (1, 2, 3) std (0.5, 2, 4)"),
}


@pytest.mark.parametrize("case", CASES)
def test_against_reference(case: str) -> None:
    body, dims = CASES[case]
    assert worst_error(network(body, dims)) <= BOUND


@pytest.mark.parametrize("batch", [2, 3])
def test_batch(batch: int) -> None:
    body = "relu; lrn; maxpool 3x3 /2 ceil; concat { | conv 1x1 5 }; upsample 2; fc 9 relu; fc 18 softmax"
    assert worst_error(network(body, "11x9x9"), batch=batch) <= BOUND


@pytest.mark.parametrize("target", [t for t in RUNNABLE if t != "host"])
def test_on_other_targets(target: str) -> None:
    body = (
        "relu; lrn; maxpool 3x3 /2 ceil; concat { | conv 1x1 5 silu }; upsample 2 bilinear; bn; relu;"
        " avgpool 2x2 /2; save x; gap; save g; mul { from x | from g }; fc 19 relu; fc 18 softmax"
    )
    assert worst_error(network(body, "11x9x9"), target) <= BOUND


NAN_BODIES = [
    "relu", "relu6", "sigmoid", "tanh", "leaky_relu", "hard_sigmoid", "hard_swish", "silu", "softmax", "maxpool 3x3",
    "clip", "affine scale 2", "elu", "softplus", "softsign", "mish", "gelu", "gelu_tanh", "thresholded_relu", "erf",
    "exp", "log", "sqrt", "reciprocal", "abs", "prelu", "group_norm 2", "shuffle 4", "max { | tanh }", "min { tanh | }",
    "resize 5x5 cubic", "avgpool 3x3", "gmp", "gap", "lrn", "bn", "conv 3x3 8 relu", "upsample 2", "fc 5 relu",
]  # fmt: skip


@pytest.mark.parametrize("body", NAN_BODIES)
def test_a_nan_does_not_vanish(body: str) -> None:
    """One NaN reaches every value it reaches in the reference."""
    graph = network(f"identity; {body}", "8x7x7")
    image = np.random.default_rng(0).standard_normal((1, 8, 7, 7)).astype(np.float32)
    image[0, 3, 2, 4] = np.nan
    (wanted,) = reference.run(graph, [image]).values()
    got = api.build(graph, Options(threads=1)).model()(image)
    assert np.isnan(wanted).any()
    np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted))


def test_a_slice_takes_no_other_channels_along() -> None:
    """An Inf in a channel that the slice leaves out must not reach what follows, not even times a weight of zero."""
    graph = network("identity; slice 0:10; conv 1x1 4", "24x3x3")
    image = np.random.default_rng(0).standard_normal((1, 24, 3, 3)).astype(np.float32)
    image[0, 12] = np.inf
    assert np.isfinite(api.build(graph, Options(threads=1)).model()(image)).all()
