"""What a module says of itself, whatever it runs on: the network, its inputs and outputs, and the chosen kernels."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import cnncc
from cnncc import ops
from cnncc.base.dim import Extent, Symbol
from cnncc.ir import Graph, Node, TensorType
from cnncc.ir.text import print_graph
from cnncc.module.expressions import expression
from cnncc.module.keys import compiler_digest
from cnncc.module.names import c_name
from cnncc.module.program import Program
from cnncc.ops.source import picture, port_type
from cnncc.runtime.interface import FORMAT


def network(program: Program[Any]) -> dict[str, Any]:
    """Names, shapes and sizes of the network as written."""
    source, graph = program.source, program.graph
    return {
        "format": FORMAT,
        "name": graph.name,
        "symbol": c_name(graph.name),
        **ports(program),
        "params": sum(ops.params(source, n) for n in source.nodes),
        **layers_on_bytes(graph),
        "kernels": [{"node": n, "kernel": k, "why": w} for n, k, w in kernels(program)],
    }


def ports(program: Program[Any]) -> dict[str, Any]:
    """What depends on the size of the inputs: inputs, outputs, the multiply-adds for the most images, and a hash of the
    network; of a range of sizes, at the size in the middle."""
    return {
        "inputs": inputs(program.graph),
        "outputs": [_port(name, kind) for name, kind in program.outputs.items()],
        "macs": sum(ops.macs(program.source, n) for n in program.source.nodes),
        "source_sha256": hashlib.sha256(print_graph(program.source).encode()).hexdigest(),
    }


def inputs(graph: Graph) -> list[dict[str, Any]]:
    """The inputs of a source graph, and what is done to pictures for them."""
    return [{**_port(n.name, port_type(n)), **_preprocessing(n)} for n in graph.inputs]


def ranges(symbols: Sequence[Symbol], macs: Extent | None) -> dict[str, Any]:
    """The sizes that a caller chooses from ranges, and the one in the middle, for which kernels were chosen: what
    depends on the size and is one number is of this. `macs` are the multiply-adds at any of them, if they are known."""
    if not symbols:
        return {}
    chosen = [{"name": s.name, "least": s.least, "most": s.sizes[-1], "step": s.step} for s in symbols]
    middle = {s.name: s.sizes[s.middle] for s in symbols}
    known = {} if macs is None else {"macs_for": expression(macs)}
    return {"ranges": chosen, "middle": middle, **known}


def layers_on_bytes(graph: Graph) -> dict[str, Any]:
    """How many of the layers with weights multiply bytes, if any does."""
    weighted = [node for node in graph.nodes if "weight" in node.weights]
    on_bytes = [node for node in weighted if "weight_scale" in node.weights]
    return {"on_bytes": {"layers": len(on_bytes), "of": len(weighted)}} if on_bytes else {}


def kernels(program: Program[Any]) -> Sequence[tuple[str, str, str]]:
    """(node, kernel, why) of every call."""
    return [(c.node, c.kernel.name, s.why) for s in program.selections.values() for c in s.calls]


def flags(program: Program[Any]) -> dict[str, Any]:
    """The options that a network was compiled with."""
    options = program.options
    return {
        "batch": options.batch,
        "threads": program.threads,
        **{name: getattr(options, name) for name in ("max_error", "weights_dtype", "dtype", "tuned")},
    }


def compiler(**more: str) -> dict[str, str]:
    """Versions of what made a module."""
    own = {"cnncc": cnncc.__version__, "apache-tvm": version("apache-tvm")}
    return {**own, **more, "kernels_sha256": compiler_digest()}


def _port(name: str, kind: TensorType) -> dict[str, Any]:
    known = kind.quantization
    steps = {} if known is None else {"scale": known.scale, "zero": known.zero}
    return {"name": name, "shape": list(map(expression, kind.shape)), "dtype": kind.element.name, **steps}


def _preprocessing(node: Node) -> dict[str, Any]:
    """Mean and std that the module applies itself, and what is to be done to a picture before, where the network has
    them."""
    own = {key: node.attrs[key] for key in ("mean", "std") if node.attrs[key]}
    both: dict[str, Any] = {**picture(node.attrs), **own}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in both.items()}
