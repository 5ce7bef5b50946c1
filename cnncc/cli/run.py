"""`cnncc run`: a network or a compiled module on images or arrays."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnncc.cli import command, run_files, screen

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    import numpy as np

    from cnncc.runtime.model import Model

Labels = list[str] | None


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("net", metavar="NET|MODEL", help="a network as for `cnncc compile`, or a compiled .so")
    parser.add_argument("inputs", metavar="INPUT", nargs="+", help="images or .npy arrays, one or a whole batch")
    parser.add_argument("--labels", metavar="FILE", help="class names, one a line or a JSON list")
    parser.add_argument("--top", type=command.positive, default=5, metavar="N", help="classes to print (default: 5)")
    what = "write the result of one run: .npy holds one output, .npz all of them by name"
    parser.add_argument("-o", "--output", metavar="FILE", help=what)
    command.add_build_options(parser)
    command.add_weight_options(parser)
    command.add_weights_dtype(parser)
    command.add_tune(parser)
    command.add_json(parser)
    command.hold_defaults(parser)


def _run(args: argparse.Namespace) -> int:
    labels = _read_labels(args.labels)
    if args.output:
        _check_output(args)
    model = _model(args)
    runs = run_files.group(args.inputs, model)
    if args.output:
        run_files.check_saved(args.output, len(runs), len(model.outputs))
    results = []
    for images in runs:
        arrays = [run_files.load([files[i] for files in images], port) for i, port in enumerate(model.info["inputs"])]
        start = time.perf_counter()
        outputs = model(*arrays)
        seconds = time.perf_counter() - start
        named = list(zip(model.outputs, outputs if isinstance(outputs, tuple) else (outputs,), strict=True))
        if args.output:
            run_files.save(Path(args.output), {port.name: array for port, array in named})
        for i, files in enumerate(run_files.images_of(images, len(arrays[0]))):
            one = [(spec.name, array[i]) for spec, array in named]
            results.append(_result(files, one, seconds / len(arrays[0]), labels, args.top))
    if args.json:
        command.print_json(results)
        return command.EXIT_OK
    for result in results:
        _show(result)
    if args.output:
        print(f"wrote {args.output}: {', '.join(map(str, model.outputs))}")
    return command.EXIT_OK


def _model(args: argparse.Namespace) -> Model:
    """The module to run: loaded, or compiled in this process."""
    if args.net.endswith(".so"):
        return command.load_module(args)
    command.fill_defaults(args)
    graph, origin = command.read_bound(args)
    if command.is_random(origin):
        print(f"cnncc: no weights for {graph.name}: using {origin}; give --weights FILE", file=sys.stderr)
    with screen.progress(f"compiling {graph.name}") as report:
        return command.build(graph, args, report).model()


def _read_labels(file: str | None) -> Labels:
    import json

    from cnncc.errors import CnnccError

    if file is None:
        return None
    try:
        text = Path(file).read_text(encoding="utf-8")
        names = json.loads(text) if file.endswith(".json") else text.splitlines()
    except ValueError as error:
        raise CnnccError(f"{file}: not a list of class names: {error}") from error
    if not isinstance(names, list):
        raise CnnccError(f"{file}: expected a JSON list of class names, got {type(names).__name__}")
    return [str(name) for name in names]


def _result(files: Sequence[str], named: list[Any], seconds: float, labels: Labels, top: int) -> dict[str, Any]:
    outputs = [{"name": name, "shape": list(array.shape), **_describe(array, labels, top)} for name, array in named]
    return {"inputs": list(files), "outputs": outputs, "milliseconds": round(seconds * 1e3, 3)}


def _describe(array: np.ndarray, labels: Labels, top: int) -> dict[str, Any]:
    """The best classes of a score vector; range and mean of anything else."""
    if array.size == array.shape[0]:
        return {"top": _top(array.reshape(-1), labels, top)}
    return {"min": float(array.min()), "max": float(array.max()), "mean": float(array.mean())}


def _top(scores: np.ndarray, labels: Labels, count: int) -> list[dict[str, Any]]:
    from cnncc.errors import CnnccError

    if labels is not None and len(labels) != len(scores):
        raise CnnccError(f"--labels names {len(labels)} classes, the network has {len(scores)}")
    best = (-scores).argsort(kind="stable")[:count]
    return [{"index": int(i), "label": labels[i] if labels else f"class {i}", "value": float(scores[i])} for i in best]


def _check_output(args: argparse.Namespace) -> None:
    """Before anything is compiled or run."""
    inputs = {"the labels": args.labels, **{f"the input {file}": file for file in args.inputs}}
    command.check_outputs(args, {"the result": Path(args.output)}, inputs)


def _show(result: dict[str, Any]) -> None:
    print(f"{' '.join(result['inputs'])}  ({result['milliseconds']:.2f} ms)")
    for output in result["outputs"]:
        figures = ", ".join(f"{key} {output[key]:.6g}" for key in ("min", "max", "mean") if key in output)
        print(f"  {output['name']}  {'x'.join(map(str, output['shape']))}{f': {figures}' if figures else ''}")
        for row in output.get("top", ()):
            print(f"    {row['value']:10.6f}  {row['label']}")


COMMAND = command.Command(
    name="run",
    help="run a network or a compiled module on images or .npy arrays and print the best classes",
    examples="""
        cnncc run models/lenet5.net digit.png
        cnncc run resnet50.so cat.jpg --labels imagenet.txt --top 3
        cnncc run my.net x.npy -o y.npy
        cnncc run two_heads.net x.npy -o heads.npz
    """,
    configure=_configure,
    run=_run,
)
