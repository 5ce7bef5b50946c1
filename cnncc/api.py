"""What Python users call: compile a network into this process, load a compiled module, or build one to be written."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnncc import machines
from cnncc.base import extras
from cnncc.base.errors import CnnccError, warn
from cnncc.machines import Machine, targets
from cnncc.machines.targets import Target
from cnncc.module.listener import SILENT, Listener, Progress
from cnncc.options import DEFAULT, MANY_IMAGES, Options, split_targets
from cnncc.runtime.load import load
from cnncc.runtime.model import Model

if TYPE_CHECKING:
    from cnncc.frontends.input_shapes import SizesLike
    from cnncc.frontends.sources import NetworkSource
    from cnncc.ir import Graph
    from cnncc.ir.ranged import Ranged
    from cnncc.kernels.shared.choices import Choices
    from cnncc.module.built import Built
    from cnncc.module.cpu.program import CpuProgram
    from cnncc.module.program import Arena, Program

__all__ = ["Options", "arena", "build", "compile", "link", "load", "program"]


def compile(  # noqa: PLR0913 - keywords are what people want here
    source: str | os.PathLike[str],
    target: str | Sequence[str] = DEFAULT.targets,
    weights: str | os.PathLike[str] | None = None,
    batch: int | None = None,
    threads: int | None = DEFAULT.threads,
    seed: int | None = None,
    max_error: float = DEFAULT.max_error,
    weights_dtype: str = DEFAULT.weights_dtype,
    progress: Progress | None = None,
    tune: float | None = DEFAULT.tune,
    dtype: str = DEFAULT.dtype,
    shape: SizesLike | None = None,
    name: str | None = None,
) -> Model:
    """Compiles a network and links it into this process.

    `source` is the path of a `.net` file or of an ONNX model, the name of a network of the zoo, or the text of a
    network.

    - `target`: a target that this machine can run; `cnncc targets` lists all. Of several (a sequence, or names with
      commas between) the best that it can run is taken.
    - `weights`: a file, safetensors, `.pth` or `.npz`, or an ONNX model of the same network. Without it, the
      `.safetensors` file beside the network with its name is read. If there is none either, weights are random.
    - `batch`: the most images of a call; a call takes 1 to so many. By default 64 on a processor, where fewer images
      take only the time and the memory of these; 1 on a GPU, which always computes all.
    - `threads`: the most threads that a call may use, 1 to 256; by default the cores of the target.
    - `seed`: of random weights, at least 0. Random weights without a seed give a CnnccWarning.
    - `max_error`: by how much a faster algorithm (Winograd) may be off, as a share of the layer's largest output.
      0 turns these algorithms off.
    - `weights_dtype`: `float32`; with `float16` or `bfloat16` the weights of convolutions and fc layers are stored in
      half the bytes, and arithmetic stays float32.
    - `progress`: a function, called with what is being done, how much of it is done, and how much there is.
    - `tune`: seconds in which kernels of convolutions are measured on this machine. Without it, a model of the
      processor picks them.
    - `dtype`: `float32`; on a GPU also `float16`, `bfloat16`, `tf32` or `tf32x3`: convolutions then multiply that on
      tensor cores. On a processor that multiplies it `bfloat16`. With both types of 16 bits weights and the values
      between most layers are stored so. Sums stay float32.
    - `shape`: the shape of the input in place of the one that the network says, `(3, 320, 320)` or `"3x320x320"`; of
      several inputs a dictionary, `{"image": (3, 320, 320)}`. For an ONNX model the batch may stand before it.
      Several shapes, `"3x224x224,3x320x480"` or a list of tuples, make a model for several sizes, which takes arrays of
      each; `tune` measures the first. Ranges, `(3, range(32, 1025, 32), range(32, 4097, 8))` or `"3xhxw where h in
      32..1024 step 32, w in 32..4096 step 8"`, make a model for every size of them, as does a text whose input has
      ranges; `tune` measures the size in the middle. Equal ranges of an axis of several inputs are one size.
    - `name`: what the network is called in place of what it calls itself; functions in C begin with it.

    Returns a model of arrays of shape (n, c, h, w), or (n, k) for vectors, of n images: float32, unless the network
    says another type.
    Raises CnnccError if the network, its weights or an option is wrong, or if this machine cannot run the target.
    """
    extras.require(extras.COMPILER)
    from cnncc.frontends import sources
    from cnncc.frontends.input_shapes import sizes_by_name
    from cnncc.module.backends import for_this_machine

    options = for_this_machine(
        Options(split_targets(target), 1, threads, max_error, dtype=dtype, weights_dtype=weights_dtype, tune=tune)
    )
    options = replace(options, batch=most_images(options) if batch is None else batch)
    network, *others = sources.read_sizes(source, weights, seed or 0, sizes_by_name(shape), name)
    if network.weights is None and seed is None and network.graph.constants:
        warn(f"no weights for {network.graph.name}: using random ones; give weights=FILE, or seed=0 if that is meant")
    return link([network, *others], options, split_targets(target), progress)


def most_images(options: Options) -> int:
    """The most images of a call of a model in this process, if nobody says how many."""
    return MANY_IMAGES if machines.load(options.targets[0]).images_apart else DEFAULT.batch


def link(
    sizes: Sequence[NetworkSource],
    options: Options,
    targets: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Model:
    """The model of a network that has been read, at one or more sizes of its inputs, linked into this process. Its
    `save` writes a module for all `targets`, which may be others than those of `options`."""
    network, graphs = sizes[0], [size.graph for size in sizes]
    built = build(network.graph, options, Listener(progress), graphs[1:], network.ranged)
    model = built.model()
    named = replace(options, targets=tuple(targets or options.targets))
    model.saver = partial(_save, replace(built, notes=tuple(network.notes)), graphs, network.ranged, named)
    if network.notes:
        model.info["notes"] = list(network.notes)
    for number, size in enumerate(sizes):
        size.declare(model, number=number)
    return model


def _save(
    built: Built[Program[Any]],
    sizes: Sequence[Graph],
    ranged: Ranged | None,
    options: Options,
    path: str | os.PathLike[str],
    emit: str | Sequence[str],
) -> Mapping[str, Path]:
    """Writes what was built for all targets that were named, the first kind under the name that is given."""
    from cnncc.base.files import check_replaceable
    from cnncc.module.backends import backend_of
    from cnncc.module.roles import check_kinds, files_of, with_headers

    kinds = with_headers(emit.split(",") if isinstance(emit, str) else emit)
    if not kinds:
        raise CnnccError("emit names no kind of file", hint="e.g. ('so', 'h')")
    check_kinds(kinds, backend_of(machines.load(options.targets[0])).kinds, options.targets)
    check_replaceable(Path(path))
    if len(options.targets) > 1:  # this process runs the best of them
        graph, *further = sizes
        built = replace(build(graph, options, further=further, ranged=ranged), notes=built.notes)
    return built.write(files_of(kinds, Path(path)))


def build(
    graph: Graph,
    options: Options = DEFAULT,
    listener: Listener = SILENT,
    further: Sequence[Graph] = (),
    ranged: Ranged | None = None,
) -> Built[Program[Any]]:
    """Compiles a graph with bound weights; the result links itself in-process or writes a shared object.

    With `options.tune`, kernels are first measured for so many seconds (those measured before cost none): the result
    then depends on the machine, and on what else it did. Several targets share a module; the listener hears the phases
    of the best. `further` are the same network, with the same weights, for further sizes of its inputs: they share the
    module too, and weights are stored once. With `ranged`, the same network for a range of sizes, the module takes each
    of these; `graph` is then that of one size, for which kernels are measured.

    CnnccError if there is no code for a target, if targets cannot share a module, for options that a target cannot do,
    for a network without inputs, for graphs that are not one network, and for a size of the range that breaks a rule.
    """
    from cnncc.module.backends import backend_of, best_first
    from cnncc.module.lower import lower

    if not graph.inputs:
        raise CnnccError(f"{graph.name} has no input: its outputs are constants, and there is nothing to compile")
    chosen = best_first([machines.load(name) for name in options.targets])
    for machine in chosen:
        machine.check(options)
    if len(chosen) > 1:
        options = replace(options, threads=options.threads or max(machine.cores for machine in chosen))
    quiet = replace(listener, on_phase=None)
    backend = backend_of(chosen[0])
    programs = []
    for i, machine in enumerate(chosen):
        choices = _choices(graph, machine, options, listener)
        if ranged is not None:
            programs.append(backend.ranged(ranged, machine, options, choices, quiet if i else listener))
            continue
        first = lower(graph, machine, options, choices, quiet if i else listener)
        others = [lower(other, machine, options, choices, quiet, first.selections) for other in further]
        programs.append(backend.joined([first, *others]))
    return backend.build(programs, listener)


def _choices(graph: Graph, machine: Machine, options: Options, listener: Listener) -> Choices:
    """Kernels found by measuring, if that is wanted."""
    if not options.tuned:
        return {}
    from cnncc.tune import tune

    assert isinstance(machine, Target), "no other machine can be tuned"
    # Kernels are for one image, however many a run has.
    return tune(graph, machine, replace(options, batch=1), listener.progress)


def arena(graph: Graph, options: Options = DEFAULT) -> Arena:
    """The memory a run would need; nothing is compiled, so weights need not be bound."""
    return program(graph, options).arena


def program(graph: Graph, options: Options = DEFAULT) -> CpuProgram:
    """The kernel calls of a network on one processor and the plan of its memory; nothing is compiled, so weights need
    not be bound."""
    from cnncc.module.lower import lower

    return lower(graph, targets.load(",".join(options.targets)), options)
