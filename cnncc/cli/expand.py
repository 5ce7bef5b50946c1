"""`cnncc expand`: the network with blocks and repeats written out."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from cnncc.cli import changes, command

if TYPE_CHECKING:
    import argparse

    from cnncc.ir import Graph


def _configure(parser: argparse.ArgumentParser) -> None:
    command.add_net(parser)
    changes.add_changes(parser)
    parser.add_argument("--no-shapes", action="store_true", help="leave out the comment with each result's shape")
    command.add_scales(parser)
    command.add_json(parser)


def _run(args: argparse.Namespace) -> int:
    from cnncc import lang

    graph = command.read_shown(args)
    text = lang.print_net(graph, shapes=not args.no_shapes).rstrip("\n") + "\n"
    if args.json:
        command.print_json(_plain(graph, text))
    else:
        sys.stdout.write(text)
    return command.EXIT_OK


def _plain(graph: Graph, text: str) -> dict[str, Any]:
    """The flat text, and each of its values."""
    values = [
        {"name": node.name, "op": node.op, "inputs": list(node.inputs), "shape": list(node.type.shape)}
        for node in graph.nodes
    ]
    outputs = {"outputs": list(graph.outputs), "output_names": list(graph.output_names)}
    return {"name": graph.name, "text": text, "values": values, **outputs}


COMMAND = command.Command(
    name="expand",
    help="print a network flat, blocks and repeats written out, with the shape of every result",
    examples="""
        cnncc expand models/resnet18.net
        cnncc expand resnet18 | cnncc summary -
        cnncc expand resnet18 --weights resnet18.int8.safetensors
        cnncc expand resnet18 --json | jq '.values[] | select(.op == "conv")'
    """,
    configure=_configure,
    run=_run,
)
