"""The op table and the kernels agree: a new op is not forgotten by either."""

from __future__ import annotations

from unittest import mock

import pytest
from every_op import MADE, full_graphs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernels.compare import network
from tvm.tirx import PrimFunc

from cnncc.kernels.cpu.lower import LOWER
from cnncc.kernels.cpu.rules import select
from cnncc.kernels.cpu.site import CpuSite
from cnncc.kernels.shared.builder import SCRATCH_ALIGN, KernelBuilder
from cnncc.machines import targets
from cnncc.module.lower import lower
from cnncc.ops import TABLE
from cnncc.options import DEFAULT
from tests.passes.pass_helpers import image


@pytest.mark.parametrize("op", sorted(MADE & TABLE.keys()))
@settings(max_examples=3, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_each_op_has_rules_and_code(op: str, data: st.DataObject) -> None:
    """Whatever its attributes."""
    graph = data.draw(full_graphs([op]))
    program = lower(graph, targets.load("x86-64-v3"))
    assert {k.family for k in program.kernels} <= LOWER.keys()


def test_an_op_without_a_rule_is_noticed() -> None:
    graph = image().conv("a", "x", 8).graph("a")
    strange = graph["a"].with_(op="strange")
    with pytest.raises(AssertionError, match="no kernel rule for strange"):
        select(CpuSite(graph, strange, targets.load("x86-64-v3"), DEFAULT))


@pytest.mark.parametrize(("body", "dims"), [
    ("softmax_rows", "2x3x200"), ("softmax", "200"), ("identity; softmax", "40x3x5"), ("identity; lrn", "40x3x5"),
    ("identity; maxpool 9x9 pad 4", "40x20x20"), ("identity; resize 40x50 cubic", "40x20x20"),
    ("conv 3x3 64", "64x56x56"),
])  # fmt: skip
def test_a_kernel_has_the_scratch_that_its_code_takes(body: str, dims: str) -> None:
    """Less, and it writes over what lies behind: a thread's scratch is as large as its kernels say, in whole lines."""
    taken: list[int] = []

    def finish(builder: KernelBuilder, symbol: str) -> PrimFunc:
        taken.append(builder.scratch_bytes)
        return finished(builder, symbol)

    finished = KernelBuilder.finish
    with mock.patch.object(KernelBuilder, "finish", finish):
        for kernel in lower(network(body, dims), targets.load("x86-64-v3")).kernels:
            taken.clear()
            LOWER[kernel.family](kernel.config, kernel.symbol)
            assert max(taken) <= -(-kernel.scratch_bytes // SCRATCH_ALIGN) * SCRATCH_ALIGN, kernel.name
