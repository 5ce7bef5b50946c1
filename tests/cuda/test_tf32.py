"""Convolutions on tensor cores by tf32: its rounding, the bound of its error and of that of three products."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cuda.checked import NodeRun, library
from cuda.stand_in import stand_in
from cuda.test_kernels import program

from cnncc import api, lang, weights
from cnncc.base import resources
from cnncc.base.elements import TF32, encode
from cnncc.base.errors import CnnccError
from cnncc.machines import gpus
from cnncc.module.gpu.build import CudaBuild
from cnncc.module.gpu.program import kernel_of
from cnncc.module.gpu.source import program_source
from cnncc.module.lower import lower
from cnncc.ops import reference
from cnncc.options import Options
from cnncc.report import check

OPERAND, SUM = 2.0**-11, 2.0**-23
"""The largest relative error of a number that is rounded to tf32, and of a sum in float32 (a GPU may cut)."""
BOUNDS = {"tf32": 2 * OPERAND + OPERAND**2, "tf32x3": 3 * OPERAND**2}
"""Of each product, as a share of it."""


@pytest.mark.parametrize(("value", "rounded"), [
    (1 + 2.0**-10, 1 + 2.0**-10),
    (1 + 2.0**-11, 1 + 2.0**-10),  # away from zero
    (-1 - 2.0**-11, -1 - 2.0**-10),
    (1 + 2.0**-12, 1.0),
    (3.4028e38, np.inf),
    (-np.inf, -np.inf),
    (0.0, 0.0),
])  # fmt: skip
def test_rounding(value: float, rounded: float) -> None:
    assert encode(np.array([value], np.float32), TF32)[0] == np.float32(rounded)
    assert np.isnan(encode(np.array([np.nan], np.float32), TF32)[0])


@pytest.mark.parametrize("spread", [0, 8], ids=["alike", "of all sizes"])
@pytest.mark.parametrize("dtype", ["tf32", "tf32x3"])
def test_the_error_is_within_its_bound(dtype: str, spread: int, kept: Path) -> None:
    """At every result, as a share of the sum of all its products without their signs; tf32 is not far from its own."""
    chosen = program("input 96x6x5\nrelu; conv 3x3 40 nobias; relu", 2, dtype=dtype)
    (node,) = (n for n in chosen.graph.nodes if n.op == "conv")
    rng = np.random.default_rng(7)
    image = rng.standard_normal((2, 96, 6, 5)) * 2.0 ** rng.integers(-spread, spread + 1, (2, 96, 6, 5))
    image = image.astype(np.float32)
    run = NodeRun(chosen, node, arrays=(image,))
    got = run.run(library(run.source(), kept)).astype(np.float64)
    name = node.weights["weight"]
    weight = chosen.graph.constants[name]
    graph = chosen.graph.rebuild(chosen.graph.nodes, constants={name: weight.map(weight.shape, np.abs)})
    products = reference.evaluate(graph, node, (np.abs(image),), np.dtype(np.float64))
    share = float((np.abs(got - run.expected) / products).max())
    additions = 9 * 96 * (3 if dtype == "tf32x3" else 1)
    assert share <= BOUNDS[dtype] + additions * SUM
    if dtype == "tf32":
        assert share >= BOUNDS[dtype] / 100
    else:
        assert share <= 4 * BOUNDS[dtype]  # hardly more than without the additions


@pytest.mark.usefixtures("emulated")
@pytest.mark.parametrize("dtype", ["tf32", "tf32x3"])
def test_a_module(dtype: str) -> None:
    """LeNet-5 agrees with the reference as far as its check allows: for three products no more than for float32."""
    graph = weights.bind(lang.read(resources.directory("models") / "lenet5.net"), None)
    chosen = lower(graph, gpus.load("cuda-sm_80"), Options(dtype=dtype))
    assert any(kernel_of(c).work.tensor for c in chosen.calls)
    model = CudaBuild(chosen, program_source(chosen), [stand_in("compute_80")]).model()
    assert model.info["flags"]["dtype"] == dtype
    report = check.check_module(model, graph)
    assert report.passed, report.first_failure
    most = max(layer.allowed for layer in report.layers)
    assert (most > check.LARGEST_ERROR) == (dtype == "tf32")


@pytest.mark.parametrize("dtype", ["tf32", "tf32x3"])
def test_turing_and_processors_have_no_tf32(dtype: str) -> None:
    graph = weights.bind(lang.parse("net t\ninput 8x6x6\nconv 3x3 8\n"), None)
    with pytest.raises(CnnccError, match=f"target cuda-sm_75 has no instruction that multiplies {dtype}"):
        api.build(graph, Options(("cuda-sm_75",), dtype=dtype))
    with pytest.raises(CnnccError, match=f"computes in float32, not {dtype}"):
        api.build(graph, Options(("x86-64-v3",), dtype=dtype))
