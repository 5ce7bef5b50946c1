"""What `cnncc compile --stop-after` prints: a graph, and after `plan_arena` where each value lies."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from cnncc.cli import command

if TYPE_CHECKING:
    import argparse

    from cnncc.ir import Node
    from cnncc.module.phases import Stage


def show(stage: Stage, args: argparse.Namespace) -> None:
    """Prints the stage as text, or as JSON if that is wanted."""
    if args.json:
        command.print_json({"name": stage.graph.name, "stop_after": args.stop_after, **_data(stage)})
    else:
        sys.stdout.write(stage.text())


def _data(stage: Stage) -> dict[str, Any]:
    """The nodes and outputs; with a plan also the arena, and for each node where its value lies."""
    graph, plan = stage.graph, stage.plan
    if plan is None:
        return {"nodes": [_node(node) for node in graph.nodes], "outputs": graph.outputs}
    places = stage.places()
    nodes = [{**_node(node), "place": places[node.name]} for node in graph.nodes]
    return {"nodes": nodes, "outputs": graph.outputs, "arena": {"bytes": plan.bytes, "bound": plan.bound}}


def _node(node: Node) -> dict[str, Any]:
    return {
        "name": node.name,
        "op": node.op,
        "inputs": node.inputs,
        "type": str(node.type),
        "attrs": dict(node.attrs),
        "weights": dict(node.weights),
    }
