"""From graph to flat text: one op a line, no blocks, full names. Parsing the text gives an equal graph."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cnncc.base.errors import CnnccError
from cnncc.ir import Graph, Node
from cnncc.lang.forms import FORMS, MERGE_FORMS, MERGES, UNUSED, WORD, same_pad
from cnncc.ops import TABLE

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


def listing(values: Iterable[float]) -> str:
    return f"({', '.join(map(number, values))})"


def word(name: str, write: Write) -> Write:
    return lambda value: f"{name} {write(value)}"


def flag(name: str) -> Write:
    return lambda value: name


NUMBERS = (
    *("eps", "alpha", "beta", "k", "slope", "p", "value", "low", "high", "shift", "edge"),
    *("coefficient", "iou", "score"),
)
WORDS: Mapping[str, Write] = {
    "stride": lambda value: f"/{square(value)}",
    "pad": word("pad", pads),
    "dilation": word("dil", square),
    "groups": word("groups", str),
    "bias": flag("nobias"),
    "rounding": str,
    "output_pad": word("outpad", square),
    "count_include_pad": flag("countpad"),
    "mode": str,
    "align_corners": flag("align"),
    "size": word("size", str),
    "mean": word("mean", listing),
    "std": word("std", listing),
    "batch": word("batch", str),
    "resize": word("resize", by),
    "crop": word("crop", number),
    "filter": str,
    "order": str,
    "affine": flag("noaffine"),
    "axes": word("axes", commas),
    "axis": word("axis", str),
    "start": word("at", commas),
    "step": word("step", commas),
    "dims": word("to", by),
    "place": str,
    "outside": str,
    "region": word("region", listing),
    "samples": word("samples", str),
    "images": word("images", str),
    "center": flag("center"),
    "sizes": word("sizes", by),
    "wrap": flag("wrap"),
    "reduction": str,
    "depth": word("depth", str),
    "exclude_outside": flag("exclude_outside"),
    "antialias": flag("antialias"),
    "largest": flag("smallest"),
    "indices": flag("indices"),
    "last": flag("last"),
    "scale": word("scale", lambda value: listing(value) if isinstance(value, tuple) else number(value)),
    **{name: word(name, number) for name in NUMBERS},
}
"""How each attribute is written if it is not the default."""
POSITIONAL: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "input": lambda a: by(a["dims"]),
    "const": lambda a: by(a["dims"]),
    "reshape": lambda a: by(a["dims"]),
    "conv": lambda a: f"{by(a['kernel'])} {a['out']}",
    "conv_transpose": lambda a: f"{by(a['kernel'])} {a['out']}",
    "fc": lambda a: str(a["out"]),
    "maxpool": lambda a: by(a["kernel"]),
    "argmaxpool": lambda a: by(a["kernel"]),
    "avgpool": lambda a: by(a["kernel"]),
    "slice": lambda a: f"{a['start']}:{a['stop']}",
    "crop": lambda a: f"{a['top']},{a['left']} {a['height']}x{a['width']}",
    "upsample": lambda a: square(a["scale"]),
    "pad": lambda a: pads(a["pad"]),
    "permute": lambda a: by(a["split"]),
    "expand": lambda a: by(a["dims"]),
    "strided_slice": lambda a: by(a["dims"]),
    "take": lambda a: commas(a["indices"]),
    "unfold": lambda a: by(a["kernel"]),
    "group_norm": lambda a: str(a["groups"]),
    "topk": lambda a: str(a["k"]),
    "power": lambda a: number(a["exponent"]),
    "resize": lambda a: by(a["size"]),
    "unpool": lambda a: by(a["size"]),
    "roi_align": lambda a: by(a["size"]),
    "nms": lambda a: str(a["most"]),
}
"""What follows the word of each op, by position."""


def taken(op: str) -> set[str]:
    """Attributes written by position."""
    form = MERGE_FORMS[op] if op in MERGES else FORMS[WORD[op]]
    return {name for packed, _ in form.positional for name in packed.split("+")}


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
    if (graph.outputs, graph.ports) != ((current,), ("",)) or graph.nodes[-1].op == "input":
        lines += [output(*pair) for pair in zip(graph.outputs, graph.ports, strict=True)]
    return "\n".join(lines) + "\n"


def output(value: str, port: str) -> str:
    """`output`, `output VALUE`, `output as NAME` or `output VALUE as NAME`."""
    return " ".join(["output", *([name_text(value)] if value else []), *(["as", name_text(port)] if port else [])])


def unused(graph: Graph, node: Node) -> str:
    """The word after an input that nothing reads; an empty text for other nodes."""
    return f" {UNUSED}" if node.op == "input" and not graph.users(node.name) and node.name not in graph.outputs else ""


def refuse_lowered(node: Node) -> None:
    """CnnccError for a node that the language has no text for."""
    known = node.op in WORD or node.op in MERGES
    if not known or node.attrs.get("epilogue") or node.type.block != 1:
        raise CnnccError(f"{node.name}: passes have lowered this {node.op}; only an original network has a text")


def commented(lines: list[str], graph: Graph) -> list[str]:
    """The lines with the shapes of their results."""
    width = min(WIDEST, max(map(len, lines)))
    nodes = iter(graph.nodes)

    def comment(line: str) -> str:
        is_node = not line.startswith(("net ", "from "))
        return f"{line:{width}}  # {by(next(nodes).type.shape[1:])}" if is_node else line

    return list(map(comment, lines))


def statement(node: Node) -> str:
    """One op with all its attributes; a merge with its arms."""
    if node.op in MERGES:
        arms = " | ".join(f"from {name_text(i)}" for i in node.inputs)
        return " ".join([f"{node.op} {{ {arms} }}", *further(node)])
    return " ".join([WORD[node.op], *further(node), *weights(node)])


def further(node: Node) -> list[str]:
    """What follows the word of an op, or the arms of a merge."""
    position = POSITIONAL.get(node.op)
    return [*([position(node.attrs)] if position else []), *attributes(node)]


def attributes(node: Node) -> list[str]:
    """The attributes that are not written by position, and are not what the parser would assume."""
    assumed = dict(TABLE[node.op].attributes)
    if node.op == "conv":
        assumed["pad"] = same_pad({key: node.attrs[key] for key in ("kernel", "dilation")}, ())["pad"]
    skip = taken(node.op) | {"epilogue"}
    return [WORDS[key](value) for key, value in node.attrs.items() if key not in skip and value != assumed[key]]


def weights(node: Node) -> list[str]:
    """The names of the constants, if they are not `<name>.<slot>`."""
    if all(name == f"{node.name}.{slot}" for slot, name in node.weights.items()):
        return []
    return ["weights", *(json.dumps(name) for name in node.weights.values())]
