"""A graph as text, and back: one node a line, for dumps and for the golden tests of passes.

    graph lenet5
    x : 1x1x32x32 = input() {dims=(1, 32, 32)}
    conv1 : 1x6x28x28 = conv(x) weight=conv1.weight[6x1x5x5] bias=conv1.bias[6] {out=6, kernel=(5, 5)}
    return conv1 as features

Given the default attributes of the ops, those are left out. Values of constants and places in the source are not
part of the text.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from cnncc.base.errors import CnnccError, Span
from cnncc.ir.graph import Graph, Node
from cnncc.ir.types import Constant, TensorType

Defaults = Mapping[str, Mapping[str, Any]]

PLAIN = r"[\w./-]+"
NAME = rf'(?:{PLAIN}|"(?:[^"\\]|\\.)*")'
WEIGHT = re.compile(rf"(\w+)=({NAME})\[([0-9x]*)\]")
OUTPUT = re.compile(rf"({NAME})(?: as ({NAME}))?")
GRAPH = re.compile(rf"graph ({NAME})")
RETURN = re.compile(rf"return {NAME}(?: as {NAME})?(?:, {NAME}(?: as {NAME})?)*")
NUMBERS = {"inf": math.inf, "nan": math.nan}
"""Numbers for which Python has no literal."""
NODE = re.compile(
    rf"(?P<name>{NAME}) : (?P<dims>[0-9]+(?:x[0-9]+)*)(?::c(?P<block>[0-9]+))? = (?P<op>\w+)"
    rf"\((?P<inputs>(?:{NAME}(?:, {NAME})*)?)\)(?P<weights>(?: \w+={NAME}\[[0-9x]*\])*)(?: \{{(?P<attrs>.*)\}})?"
)


def print_graph(graph: Graph, defaults: Defaults | None = None) -> str:
    """The text of a graph. `defaults` (op name to attributes, `cnncc.ops.DEFAULTS`) shortens it; without them all
    attributes are written."""
    lines = [f"graph {quoted(graph.name)}", *(node_line(graph, n, defaults or {}) for n in graph.nodes)]
    outputs = (output(*pair) for pair in zip(graph.outputs, graph.ports, strict=True))
    return "\n".join([*lines, f"return {', '.join(outputs)}", ""])


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


def node_line(graph: Graph, node: Node, defaults: Defaults) -> str:
    """`name : type = op(inputs) slot=constant[shape] {attributes}`."""
    weights = "".join(
        f" {slot}={quoted(name)}[{'x'.join(map(str, graph.constants[name].shape))}]"
        for slot, name in node.weights.items()
    )
    left_out = defaults.get(node.op, {})
    attrs = [f"{k}={literal(v)}" for k, v in node.attrs.items() if k not in left_out or not same(v, left_out[k])]
    braces = f" {{{', '.join(attrs)}}}" if attrs else ""
    inputs = ", ".join(map(quoted, node.inputs))
    return f"{quoted(node.name)} : {node.type} = {node.op}({inputs}){weights}{braces}"


def output(value: str, port: str) -> str:
    """`conv1`, or `conv1 as features`."""
    return f"{quoted(value)} as {quoted(port)}" if port else quoted(value)


def same(a: Any, b: Any) -> bool:
    """Equal, and printed alike: 1 is not 1.0 or True here."""
    return bool(a == b) and repr(a) == repr(b)


def quoted(name: str) -> str:
    """A name as it is, or as a JSON string if it has unusual characters."""
    return name if re.fullmatch(PLAIN, name) else json.dumps(name)


def literal(value: Any) -> str:
    """A Python literal, or `inf`, `-inf`, `nan`."""
    if isinstance(value, tuple):
        return f"({', '.join(map(literal, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    text = repr(value)
    assert ast.literal_eval(text) == value, f"attribute {value!r} is no literal"
    return text


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
    for slot, quoted_name, dims in WEIGHT.findall(match["weights"]):
        (weights[slot],) = split_names(quoted_name)
        constants.setdefault(weights[slot], Constant(parse_dims(dims)))
    (name,) = split_names(match["name"])
    kind = TensorType(parse_dims(match["dims"]), int(match["block"] or 1))
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
