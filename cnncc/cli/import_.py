"""`cnncc import`: an ONNX model as the text of a network, and its weights as safetensors."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnncc.base.errors import CnnccError
from cnncc.cli import changes, command, screen

if TYPE_CHECKING:
    import argparse

    from cnncc.frontends.network import Network
    from cnncc.ir import Node


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="an ONNX model, opset 7 or later")
    text = "the text to write (default: name of the model + .net); - is standard output, which gets the text alone"
    parser.add_argument("-o", "--output", metavar="FILE", help=text)
    what = "the weights to write (default: name of the text + .safetensors, where other commands look for them)"
    parser.add_argument("--weights", metavar="FILE", help=what)
    changes.add_changes(parser)
    command.add_json(parser)


def _run(args: argparse.Namespace) -> int:
    from cnncc import weights
    from cnncc.base import files

    if Path(args.model).is_dir():  # `.` has no name for the text either
        raise CnnccError(f"cannot read {args.model}: it is a folder")
    output = Path(args.output or Path(args.model).with_suffix(".net").name)
    if files.is_standard_output(output):
        return _to_standard_output(args)
    tensors = Path(args.weights) if args.weights else output.with_suffix(".safetensors")
    files.check_outputs({"the network": output, "the weights": tensors}, {"the model": args.model})
    with screen.progress(f"importing {args.model}"):
        network = _imported(args)
        weights.save(network.graph, tensors)
        files.write_whole(output, network.text)
    result = _result(args.model, output, tensors, network)
    if args.json:
        command.print_json(result)
    elif not args.quiet:
        _show(result)
    return command.EXIT_OK


def _to_standard_output(args: argparse.Namespace) -> int:
    """The text alone; the notes go to standard error, and weights only to the file that `--weights` names."""
    from cnncc import weights
    from cnncc.base import files
    from cnncc.base.errors import CnnccError

    if args.json:
        raise CnnccError("the text and the JSON of --json would both go to standard output", hint="name a file with -o")
    tensors = {"the weights": Path(args.weights)} if args.weights else {}
    files.check_outputs(tensors, {"the model": args.model})
    with screen.progress(f"importing {args.model}"):
        network = _imported(args)
        for path in tensors.values():
            weights.save(network.graph, path)
    for note in () if args.quiet else network.notes:
        print(f"note: {note}", file=sys.stderr)
    sys.stdout.write(network.text)
    return command.EXIT_OK


def _imported(args: argparse.Namespace) -> Network:
    """The network of the model. CnnccError for one with a range that breaks a rule at one of its sizes."""
    from cnncc.frontends import sources
    from cnncc.frontends.onnx.network import import_onnx
    from cnncc.module.ranged import check

    network = import_onnx(args.model, changes.shapes(args), args.name)
    if network.refused is not None:
        raise network.refused
    if (ranged := sources.ranged(network)) is not None:
        check(ranged)
    return network


def _result(model: str, output: Path, tensors: Path, network: Network) -> dict[str, Any]:
    graph = network.graph
    return {
        "name": graph.name,
        "model": model,
        "network": str(output),
        "weights": str(tensors),
        "lines": len(network.text.splitlines()),
        "ops": len(graph.nodes),
        "tensors": len(graph.constants),
        "inputs": [{"name": n.name, "shape": list(n.type.shape), **_range(n)} for n in graph.inputs],
        "outputs": [
            {"name": name, "shape": list(graph[value].type.shape)}
            for name, value in zip(graph.output_names, graph.outputs, strict=True)
        ],
        "notes": list(network.notes),
    }


def _range(node: Node) -> dict[str, str]:
    """The range of an input, if it has one; its shape is then that of the size in the middle."""
    from cnncc.base import size_ranges

    sizes = node.attrs["range"]
    return {"range": size_ranges.told(sizes)} if sizes else {}


def _show(result: dict[str, Any]) -> None:
    print(f"{result['network']}  {result['lines']} lines for {result['ops']} ops")
    tensors = result["tensors"]
    print(f"{result['weights']}  {tensors} tensor{'' if tensors == 1 else 's'}")
    for way in ("inputs", "outputs"):
        ports = (f"{screen.port_name(port['name'])} {port.get('range') or _by(port['shape'])}" for port in result[way])
        print(f"{way}: {', '.join(ports)}")
    for note in result["notes"]:
        print(f"note: {note}")


def _by(shape: list[int]) -> str:
    return "x".join(map(str, shape))


COMMAND = command.Command(
    name="import",
    help="write the network of an ONNX model as a text, and its weights as a safetensors file",
    examples="""
        cnncc import resnet50.onnx -o resnet50.net
        cnncc import detector.onnx -o detector.net --shape images=3x640x640
        cnncc import fcn.onnx --shape '3xhxw where h in 32..1024 step 32, w in 32..1024 step 32'
        cnncc compile resnet50.onnx -o resnet50.so       the same in one step
    """,
    configure=_configure,
    run=_run,
)
