"""The graph of a text that `cnncc.ir.text.print_graph` wrote: shows that the text says all of a graph."""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np

from cnncc.base.elements import ELEMENTS
from cnncc.base.errors import CnnccError, Span
from cnncc.ir.graph import Graph, Node
from cnncc.ir.text import NAME, Defaults
from cnncc.ir.types import Constant, Quantization, TensorType

WEIGHT = re.compile(rf"(\w+)=({NAME})\[([0-9x]*)( \w+)?\]")
NUMBERS_OF = r" (?P<element>\w+)(?: scale (?P<scale>\S+) zero (?P<zero>-?\d+))?"
OUTPUT = re.compile(rf"({NAME})(?: as ({NAME}))?")
GRAPH = re.compile(rf"graph ({NAME})")
RETURN = re.compile(rf"return {NAME}(?: as {NAME})?(?:, {NAME}(?: as {NAME})?)*")
NUMBERS = {"inf": math.inf, "nan": math.nan}
"""Numbers for which Python has no literal."""
NODE = re.compile(
    rf"(?P<name>{NAME}) : (?P<dims>[0-9]+(?:x[0-9]+)*)(?::c(?P<block>[0-9]+))?(?:{NUMBERS_OF})? = (?P<op>\w+)"
    rf"\((?P<inputs>(?:{NAME}(?:, {NAME})*)?)\)"
    rf"(?P<weights>(?: \w+={NAME}\[[0-9x]*(?: \w+)?\])*)(?: \{{(?P<attrs>.*)\}})?"
)


def parse_graph(text: str, defaults: Defaults | None = None) -> Graph:
    """The graph of a text, with unbound constants; `defaults` as it was printed. CnnccError with the line if it is
    no such text."""
    lines = [(i, line.strip()) for i, line in enumerate(text.splitlines(), start=1) if line.strip()]
    if len(lines) < 2:
        refuse(1, text.strip(), "expected a graph: `graph NAME`, nodes, `return NAMES`")
    graph_name = GRAPH.fullmatch(lines[0][1])
    if not graph_name:
        refuse(*lines[0], "expected `graph` and a name")
    (name,) = split_names(graph_name[1])
    outputs, ports = parse_outputs(*lines[-1])
    constants: dict[str, Constant] = {}
    nodes = tuple(parse_node(i, line, defaults or {}, constants) for i, line in lines[1:-1])
    return Graph(name, nodes, outputs, constants, ports)


def unquoted(text: str) -> str:
    """A name that `quoted` wrote; nothing is nothing."""
    return json.loads(text) if text.startswith('"') else text


def split_names(text: str) -> Iterator[str]:
    """The names of a comma-separated list."""
    return map(unquoted, re.findall(NAME, text))


def parse_outputs(number: int, line: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The values on a `return` line, and the names they are given as outputs."""
    if not RETURN.fullmatch(line):
        refuse(number, line, "expected `return` and a name")
    found = OUTPUT.findall(line.removeprefix("return "))
    return tuple(unquoted(value) for value, _ in found), tuple(unquoted(port) for _, port in found)


def parse_dims(text: str) -> tuple[int, ...]:
    """`1x3x8x8` as integers; nothing is ()."""
    return tuple(map(int, text.split("x"))) if text else ()


def parse_node(number: int, line: str, defaults: Defaults, constants: dict[str, Constant]) -> Node:
    """The node of a line; its constants are added to `constants`."""
    match = NODE.fullmatch(line)
    if not match:
        refuse(number, line, "expected `name : type = op(inputs) slot=constant[shape] {attributes}`")
    weights = {}
    for slot, quoted_name, dims, element in WEIGHT.findall(match["weights"]):
        (weights[slot],) = split_names(quoted_name)
        kind = ELEMENTS[element.strip() or "float32"]
        constants.setdefault(weights[slot], Constant(parse_dims(dims), element=kind))
    (name,) = split_names(match["name"])
    scale = match["scale"]
    quantization = None if scale is None else Quantization(float(np.float32(scale)), int(match["zero"]))
    element = ELEMENTS[match["element"] or "float32"]
    kind = TensorType(parse_dims(match["dims"]), int(match["block"] or 1), element, quantization)
    attrs = {**defaults.get(match["op"], {}), **parse_attrs(number, line, match["attrs"] or "")}
    return Node(name, match["op"], tuple(split_names(match["inputs"])), kind, attrs, weights)


class Numbered(ast.NodeTransformer):
    """Puts numbers in the place of `inf` and `nan`."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(NUMBERS[node.id]) if node.id in NUMBERS else node


def parse_attrs(number: int, line: str, text: str) -> dict[str, Any]:
    """`key=literal, ...` as a dict."""
    numbered = Numbered()
    try:
        call = ast.parse(f"dict({text})", mode="eval").body
        assert isinstance(call, ast.Call)
        if call.args or any(k.arg is None for k in call.keywords):
            refuse(number, line, "attributes are written key=value")
        return {str(k.arg): ast.literal_eval(numbered.visit(k.value)) for k in call.keywords}
    except (SyntaxError, ValueError) as error:
        raise CnnccError(f"bad attributes {{{text}}}", Span("<graph>", number, 1, len(line), line)) from error


def refuse(number: int, line: str, message: str) -> NoReturn:
    """CnnccError at a line of the text."""
    raise CnnccError(message, Span("<graph>", number, 1, max(1, len(line)), line))
