"""What the first run computes: networks, and the programs that are made of them."""

from __future__ import annotations

from dataclasses import dataclass

TARGET = "cuda-h200"
"""Whose kernels are packed, unless another is named."""
DTYPES = ("float32", "float16", "bfloat16", "tf32", "tf32x3")
ON_BYTES = "-on-bytes"
"""Ends the name of a network of the zoo that is computed on bytes, with scales of random images."""
INT8 = "int8"
"""The type of those."""
SEED = 0
"""Of all weights and inputs."""

BODIES = {
    "convolutions": """
input 3x15x13 mean (0.5, 0.4, 0.3) std (0.2)
conv 7x7 20 /2 bn relu; dwconv 3x3 relu6; conv 1x1 33 silu; save a
conv 3x3 33 groups 3 dil 2 hard_swish; add { | from a }; relu; conv 3x3 66 leaky_relu 0.1
conv 3x1 140 /2x1 pad 1,0 sigmoid; upconv 3x3 16 /2 outpad 1 relu; upconv 2x2 8 /3 tanh; dwconv 5x5 /2 pad 2
conv 1x1 130; mul { | gap; conv 1x1 14 relu; conv 1x1 130 sigmoid }; conv 3x3 200 nobias
""",
    "tensor": """
input 16x7x9
relu; conv 3x3 40 /2 relu; conv 1x1 24 silu; save a; conv 3x3 24 groups 3 dil 2; add { | from a }
conv 3x3 400 relu; conv 3x3 70
""",
    "winograd": """
input 64x56x56
relu; conv 3x3 64 relu; conv 3x3 64 relu
""",
    "wide": """
input 32x20x20
relu; conv 3x3 200 relu; conv 1x1 150
""",
    "pools": """
input 5x9x11
relu; lrn; maxpool 3x3 /2 ceil; save a; avgpool 3x3 /1 pad 1; avgpool 2x2 /1 pad 1 countpad
crop 1,0 4x6; upsample 2; upsample 2x1 bilinear; pad 1,0,2,1 reflect; pad 1 edge; pad 0,2,1,0 value 1.5; bn
lrn size 3 k 2 beta 0.6; maxpool 3x3 /2 dil 2; slice 1:4; concat { | conv 1x1 7 | slice 1:3 }; hard_sigmoid
save b; upsample 2 bilinear align; softmax; output
from b; gmp; flatten; fc 13 relu; concat { | fc 3 | slice 2:7 }; fc 12; add { | fc 12 }; slice 1:7; bn; softmax; output
from a; gsum; output
""",
    "norms": """
input 40x9x7
relu; save a; group_norm 5; add { | from a } gelu; output
from a; layernorm; rmsnorm eps 0.1; grn silu; scale bias; save b; channel_mean; output
from b; channel_max; output
from b; channel_sum; output
from b; prelu; group_norm 8 noaffine; softmax_rows; output
from b; topk 5; output
from b; topk 3 smallest indices; output
""",
    "moves": """
input 12x16x10
relu; save a; permute 12x16x10 axes 1,2,0 to 16x10x12; conv 1x1 20; save b; output
from a; transpose; matmul { from a | }; softmax_rows; output
from a; strided_slice 6x8x5 at 1,0,9 step 2,2,-2; take 2,0,1; channel_mean; expand 9x8x5; output
from a; shuffle 3; unfold 3x3 pad 1; conv 1x1 8; depth_to_space 2; reshape 4x32x10; output
from a; resize 7x21 cubic; output
from a; resize 32x20 nearest; pad 1 wrap; output
""",
    "bytes": """
input 20x9x7 uint8 mean 120 std 60
save raw; quantize uint8 0.03 120; qconv 3x3 40 /2 to uint8 scale 0.05 zero 3; relu; save a
qconv 5x3 40 groups 40 to int8 scale 0.05 zero -5; dequantize; silu; quantize uint8 0.02 10; maxpool 3x3 /1 pad 1
qconv { | from a } 1x1 40 to uint8 scale 0.05 zero 90; relu6; save b
qmul { | qgap; sigmoid } to uint8 scale 0.04 zero 77
qadd { | qconv 3x3 40 groups 4 to uint8 scale 0.06 zero 100 } to int8 scale 0.07 zero -20
concat { | from b; dequantize; quantize int8 0.07 -20 }; upsample 2 nearest; pad 1; crop 1,0 9x7
qupconv 3x3 24 /2 to uint8 scale 0.1 zero 100; save c; permute 24x19x15 axes 1,2,0 to 19x15x24; output
from c; qgap to uint8 scale 0.01 zero 120; qfc 37 to int8 scale 0.02 zero 3; qfc 10; output
from raw; cast int32; maxpool 2x2 /2; cast int8; cast float32; output
from raw; cast uint8; output
""",
    "functions": """
input 6x5x7
save a; abs; affine scale 0.5 shift 0.25; save p; log; exp; clip low -2 high 3; save c; output
from p; sqrt; identity; dropout; reciprocal; power 1.5; output
from a; erf; softplus; softsign; mish; elu; gelu_tanh; output
from a; sin; cos; tan; atan; asinh; sinh; tanh; asin; acos; cosh; acosh; output
from a; tanh; affine scale 0.5; atanh; output
from a; round_down; sign; output
from a; affine scale 3; round; thresholded_relu 1; shrink shift 0.5 edge 1; output
from a; affine scale 3; round_up; output
from a; round_to_zero; output
max { from a | from p }; min { | from c }; output
div { from a | from p }; output
pow { from p | from c }; output
fmod { from a | from p }; output
mod { from a | from p }; output
where { greater { from a | from p } | from a | from p }; output
greater_equal { from a | from p }; output
equal { from a | from p }; output
""",
    "places": """
input 6x12x12
relu; save a; input flow 2x12x12
tanh; sample { from a | } border; output
from a; argmaxpool 2x2 /2; save spots
from a; maxpool 2x2 /2; unpool { | from spots } 12x12; output
input at 6x4x1
abs; affine scale 3; round_down; save rows
gather { from a | from rows }; save found; output
scatter { from a | from rows | from found } add; output
roi_align { from a | const 3x1x4 } 2x2; output
input boxes 1x9x4
input scores 1x2x9
nms { from boxes | from scores } 4 iou 0.3; output
""",
}
"""Small networks that have every family of kernels between them; `test_first_run.py` looks that no op is left out.
Where a rounded number would become another place or another order, no convolution comes before it."""


@dataclass(frozen=True)
class Job:
    """A program: a network in a type, for a batch."""

    net: str
    dtype: str
    batch: int
    kept: bool = False
    """Whether each value has memory of its own, so that all of them can be read after a run."""
    ptx: bool = False
    """Whether the driver gets PTX to translate, and no machine code."""

    @property
    def key(self) -> str:
        return f"{self.net}-{self.dtype}-b{self.batch}{'-kept' * self.kept}{'-ptx' * self.ptx}"


@dataclass(frozen=True)
class Plan:
    """The programs of each phase."""

    families: tuple[Job, ...]
    networks: tuple[Job, ...]
    times: tuple[Job, ...]
    raster: tuple[Job, ...]
    rivals: tuple[Job, ...]
    sanitizer: tuple[Job, ...]

    @property
    def jobs(self) -> tuple[Job, ...]:
        """All, each once, in the order in which they are needed."""
        every = (self.families, self.networks, self.times, self.raster, self.sanitizer)
        return tuple(dict.fromkeys(job for jobs in every for job in jobs))


NETWORKS = (
    "resnet50_v1_5",
    "mobilenet_v1",
    "mobilenet_v2",
    "squeezenet1_1",
    "googlenet",
    "densenet121",
    "efficientnet_lite0",
    "vgg_d",
)
BATCHES = {"resnet50_v1_5": (1, 8, 64, 128), "mobilenet_v1": (1, 8, 64), "vgg_d": (1, 8, 64)}
"""Of the networks that are timed with others than 1."""
TRANSLATED = tuple(Job("resnet50_v1_5", dtype, 1, ptx=True) for dtype in ("float32", "float16"))
BYTES = ("resnet50_v1_5", "mobilenet_v2")
"""Those that are computed on bytes, too."""
TIMED = ("float32", "float16", "tf32")
"""bfloat16 has the kernels of float16, and so their times; those of tf32x3 are between float32 and tf32."""


def _kept(nets: tuple[str, ...], batches: tuple[int, ...] = (1, 3)) -> tuple[Job, ...]:
    types = {net: (INT8,) if net == "bytes" else DTYPES for net in nets}
    return tuple(Job(net, dtype, batch, True) for net in nets for dtype in types[net] for batch in batches)


def on_bytes(net: str, batch: int) -> Job:
    """A network of the zoo, computed on bytes."""
    return Job(net + ON_BYTES, INT8, batch)


def full() -> Plan:
    """What a device gets, most important first in every phase."""
    at_one = (*(Job(net, dtype, 1) for net in NETWORKS for dtype in DTYPES), *(on_bytes(net, 1) for net in BYTES))
    timed = [Job(net, dtype, batch) for net in NETWORKS for batch in BATCHES.get(net, (1,)) for dtype in TIMED]
    timed += [on_bytes(net, batch) for net in BYTES for batch in BATCHES.get(net, (1,))]
    return Plan(
        families=_kept((*BODIES, "lenet5", "cifar_resnet20")),
        networks=(*at_one, *TRANSLATED),
        times=tuple(timed),
        raster=tuple(Job("resnet50_v1_5", dtype, batch) for batch in (64, 8) for dtype in ("float16", "float32")),
        rivals=tuple(Job(net, "float32", n) for net in ("resnet50_v1_5", "mobilenet_v1", "vgg_d") for n in (1, 8, 64)),
        sanitizer=(
            Job("lenet5", "float32", 1, True),
            Job("tensor", "float16", 3, True),
            Job("norms", "float32", 3, True),
        ),
    )


def small() -> Plan:
    """What the emulated driver computes in a few minutes."""
    return Plan(
        families=(
            *(Job(net, "float32", 1, True) for net in BODIES if net not in ("winograd", "bytes")),
            Job("bytes", INT8, 3, True),
            Job("convolutions", "float16", 3, True),
            Job("tensor", "bfloat16", 1, True),
        ),
        networks=(
            *(Job("lenet5", dtype, 1) for dtype in DTYPES),
            Job("cifar_resnet20", "float32", 1),
            on_bytes("lenet5", 1),
            Job("lenet5", "float16", 1, ptx=True),
        ),
        times=(Job("lenet5", "float32", 1), Job("lenet5", "float16", 1), on_bytes("lenet5", 1)),
        raster=(Job("wide", "float16", 1), Job("wide", "float32", 1)),
        rivals=(Job("lenet5", "float32", 1),),
        sanitizer=(Job("lenet5", "float32", 1),),
    )
