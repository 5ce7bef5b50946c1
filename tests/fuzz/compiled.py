"""Holds a graph compiled into this process to the float64 reference: node by node, as delivered, image by image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import numpy as np

from cnncc import api, passes, weights
from cnncc.ir import Graph, Node
from cnncc.module.cpu.build import Build
from cnncc.ops import TABLE, reference
from cnncc.ops.synthetic import random_inputs
from cnncc.options import Options

EPSILON = 2.0**-23
"""Of float32: what an addition or a product is off by at the most, as a share of its result, with some to spare."""
LOOSE = 2e-5
"""Most of a Winograd convolution's error, which the tolerance of its op does not cover."""


class Mismatch(AssertionError):
    """A value of a compiled module is not what the reference says."""


def hold(graph: Graph, seed: int = 0) -> int:
    """Compile a graph with unbound weights and compare. The number of values that were compared.

    Each node's value is held to the reference of the very float32 numbers that it read, so that an error does not
    travel; then the module as it is delivered, where values share memory, to the one in which none do, bit by bit, with
    fewer images than it takes; and its two images to those that a module for one image gives.
    """
    bound = weights.bind(graph, seed=seed)
    arrays = list(random_inputs(passes.with_batch(bound, 2), seed).values())
    kept = cast(Build, api.build(bound, Options(batch=2, threads=2, keep_all=True)))
    compared = hold_nodes(kept, arrays)
    want = kept.model()(*arrays)
    hold_bits(
        "memory is shared",
        graph,
        cast(Build, api.build(bound, Options(batch=3, threads=2))).model()(*arrays),
        want,
    )
    one = cast(Build, api.build(bound, Options(batch=1, threads=1))).model()
    for i in range(2):
        alone = one(*(a[i : i + 1] for a in arrays))
        hold_bits(f"image {i} alone", graph, alone, [w[i : i + 1] for w in listed(want)])
    return compared


def listed(values: object) -> list[np.ndarray]:
    """The results of a model, which gives one array for one output."""
    return [values] if isinstance(values, np.ndarray) else list(cast("list[np.ndarray]", values))


def hold_bits(what: str, graph: Graph, got: object, want: object) -> None:
    """Mismatch where outputs differ; numbers that are none are alike."""
    for name, a, b in zip(graph.outputs, listed(got), listed(want), strict=True):
        if not np.array_equal(a, b, equal_nan=True):
            raise Mismatch(f"{name}: differs where {what}: {np.abs(a - b).max()}")


def hold_nodes(build: Build, arrays: list[np.ndarray]) -> int:
    """Mismatch where a value is not what its node makes of its inputs' values."""
    program = build.program
    names = program.source_names
    found = build.trace(*arrays)
    raw = dict(zip((n.name for n in program.graph.inputs), arrays, strict=True))
    values: dict[str, np.ndarray] = {}
    compared = 0
    for node in program.graph.nodes:
        read = (raw[node.name],) if node.op == "input" else tuple(values[i] for i in node.inputs)
        got = found.get(names.get(node.name, node.name))
        if got is None:  # a constant, an input or a view of one: nothing computes it
            values[node.name] = reference.evaluate(program.graph, node, read, np.dtype(np.float32))
            continue
        hold_node(program.graph, node, read, got)
        values[node.name] = got
        compared += 1
    return compared


def named(node: Node, read: tuple[np.ndarray, ...]) -> list[tuple[str, np.ndarray]]:
    """What a node reads, by name; an input reads itself."""
    return list(zip(node.inputs or (node.name,), read, strict=True))


def hold_node(graph: Graph, node: Node, read: tuple[np.ndarray, ...], got: np.ndarray) -> None:
    """Compare one value; where the inputs hold what is no finite number, only as far as the reference is finite."""
    args = tuple(r if graph[i].type.element.whole else r.astype(np.float64) for i, r in named(node, read))
    with np.errstate(all="ignore"):
        want, allowed = expected(graph, node, args)
    if got.shape != want.shape:
        raise Mismatch(f"{node.name} ({node.op}): shape {got.shape}, expected {want.shape}")
    sure = np.isfinite(want) & np.isfinite(allowed) & (np.abs(want) < 3e38)
    wrong = sure & ~(np.abs(got.astype(np.float64) - want) <= allowed)
    if all(np.isfinite(a).all() for a in args):
        wrong |= np.isnan(want) & ~np.isnan(got)
    if wrong.any():
        at = tuple(int(i) for i in np.unravel_index(int(wrong.argmax()), wrong.shape))
        text = f"{node.name} ({node.op} {dict(node.attrs)}, {[a.shape for a in args]}) at {at}"
        raise Mismatch(f"{text}: {got[at]!r}, expected {want[at]!r} +- {allowed[at]:.3g}; {wrong.mean():.1%} are off")


def expected(graph: Graph, node: Node, args: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The float64 value of a node, and by how much each element may be off: the tolerance of its op, and what the
    post-ops make of that, each with a tolerance of its own."""
    if reference.has_other_types(graph, node):
        value = reference.evaluate(graph, node, args, np.dtype(np.float64))
        return value.astype(np.float64), np.zeros(value.shape)  # integers, and what is computed of them, are exact
    post_ops = node.attrs.get("epilogue", ())
    adds = sum(name == "add" for name, _ in post_ops)
    own, extras = args[: len(args) - adds], iter(args[len(args) - adds :])
    plain = node.with_(attrs={**node.attrs, "epilogue": ()}) if post_ops else node
    value = reference.evaluate(graph, plain, own, np.dtype(np.float64))
    off = np.full(value.shape, share(node) * largest(value)) + rounding(node) * np.abs(value)
    for name, attributes in post_ops:
        value, off = applied(name, dict(attributes), value, off, extras)
    return value, off


def share(node: Node) -> float:
    """The tolerance of an op, as a share of its largest result."""
    return max(TABLE[node.op].tolerance, LOOSE if node.op == "conv" else 0.0)


def rounding(node: Node) -> float:
    """What rounding the attributes of a node to float32 may change, as a share of an element."""
    return EPSILON if any(isinstance(a, float) for a in node.attrs.values()) else 0.0


def applied(
    name: str, attrs: dict[str, object], value: np.ndarray, off: np.ndarray, extras: Iterator[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """An addition or an activation of values that are a little off."""
    if name == "add":
        total = value + next(extras)
        return total, off + EPSILON * np.abs(total)

    def of(x: np.ndarray) -> np.ndarray:
        return TABLE[name].reference((x,), {}, attrs)

    result = of(value)
    moved = np.maximum(np.abs(of(value + off) - result), np.abs(of(value - off) - result))
    return result, moved + (TABLE[name].tolerance + EPSILON) * largest(result)


def largest(values: np.ndarray) -> float:
    """The largest of the finite ones."""
    return float(np.abs(values[np.isfinite(values)]).max(initial=0.0))
