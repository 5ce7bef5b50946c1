"""The text of a graph, and the same graph under the names that the text gives."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from cnncc.base.errors import CnnccError
from cnncc.frontends.text.blocks import BlockSearch, compressed
from cnncc.frontends.text.define import FoundBlock
from cnncc.frontends.text.labels import Labels, word
from cnncc.frontends.text.measure import NARROW, WIDE, effort, grouped
from cnncc.frontends.text.parts import Part, parts
from cnncc.frontends.text.phrase import Fill, Hole, Ref, written
from cnncc.frontends.text.statements import Sequence
from cnncc.frontends.text.tails import without_tails
from cnncc.frontends.text.tree import tree
from cnncc.ir import Graph, Node
from cnncc.lang.format import format_text
from cnncc.lang.forms import FORMS, RESERVED
from cnncc.lang.print_net import attributes, name_text, print_net, shape_with_range, unused
from cnncc.lang.read import parse
from cnncc.ops import traits
from cnncc.ops.traits import Kind

DEPTHS = (0, 2, 4, 8)
"""Arms inside each other in which values with names may be made: each is tried. The text that asks least of its
reader is written."""
QUOTED = RESERVED | FORMS["input"].words.keys()
"""Words that would be names of inputs only with difficulty for the reader: they stand in quotes."""


@dataclass(frozen=True)
class Written:
    """A text; the graph it parses to, with the constants of the graph it was made of; that graph's names for nodes."""

    text: str
    graph: Graph
    renamed: dict[str, str]
    flat: bool
    """Whether the text is a line an op, since one with blocks would not have been read as the same graph."""


@dataclass(frozen=True)
class DraftText:
    """A text before it is read back, and the nodes of the graph in the order in which the text makes them."""

    text: str
    order: tuple[str, ...]


def net_text(graph: Graph, sources: Mapping[str, str] | None = None, comment: str = "") -> Written:
    """The text of a source graph of batch 1: blocks, repeats, labels. `sources` are the names that
    constants had elsewhere; `comment` becomes the first lines.

    The text is read back before it is given out: it is that very graph, or a flat text is written. CnnccError for more
    ops than a text may have."""
    head = [f"# {line}".rstrip() for line in comment.splitlines()]
    search = BlockSearch()
    drafts = [draft(graph, way, sources or {}, head, search) for way in candidates(graph)]
    clearest_first = sorted(drafts, key=lambda d: effort(d.text))
    return next(filter(None, (checked(graph, d) for d in clearest_first)), None) or flat(graph, head)


def candidates(graph: Graph) -> list[Sequence]:
    """Ways to put the graph into statements, the one with fewest arms inside each other first."""
    trees = (*(tree(graph, deepest) for deepest in DEPTHS), tree(graph, 0, apart=True))
    return list(dict.fromkeys(way for found in trees for way in (found, without_tails(graph, found))))


def draft(
    graph: Graph, sequence: Sequence, sources: Mapping[str, str], head: list[str], search: BlockSearch
) -> DraftText:
    """The text with blocks, repeats and labels."""
    labels = Labels(graph, sources)
    blocks, body = compressed(graph, parts(graph, sequence), labels.block, search)
    lines = [*head, f"net {word(graph.name) or 'model'}", *(input_line(graph, node) for node in graph.inputs)]
    for block in blocks:
        lines += block_lines(block)
    lines += top_lines(graph, body, labels)
    order = (*(n.name for n in graph.inputs), *(name for part in body for name in part.made))
    return DraftText("\n".join(lines) + "\n", order)


def checked(graph: Graph, written: DraftText) -> Written | None:
    """The text in the one form; None if it is not read as the graph."""
    try:
        return matched(graph, format_text(written.text), written.order)
    except CnnccError:
        return None


def flat(graph: Graph, head: list[str]) -> Written:
    """The text of a line an op, under the names of the graph."""
    inputs = {n.name: n.with_(attrs={**n.attrs, "batch": 1}) for n in graph.inputs}
    text = print_net(replace(graph, nodes=tuple(inputs.get(n.name, n) for n in graph.nodes)), shapes=False)
    written = matched(graph, "\n".join([*head, text]), tuple(n.name for n in graph.nodes))
    assert written, f"the flat text of {graph.name} is not read as its graph"
    return replace(written, flat=True)


def input_line(graph: Graph, node: Node) -> str:
    """`input NAME 3x224x224`, under the name that the graph gives it."""
    bare = re.fullmatch(r"[A-Za-z_]\w*", node.name, re.ASCII) and not re.fullmatch(r"x\d\w*", node.name)
    name = node.name if bare and node.name not in QUOTED else json.dumps(node.name, ensure_ascii=False)
    words = [w for w in attributes(node) if not w.startswith("batch ")]
    shape = shape_with_range((node.attrs["dims"], node.attrs["range"]))
    return " ".join(["input", name, shape, *words]) + unused(graph, node)


def top_lines(graph: Graph, body: tuple[Part, ...], labels: Labels) -> Iterator[str]:
    """The statements of the network. One that makes values has a label if those have weights; or if its number, which
    would name it without, is the name of an input."""
    names = {n.name: n.name for n in graph.inputs}
    position = 0

    def fill(part: Hole | Ref) -> str:
        if isinstance(part, Hole):
            return str(part.value)
        if part.value not in names:
            names[part.value] = labels.value(part.value)
        return name_text(names[part.value])

    for group in grouped(body):
        text = "; ".join("\n".join(statement(part, fill)) for part in group)
        making = [part for part in group if part.made]
        label = top_label(graph, making, labels)
        if not label and any(str(position + i) in labels.taken for i in range(len(making))):
            label = labels.value(making[-1].made[-1])
        yield f"{label}: {text}" if label else text
        position += len(making)


def top_label(graph: Graph, making: list[Part], labels: Labels) -> str:
    """The label of a line that has weights, by what those are called; nothing if that says nothing."""
    made = [name for part in making for name in part.made]
    if not any(graph[name].weights for name in made) or traits(graph[made[0]]).kind is Kind.CONSTANT:
        return ""
    first, *more = making
    several = more or first.arms is not None or len(made) > len(first.phrases) or first.times > 1
    return labels.label(made if several else made[:1])


def block_lines(block: FoundBlock) -> list[str]:
    """The definition of a block."""
    params = ", ".join(p if default is None else f"{p}={default}" for p, default in block.params)
    fills = iter(block.fills)

    def fill(part: Hole | Ref) -> str:
        return block.values[part.value] if isinstance(part, Ref) else next(fills)

    lines = [f"block {block.name}({params}) {{" if params else f"block {block.name} {{"]
    lines += body_lines(block.body, fill)
    return [*lines, "}"]


def body_lines(body: tuple[Part, ...], fill: Fill) -> Iterator[str]:
    """The lines of statements without labels."""
    for group in grouped(body):
        yield "; ".join("\n".join(statement(part, fill)) for part in group)


def statement(part: Part, fill: Fill) -> Iterator[str]:
    """The lines of a statement. Holes are filled in the order in which they are written."""
    times = f" x{part.times}" if part.times > 1 else ""
    if part.arms is None:
        yield " ".join(written(p, fill) for p in part.phrases) + times
        return
    arms = [arm_text(arm, fill) for arm in part.arms]
    tail = "".join(f" {written(p, fill)}" for p in part.phrases[1:])
    head = written(part.phrases[0], fill)
    if sum(map(len, arms)) < NARROW and not any("\n" in arm for arm in arms):
        yield f"{head} {{ {' | '.join(arms)} }}{tail}{times}"
        return
    inner = "\n| ".join(arms) if arms[0] else "| " + "\n| ".join(arms[1:])
    yield f"{head} {{ {inner} }}{tail}{times}"


def arm_text(arm: tuple[Part, ...], fill: Fill) -> str:
    """An arm, on one line if it is short."""
    lines = list(body_lines(arm, fill))
    short = sum(map(len, lines)) < WIDE and not any("\n" in line for line in lines)
    return ("; " if short else "\n").join(lines)


def matched(graph: Graph, text: str, order: tuple[str, ...]) -> Written | None:
    """The graph that the text is read as, with the weights; None if it is not, node by node, the one it was made of.
    `order` is that of the nodes in the text. CnnccError if the text is refused."""
    made = parse(text)
    if not len(order) == len(made.nodes) == len(graph.nodes):
        return None
    renamed = {old: new.name for old, new in zip(order, made.nodes, strict=True)}
    pairs = [(graph[name], new) for name, new in zip(order, made.nodes, strict=True)]
    if not all(same_node(old, new, renamed) for old, new in pairs) or not same_ports(graph, made, renamed):
        return None
    constants = {new.weights[slot]: graph.constants[name] for old, new in pairs for slot, name in old.weights.items()}
    return Written(text, made.rebuild(made.nodes, constants=constants), renamed, flat=False)


def same_node(old: Node, new: Node, renamed: Mapping[str, str]) -> bool:
    """Whether nodes of two graphs compute the same."""
    attrs = {**old.attrs, "batch": 1} if traits(old).kind is Kind.INPUT else dict(old.attrs)
    inputs = tuple(renamed[i] for i in old.inputs)
    same = (old.op, inputs, old.weights.keys()) == (new.op, new.inputs, new.weights.keys())
    return same and attrs.keys() == new.attrs.keys() and all(equal(attrs[k], v) for k, v in new.attrs.items())


def equal(a: object, b: object) -> bool:
    """Whether attributes are equal; NaN is NaN."""
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b or (a != a and b != b)


def same_ports(graph: Graph, made: Graph, renamed: Mapping[str, str]) -> bool:
    """Whether two graphs have the same inputs and outputs, in the same order and under the same names. An output
    without a name may be called as its value is."""
    inputs = [n.name for n in graph.inputs] == [n.name for n in made.inputs]
    outputs = tuple(renamed[value] for value in graph.outputs)
    names = tuple(port or found for port, found in zip(graph.ports, made.ports, strict=True))
    return inputs and (outputs, names) == (made.outputs, made.ports)
