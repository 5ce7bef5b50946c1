"""A program in pieces: those that can be compiled are, PyTorch runs what lies between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import replace
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node
from torch.fx.passes.infra.partitioner import CapabilityBasedPartitioner
from torch.fx.passes.operator_support import OperatorSupportBase

from cnncc.base.errors import CnnccError
from cnncc.frontends.network import Network
from cnncc.frontends.torch import trees
from cnncc.frontends.torch.network import read
from cnncc.frontends.torch.program import TorchPort, TorchProgram
from cnncc.frontends.torch.reader import refused
from cnncc.module.backends import for_this_machine
from cnncc.options import Options
from cnncc.torch.calls import array_of, copied, result_of, tensor_of
from cnncc.torch.compiled import linked

Tell = Callable[[str], None]


def in_pieces(
    exported: ExportedProgram, program: TorchProgram, options: Options, tell: Tell
) -> Callable[[Sequence[Any]], Any]:
    """What runs a program on its tensors; `tell` is given a line for each op that PyTorch runs, with the reason."""
    left = refused(program)
    for node, reason in left.items():
        tell(f"{program.label(node)}: {reason}")
    ports = program.graph.find_nodes(op="placeholder")
    known = [program.known.get(node) for node in ports]
    places = [i for i, node in enumerate(ports) if node not in program.known]
    outer, spec = divided(program, left.keys(), options, tell), exported.call_spec.out_spec

    def run(inputs: Sequence[Any]) -> Any:
        given = list(known)
        for i, tensor in zip(places, inputs, strict=True):
            given[i] = tensor
        return trees.unflatten(outer(*given), spec)

    return run


class Compilable(OperatorSupportBase):
    """Tells the partitioner of PyTorch which nodes can be compiled."""

    def __init__(self, left: Set[Node]) -> None:
        self.left = left

    def is_node_supported(self, submodules: Any, node: Node) -> bool:
        return not isinstance(node.target, str) and node not in self.left


def divided(program: TorchProgram, left: Set[Node], options: Options, tell: Tell) -> GraphModule:
    """The graph of a program with pieces that are compiled; the weights are still its arguments."""
    names = {node.name: name for node, name in program.names.items()}
    known = {node.name: tensor for node, tensor in program.known.items()}
    parts = CapabilityBasedPartitioner(program.owner, Compilable(left), allows_single_node_partition=True)
    outer = parts.fuse_partitions(parts.propose_partitions(), prefix="cnncc_")
    for call in outer.graph.find_nodes(op="call_module"):
        given = [node.name for node in call.args]
        inner = outer.get_submodule(str(call.target))
        found = piece_of(inner, given, known, names)
        if not found.inputs:  # what PyTorch reads of weights alone
            continue
        try:
            outer.set_submodule(str(call.target), CompiledPiece(found, options))
        except CnnccError as error:
            tell(f"{call.target}, a piece of {len(inner.graph.nodes)} nodes: {error.message}")
    return outer


def piece_of(inner: GraphModule, given: Sequence[str], known: dict[str, Any], names: dict[str, str]) -> TorchProgram:
    """A piece as the reader sees it; its arguments have these names in the whole program."""
    pairs = list(zip(inner.graph.find_nodes(op="placeholder"), given, strict=True))
    (end,) = inner.graph.find_nodes(op="output")
    ends = end.args[0] if isinstance(end.args[0], tuple | list) else (end.args[0],)
    return TorchProgram(
        inner,
        tuple(TorchPort.of(name, node) for node, name in pairs if name not in known),
        tuple(TorchPort.of("output" if len(ends) == 1 else f"output_{i}", node) for i, node in enumerate(ends)),
        {node: known[name] for node, name in pairs if name in known},
        {node: names[name] for node, name in pairs if name in names},
    )


class CompiledPiece(torch.nn.Module):
    """A piece of a graph, compiled. CnnccError if that cannot be."""

    def __init__(self, program: TorchProgram, options: Options) -> None:
        super().__init__()
        network = read(program)
        ports = program.graph.find_nodes(op="placeholder")
        self.places = [i for i, node in enumerate(ports) if node not in program.known]
        self.names = [given.name for given in program.inputs]
        types = [given.node.meta["val"].dtype for given in program.outputs]
        self.results = [result_of(port, kind) for port, kind in zip(network.outputs, types, strict=True)]
        self.single = not isinstance(program.graph.output_node().args[0], tuple | list)
        self.model = linked(network, for_this_machine(with_batch(options, network)))

    def forward(self, *given: Any) -> Any:
        arrays = [array_of(f"input {name!r}", given[i]) for i, name in zip(self.places, self.names, strict=True)]
        found = self.model(*arrays)
        computed = iter(found if isinstance(found, tuple) else (found,))
        results = [tensor_of(next(computed), r) if isinstance(r, torch.dtype) else copied(r) for r in self.results]
        return results[0] if self.single else tuple(results)


def with_batch(options: Options, network: Network) -> Options:
    """The options for as many images as the network is of."""
    return replace(options, batch=network.batch)
