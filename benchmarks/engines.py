"""The competitors: each makes a network ready to run, with the same weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from cnncc import locate
from cnncc.ir import Graph

Run = Callable[[Sequence[np.ndarray]], list[np.ndarray]]
SEED = 0
"""Of weights that come from no file."""


@dataclass(frozen=True)
class Job:
    """What is measured: a network text, images per run, threads per run."""

    net: str
    batch: int
    threads: int

    @property
    def weights(self) -> str | None:
        """The weights file beside the network, None where there is none and SEED decides."""
        return locate.find_weights(self.net, None)

    def graph(self) -> Graph:
        """The graph with its batch, weights not bound."""
        from cnncc import lang, passes

        return passes.with_batch(lang.read(self.net), self.batch)


@dataclass(frozen=True)
class Engine:
    """A network ready to run; `about` tells the version and what it was made for."""

    about: str
    run: Run


def cnncc_engine(job: Job) -> Engine:
    """cnncc, compiled for this machine into this process."""
    import cnncc

    model = cnncc.compile(job.net, weights=job.weights, seed=SEED, batch=job.batch, threads=job.threads)

    def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        result = model(*arrays)
        return list(result) if isinstance(result, tuple) else [result]

    return Engine(f"cnncc {cnncc.__version__} for {model.info['target']['cpu']}", run)


def onnxruntime_engine(job: Job) -> Engine:
    """ONNX Runtime on the processor, with all its graph optimisations, on the ONNX model of the same graph."""
    import onnxruntime

    from cnncc import weights
    from cnncc.frontends.export_onnx import to_onnx

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job.threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    model = to_onnx(weights.bind(job.graph(), job.weights, seed=SEED)).SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_inputs()]
    return Engine(f"ONNX Runtime {onnxruntime.__version__}", partial(_run_session, session.run, names))


def _run_session(call: Callable[..., list[np.ndarray]], names: list[str], arrays: Sequence[np.ndarray]) -> list:
    return call(None, dict(zip(names, arrays, strict=True)))


ENGINES: Mapping[str, Callable[[Job], Engine]] = {"cnncc": cnncc_engine, "ONNX Runtime": onnxruntime_engine}
OURS, PEER = ENGINES
