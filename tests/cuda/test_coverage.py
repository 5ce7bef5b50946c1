"""What has kernels for GPUs: every op of floating-point numbers, and every network of the zoo and beyond."""

from __future__ import annotations

from pathlib import Path

import pytest
from cuda.test_every_op import OPS
from cuda.zoo import ZOO, network
from every_op import LATE, full_graphs
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pages import ROOT

from cnncc.ir import Graph
from cnncc.kernels.gpu.lower import LOWER
from cnncc.kernels.gpu.rules import without_kernel
from cnncc.machines import gpus
from cnncc.module.gpu.program import check_grids
from cnncc.module.lower import lower
from cnncc.ops import TABLE

LEFT_OUT = {"dequantize", "lookup", "qadd", "qconv", "qconv_transpose", "qfc", "qgap", "qmul", "quantize"}
"""Ops that take or give integers, which a GPU does not have."""
LONG = ("cifar_resnet1202",)
TIMM = sorted((ROOT / "build" / "timm").glob("*.onnx"))
"""The networks of `make bench-timm`, where it has run."""


def test_no_other_op_is_left_out() -> None:
    assert {op for op in TABLE if without_kernel(op)} == LEFT_OUT


def test_every_op_that_has_a_kernel_is_held_to_the_reference() -> None:
    assert TABLE.keys() - LEFT_OUT - set(OPS) <= LATE


@pytest.mark.parametrize("op", sorted(LEFT_OUT - LATE))
@settings(
    max_examples=2, deadline=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(data=st.data())
def test_what_is_left_out_has_other_numbers(op: str, data: st.DataObject) -> None:
    """Around each such node."""
    graph = data.draw(full_graphs([op]))
    for node in graph.nodes:
        if node.op == op:
            assert not all(graph[name].type.is_float for name in (*node.inputs, node.name))


def compiles(graph: Graph) -> None:
    """Kernels for all nodes, whose code there is, and grids that can be launched."""
    program = lower(graph, gpus.load("cuda"))
    check_grids(program)
    assert {kernel.family for kernel in program.kernels} <= LOWER.keys()


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in LONG else n for n in ZOO])
def test_the_zoo(name: str) -> None:
    compiles(network(name))


def test_the_light_models_of_onnx() -> None:
    onnx = pytest.importorskip("onnx")
    from cnncc.frontends.onnx.network import import_onnx

    found = sorted((Path(onnx.__file__).parent / "backend/test/data/light").glob("*.onnx"))
    assert found
    for path in found:
        compiles(import_onnx(path).graph)


@pytest.mark.slow
@pytest.mark.skipif(not TIMM, reason="`make bench-timm` has not exported its networks to build/timm")
@pytest.mark.parametrize("path", TIMM, ids=lambda path: path.stem)
def test_the_networks_of_timm(path: Path) -> None:
    from cnncc.frontends.onnx.network import import_onnx

    compiles(import_onnx(path).graph)
