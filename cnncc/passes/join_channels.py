"""Slices, concats and permutations of channels in a row become one move."""

from __future__ import annotations

from collections.abc import Collection

from cnncc.ir.graph import Graph, Node
from cnncc.ops import traits
from cnncc.ops.traits import Kind

Channel = tuple[str, int]
"""A channel of a value."""


def join_channels(g: Graph) -> Graph:
    """slice(shuffle(concat(x, y))) => pick(x, y).

    Must not fire without a permutation of channels among them: slices and concats may be free. Nor for vectors, for
    permutations of rows or columns, for a concat behind a permutation: its other arms may be computed in their places.
    What other nodes read, and outputs, are computed as before.
    """
    moves = {node.name: found for node in g.nodes if (found := _moved(g, node)) is not None}
    joined = _joined(g, moves)
    absorbed = _absorbed(g, moves, joined)
    sources: dict[str, tuple[Channel, ...]] = {}
    updates: dict[str, Node | None] = {}
    for node in g.nodes:
        if node.name in joined or node.name in absorbed:
            inputs = [sources[i] if i in absorbed else _own(g[i]) for i in node.inputs]
            every = [channel for channels in inputs for channel in channels]
            sources[node.name] = tuple(every[i] for i in moves[node.name])
            pick = _pick(g, node, sources[node.name])
            if node.name not in absorbed and pick != node:
                updates[node.name] = pick
    return g.replaced(updates) if updates else g


def _moved(g: Graph, node: Node) -> tuple[int, ...] | None:
    """Which channels of all its inputs the node has; None if it does more than move channels of images."""
    rule = traits(node).channels
    if rule is None or len(node.type.shape) != 4:
        return None
    return rule(tuple(g[name].type.shape for name in node.inputs), node.attrs)


def _joined(g: Graph, moves: Collection[str]) -> set[str]:
    """Permutations of channels, slices of these where all that read them are joined, and the concats in between."""
    found: set[str] = set()
    for node in g.nodes:
        if node.name in moves and (_permutes(node) or not found.isdisjoint(node.inputs)):
            found.add(node.name)
    while True:
        inner = {name for name in found if _read_by(g, name, found)}
        lone = {name for name in found - inner if _is_concat(g[name])}
        lone |= {name for name in found if not _permutes(g[name]) and inner.isdisjoint(g[name].inputs)}
        if not lone:
            return found
        found -= lone


def _absorbed(g: Graph, moves: Collection[str], joined: Collection[str]) -> set[str]:
    """The moves that only joined moves read, directly or through each other."""
    found: set[str] = set()
    for node in reversed(g.nodes):
        if node.name in moves and _read_by(g, node.name, {*joined, *found}):
            found.add(node.name)
    return found


def _read_by(g: Graph, name: str, readers: Collection[str]) -> bool:
    """Whether all that read a value, at least one, are among `readers`."""
    users = g.users(name)
    return bool(users) and not g.is_output(name) and all(user.name in readers for user in users)


def _permutes(node: Node) -> bool:
    """Whether the node can change the order of channels, and so is never free."""
    return not _is_concat(node) and traits(node).view is None


def _is_concat(node: Node) -> bool:
    return traits(node).kind is Kind.CONCAT


def _own(node: Node) -> tuple[Channel, ...]:
    return tuple((node.name, channel) for channel in range(node.type.shape[1]))


def _pick(g: Graph, node: Node, channels: tuple[Channel, ...]) -> Node:
    """The node that copies the channels to its name."""
    inputs = tuple(dict.fromkeys(name for name, _ in channels))
    first, at = {}, 0
    for name in inputs:
        first[name] = at
        at += g[name].type.shape[1]
    attrs = {"channels": tuple(first[name] + channel for name, channel in channels)}
    return node.with_(op="pick", inputs=inputs, attrs=attrs)
