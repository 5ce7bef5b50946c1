"""Random nodes of every op of the table, with random epilogues: on a GPU each value is what the reference makes of the
very numbers that its kernels read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cuda.checked import flow
from every_op import MADE, full_graphs
from fuzz.compiled import hold_node
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cnncc import lang, passes, weights
from cnncc.ir import Graph
from cnncc.kernels.gpu.rules import without_kernel
from cnncc.machines import gpus
from cnncc.module.gpu.program import CudaProgram
from cnncc.module.lower import lower
from cnncc.ops import TABLE
from cnncc.ops.synthetic import random_inputs
from cnncc.options import Options

OPS = sorted(op for op in MADE & TABLE.keys() if not without_kernel(op))


def program_of(graph: Graph, batch: int, **options: Any) -> CudaProgram:
    """With random weights; each value has memory of its own."""
    return lower(graph, gpus.load("cuda-sm_80"), Options(batch=batch, keep_all=True, **options))


def hold(graph: Graph, batch: int, folder: Path, **options: Any) -> CudaProgram:
    """The program, whose every value was held to the reference; Mismatch or Mistake if one is wrong."""
    bound = weights.bind(graph, seed=0)
    program = program_of(bound, batch, **options)
    raw: dict[str, np.ndarray] = dict(random_inputs(passes.with_batch(bound, batch), 0))
    for node, read, got in flow(program, raw, folder):
        hold_node(program.graph, node, read, got)
    return program


def held(body: str, batch: int, folder: Path, **options: Any) -> str:
    """The kernels of a text, held to the reference, by name."""
    program = hold(lang.parse(f"net t\n{body}\n"), batch, folder, **options)
    return " ".join(call.kernel.name for call in program.calls)


@pytest.mark.parametrize("op", OPS)
@settings(
    max_examples=2, deadline=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(data=st.data())
def test_each_op(op: str, data: st.DataObject, kept: Path) -> None:
    """Whatever its attributes and its inputs' sizes."""
    graph = data.draw(full_graphs([op]))
    hold(graph, data.draw(st.sampled_from((1, 3))), kept)
