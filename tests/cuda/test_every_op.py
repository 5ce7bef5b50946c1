"""Random nodes of every op of the table, with random epilogues: on a GPU each value is what the reference makes of the
very numbers that its kernels read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cuda.checked import ORDERS, NodeRun, kernel_source, library
from every_op import MADE, full_graphs
from fuzz.compiled import hold_node
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cnncc import passes, weights
from cnncc.base.errors import CnnccError
from cnncc.ir import Graph, Node
from cnncc.kernels.gpu.rules import without_kernel
from cnncc.machines import gpus
from cnncc.module.gpu.program import CudaProgram
from cnncc.module.lower import lower
from cnncc.ops import TABLE, reference, traits
from cnncc.ops.synthetic import random_inputs
from cnncc.ops.traits import Kind
from cnncc.options import Options

OPS = sorted(op for op in MADE & TABLE.keys() if not without_kernel(op))
EVERY_ORDER = 4096
"""Threads of a launch up to which it runs in all orders of them; larger ones in one."""


def hold(graph: Graph, batch: int, folder: Path, seed: int = 0) -> int:
    """How many values were computed and compared; Mismatch or Mistake if one is wrong."""
    bound = weights.bind(graph, seed=seed)
    program = lower(bound, gpus.load("cuda-sm_80"), Options(batch=batch, keep_all=True))
    raw = random_inputs(passes.with_batch(bound, batch), seed)
    lib = library(kernel_source(*program.kernels), folder) if program.kernels else None
    values: dict[str, np.ndarray] = {}
    compared = 0
    for node in program.graph.nodes:
        read = (raw[node.name],) if node.op == "input" else tuple(values[name] for name in node.inputs)
        plain = reference.evaluate(program.graph, node, read, np.dtype(np.float32))
        values[node.name] = plain
        if node.name not in program.selections or lib is None:
            continue
        got = computed(program, node, read, lib)
        if traits(node).kind is Kind.CONCAT:  # arms that others write in place are not its own
            got = np.where(np.isnan(got), plain, got)
        hold_node(program.graph, node, read, got)
        values[node.name] = got
        compared += 1
    return compared


def computed(program: CudaProgram, node: Node, read: tuple[np.ndarray, ...], lib: object) -> np.ndarray:
    """What the launches of a node give: the same in every order of their threads."""
    run = NodeRun(program, node, arrays=read)
    small = all(k.units * k.threads <= EVERY_ORDER for k in (c.kernel for c in run.calls))
    first, *others = (run.run(lib, order) for order in (ORDERS if small else ORDERS[2:3]))
    for other in others:
        np.testing.assert_array_equal(other, first, err_msg=node.name)
    return first


@pytest.mark.parametrize("op", OPS)
@settings(
    max_examples=3, deadline=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(data=st.data())
def test_each_op(op: str, data: st.DataObject, kept: Path) -> None:
    """Whatever its attributes and its inputs' sizes."""
    graph = data.draw(full_graphs([op]))
    try:
        hold(graph, data.draw(st.sampled_from((1, 3))), kept)
    except CnnccError as error:  # the casts that a graph may have: to numbers that a GPU has not
        assert "a GPU has float32 only" in str(error) or "computed on bytes" in str(error)
