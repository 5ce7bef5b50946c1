"""`cnncc run`: a network or a compiled module on images or arrays."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cnncc.cli import command, screen

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    import numpy as np

T = TypeVar("T")
Labels = list[str] | None


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("net", metavar="NET|MODEL", help="a network as for `cnncc compile`, or a compiled .so")
    parser.add_argument("inputs", metavar="INPUT", nargs="+", help="images or .npy arrays; several are run one by one")
    parser.add_argument("--labels", metavar="FILE", help="class names, one a line or a JSON list")
    parser.add_argument("--top", type=command.positive, default=5, metavar="N", help="classes to print (default: 5)")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the result as .npy; one input, one output")
    command.add_build_options(parser)
    command.add_weight_options(parser)
    command.add_json(parser)


def _run(args: argparse.Namespace) -> int:
    labels = _read_labels(args.labels)
    model = _model(args)
    images = _groups(args.inputs, len(model.inputs), "inputs")
    results = []
    for batch in _groups(images, model.inputs[0].shape[0], "images a run"):
        arrays = [_load([files[i] for files in batch], port) for i, port in enumerate(model.info["inputs"])]
        start = time.perf_counter()
        outputs = model(*arrays)
        seconds = time.perf_counter() - start
        named = list(zip(model.outputs, outputs if isinstance(outputs, tuple) else (outputs,), strict=True))
        _save(args, named)
        for i, files in enumerate(batch):
            one = [(spec.name, array[i]) for spec, array in named]
            results.append(_result(files, one, seconds / len(batch), labels, args.top))
    if args.json:
        command.print_json(results)
    else:
        for result in results:
            _show(result)
    return command.EXIT_OK


def _model(args: argparse.Namespace) -> Any:
    """The module to run: loaded, or compiled in this process."""
    from cnncc import api

    if args.net.endswith(".so"):
        return api.load(args.net)
    graph, origin = command.read_bound(args)
    if origin.startswith("random"):
        print(f"cnncc: no weights for {graph.name}: using {origin}; give --weights FILE", file=sys.stderr)
    with screen.progress(f"compiling {graph.name}") as report:
        return api.build(graph, args.target, args.batch, args.threads, max_error=args.max_error, progress=report).model()


def _groups(items: Sequence[T], count: int, what: str) -> list[Sequence[T]]:
    """`items` in runs of `count`."""
    from cnncc.errors import CnnccError

    if len(items) % count:
        hint = "give one file for each input of each image"
        raise CnnccError(f"the network takes {count} {what}, got {len(items)}", hint=hint)
    return [items[i : i + count] for i in range(0, len(items), count)]


def _load(files: Sequence[str], port: dict[str, Any]) -> np.ndarray:
    """One batch for one input. A network with a mean or std normalises by itself and takes pixels of 0 to 255."""
    import numpy as np

    from cnncc import images

    as_they_are: tuple[Sequence[float], Sequence[float]] = ((0.0,), (1.0,))
    mean, std = as_they_are if port.get("mean") or port.get("std") else ((), ())
    return np.concatenate([images.load(file, port["shape"][1:], mean, std) for file in files])


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


def _save(args: argparse.Namespace, named: list[Any]) -> None:
    import numpy as np

    from cnncc.errors import CnnccError
    from cnncc.files import replacing

    if not args.output:
        return
    if len(named) > 1 or len(args.inputs) > 1:
        raise CnnccError("-o takes the result of one input file and one output")
    out = Path(args.output)
    try:
        with replacing(out) as scratch, scratch.open("wb") as file:
            np.save(file, named[0][1])
    except OSError as error:
        raise CnnccError(f"cannot write {out}: {error.strerror}") from error


def _show(result: dict[str, Any]) -> None:
    print(f"{' '.join(result['inputs'])}  ({result['milliseconds']:.2f} ms)")
    for output in result["outputs"]:
        if "top" not in output:
            shape = "x".join(map(str, output["shape"]))
            figures = ", ".join(f"{key} {output[key]:.6g}" for key in ("min", "max", "mean"))
            print(f"  {output['name']}  {shape}: {figures}")
        for row in output.get("top", ()):
            print(f"  {row['value']:10.6f}  {row['label']}")


COMMAND = command.Command(
    name="run",
    help="run a network or a compiled module on images or .npy arrays and print the best classes",
    examples="""
        cnncc run models/lenet5.net digit.png
        cnncc run resnet50.so cat.jpg --labels imagenet.txt --top 3
        cnncc run my.net x.npy -o y.npy
    """,
    configure=_configure,
    run=_run,
)
