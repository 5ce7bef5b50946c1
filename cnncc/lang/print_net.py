"""From graph to flat text: one op a line, no blocks, full names. Parsing the text gives an equal graph."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from cnncc.base import size_ranges
from cnncc.base.dim import Symbol
from cnncc.base.errors import CnnccError
from cnncc.ir import Graph, Node
from cnncc.lang.forms import form_of, has_form
from cnncc.ops import TABLE, traits
from cnncc.ops.forms import Always, Form, Syntax
from cnncc.ops.source import UNUSED
from cnncc.ops.traits import Kind

BARE = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")
WIDEST = 72
"""The last column in which the comments with shapes may start. They start in one column."""

Write = Callable[[Any], str]


def name_text(name: str) -> str:
    """A name as the language writes it: in quotes if it has characters that bare names may not have."""
    return name if BARE.fullmatch(name) and name != "as" else json.dumps(name, ensure_ascii=False)


def by(sides: Iterable[int]) -> str:
    return "x".join(map(str, sides))


def commas(values: Iterable[int]) -> str:
    return ",".join(map(str, values))


def shape_with_range(both: tuple[Sequence[int], Sequence[int | Symbol]]) -> str:
    """`3x224x224`, or `3 x h x w`."""
    dims, sizes = both
    return size_ranges.written(sizes or dims)


def square(sides: tuple[int, int]) -> str:
    """`2`, or `2x1`."""
    return str(sides[0]) if sides[0] == sides[1] else by(sides)


def pads(sides: tuple[int, int, int, int]) -> str:
    """`1`, `1,2` or `0,1,0,1`."""
    if len(set(sides)) == 1:
        return str(sides[0])
    return ",".join(map(str, sides[:2] if sides[:2] == sides[2:] else sides))


def number(value: float) -> str:
    return repr(float(value))


def single(value: float) -> str:
    """A float32 by the fewest digits that tell it from all others."""
    import numpy as np

    return str(np.float32(value))


def listing(values: Iterable[float]) -> str:
    return f"({', '.join(map(number, values))})"


def pair(sides: tuple[int, int]) -> str:
    """`2,3`"""
    return ",".join(map(str, sides))


WRITERS: Mapping[Syntax, Write] = {
    Syntax.DIMS: by,
    Syntax.RANGED: shape_with_range,
    Syntax.WHERE: size_ranges.ranges,
    Syntax.SIZES: by,
    Syntax.SIDES: by,
    Syntax.KERNEL: by,
    Syntax.CHANNELS: str,
    Syntax.RESULTS: str,
    Syntax.COUNT: str,
    Syntax.NUMBER: number,
    Syntax.NUMBERS: listing,
    Syntax.FACTORS: listing,
    Syntax.PAIR: square,
    Syntax.PAIR_OR_ZERO: square,
    Syntax.PADS: pads,
    Syntax.BOUNDS: lambda ends: f"{ends[0]}:{ends[1]}",
    Syntax.CORNER: pair,
    Syntax.ORDER: commas,
    Syntax.POSITIONS: commas,
    Syntax.STEPS: commas,
    Syntax.AXIS: str,
    Syntax.INTEGER: str,
    Syntax.SCALE: single,
    Syntax.ELEMENT: str,
}
"""How the value of an attribute is written, so that it is read as it was."""


def taken(form: Form) -> set[str]:
    """Attributes written by position, and by no word."""
    by_word = {name for name, how in form.words.values() if how is Syntax.WHERE}
    return {name for packed, _ in form.positional for name in packed.split("+")} - by_word


def by_position(node: Node, form: Form) -> list[str]:
    """What follows the word of an op at once."""
    return [WRITERS[how](value(node, packed)) for packed, how in form.positional if isinstance(how, Syntax)]


def value(node: Node, packed: str) -> Any:
    """The value of an attribute, or of several as `a+b`."""
    names = packed.split("+")
    return node.attrs[packed] if len(names) == 1 else tuple(node.attrs[name] for name in names)


def worded(node: Node, form: Form, attribute: str) -> str:
    """An attribute behind its word, or by a word that is its value."""
    value = node.attrs[attribute]
    for word, (named, how) in form.words.items():
        if named == attribute and isinstance(how, Always) and how.value == value:
            return word
        if named == attribute and isinstance(how, Syntax):
            return f"{word}{'' if word == '/' else ' '}{WRITERS[how](value)}"
    raise CnnccError(f"{node.name}: the language has no words for {attribute} {value!r}")


def print_net(graph: Graph, shapes: bool = True) -> str:
    """The text of a graph, one line an op, without blocks; `parse` of it gives an equal graph.

    With `shapes`, a comment has the shape of each result. Raises CnnccError for a graph that passes have changed: fused
    ops and blocked layouts have no text."""
    lines = [f"net {name_text(graph.name)}"]
    current = None
    for node in graph.nodes:
        refuse_lowered(node)
        if len(node.inputs) == 1 and node.inputs[0] != current:
            lines.append(f"from {name_text(node.inputs[0])}")
        lines.append(f"{name_text(node.name)}: {statement(node)}{unused(graph, node)}")
        current = node.name
    if shapes:
        lines = commented(lines, graph)
    if (graph.outputs, graph.ports) != ((current,), ("",)) or traits(graph.nodes[-1]).kind is Kind.INPUT:
        lines += outputs(graph, current)
    return "\n".join(lines) + "\n"


def outputs(graph: Graph, current: str | None) -> Iterator[str]:
    """`output VALUE`, `output VALUE as NAME`, or, without a name, `output` where that is the current value."""
    for value, port in zip(graph.outputs, graph.ports, strict=True):
        if port:
            yield f"output {name_text(value)}" + (f" as {name_text(port)}" if port != value else "")
            continue
        if value != current:
            yield f"from {name_text(value)}"
        yield "output"
        current = value


def unused(graph: Graph, node: Node) -> str:
    """What an input that nothing reads needs behind it."""
    return (
        f" {UNUSED}"
        if traits(node).kind is Kind.INPUT and not graph.users(node.name) and node.name not in graph.outputs
        else ""
    )


def refuse_lowered(node: Node) -> None:
    """CnnccError for a node that the language cannot say."""
    if not has_form(node) or node.type.block != 1:
        raise CnnccError(f"{node.name}: passes have lowered this {node.op}; only an original network has a text")


def commented(lines: list[str], graph: Graph) -> list[str]:
    """The lines with the shapes of their results."""
    width = min(WIDEST, max(map(len, lines)))
    nodes = iter(graph.nodes)

    def comment(line: str) -> str:
        is_node = not line.startswith(("net ", "from "))
        return f"{line:{width}}  # {result(next(nodes))}" if is_node else line

    return list(map(comment, lines))


def result(node: Node) -> str:
    """`64x28x28`, and the numbers if they are not float32."""
    dims = by(node.type.shape[1:])
    return dims if node.type.is_float else f"{dims} {node.type.numbers}"


def statement(node: Node) -> str:
    """One op with all its attributes; a merge with its arms."""
    form = form_of(node)
    if form.arms:
        arms = " | ".join(f"from {name_text(i)}" for i in node.inputs)
        return " ".join([f"{form.word} {{ {arms} }}", *further(node)])
    return " ".join([form.word, *further(node), *weights(node)])


def further(node: Node) -> list[str]:
    """What follows the word of an op, or the arms of a merge."""
    return [*by_position(node, form_of(node)), *attributes(node)]


def attributes(node: Node) -> list[str]:
    """What is not by position and not what the parser would assume."""
    form = form_of(node)
    skip = taken(form) | {"epilogue"}
    return [worded(node, form, key) for key in node.attrs if key not in skip and not assumed(node, form, key)]


def assumed(node: Node, form: Form, key: str) -> bool:
    """Whether an attribute has the value that it gets where nothing is said of it."""
    rest = {name: value for name, value in node.attrs.items() if name != key}
    default = form.finish(rest, ()).get(key, TABLE[node.op].attributes[key])
    return bool(node.attrs[key] == default)


def weights(node: Node) -> list[str]:
    """The names of the constants, if they are not `<name>.<slot>`."""
    if all(name == f"{node.name}.{slot}" for slot, name in node.weights.items()):
        return []
    return ["weights", *(json.dumps(name) for name in node.weights.values())]
