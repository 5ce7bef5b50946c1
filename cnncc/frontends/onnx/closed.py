"""A graph that has been built, with its outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import count

from cnncc.frontends.network import ModelPort
from cnncc.frontends.onnx.faults import Faults
from cnncc.frontends.onnx.tidy import tidy
from cnncc.frontends.onnx.values import Builder
from cnncc.ir import Graph


@dataclass(frozen=True)
class Closed:
    """A graph and the outputs that it computes, or that are known."""

    graph: Graph
    outputs: tuple[ModelPort, ...]


def closed(
    b: Builder, name: str, ports: Sequence[ModelPort], faults: Faults, change: Callable[[Graph], Graph] = lambda g: g
) -> Closed:
    """The graph of what the outputs need, after a change and in short; NotImported if something is wrong with it."""
    computed = [port for port in ports if port.node]
    graph = b.graph(name, [port.node for port in computed], distinct(port.name for port in computed))
    with faults.at("the network as a whole"):
        graph = tidy(change(graph))
    faults.refuse()
    values = iter(graph.outputs)
    return Closed(graph, tuple(replace(port, node=next(values)) if port.node else port for port in ports))


def distinct(names: Iterable[str]) -> list[str]:
    """Names, the second of equal ones with `_2` behind it, and so on."""
    found: list[str] = []
    for name in names:
        numbered = (f"{name}_{i}" for i in count(2))
        found.append(name if name not in found else next(n for n in numbered if n not in found))
    return found
