"""Each op of PyTorch that has a rule: the network is what PyTorch computes, from ops whole and from its core ops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cnncc.base.errors import CnnccError
from cnncc.frontends.network import Network
from cnncc.ops import reference
from cnncc.passes import with_batch

torch = pytest.importorskip("torch")

from from_torch.ops import CASES, Case  # noqa: E402

from cnncc.frontends.torch.aten import RULES  # noqa: E402
from cnncc.frontends.torch.export import program_of  # noqa: E402
from cnncc.frontends.torch.network import export, network_of  # noqa: E402
from cnncc.frontends.torch.program import op_name  # noqa: E402

BOUND = 2e-5
"""Of the largest number of a result."""


class Whole(torch.nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Any) -> Any:
        return self.function(*inputs)


def program(case: Case) -> tuple[Any, tuple[Any, ...], list[Any]]:
    """The program of a case, its inputs, and what PyTorch computes."""
    function, shapes = case
    torch.manual_seed(0)
    inputs = tuple(torch.randn(shape) for shape in shapes)
    module = Whole(function).eval()
    wanted = module(*inputs)
    return export(module, inputs), inputs, list(wanted) if isinstance(wanted, tuple | list) else [wanted]


def computed(network: Network, inputs: tuple[Any, ...]) -> list[np.ndarray]:
    """What the reference computes of a network, as the module returns it."""
    graph = with_batch(network.graph, network.batch)
    arrays = [
        port.to_graph(x.numpy(), graph[port.node].type.shape) for port, x in zip(network.inputs, inputs, strict=True)
    ]
    found = reference.run(graph, arrays)
    assert [port.node for port in network.outputs if port.node] == list(graph.outputs)
    return [port.from_graph(found[port.node]) if port.node else port.known for port in network.outputs]


def check(network: Network, inputs: tuple[Any, ...], wanted: list[Any]) -> None:
    for found, tensor in zip(computed(network, inputs), wanted, strict=True):
        expected = tensor.numpy()
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        largest = max(np.abs(expected.astype(np.float64)).max(initial=0), 1e-30)
        assert np.abs(found.astype(np.float64) - expected.astype(np.float64)).max(initial=0) <= BOUND * largest


@pytest.mark.parametrize("name", CASES)
def test_an_op(name: str) -> None:
    exported, inputs, wanted = program(CASES[name])
    check(network_of(exported, strict=True), inputs, wanted)


@pytest.mark.parametrize("name", CASES)
def test_an_op_in_core_ops(name: str) -> None:
    """As another tool may hand a program on. What PyTorch takes apart into ops that have no rule is told."""
    exported, inputs, wanted = program(CASES[name])
    core = exported.run_decompositions()
    if name in BY_SEVERAL_INDICES:
        with pytest.raises(CnnccError, match="places along several axes, or by a mask"):
            network_of(core, strict=True)
    else:
        check(network_of(core, strict=True), inputs, wanted)


BY_SEVERAL_INDICES = {
    "convolution: unfold",
    *(f"size: {name}" for name in ("nearest exact", "nearest of volumes", "nearest exact of volumes")),
    *(f"size: {name}" for name in ("bicubic", "trilinear")),
}
"""What PyTorch takes apart into places that several tensors name."""
ELSEWHERE = {"aten.sym_size"}
"""Ops that only programs with sizes that are not fixed have: `test_compile.py`."""


def test_every_rule_has_a_case() -> None:
    used = set()
    for case in CASES.values():
        exported, _, _ = program(case)
        for one in (exported, exported.run_decompositions()):
            used |= {op_name(node) for node in program_of(one).needed()}
    assert RULES.keys() - used == ELSEWHERE
