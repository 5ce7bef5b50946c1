"""`cnncc compile`: a network text to one shared library and its header."""

from __future__ import annotations

import gc
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cnncc.base.files import write_whole
from cnncc.cli import changes, command, compile_web, emit, notices, screen, stage

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from cnncc.frontends.sources import NetworkSource
    from cnncc.ir import Graph
    from cnncc.module.built import Built
    from cnncc.module.cpu.build import Build
    from cnncc.module.phases import Stage
    from cnncc.module.program import Program


def _configure(parser: argparse.ArgumentParser) -> None:
    command.add_net(parser)
    what = "the module to write; others get its name and their own ending (default: name of the net + .so)"
    parser.add_argument("-o", "--output", metavar="FILE", help=what)
    changes.add_changes(parser)
    emit.add_options(parser)
    command.add_build_options(parser)
    command.add_weight_options(parser)
    command.add_weights_dtype(parser)
    command.add_tune(parser)
    what = "compile nothing; print the graph after this phase, one of those below"
    parser.add_argument("--stop-after", metavar="PHASE", help=what)
    parser.add_argument("--dump", metavar="DIR", help="write the graph after every phase into this directory")
    command.add_json(parser)


COLLECT_AFTER = 1_000_000
"""Objects made between two rounds of garbage collection, Python's 700 otherwise: nearly all that is made lives on."""


def _settle() -> None:
    """What a process that compiles once wants of Python and NumPy: a quarter less time if all objects are cached."""
    gc.set_threshold(COLLECT_AFTER)
    # Weights are packed by threads of our own: those of the BLAS would spin between small products.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _run(args: argparse.Namespace) -> int:
    _settle()
    web = not args.stop_after and compile_web.is_web(args)
    if not (web or args.stop_after):
        emit.check(args)
    if args.output and not web:
        _check_output(args, Path(args.output))
    network, *others = command.read_sizes(args)
    graph, origin = network.graph, command.origin_of(network, args)
    if web:
        compile_web.check_folder(graph, args)
    elif not (args.output or args.stop_after):
        _check_output(args, emit.default(graph.name, args))
    dump = _Dump(Path(args.dump) if args.dump else None)
    if args.stop_after:
        stage.show(_stage(graph, args, dump), args)
        return command.EXIT_OK
    notes = notices.current().messages()
    command.warn_of_random(graph, origin)
    made_of = {"notes": notes, "weights_from": command.named_origin(origin)}
    result = {**_compile([network, *others], args, dump, made_of), "weights": origin}
    if args.json:
        command.print_json(result)
    elif not args.quiet:
        (compile_web.show if web else _show)(result)
    return command.EXIT_OK


class _Dump:
    """Writes the graph after each phase to a numbered file, if there is a directory for them."""

    def __init__(self, directory: Path | None) -> None:
        self.directory = directory
        self.done = 0
        if directory:
            _make_folder(directory)

    def __call__(self, name: str, made: Stage) -> None:
        if self.directory:
            write_whole(self.directory / f"{self.done:02}_{name}.txt", made.text())
        self.done += 1


def _make_folder(path: Path) -> None:
    from cnncc.base.errors import CnnccError, reason

    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = "it is a file" if path.exists() else reason(error)
        raise CnnccError(f"cannot make folder {path}: {why}") from error


def _check_output(args: argparse.Namespace, name: Path) -> None:
    """Before a long compilation, that all files can be written."""
    from cnncc.base.files import check_replaceable
    from cnncc.module.roles import ROLES

    check_replaceable(name)  # a folder such as `.` has no name for a header
    command.check_outputs(args, {ROLES[kind]: path for kind, path in emit.files(args, name).items()})


def _stage(graph: Graph, args: argparse.Namespace, dump: _Dump) -> Stage:
    """What the phases up to `--stop-after` make of a graph, for the first target."""
    from cnncc import machines, passes
    from cnncc.module import phases
    from cnncc.module.backends import best_first
    from cnncc.module.listener import Listener

    options = command.options(args)
    best, *_ = best_first([machines.load(name) for name in options.targets])
    batched = passes.with_batch(graph, options.batch)
    return phases.run(batched, best, options, Listener(on_phase=dump), args.stop_after)


def _compile(
    sizes: Sequence[NetworkSource], args: argparse.Namespace, dump: _Dump, made_of: Mapping[str, Any]
) -> dict[str, Any]:
    from cnncc import api
    from cnncc.base import size_ranges
    from cnncc.module.listener import Listener

    start = time.perf_counter()
    graph, *others = (size.graph for size in sizes)
    ranged = sizes[0].ranged
    with screen.progress(f"compiling {graph.name}") as report:
        build = api.build(graph, command.options(args), Listener(report, dump), others, ranged)
        written = _write(replace(build, origin=_origin(args), **made_of), graph, args)
    return {
        "name": graph.name,
        **written,
        "target": args.target,
        "batch": args.batch,
        "threads": build.info["threads"],
        "sizes": [{node.name: list(node.type.shape[1:]) for node in size.graph.inputs} for size in sizes],
        "ranges": {} if ranged is None else {name: size_ranges.told(shape) for name, shape in ranged.shapes.items()},
        "weights_dtype": args.weights_dtype,
        "weight_bytes": build.weight_bytes,
        "arena_bytes": build.arena.total_bytes,
        "seconds": round(time.perf_counter() - start, 3),
        "kernels": [{"node": node, "kernel": kernel, "why": why} for node, kernel, why in build.kernels],
    }


def _write(build: Built[Program[Any]], graph: Graph, args: argparse.Namespace) -> dict[str, Any]:
    """What was written of a network, as the result says it."""
    if compile_web.is_web(args):
        return compile_web.write(cast("Build", build), compile_web.folder_of(graph, args))
    files = build.write(emit.files(args, Path(args.output or emit.default(graph.name, args))))
    first = next(iter(files.values()))
    return {
        "module": str(first),
        "header": str(files["h"]) if "h" in files else None,
        "files": {kind: str(path) for kind, path in files.items()},
        "bytes": first.stat().st_size,
    }


ORIGIN = ("net", "weights", "seed", "dtype", "shape")
"""The options that say which graph it was."""


def _origin(args: argparse.Namespace) -> dict[str, Any] | None:
    """Where the network and its weights come from, in the words of the command line; None for standard input."""
    if args.net == "-":
        return None
    return {**{key: getattr(args, key) for key in ORIGIN}, "shape": changes.plain(args.shape)}


def _arena_from(targets: str) -> str:
    """Where the memory of a run comes from, for people."""
    from cnncc import machines
    from cnncc.module.backends import backend_of

    return backend_of(machines.load(targets.split(",")[0])).arena_from


def _show(result: dict[str, Any]) -> None:
    seconds, weights = result["seconds"], screen.size(result["weight_bytes"])
    print(f"{result['module']}  {screen.size(result['bytes'])}, for {result['target']}, in {seconds:.1f} s")
    for path in list(result["files"].values())[1:]:
        print(f"{path}  {screen.size(Path(path).stat().st_size)}")
    for size in result["sizes"] if len(result["sizes"]) > 1 else ():
        ports = (f"{screen.port_name(name)} {'x'.join(map(str, dims))}" for name, dims in size.items())
        print(f"size: {', '.join(ports)}")
    for name, shape in result["ranges"].items():
        print(f"any size: {screen.port_name(name)} {shape}")
    largest = f" for {result['batch']} images" * (result["batch"] > 1)
    largest += " of the largest size" * (len(result["sizes"]) > 1 or bool(result["ranges"]))
    print(f"arena: {screen.size(result['arena_bytes'])}{largest} {_arena_from(result['target'])}")
    distinct = len({call["kernel"] for call in result["kernels"]})
    origin = (result["weights"] if result["weight_bytes"] else "none needed") + screen.stored_as(
        result["weights_dtype"]
    )
    print(f"weights: {weights}, {origin}; kernels: {distinct} for {len(result['kernels'])} calls, --json lists them")
    if "so" in result["files"]:
        run = f"cnncc run {result['files']['so']} IMAGE; or " if _runs_here(result["target"]) else ""
        print(f"next: {run}call it from C, see examples/c")


def _runs_here(target: str) -> bool:
    from cnncc import machines

    return any(not machines.load(name).unfit() for name in target.split(","))


def _notes() -> str:
    from cnncc.module import phases

    return f"phases, in order: {', '.join(phases.names())}"


COMMAND = command.Command(
    name="compile",
    help="compile a network to a shared library with its weights inside, and a C header beside it",
    examples="""
        cnncc compile models/resnet50.net -o resnet50.so
        cnncc compile models/resnet50.net -o resnet50 --emit so,a,h,hpp --weights-external
        cnncc compile resnet50 --target x86-64-v3 --weights resnet50.safetensors
        cnncc compile resnet50 --target x86-64-v2,x86-64-v3,x86-64-v4
        cnncc compile resnet50 --target aarch64 -o resnet50-arm.so
        cnncc compile lenet5 --target wasm32 -o web/
        cnncc compile model.onnx --name detector --shape image=3x640x640
        cnncc compile fcn.net --shape 3x224x224,3x320x480
        cnncc compile fcn.net --shape '3xhxw where h in 32..1024 step 32, w in 32..1024 step 32'
        cnncc compile models/lenet5.net --stop-after fold_batchnorm
        cnncc compile models/lenet5.net --dump phases/
    """,
    configure=_configure,
    run=_run,
    notes=_notes,
)
