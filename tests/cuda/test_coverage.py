"""What has kernels for GPUs: every op, and every network of the zoo and beyond."""

from __future__ import annotations

from pathlib import Path

import pytest
from cuda.test_every_op import OPS
from cuda.zoo import ZOO, network
from every_op import LATE
from pages import ROOT

from cnncc.base.elements import FLOAT32
from cnncc.ir import Graph
from cnncc.kernels.cpu.rules import TAKES as CPU_TAKES
from cnncc.kernels.gpu.lower import LOWER
from cnncc.kernels.gpu.rules import TAKES as GPU_TAKES
from cnncc.kernels.gpu.rules import without_kernel
from cnncc.machines import gpus
from cnncc.module.gpu.program import check_grids
from cnncc.module.lower import lower
from cnncc.ops import TABLE

LONG = ("cifar_resnet1202",)
TIMM = sorted((ROOT / "build" / "timm").glob("*.onnx"))
"""The networks of `make bench-timm`, where it has run."""


def test_no_op_or_type_is_left_out() -> None:
    """What processors compute on, GPUs do."""
    assert [op for op in TABLE if without_kernel(op)] == []
    assert {op: kinds - GPU_TAKES.get(op, {FLOAT32}) for op, kinds in CPU_TAKES.items() if op in TABLE} == {
        op: frozenset() for op in CPU_TAKES if op in TABLE
    }


def test_every_op_is_held_to_the_reference() -> None:
    assert TABLE.keys() - set(OPS) <= LATE


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
