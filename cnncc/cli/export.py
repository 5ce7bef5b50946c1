"""`cnncc export`: a network with its weights as an ONNX model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnncc.cli import command, screen

if TYPE_CHECKING:
    import argparse

    from onnx import ModelProto, ValueInfoProto


def _configure(parser: argparse.ArgumentParser) -> None:
    command.add_net(parser)
    parser.add_argument("-o", "--output", metavar="FILE", help="the model to write (default: name of the net + .onnx)")
    parser.add_argument("--batch", type=command.positive, default=1, metavar="N", help="images per run (default: 1)")
    command.add_weight_options(parser)
    command.add_json(parser)


def _run(args: argparse.Namespace) -> int:
    from cnncc import passes
    from cnncc.frontends.onnx.export import write_onnx

    network = command.read_source(args)
    graph, origin = network.graph, command.origin_of(network, args)
    output = args.output or f"{graph.name}.onnx"
    command.check_outputs(args, {"the model": Path(output)})
    with screen.progress(f"writing {output}"):
        model = write_onnx(passes.with_batch(graph, args.batch), output, None if network.scheme else _text(args.net))
    result = {"name": graph.name, "model": output, "bytes": Path(output).stat().st_size, "weights": origin}
    result |= _about(model)
    if args.json:
        command.print_json(result)
    elif not args.quiet:
        _show(result)
    return command.EXIT_OK


def _text(net: str) -> str | None:
    """The text that a network was written in, for the model to carry; None for standard input and for models."""
    from cnncc.frontends import sources
    from cnncc.frontends.locate import find_net

    path = Path(find_net(net))
    return path.read_text(encoding="utf-8") if path.is_file() and not sources.is_foreign(net) else None


def _about(model: ModelProto) -> dict[str, Any]:
    return {
        "opset": model.opset_import[0].version,
        "ir_version": model.ir_version,
        "nodes": len(model.graph.node),
        "inputs": [_port(port) for port in model.graph.input],
        "outputs": [_port(port) for port in model.graph.output],
    }


def _port(port: ValueInfoProto) -> dict[str, Any]:
    return {"name": port.name, "shape": [d.dim_value for d in port.type.tensor_type.shape.dim]}


def _show(result: dict[str, Any]) -> None:
    print(f"{result['model']}  {screen.size(result['bytes'])}, {result['nodes']} nodes, opset {result['opset']}")
    for way in ("inputs", "outputs"):
        ports = (f"{port['name']} {'x'.join(map(str, port['shape']))}" for port in result[way])
        print(f"{way}: {', '.join(ports)}")
    print(f"weights: {result['weights']}")


COMMAND = command.Command(
    name="export",
    help="write a network with its weights as an ONNX model",
    examples="""
        cnncc export models/lenet5.net -o lenet5.onnx
        cnncc export resnet50 --weights resnet50.safetensors --batch 8 -o resnet50.onnx
        cnncc export resnet18 --seed 7 --json
    """,
    configure=_configure,
    run=_run,
)
