"""What `cnncc run` does, from the files on the command line to the results. Imported when it runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cnncc.base.errors import CnnccError
from cnncc.cli import command, run_files, run_results, run_truth, screen

if TYPE_CHECKING:
    import argparse

    from cnncc.cli.run_results import Labels, Sink
    from cnncc.ir import Graph
    from cnncc.ir.ranged import Ranged
    from cnncc.runtime.model import Model


def run(args: argparse.Namespace) -> int:
    """Runs the network on all inputs; 0, or 2 if some file of a folder could not be read."""
    run_files.check_there(args.inputs)
    labels = run_results.read_labels(args.labels)
    if args.output:
        _check_output(args)
    loaded = _loaded(args)
    model = loaded.model
    run_results.check_labels(labels, model)
    sources = run_files.find(args.inputs, len(model.inputs))
    truth = run_truth.read_truth(args.truth, sources, labels)
    asked = args.truth or any(run_results.is_scores(port) for port in model.outputs)
    judge = run_truth.Judge(truth, model, loaded.exact()) if truth and asked else None
    failed = run_files.Unreadable()
    start = time.perf_counter()
    count = _run_all(args, model, sources, labels, failed, judge)
    if judge and not args.json:
        judge.show()
    if args.output and not (args.json or args.quiet):
        seconds = time.perf_counter() - start
        ports = ", ".join(screen.port_name(str(port)) for port in model.outputs)
        images = "1 image" if count == 1 else f"{count} images"
        print(f"wrote {args.output}: {images} in {seconds:.2f} s; {ports}")
    return failed.exit_code(len(sources))


def _run_all(
    args: argparse.Namespace,
    model: Model,
    sources: Sequence[run_files.InputFiles],
    labels: Labels,
    failed: run_files.Unreadable,
    judge: run_truth.Judge | None,
) -> int:
    """Runs all images and hands each result to where it goes; returns how many there were."""
    sinks = _sinks(args, model, judge)
    stop_at_once = any(isinstance(sink, run_results.Arrays) for sink in sinks)

    def fail(error: CnnccError) -> None:
        if stop_at_once:  # rows without names: nobody could tell which one is missing
            raise error
        failed.tell(error)

    done = 0
    with screen.progress(f"running {model.name}", _nobody_sees_results(args)) as report:
        for portion in run_files.portions(sources, run_files.ports_of(model), model.batch, fail):
            _run_portion(model, portion, sinks, labels, args.top, judge)
            done += len(portion.names)
            if report:
                report(f"running {model.name}", done, max(done, len(sources)))
    for sink in sinks:
        sink.close()
    return done


def _run_portion(
    model: Model,
    portion: run_files.Portion,
    sinks: Sequence[Sink],
    labels: Labels,
    top: int,
    judge: run_truth.Judge | None,
) -> None:
    start = time.perf_counter()
    outputs = model.run_many(*portion.arrays)
    each = round((time.perf_counter() - start) / len(portion.names) * 1e3, 3)
    columns = outputs if isinstance(outputs, tuple) else (outputs,)
    if judge:
        judge.add(portion.names, portion.arrays, columns)
    for files, *arrays in zip(portion.names, *columns, strict=True):
        described = [
            run_results.describe(port, array, labels, top) for port, array in zip(model.outputs, arrays, strict=True)
        ]
        for sink in sinks:
            sink.add({"inputs": list(files), "outputs": described, "milliseconds": each}, arrays)


def _sinks(args: argparse.Namespace, model: Model, judge: run_truth.Judge | None) -> list[Sink]:
    """Results are printed unless a file holds the same, better, or only how often they are right is wanted."""
    told = judge.to_json if judge and args.truth else None
    file = run_results.sink_for(args.output, model, told) if args.output else None
    if file is not None and not args.json and not isinstance(file, run_results.Arrays):
        return [file]
    if judge and args.quiet and not args.json:
        return [] if file is None else [file]
    shown = run_results.Json(None, told) if args.json else run_results.Printed()
    return [shown] if file is None else [shown, file]


def _nobody_sees_results(args: argparse.Namespace) -> bool:
    """Whether a bar is wanted: results on the terminal show by themselves how far it is."""
    return bool(args.json or args.output or not sys.stdout.isatty())


@dataclass(frozen=True)
class _Loaded:
    """The module to run, and what makes that of the network in float32, where it computes on bytes."""

    model: Model
    exact: Callable[[], Model | None] = lambda: None


def _loaded(args: argparse.Namespace) -> _Loaded:
    """The module to run: loaded, or compiled in this process."""
    if args.net.endswith(".so"):
        return _Loaded(command.load_module(args))
    from cnncc import api
    from cnncc.module.backends import for_this_machine
    from cnncc.module.listener import Listener

    command.fill_defaults(args)
    options = for_this_machine(command.options(args))
    network = command.read_source(args)
    graph = network.graph
    command.warn_of_random(graph, command.origin_of(network, args))

    def compiled(graph: Graph, ranged: Ranged | None) -> Model:
        with screen.progress(f"compiling {graph.name}") as report:
            built = api.build(graph, options, Listener(report), ranged=ranged)
            return network.declare(built.model(), outputs=False)

    exact = network.unquantised
    if exact is not None and network.ranged is not None and args.truth:
        hint = "give one size: --shape"
        raise CnnccError("--truth compares a network on bytes with float32, at one size of its range", hint=hint)
    return _Loaded(compiled(graph, network.ranged), lambda: None if exact is None else compiled(exact, None))


def _check_output(args: argparse.Namespace) -> None:
    """Before anything is compiled or run."""
    inputs = {
        "the labels": args.labels,
        "the classes": args.truth,
        **{f"the input {file}": file for file in args.inputs},
    }
    command.check_outputs(args, {"the result": Path(args.output)}, inputs)
    run_results.check_suffix(args.output)
