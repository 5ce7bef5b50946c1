"""Warnings about `input` lines that are legal, but most likely not what the author meant."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from cnncc.base.errors import Span, warn
from cnncc.ir import Graph, Node

WHITE = 255
"""The largest value of a pixel."""
COLOURS = (1, 3)
"""Channels that a picture has."""
LEAST_SIDE = 16
"""Pixels. If two sides have at least as many and the last is 3, the input is taken for a picture with channels last.
Pictures with shorter sides are not in use."""
PRODUCT = re.compile(r"input\s+(?:[A-Za-z_]\w*\s+)?(\d+(?:\s*\*\s*\d+)+)")
SCALE = 0.01
"""A `std` below this is no standard deviation: other tools write the factor 1/255 so."""


def doubt(graph: Graph) -> None:
    """Warns of `input` lines that seem to be written for another tool."""
    for node in graph.inputs:
        dims = node.attrs["dims"]
        if len(dims) == 1:
            _doubt_product(node, dims[0])
        if len(dims) == 3:
            _doubt_order(graph, node, dims)
            _doubt_scale(node, dims)


def _doubt_product(node: Node, size: int) -> None:
    """Warns of `3*32*32`. In the language it is a product; other tools write sizes so."""
    found = node.span and PRODUCT.search(node.span.text, node.span.column - 1)
    if found:
        sizes = "x".join(re.split(r"\s*\*\s*", found[1]))
        warn(f"input {found[1]} is a vector of {size} numbers", _at(node, found[1]), f"an image is written {sizes}")


def _doubt_order(graph: Graph, node: Node, dims: Sequence[int]) -> None:
    """Warns of `96x96x3`: channels come first. There is no warning if the network begins by turning the axes, nor for
    `64x100x1`, which may be a sequence; `28x28x1` is taken for a picture."""
    height, width, colours = dims
    square = height == width if colours == 1 else colours == 3
    if not square or min(height, width) < LEAST_SIDE:
        return
    if any(user.op == "permute" for user in graph.nodes if node.name in user.inputs):
        return
    message = f"input {height}x{width}x{colours} has {height} channels, of {width}x{colours} pixels each"
    warn(
        message,
        _at(node, f"{height}x{width}x{colours}"),
        f"channels come first: {colours}x{height}x{width} if the last number is the colours",
    )


def _doubt_scale(node: Node, dims: Sequence[int]) -> None:
    """Warns of a mean and std for pixels from 0 to 1: pixels are 0 to 255 here."""
    mean, std = (tuple(node.attrs[name]) for name in ("mean", "std"))
    if dims[0] not in COLOURS or not _is_of_unit(mean, std):
        return
    written = " ".join(f"{name} ({_listed(values)})" for name, values in (("mean", mean), ("std", std)) if values)
    warn(
        f"input: {written} are for pixels of 0 to 1, and pixels are 0 to 255 here",
        _at(node, "mean", "std"),
        f"write {_likely(mean, std)}; right as it is for arrays of 0 to 1",
    )


def _at(node: Node, *words: str) -> Span | None:
    """The place of the first of some words after the op, or the place of the op if there is none."""
    span = node.span
    if span is None:
        return None
    behind = span.column - 1 + span.length
    found = re.compile("|".join(rf"\b{re.escape(word)}\b" for word in words)).search(span.text, behind)
    return replace(span, column=found.start() + 1, length=len(found[0])) if found else span


def _is_of_unit(mean: Sequence[float], std: Sequence[float]) -> bool:
    """Whether the numbers are for pixels from 0 to 1: none fits pixels up to 255, and not all are without effect."""
    small = all(abs(value) <= 1 for value in (*mean, *std))
    return small and (any(mean) or any(value != 1 for value in std))


def _likely(mean: Sequence[float], std: Sequence[float]) -> str:
    """The line to write for pixels up to 255: (x / 255 - m) / s is (x - 255 m) / (255 s)."""
    if std and max(map(abs, std)) < SCALE:
        std = ()
    own = [f"mean ({_listed([WHITE * m for m in mean])})"] if any(mean) else []
    return " ".join([*own, f"std ({_listed([WHITE * s for s in std or (1,)])})"])


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.6g}" for value in values)
