"""What Python users call: compile a network into this process, load a compiled module, or build one to be written."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from cnncc.base import extras
from cnncc.base.errors import CnnccError, nearest, warn
from cnncc.machines import gpus
from cnncc.runtime.cpu import MOST_THREADS
from cnncc.runtime.load import load
from cnncc.runtime.model import Model

if TYPE_CHECKING:
    from cnncc.ir import Graph
    from cnncc.kernels.shared.choices import Choices
    from cnncc.machines.targets import Target
    from cnncc.module.cpu.build import Build
    from cnncc.module.cpu.emit import Progress
    from cnncc.module.gpu.build import CudaBuild
    from cnncc.module.program import Arena, Program

__all__ = ["DTYPES", "arena", "build", "compile", "load", "program"]

DTYPES = ("float32", "float16")
"""Of the operands of convolutions."""


def compile(
    source: str | os.PathLike[str],
    target: str = "host",
    weights: str | os.PathLike[str] | None = None,
    batch: int = 1,
    threads: int | None = None,
    seed: int | None = None,
    max_error: float = 1e-5,
    weights_dtype: str = "float32",
    progress: Progress | None = None,
    tune: float | None = None,
    dtype: str = "float32",
) -> Model:
    """Compiles a network and links it into this process.

    `source` is the path of a `.net` file or of an ONNX model, the name of a network of the zoo, or the text of a
    network.

    - `target`: a target that this machine can run; `cnncc targets` lists all.
    - `weights`: a file, safetensors, `.pth` or `.npz`. Without it, the `.safetensors` file beside the network with its
      name is read. If there is none either, weights are random.
    - `batch`: images of each run, at least 1.
    - `threads`: the most threads that a call may use, 1 to 256; by default the cores of the target.
    - `seed`: of random weights, at least 0. Random weights without a seed give a CnnccWarning.
    - `max_error`: by how much a faster algorithm (Winograd) may be off, as a share of the layer's largest output.
      0 turns these algorithms off.
    - `weights_dtype`: `float32`; with `float16` or `bfloat16` the weights of fc layers are rounded and stored in half
      the bytes, and arithmetic stays float32.
    - `progress`: a function, called with what is being done, how much of it is done, and how much there is.
    - `tune`: seconds in which kernels of convolutions are measured on this machine. Without it, a model of the
      processor picks them.
    - `dtype`: `float32`; on a GPU also `float16`: convolutions then multiply float16 on tensor cores. Sums and values
      stay float32.

    Returns a model of float32 arrays of shape (batch, c, h, w), or (batch, k) for vectors.
    Raises CnnccError if the network, its weights or an option is wrong, or if this machine cannot run the target.
    """
    extras.require(extras.COMPILER)
    from cnncc.frontends import sources
    from cnncc.machines import targets

    targets.check_name_runs_here(target)
    network = sources.read_source(source, weights, seed or 0)
    if network.weights is None and seed is None and network.graph.constants:
        name = network.graph.name
        warn(f"no weights for {name}: using random ones; give weights=FILE, or seed=0 if that is meant")
    model = build(
        network.graph,
        target,
        batch,
        threads,
        max_error=max_error,
        weights_dtype=weights_dtype,
        progress=progress,
        tune=tune,
        dtype=dtype,
    ).model()
    if network.notes:
        model.info["notes"] = list(network.notes)
    return network.declare(model)


def build(
    graph: Graph,
    target: str = "host",
    batch: int = 1,
    threads: int | None = None,
    keep_all: bool = False,
    max_error: float = 1e-5,
    weights_dtype: str = "float32",
    progress: Progress | None = None,
    on_pass: Callable[[str, Graph], object] | None = None,
    tune: float | None = None,
    dtype: str = "float32",
) -> Build | CudaBuild:
    """Compiles a graph with bound weights; the result links itself in-process or writes a shared object.

    With `tune`, kernels are first measured for so many seconds (those measured before cost none): the result then
    depends on the machine, and on what else it did. CnnccError if it cannot run code for the target, and for a
    network without inputs.
    """
    from cnncc.module.cpu.build import build_program

    if not graph.inputs:
        raise CnnccError(f"{graph.name} has no input: its outputs are constants, and there is nothing to compile")
    if dtype not in DTYPES:
        raise CnnccError(f"unknown dtype {dtype!r}", hint=nearest(dtype, DTYPES))
    if gpus.is_gpu(target):
        return _build_cuda(graph, target, batch, keep_all, max_error, weights_dtype, progress, on_pass, tune, dtype)
    if dtype != "float32":
        raise CnnccError(f"target {target} computes in float32, not {dtype}", hint="GPU targets have tensor cores")
    choices = None if tune is None else _tuned(graph, target, batch, threads, max_error, tune, progress)
    program = _program(graph, target, batch, threads, keep_all, max_error, on_pass, weights_dtype, choices)
    return build_program(program, progress)


def _build_cuda(
    graph: Graph,
    target: str,
    batch: int,
    keep_all: bool,
    max_error: float,
    weights_dtype: str,
    progress: Progress | None,
    on_pass: Callable[[str, Graph], object] | None,
    tune: float | None,
    dtype: str,
) -> CudaBuild:
    """As `build`; a GPU has no threads to set."""
    from cnncc.module.gpu.build import build_program
    from cnncc.module.gpu.program import make_program

    gpu = gpus.load(target)
    if tune is not None:
        raise CnnccError(f"target {target} cannot be tuned: its kernels are picked by a model", hint="leave --tune out")
    if weights_dtype != "float32":
        raise CnnccError(f"target {target} stores float32 weights only, not {weights_dtype}")
    if batch < 1:
        raise CnnccError(f"batch must be at least 1, got {batch}")
    return build_program(make_program(graph, gpu, batch, keep_all, max_error, on_pass, dtype), progress)


def _tuned(
    graph: Graph,
    target: str,
    batch: int,
    threads: int | None,
    max_error: float,
    seconds: float,
    progress: Progress | None,
) -> Choices:
    from cnncc.tune import tune

    if not 0 < seconds < math.inf:
        raise CnnccError(f"tuning needs a number of seconds above 0, got {seconds}")
    return tune(graph, *_setting(target, batch, threads), seconds, batch, max_error, progress)


def arena(
    graph: Graph, target: str = "host", batch: int = 1, threads: int | None = None, max_error: float = 1e-5
) -> Arena:
    """The memory a run would need; nothing is compiled, so weights need not be bound."""
    from cnncc.module.program import arena_of

    return arena_of(program(graph, target, batch, threads, max_error))


def program(
    graph: Graph, target: str = "host", batch: int = 1, threads: int | None = None, max_error: float = 1e-5
) -> Program:
    """The kernel calls of a network and the plan of its memory; nothing is compiled, so weights need not be bound."""
    return _program(graph, target, batch, threads, max_error=max_error)


def _program(
    graph: Graph,
    target: str,
    batch: int,
    threads: int | None,
    keep_all: bool = False,
    max_error: float = 1e-5,
    on_pass: Callable[[str, Graph], object] | None = None,
    weights_dtype: str = "float32",
    choices: Choices | None = None,
) -> Program:
    from cnncc.module.program import make_program

    chosen, count = _setting(target, batch, threads)
    return make_program(graph, chosen, batch, count, keep_all, max_error, on_pass, weights_dtype, choices)


def _setting(target: str, batch: int, threads: int | None) -> tuple[Target, int]:
    """The target of that name, and the number of threads; CnnccError for numbers that make no sense."""
    from cnncc.machines import targets

    if batch < 1 or (threads is not None and threads < 1):
        raise CnnccError(f"batch and threads must be at least 1, got {batch} and {threads}")
    if threads is not None and threads > MOST_THREADS:
        raise CnnccError(f"threads must be at most {MOST_THREADS}, got {threads}")
    chosen = targets.load(target)
    return chosen, chosen.cores if threads is None else threads
