"""Carries an op that was added to the compiler through all of it: `python carry.py OP LINE GPU`.

LINE is a line of a network with the op, GPU whether it has a kernel there. Fails with a traceback.
"""

from __future__ import annotations

import sys

import numpy as np
from every_op import MADE, full_graphs
from fuzz.compiled import hold
from hypothesis import HealthCheck, Phase, given, settings
from kernels.compare import network, worst_error
from passes.pass_helpers import passed

from cnncc import lang
from cnncc.frontends.onnx.export import to_onnx
from cnncc.frontends.onnx.origin import original
from cnncc.frontends.onnx.reader import from_onnx
from cnncc.ir import Graph
from cnncc.kernels.gpu.lower import LOWER
from cnncc.lang import foreign
from cnncc.machines import gpus
from cnncc.module.lower import lower
from cnncc.ops import TABLE, reference


def printed(graph: Graph) -> None:
    """The text of the graph is read as the same graph."""
    again = lang.parse(lang.print_net(graph))
    assert [(n.op, n.attrs, n.inputs) for n in again.nodes] == [(n.op, n.attrs, n.inputs) for n in graph.nodes]


def onnx_and_back(graph: Graph, op: str) -> None:
    """As the text that the model holds, and as what it says in ONNX alone."""
    model = to_onnx(graph)
    written = original(model)
    assert written is not None
    assert op in {n.op for n in written[1].nodes}
    other = from_onnx(model).graph
    assert (op in {n.op for n in other.nodes}) == bool(TABLE[op].onnx)
    x = np.random.default_rng(0).standard_normal(graph.inputs[0].type.shape)
    (got,), (want,) = (reference.run(g, [x]).values() for g in (other, graph))
    assert np.abs(got - want).max() <= 1e-5 * np.abs(want).max()


def random_graphs(op: str) -> None:
    """The op among others, with the attributes that it is tried with."""
    assert op in MADE

    quick = settings(max_examples=3, deadline=None, derandomize=True, phases=[Phase.generate], database=None)

    @settings(quick, suppress_health_check=list(HealthCheck))
    @given(full_graphs([op, "conv"]))
    def check(graph: Graph) -> None:
        assert op in {n.op for n in graph.nodes}
        hold(graph)

    check()


def on_gpu(graph: Graph) -> None:
    """Code for a GPU."""
    for call in lower(graph, gpus.load("cuda-sm_80")).calls:
        LOWER[call.kernel.family](call.kernel.config, "f")


def main(op: str, line: str, gpu: str) -> None:
    graph = network(f"conv 3x3 20 bn; {line}; conv 1x1 5 bn; {line}")
    assert sum(n.op == op for n in graph.nodes) == 2
    printed(graph)
    lang.parse(f"net t\ninput 4x16x16\n{foreign.EXAMPLES[op]}\n")
    assert passed(graph) != graph
    assert worst_error(graph) <= 1e-5
    onnx_and_back(graph, op)
    random_graphs(op)
    if gpu == "yes":
        on_gpu(graph)


if __name__ == "__main__":
    main(*sys.argv[1:])
