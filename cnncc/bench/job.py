"""What is measured, as files that every competitor's process reads: the network, its weights, the ONNX model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cnncc import lang, passes, weights
from cnncc.frontends.onnx.export import write_onnx
from cnncc.ir import Graph
from cnncc.options import Options
from cnncc.report import check


@dataclass(frozen=True)
class Job:
    """One network for all competitors, in a folder where each may also write what it converts."""

    folder: Path
    graph: Graph
    """With its batch and without constants: names and shapes of inputs and outputs."""
    options: Options

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
    def onnx(self) -> Path:
        return self.folder / "net.onnx"

    @property
    def input_names(self) -> list[str]:
        return [node.name for node in self.graph.inputs]

    @property
    def input_shapes(self) -> list[tuple[int, ...]]:
        return [node.type.shape for node in self.graph.inputs]

    @property
    def output_shapes(self) -> list[tuple[int, ...]]:
        return [self.graph[name].type.shape for name in self.graph.outputs]

    def inputs(self, seed: int) -> list[np.ndarray]:
        """Random float32 inputs, normally distributed once the network has normalised them."""
        return list(check.random_inputs(self.graph, seed).values())


def write_job(graph: Graph, folder: Path, options: Options) -> Job:
    """Writes a source graph with bound weights to a folder, as text and weights for us and as ONNX for the peers.

    CnnccError where `write_onnx` raises it.
    """
    batched = passes.with_batch(graph, options.batch)
    job = Job(folder, replace(batched, constants={}), options)
    job.net.write_text(lang.print_net(graph))
    weights.save(graph, job.weights)
    write_onnx(batched, job.onnx)
    return job
