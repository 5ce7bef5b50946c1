"""A graph as text: one node a line, for dumps. Tests read it back (`tests/graph_text.py`).

    graph lenet5
    x : 1x1x32x32 = input() {dims=(1, 32, 32)}
    conv1 : 1x6x28x28 = conv(x) weight=conv1.weight[6x1x5x5] bias=conv1.bias[6] {out=6, kernel=(5, 5)}
    q : 1x6x28x28 uint8 scale 0.02 zero 128 = quantize(conv1) {element='uint8', scale=0.019999999552965164, zero=128}
    return conv1 as features

Given the default attributes of the ops, those are left out. Values of constants and places in the source are not
part of the text.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from cnncc.base.dim import Symbol
from cnncc.base.elements import FLOAT32
from cnncc.ir.graph import Graph, Node
from cnncc.ir.types import Constant

Defaults = Mapping[str, Mapping[str, Any]]

PLAIN = r"[\w./-]+"
NAME = rf'(?:{PLAIN}|"(?:[^"\\]|\\.)*")'


def print_graph(graph: Graph, defaults: Defaults | None = None) -> str:
    """The text of a graph. `defaults` (op name to attributes, `cnncc.ops.DEFAULTS`) shortens it; without them all
    attributes are written."""
    lines = [f"graph {quoted(graph.name)}", *(node_line(graph, n, defaults or {}) for n in graph.nodes)]
    outputs = (output(*pair) for pair in zip(graph.outputs, graph.ports, strict=True))
    return "\n".join([*lines, f"return {', '.join(outputs)}", ""])


def node_line(graph: Graph, node: Node, defaults: Defaults) -> str:
    """`name : type = op(inputs) slot=constant[shape] {attributes}`."""
    weights = "".join(f" {slot}={constant(name, graph.constants[name])}" for slot, name in node.weights.items())
    left_out = defaults.get(node.op, {})
    attrs = [f"{k}={literal(v)}" for k, v in node.attrs.items() if k not in left_out or not same(v, left_out[k])]
    braces = f" {{{', '.join(attrs)}}}" if attrs else ""
    inputs = ", ".join(map(quoted, node.inputs))
    return f"{quoted(node.name)} : {node.type} = {node.op}({inputs}){weights}{braces}"


def constant(name: str, known: Constant) -> str:
    """`conv1.weight[6x1x5x5]`, and behind it the element if that is not float32."""
    element = "" if known.element == FLOAT32 else f" {known.element}"
    return f"{quoted(name)}[{'x'.join(map(str, known.shape))}{element}]"


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
    """A Python literal, or `inf`, `-inf`, `nan`; a size that a caller chooses as a tuple of its fields."""
    if isinstance(value, tuple):
        return f"({', '.join(map(literal, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Symbol):
        return f"({value.index}, {literal(value.name)}, {value.least}, {value.most}, {value.step})"
    text = repr(value)
    plain = value is None or type(value) in (bool, int, float, str)  # what these print is a literal
    assert plain or ast.literal_eval(text) == value, f"attribute {value!r} is no literal"
    return text
