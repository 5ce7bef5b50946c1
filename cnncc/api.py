"""What Python users call: compile a network into this process, load a compiled module, or build one to be written."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from cnncc.errors import CnnccError
from cnncc.locate import find_net, find_weights
from cnncc.runtime.load import load
from cnncc.runtime.model import Model

if TYPE_CHECKING:
    from cnncc.codegen.build import Build
    from cnncc.codegen.emit import Progress
    from cnncc.codegen.program import Arena, Program
    from cnncc.ir import Graph

__all__ = ["arena", "build", "compile", "load"]


def compile(
    source: str | os.PathLike[str],
    target: str = "host",
    weights: str | os.PathLike[str] | None = None,
    batch: int = 1,
    threads: int | None = None,
    seed: int = 0,
    max_error: float = 1e-5,
    progress: Progress | None = None,
) -> Model:
    """Compiles a network (a `.net` file, a name of the zoo, or the text itself) and links it into this process.

    `weights` is a safetensors file; without one, the file beside the network with its name is taken, and where there
    is none either, weights are drawn from `seed`. `batch` is the number of images of
    every call. `max_error` is the share of a layer's largest output by which an algorithm with fewer operations
    (Winograd) may be off. `threads` is the largest number a call may use, by default the processors this process
    may use.
    Raises CnnccError for whatever is wrong with the network, the weights or the target.
    """
    from cnncc import lang, targets
    from cnncc import weights as weight_files
    from cnncc.runtime import cpu

    lacking = cpu.missing(targets.load(target).requires)
    if lacking:
        raise CnnccError(f"target {target}: this processor lacks {', '.join(lacking)}", hint="write a .so instead")
    graph = weight_files.bind(lang.read(find_net(source)), find_weights(source, weights), seed=seed)
    return build(graph, target, batch, threads, max_error=max_error, progress=progress).model()


def build(
    graph: Graph,
    target: str = "host",
    batch: int = 1,
    threads: int | None = None,
    keep_all: bool = False,
    max_error: float = 1e-5,
    progress: Progress | None = None,
    on_pass: Callable[[str, Graph], object] | None = None,
) -> Build:
    """Compiles a graph with bound weights; the result links itself in-process or writes a shared object."""
    from cnncc.codegen.build import build_program

    return build_program(_program(graph, target, batch, threads, keep_all, max_error, on_pass), progress)


def arena(
    graph: Graph, target: str = "host", batch: int = 1, threads: int | None = None, max_error: float = 1e-5
) -> Arena:
    """The memory a run would need; nothing is compiled, so weights need not be bound."""
    from cnncc.codegen.program import arena_of

    return arena_of(_program(graph, target, batch, threads, max_error=max_error))


def _program(
    graph: Graph,
    target: str,
    batch: int,
    threads: int | None,
    keep_all: bool = False,
    max_error: float = 1e-5,
    on_pass: Callable[[str, Graph], object] | None = None,
) -> Program:
    from cnncc import targets
    from cnncc.codegen.program import make_program

    if batch < 1 or (threads is not None and threads < 1):
        raise CnnccError(f"batch and threads must be at least 1, got {batch} and {threads}")
    chosen = targets.load(target)
    if threads is None:
        threads = chosen.cores
    return make_program(graph, chosen, batch, threads, keep_all, max_error, on_pass)
