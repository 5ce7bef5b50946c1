"""How much code a kernel becomes: no more with a larger image, and by a bounded amount with each post-op.

Counted is what TVM hands to LLVM (or, for a GPU, the CUDA C), in characters, since TVM may unfold a name inside of a
statement: no clock, which other processes of the machine would disturb.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import islice
from typing import Any

import pytest

from cnncc import lang
from cnncc.kernels.cpu.lower import LOWER
from cnncc.kernels.gpu.rules import without_kernel
from cnncc.kernels.shared.epilogue import CHEAP_STATEMENTS, costly, statements
from cnncc.kernels.shared.spec import Epilogue, Kernel
from cnncc.machines import gpus, targets
from cnncc.module.cpu.objects import kernel_text, lowered
from cnncc.module.gpu.source import cuda_source
from cnncc.module.lower import lower
from cnncc.ops import ACTIVATIONS, TABLE
from cnncc.passes.fuse_epilogues import MOST_POST_OPS

PRODUCERS = {
    "gemm": "conv 1x1 20 relu",
    "direct": "conv 3x3 40 /2 relu",
    "groups": "conv 3x3 40 groups 2 relu",
    "narrow groups": "conv 3x3 40 groups 10 relu",
    "winograd": "conv 3x3 64 relu",
    "transposed": "upconv 3x3 20 /2 relu",
    "depthwise": "dwconv 3x3 relu",
    "fc": "flatten; fc 21 relu",
    "bn": "bn relu",
    "layernorm": "layernorm relu",
    "grn": "grn relu",
    "sum": "add { | tanh }; relu",
}
COPIES = 8
"""Places in a kernel where an epilogue stands, at most: tiles of two sizes along each axis, and those at the border."""
STATEMENT = 200
"""Characters of one statement of an epilogue, at most."""
CPU_TARGETS = ["x86-64-v3", "x86-64-v4", "aarch64", "wasm32"]
NAMES = sorted(ACTIVATIONS)


def post_op(name: str) -> tuple[str, tuple[tuple[str, Any], ...]]:
    return name, tuple(sorted(TABLE[name].attributes.items()))


CHAINS = {
    f"{chain[0]}_to_{chain[-1]}": tuple(map(post_op, chain)) for chain in zip(*[iter(NAMES * 2)] * 12, strict=False)
}
"""Chains of twelve post-ops, with every activation in one of them."""


@cache
def kernels(body: str, dims: str, target: str) -> tuple[Kernel, ...]:
    """The kernels of some lines on an image in blocks of channels."""
    graph = lang.parse(f"net t\ninput {dims}\nmaxpool 2x2\n{body}\n")
    return lower(graph, targets.load(target)).kernels


def epilogue_owner(config: Any) -> Any:
    """A convolution's epilogue is kept with its geometry."""
    return getattr(config, "geometry", config)


def last_kernel(body: str, target: str) -> Kernel:
    """The last kernel that has an epilogue."""
    return [k for k in kernels(body, "20x31x31", target) if getattr(epilogue_owner(k.config), "epilogue", ())][-1]


def size(kernel: Kernel, target: str) -> int:
    function = LOWER[kernel.family](kernel.config, "f")
    return len(lowered(function, "f", targets.load(target)).script())


def with_epilogue(kernel: Any, epilogue: Epilogue) -> Any:
    owner = replace(epilogue_owner(kernel.config), epilogue=epilogue)
    config = replace(kernel.config, geometry=owner) if hasattr(kernel.config, "geometry") else owner
    return replace(kernel, config=config)


@pytest.mark.parametrize("target", CPU_TARGETS)
@pytest.mark.parametrize("producer", PRODUCERS)
def test_a_long_epilogue_is_as_long_as_its_post_ops(producer: str, target: str) -> None:
    kernel = last_kernel(PRODUCERS[producer], target)
    before = size(kernel, target)
    chains = CHAINS.values() if target == CPU_TARGETS[0] else islice(CHAINS.values(), 1)
    for chain in chains:
        assert costly(chain)
        assert size(with_epilogue(kernel, chain), target) <= before + COPIES * STATEMENT * statements(chain), chain


@pytest.mark.parametrize("name", NAMES)
def test_a_repeated_step_is_written_again_not_unfolded(name: str) -> None:
    """Every activation, once, three times, and as often as an epilogue may have post-ops."""
    kernel = last_kernel(PRODUCERS["gemm"], "x86-64-v3")
    one, three, most = (size(with_epilogue(kernel, (post_op(name),) * n), "x86-64-v3") for n in (1, 3, MOST_POST_OPS))
    per_post_op = COPIES * STATEMENT * statements((post_op(name),))
    assert three <= one + 3 * per_post_op
    assert most <= one + MOST_POST_OPS * per_post_op


@pytest.mark.parametrize("epilogue", [(post_op("gelu"),), *CHAINS.values()])
def test_llvm_has_each_post_op_a_few_times(epilogue: Epilogue) -> None:
    """Lines of LLVM IR after its passes, which may unroll loops as they see fit."""
    kernel = last_kernel(PRODUCERS["gemm"], "x86-64-v3")
    before, after = (
        kernel_text(k, targets.load("x86-64-v3"), "ll").count("\n") for k in (kernel, with_epilogue(kernel, epilogue))
    )
    assert after <= before + COPIES * statements(epilogue)


def test_what_is_cheap() -> None:
    """Epilogues of published networks that stay written out in a tile, so that no loop goes through memory."""
    cheap: list[tuple[str, ...]] = [("relu",), ("add", "relu"), ("relu6", "add"), ("hard_swish",), ("clip",)]
    cheap += [("leaky_relu",), ("hard_sigmoid",), ("affine", "relu6"), ("add", "add", "relu")]
    for names in cheap:
        epilogue = tuple((n, ()) if n == "add" else post_op(n) for n in names)
        assert statements(epilogue) <= CHEAP_STATEMENTS, names
    for name in ("sigmoid", "silu", "gelu", "elu", "softplus", "mish"):
        assert costly((post_op(name),))


IMAGES = [
    *("conv 3x3 20", "conv 5x5 20 /2", "conv 7x7 20 pad 40", "dwconv 3x3", "dwconv 7x7 /2", "upconv 4x4 8 /2"),
    *("maxpool 3x3 /2", "maxpool 13x13 /1 pad 6", "avgpool 2x2 ceil", "avgpool 7x7 /1 pad 3", "lrn", "softmax", "gap"),
    *("crop 1,1 9x9", "upsample 2", "upsample 2 bilinear", "pad 3 reflect", "pad 2", "resize 40x50", "slice 1:4", "bn"),
    *("gelu", "group_norm 4", "concat { | slice 1:4 }", "flatten; fc 10", "softplus"),
]


@pytest.mark.parametrize("body", IMAGES)
def test_code_does_not_grow_with_the_image(body: str) -> None:
    """Sizes that leave different rests of rows and columns; half as much again for the tiles that these take."""
    small, *larger = (
        sum(size(k, "x86-64-v3") for k in kernels(body, f"20x{n}x{n + 6}", "x86-64-v3")) for n in (38, 94, 312)
    )
    assert max(larger) <= 1.5 * small + 20000


GPU_PRODUCERS = {**PRODUCERS, "winograd": "conv 3x3 256 relu"}
for missing in filter(without_kernel, PRODUCERS.keys() & TABLE.keys()):
    del GPU_PRODUCERS[missing]


@cache
def gpu_kernel(producer: str) -> Any:
    graph = lang.parse(f"net t\ninput 20x62x62\nmaxpool 2x2\n{GPU_PRODUCERS[producer]}\n")
    chosen = lower(graph, gpus.load("cuda-sm_80"))
    return [k for k in chosen.kernels if getattr(epilogue_owner(k.config), "epilogue", ())][-1]


def gpu_size(kernel: Any, epilogue: Epilogue) -> int:
    return len(cuda_source((with_epilogue(kernel, epilogue),), "sm_80"))


@pytest.mark.parametrize("producer", GPU_PRODUCERS)
def test_cuda_text_is_as_long_as_its_post_ops(producer: str) -> None:
    kernel = gpu_kernel(producer)
    before = gpu_size(kernel, (post_op("relu"),))
    for chain in CHAINS.values():
        assert gpu_size(kernel, chain) <= before + COPIES * STATEMENT * statements(chain), chain
