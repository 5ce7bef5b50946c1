"""No kernel is long: LLVM's time for a function grows faster than its length.

Counted are the instructions of the IR that TVM hands to LLVM's passes (`opt-level` 0 leaves these out): no clock, which
other processes of the machine would disturb, and all that a kernel's author can mend.
"""

from __future__ import annotations

import re
from functools import cache

import pytest
import tvm

from cnncc import lang
from cnncc.base import resources
from cnncc.kernels.cpu.lower import LOWER
from cnncc.kernels.shared.spec import Kernel
from cnncc.machines import targets
from cnncc.machines.targets import Target
from cnncc.module.cpu.objects import lowered, tvm_target
from cnncc.module.lower import lower

MOST = 60_000
TARGETS = ["x86-64-v3", "x86-64-v4"]
ZOO = sorted(p.stem for p in resources.directory("models").glob("*.net"))
COSTLY = {
    "direct": ("8x57x57", "conv 3x3 48 /2 gelu; conv 1x1 96 silu; conv 5x5 64 /2 mish; conv 7x7 33 hard_swish"),
    "chains": ("16x57x57", "conv 3x3 64 /2 gelu mish silu softplus gelu_tanh; conv 1x1 96 gelu gelu_tanh mish silu"),
    "direct with sums": ("32x28x28", "save x; conv 1x1 32 silu; add { | from x }; gelu; conv 1x1 24 gelu_tanh"),
    "winograd": ("64x29x31", "conv 3x3 64 gelu; conv 3x3 48 silu; conv 3x3 64 mish; conv 3x3 40 dil 2 gelu"),
    "small winograd": ("96x7x7", "conv 3x3 96 gelu; conv 3x3 128 silu"),
    "depthwise": ("48x28x28", "dwconv 7x7 gelu; dwconv 5x5 /2 silu; dwconv 3x3 mish; dwconv 7x7 /2 gelu"),
    "wide depthwise": ("48x56x56", "dwconv 11x11 gelu; dwconv 1x11 silu; dwconv 31x31 gelu"),
    "depthwise on few pixels": ("96x7x7", "dwconv 7x7 gelu; dwconv 9x9 silu; dwconv 5x5 hard_swish"),
    "groups": ("64x28x28", "conv 3x3 64 groups 4 gelu; conv 3x3 64 groups 8 silu; conv 3x3 96 groups 32 gelu"),
    "transposed": ("24x14x14", "upconv 4x4 40 /2 gelu; upconv 3x3 16 /2 silu"),
    "norms": ("768x7x7", "layernorm gelu; grn silu; rmsnorm; layernorm silu; group_norm 1 gelu; group_norm 32 silu"),
    "ragged norms": ("100x9x9", "layernorm gelu; grn silu; group_norm 10 gelu; group_norm 100 silu; group_norm 1 mish"),
    "vectors": ("100x1x1", "flatten; fc 1000 gelu; layernorm gelu; group_norm 5 silu; fc 33 mish; softmax"),
    "attention": (
        "64x14x14",
        "save x; permute 4x16x196 axes 0,2,1 to 4x196x16; save q; from x; reshape 4x16x196; save k;"
        " matmul { from q | from k }; save s; permute 4x196x196 axes 2,0,1 to 196x4x196; softmax; topk 5; gelu",
    ),
    "resizing": ("40x13x13", "upsample 2 bilinear; resize 31x37 linear; resize 15x15 cubic antialias; resize 40x40"),
    "merges": ("40x28x28", "save x; conv 1x1 40 sigmoid; mul { | from x }; gelu silu; add { | from x }; mish; softmax"),
}


@cache
def instructions(kernel: Kernel, target: Target) -> int:
    """Instructions of LLVM that a kernel becomes before LLVM's passes."""
    plain = tvm.target.Target({**tvm_target(target).export(), "opt-level": 0})
    function = lowered(LOWER[kernel.family](kernel.config, kernel.symbol), kernel.symbol, target)
    text: str = tvm.get_global_func("target.build.llvm")(function, plain).inspect_source("ll")
    return len(re.findall(r"^  \S", text, re.MULTILINE))


def longest(text: str, target: str) -> dict[str, int]:
    """The kernels of a network that are too long."""
    machine = targets.load(target)
    counts = {k.name: instructions(k, machine) for k in lower(lang.parse(text), machine).kernels}
    return {name: count for name, count in counts.items() if count > MOST}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("case", COSTLY)
def test_costly_epilogues(case: str, target: str) -> None:
    """The code of an activation stands a few times in a kernel, not once for each vector of a tile."""
    dims, body = COSTLY[case]
    assert longest(f"net t\ninput {dims}\nmaxpool 1x1\n{body}\n", target) == {}


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", ZOO)
def test_the_zoo(name: str, target: str) -> None:
    assert longest((resources.directory("models") / f"{name}.net").read_text(), target) == {}


def test_what_is_counted() -> None:
    """Instructions of the function: more for each post-op that is written out, none for what a loop repeats."""
    machine = targets.load("x86-64-v3")

    def count(line: str, size: int = 9) -> int:
        graph = lang.parse(f"net t\ninput 16x{size}x{size}\nmaxpool 1x1\n{line}\n")
        return sum(instructions(k, machine) for k in lower(graph, machine).kernels if k.family == "elementwise")

    once, twice = count("gelu"), count("gelu; mish")
    assert 40 < once < twice < 2000
    assert count("gelu", 90) < 2 * once
