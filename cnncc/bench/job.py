"""What is measured, as files that every competitor's process reads: the network, its weights, the ONNX model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cnncc import lang, passes, weights
from cnncc.bench.peers import FLOAT32, LITERAL, require
from cnncc.frontends.onnx.export import write_onnx
from cnncc.ir import Graph
from cnncc.ops.quantized import is_on_bytes
from cnncc.ops.synthetic import random_inputs
from cnncc.options import DEFAULT, Options

if TYPE_CHECKING:
    from cnncc.frontends.sources import NetworkSource


@dataclass(frozen=True)
class Job:
    """One network for all competitors, in a folder where each may also write what it converts."""

    folder: Path
    graph: Graph
    """With its batch and without constants: names and shapes of inputs and outputs."""
    options: Options
    ports: tuple[list[str], list[str]]
    """What the ONNX model calls its inputs and outputs."""
    on_bytes: bool = False
    judge: str = ""
    """The competitor whose answers all others are compared with, one of `JUDGES`; empty where everybody computes in
    float32 and is compared with us."""

    @property
    def threads(self) -> int:
        """For every competitor."""
        assert self.options.threads is not None, "a comparison says how many"
        return self.options.threads

    @property
    def net(self) -> Path:
        return self.folder / "net.net"

    @property
    def weights(self) -> Path:
        return self.folder / "net.safetensors"

    @property
    def exact(self) -> tuple[Path, Path]:
        """The network in float32 and its weights."""
        return (
            (self.folder / "exact.net", self.folder / "exact.safetensors")
            if self.on_bytes
            else (self.net, self.weights)
        )

    @property
    def onnx(self) -> Path:
        return self.folder / "net.onnx"

    @property
    def program(self) -> Path:
        """What `torch.export.save` wrote of the network, where somebody did."""
        return self.folder / "net.pt2"

    @property
    def input_shapes(self) -> list[tuple[int, ...]]:
        return [node.type.shape for node in self.graph.inputs]

    @property
    def output_shapes(self) -> list[tuple[int, ...]]:
        return [self.graph[name].type.shape for name in self.graph.outputs]

    def inputs(self, seed: int) -> list[np.ndarray]:
        """Random float32 inputs, normally distributed once the network has normalised them."""
        return list(random_inputs(self.graph, seed).values())


def write_job(
    graph: Graph, folder: Path, options: Options, model: Path | None = None, exact: Graph | None = None
) -> Job:
    """Writes a source graph with bound weights to a folder, as text and weights for us and as ONNX for the peers: as
    `model` if that is given, which computes the same. `exact` is a graph on bytes as it was in float32, if known.

    CnnccError where `write_onnx` raises it.
    """
    batched = passes.with_batch(graph, options.batch)
    on_bytes = is_on_bytes(graph)
    if on_bytes and exact is None:
        require(["onnxruntime"])  # it says what is right
    names = [node.name for node in graph.inputs], list(graph.output_names)
    if exact is not None or (options.dtype != DEFAULT.dtype and not on_bytes):
        judge = FLOAT32
    else:
        judge = LITERAL if on_bytes else ""
    ports = names if model is None else _port_names(model)
    job = Job(folder, replace(batched, constants={}), options, ports, on_bytes, judge)
    _write(graph, job.net, job.weights)
    if exact is not None:
        _write(exact, *job.exact)
    if model is None:
        write_onnx(batched, job.onnx)
    else:
        job.onnx.symlink_to(model.resolve())
        if model.with_suffix(".pt2").exists():
            job.program.symlink_to(model.with_suffix(".pt2").resolve())
    return job


def _write(graph: Graph, text: Path, tensors: Path) -> None:
    text.write_text(lang.print_net(graph))
    weights.save(graph, tensors)


def own_model(source: str, found: NetworkSource, batch: int) -> Path | None:
    """The file of a network, if peers can be given it as it is: an ONNX model whose inputs and outputs are those of the
    graph, for the same number of images. Then they get what its exporter wrote, not what we make of it."""
    graph = found.graph
    declared = [*(found.inputs.get(node.name) for node in graph.inputs), *found.outputs]
    shapes = [node.type.shape for node in graph.inputs] + [graph[name].type.shape for name in graph.outputs]
    if found.scheme is not None:  # the file is the network in float32
        return None
    if Path(source).suffix != ".onnx" or batch != 1 or len(declared) != len(shapes) or found.weights != source:
        return None
    plain = all(
        d is not None and (d.dtype, d.shape, d.axes) == ("float32", shape, tuple(range(len(shape))))
        for d, shape in zip(declared, shapes, strict=True)
    )
    return Path(source) if plain and len(_port_names(Path(source))[0]) == len(graph.inputs) else None


@cache
def _port_names(model: Path) -> tuple[list[str], list[str]]:
    """Of the inputs that are no weights, and of the outputs. Reading a large model takes a while, so once."""
    import onnx

    graph = onnx.load(model, load_external_data=False).graph
    weights = {tensor.name for tensor in graph.initializer}
    return [p.name for p in graph.input if p.name not in weights], [p.name for p in graph.output]
