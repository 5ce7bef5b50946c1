"""`qconv` nodes: which algorithm computes them, and what its kernel is given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kernels.byte_kernels import from_blocks, run, to_blocks
from kernels.test_byte_kernels import Layer, depthwise

from cnncc.base.elements import ELEMENTS, INT8, INT32, UINT8
from cnncc.base.errors import CnnccError
from cnncc.ir import Constant, Graph, Node, TensorType
from cnncc.ir.types import Quantization
from cnncc.kernels.cpu.algorithms import ALGORITHMS, applying, find, select_by_algorithm
from cnncc.kernels.cpu.site import CpuSite
from cnncc.kernels.shared.byte_steps import steps_of
from cnncc.machines import targets
from cnncc.ops import byte_arithmetic as q
from cnncc.ops.quantized import exact_sums
from cnncc.options import Options

F32 = np.float32
SOURCE, RESULT, OTHER = (Quantization(float(F32(s)), z) for s, z in ((0.02, 100), (0.05, 30), (0.04, -9)))
DENSE = Layer(24, 40, (5, 7), (3, 3), pad=(1, 1, 1, 1))
DEPTHWISE = depthwise(24, (5, 7), (3, 3), pad=(1, 1, 1, 1))
ADD, RELU6 = ("add", ()), ("relu6", ())


def constants_of(layer: Layer, bias: int = 3000) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "weight": rng.integers(-128, 128, (layer.cout, layer.cin // layer.groups, *layer.kernel)).astype(np.int8),
        "bias": rng.integers(-bias, bias, layer.cout).astype(np.int32),
        "weight_scale": rng.uniform(1e-3, 2e-3, layer.cout).astype(F32),
    }


def site_of(layer: Layer, epilogue: tuple[Any, ...], values: dict[str, Any], to_float: bool = False) -> CpuSite:
    """The site of a node of a graph made by hand."""
    target = targets.load("x86-64-v3")
    block = target.block
    image = TensorType((1, layer.cin, *layer.size), block, UINT8, SOURCE)
    out = TensorType((1, layer.cout, *layer.grid), block)
    inputs = ("x", "r") if ADD in epilogue else ("x",)
    node = Node(
        "y", "qconv", inputs, out if to_float else replace(out, element=UINT8, quantization=RESULT),
        {**layer.attrs, "epilogue": epilogue}, {slot: slot for slot in values},
    )  # fmt: skip
    others = (Node("x", "input", (), image), Node("r", "input", (), replace(out, element=INT8, quantization=OTHER)))
    made = {
        slot: Constant(value.shape, lambda v=value: v, ELEMENTS[str(value.dtype)]) for slot, value in values.items()
    }
    return CpuSite(Graph("g", (*others, node), ("y",), made), node, target, Options())


@pytest.mark.parametrize("layer", [DENSE, DEPTHWISE])
@pytest.mark.parametrize("epilogue", [(), (ADD, RELU6)])
def test_the_operands_of_a_node_give_the_bytes_of_the_definition(
    layer: Layer, epilogue: tuple[Any, ...], tmp_path: Path
) -> None:
    values, rng = constants_of(layer), np.random.default_rng(1)
    site = site_of(layer, epilogue, values)
    selection = select_by_algorithm(site)
    (call,) = selection.calls
    wanted_kernel = "depthwise" if layer is DEPTHWISE else "conv"
    assert call.kernel.name.startswith(f"{wanted_kernel}_u8_u8_")
    x = rng.integers(0, 256, (layer.cin, *layer.size)).astype(np.uint8)
    r = rng.integers(-128, 128, (layer.cout, *layer.grid)).astype(np.int8)
    block = site.target.block
    given = [to_blocks(x, block), *(p.compute() for p in selection.weights), to_blocks(r, block)]
    given = given if epilogue else given[:-1]
    assert len(given) == len(call.operands)
    result = np.empty((-(-layer.cout // block), *layer.grid, block), np.uint8)
    got = from_blocks(run(call.kernel, site.target, tmp_path, given, result), layer.cout)
    sums = exact_sums(x[None], values["weight"], values["bias"], SOURCE.zero, layer.attrs)
    factors = q.scales(SOURCE.scale, values["weight_scale"], RESULT.scale)
    other = q.Residual(r[None], OTHER.zero, F32(OTHER.scale) / F32(RESULT.scale)) if epilogue else None
    to = q.Bytes(30, 30, 150) if epilogue else q.Bytes(30, 0, 255)  # 6 / 0.05 + 30
    assert got.tobytes() == q.to_bytes(q.scaled(sums, factors, other), to)[0].astype(np.uint8).tobytes()
    assert len(set(got.ravel().tolist())) > 20


def test_bytes_and_floats_have_algorithms_of_their_own() -> None:
    values = constants_of(DEPTHWISE)
    assert [a.name for a in applying(site_of(DEPTHWISE, (), values))] == ["depthwise_bytes", "direct_bytes"]
    assert [a.name for a in applying(site_of(DENSE, (), constants_of(DENSE)))] == ["direct_bytes"]
    assert {a.name for a in ALGORITHMS["qconv"]} & {a.name for a in ALGORITHMS["conv"]} == set()


def test_every_choice_is_restored_and_costs_something() -> None:
    for layer in (DENSE, DEPTHWISE):
        site = site_of(layer, (), constants_of(layer))
        for algorithm in applying(site):
            for candidate in algorithm.candidates(site, wide=True):
                assert candidate.cost > 0
                assert find(candidate.choice.algorithm) is algorithm
            assert algorithm.forecast(site) > 0


def test_activations_are_bounds_in_steps_of_the_result() -> None:
    clip = (("clip", (("low", -1.0), ("high", 3.4028234663852886e38))), ("relu6", ()))
    steps = steps_of(site_of(DENSE, clip, constants_of(DENSE)))
    assert (steps.low, steps.high, steps.zero_in, steps.zero_out) == (30, 150, 100, 30)
    steps = steps_of(site_of(DENSE, clip[:1], constants_of(DENSE)))
    assert (steps.low, steps.high) == (10, 255)
    assert steps_of(site_of(DENSE, (RELU6,), constants_of(DENSE), to_float=True)).high == 6.0


def test_sums_that_could_overflow_are_refused_by_layer() -> None:
    values = constants_of(DENSE)
    values["bias"][7] = 2**31 - 100
    weights = select_by_algorithm(site_of(DENSE, (), values)).weights
    with pytest.raises(CnnccError, match=r"y: sums of 1 channels, the first of them 7, could leave int32"):
        next(p for p in weights if p.constant.element == INT32).compute()
