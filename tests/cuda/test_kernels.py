"""Every kernel computes what the reference computes, in any order of its threads, without a race or a stray access."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cuda.checked import ORDERS, Mistake, NodeRun, kernel_source, library
from cuda.zoo import ZOO, network

from cnncc import lang, weights
from cnncc.base import resources
from cnncc.base.elements import HALVES
from cnncc.base.errors import CnnccError
from cnncc.kernels.gpu import algorithms, rules, winograd
from cnncc.machines import gpus
from cnncc.module.gpu.compiled import Resources
from cnncc.module.gpu.program import CudaProgram, kernel_of
from cnncc.module.lower import lower
from cnncc.options import Options
from cnncc.report.profile.predict import _step as predict_step

BODIES = {
    "convolutions": (
        "input 3x15x13 mean (0.5, 0.4, 0.3) std (0.2)\nconv 7x7 20 /2 bn relu; dwconv 3x3 relu6; conv 1x1 33 silu\n"
        "save a; conv 3x3 33 groups 3 dil 2 hard_swish; add { | from a }; relu; conv 3x3 66 leaky_relu 0.1\n"
        "conv 3x1 140 /2x1 pad 1,0 sigmoid; upconv 3x3 16 /2 outpad 1 relu; upconv 2x2 8 /3 tanh; dwconv 5x5 /2 pad 2\n"
        "conv 1x1 130; mul { | gap; conv 1x1 14 relu; conv 1x1 130 sigmoid }; "
        "mul { | conv 1x1 1 sigmoid } relu; scale; conv 3x3 200 nobias"
    ),
    "others": (
        "input 5x9x11\nrelu; lrn; maxpool 3x3 /2 ceil; save a; avgpool 3x3 /1 pad 1; avgpool 2x2 /1 pad 1 countpad\n"
        "crop 1,0 4x6; upsample 2; upsample 2x1 bilinear; pad 1,0,2,1 reflect; pad 1 edge; pad 1,0,2,1 wrap\n"
        "pad 0,2,1,0 value 1.5; bn\n"
        "lrn size 3 k 2 beta 0.6; maxpool 3x3 /2 dil 2; slice 1:4; concat { | conv 1x1 7 | slice 1:3 }; hard_sigmoid\n"
        "save b; upsample 2 bilinear align; softmax; output\n"
        "from b; gsum; output\n"
        "from b; gmp; flatten; fc 13 relu; concat { | fc 3 | slice 2:7 }; fc 12; add { | fc 12 }\n"
        "slice 1:7; bn; softmax; output"
    ),
    "pointwise": (
        "input 8x5x7\nsave x; sigmoid; save p; max { from x | from p }; min { | tanh }; sin; cosh; atan; asinh; round\n"
        "save a\n"
        "max { from p | from x } exp; save b; where { greater { from x | from p } | from a | from b }; output\n"
        "from x; greater_equal { | gap }; output; from x; equal { | from x }; output; from x; clip low 0; gelu; erf\n"
        "softplus; output"
    ),
}
TOLERANCE = 4e-6
TENSOR_TOLERANCE = {"float32": TOLERANCE, "float16": 1e-3, "bfloat16": 8e-3, "tf32": 1e-3, "tf32x3": TOLERANCE}
"""By the type of the operands of products on tensor cores; of halves from one number to the next."""
MOST_APART = 0.02
"""Share of a value's halves that may be rounded apart: where the sum lies between two of them."""


def program(body: str, batch: int, target: str = "cuda-sm_80", dtype: str = "float32") -> CudaProgram:
    graph = weights.bind(lang.parse(f"net t\n{body}\n"), None, seed=3)
    return lower(graph, gpus.load(target), Options(batch=batch, dtype=dtype))


def check_all(chosen: CudaProgram, kept: Path, orders: tuple[int, ...], every: int = 1) -> None:
    runs = [NodeRun(chosen, chosen.graph[name]) for name in chosen.selections]
    lib = library(kernel_source(*chosen.kernels), kept)
    for run in runs:
        results = [run.run(lib, order, every) for order in orders]
        for got in results:
            # Arms that others write in place are not this node's.
            partial = every > 1 or run.node.op == "concat"
            on_tensor_cores = any(kernel_of(c).work.tensor for c in run.calls)
            allowed = TENSOR_TOLERANCE[chosen.options.dtype] if on_tensor_cores else TOLERANCE
            if any("winograd" in c.kernel.name for c in run.calls):
                allowed = 1e-5
            if run.node.type.element in HALVES:
                allowed = TENSOR_TOLERANCE[run.node.type.element.name]
                apart = (got != run.expected) & ~(np.isnan(got) & partial)
                assert apart.sum() <= max(1, MOST_APART * apart.size), (run.node.name, run.calls[0].kernel.name)
            assert run.error(got, sampled=partial) <= allowed, (run.node.name, run.calls[0].kernel.name)
            np.testing.assert_array_equal(got, results[0], err_msg=run.node.name)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("body", BODIES)
def test_every_op_in_every_order(body: str, batch: int, kept: Path) -> None:
    check_all(program(BODIES[body], batch), kept, ORDERS if batch == 3 else (1,))


@pytest.mark.parametrize("body", [
    "input 16x7x9\nrelu; conv 3x3 40 /2 relu; conv 1x1 24 silu; save a; conv 3x3 24 groups 3 dil 2; add { | from a }",
    "input 36x5x6\nrelu; upconv 3x3 16 /2 relu; conv 1x3 140 nobias",
    "input 400x4x4\nrelu; conv 3x3 70 relu",
])  # fmt: skip
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "tf32", "tf32x3"])
def test_tensor_cores_in_every_order(dtype: str, body: str, kept: Path) -> None:
    chosen = program(body, 2, dtype=dtype)
    assert any(kernel_of(c).work.tensor for c in chosen.calls)
    check_all(chosen, kept, ORDERS)


@pytest.mark.parametrize("size", winograd.SIZES)
def test_winograd_in_every_order(size: int, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both tile sizes, edges, a residual, a channel count that fills no vector, an uneven padding."""
    monkeypatch.setattr(algorithms, "CLEARLY", 1e9)
    monkeypatch.setattr(winograd, "SIZES", (size,))
    text = "input 9x13x10\nlrn; conv 3x3 9 relu; save a; conv 3x3 9; add { | from a }; conv 3x3 70 pad 0,2,1,0 silu"
    graph = weights.bind(lang.parse(f"net t\n{text}\n"), None)
    chosen = lower(graph, gpus.load("cuda-sm_80"), Options(batch=2))
    names = [c.kernel.name for c in chosen.calls]
    assert names.count(f"winograd_input_f32_{size}x{size}") == 3
    check_all(chosen, kept, ORDERS)


def test_winograd_only_where_it_is_allowed_and_pays() -> None:
    def kernels(text: str, **options: Any) -> str:
        graph = weights.bind(lang.parse(f"net t\ninput 64x112x112\nrelu; {text}\n"), None)
        return " ".join(c.kernel.name for c in lower(graph, gpus.load("cuda-sm_80"), Options(**options)).calls)

    assert "winograd" in kernels("conv 3x3 64")
    assert "winograd" not in kernels("conv 3x3 64", max_error=0.0)
    assert "winograd" not in kernels("conv 3x3 64", dtype="float16")
    for text in ("conv 3x3 64 /2", "conv 3x3 64 dil 2", "conv 3x3 64 groups 2", "conv 5x5 64", "conv 3x3 4"):
        assert "winograd" not in kernels(text), text


def test_kernels_that_only_serve_a_product_say_so() -> None:
    """The prediction counts a convolution once: transforms are no convolutions of their own."""
    gpu = gpus.load("cuda-sm_80")
    found: dict[bool, set[str]] = {True: set(), False: set()}
    for dims, max_error in (("64x112x112", 1e-5), ("512x7x7", 0.0)):
        graph = weights.bind(lang.parse(f"net t\ninput {dims}\nrelu; conv 3x3 64; relu\n"), None)
        program = lower(graph, gpu, Options(max_error=max_error))
        for name, selection in program.selections.items():
            for call in selection.calls:
                step = predict_step(gpu, program.graph[name], call.kernel, Resources(32, 0, 0, 0, 0), "")
                if step.op.startswith("conv"):
                    found[step.products].add(call.kernel.family)
    assert found[False] == {"winograd_input", "winograd_output"}
    assert found[True] == {"conv"}


def test_lenet5(kept: Path) -> None:
    graph = weights.bind(lang.read(resources.directory("models") / "lenet5.net"), None)
    check_all(lower(graph, gpus.load("cuda")), kept, (0, 3))


def test_a_kernel_in_place_is_no_race(kept: Path) -> None:
    """A result that overwrites an operand is the same memory, so the checks see both."""
    chosen = program("input 8x5x5\nlrn; relu; softmax", 1)
    placed = [n for n in chosen.selections if chosen.plan.placements[n].in_place]
    assert placed
    run = NodeRun(chosen, chosen.graph[placed[0]])
    lib = library(run.source(), kept)
    assert run.error(run.run(lib)) <= TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("name", ZOO)
def test_zoo(name: str, kept: Path) -> None:
    """Distinct kernels of a network: of large grids, some blocks."""
    chosen = lower(network(name), gpus.load("cuda"))
    seen: set[str] = set()
    for node, selection in chosen.selections.items():
        symbols = {c.kernel.symbol for c in selection.calls}
        if symbols <= seen:
            continue
        seen |= symbols
        run = NodeRun(chosen, chosen.graph[node])
        lib = library(run.source(), kept)
        most = max(c.kernel.units for c in selection.calls)
        every = 1 if len(selection.calls) > 1 else max(1, most // 12)
        assert run.error(run.run(lib, 2, every), sampled=every > 1) <= 3e-5, (node, symbols)


def test_an_op_without_a_kernel_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "RULES", {})
    with pytest.raises(CnnccError, match="has no GPU kernel"):
        program("input 4x6x6\nmaxpool 2x2 /2", 1)


def test_a_mistake_has_a_message(kept: Path) -> None:
    chosen = program("input 4x6x6\nmaxpool 2x2 /2", 1)
    run = NodeRun(chosen, chosen.graph["0"])
    lib = library(run.source().replace("(image_ptr + (", "(image_ptr + (4000 + "), kept)
    with pytest.raises(Mistake, match="outside of an array"):
        run.run(lib)
