"""The text of a graph, and the same graph under the names that the text gives."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cnncc.frontends.text.blocks import Block, compressed
from cnncc.frontends.text.labels import Labels, word
from cnncc.frontends.text.parts import Part, parts
from cnncc.frontends.text.phrase import Fill, written
from cnncc.frontends.text.tree import tree
from cnncc.ir import Constant, Graph, Node
from cnncc.lang.format import format_text
from cnncc.lang.print_net import attributes, by, name_text
from cnncc.lang.read import parse

WIDE = 100
"""Characters of an arm that stays on one line."""
NARROW = 60
"""Characters of a merge that stays on one line."""


@dataclass(frozen=True)
class Written:
    """A text; the graph it parses to, with the constants of the graph it was made of; that graph's names for nodes."""

    text: str
    graph: Graph
    renamed: dict[str, str]


def net_text(graph: Graph, sources: Mapping[str, str] | None = None, comment: str = "") -> Written:
    """The text of a source graph of batch 1: blocks, repeats, labels. `sources` are the names that
    constants had elsewhere; `comment` becomes the first lines."""
    sequence = tree(graph)
    top = parts(graph, sequence)
    labels = Labels(graph, sources or {})
    names = {n.name: labels.value(n.name) for n in graph.inputs}
    blocks, body = compressed(graph, top, labels.block)
    lines = [f"# {line}".rstrip() for line in comment.splitlines()]
    lines += [f"net {word(graph.name) or 'model'}"]
    lines += [input_line(node, names) for node in graph.inputs]
    for block in blocks:
        lines += block_lines(block)
    for part in body:
        lines.append(top_line(graph, part, labels, names))
    text = format_text("\n".join(lines) + "\n")
    return matched(graph, text, [n.name for n in graph.inputs] + [name for part in body for name in part.made])


def input_line(node: Node, names: dict[str, str]) -> str:
    """`input NAME 3x224x224`."""
    words = [w for w in attributes(node) if not w.startswith("batch ")]
    return " ".join(["input", names[node.name], by(node.attrs["dims"]), *words])


def top_line(graph: Graph, part: Part, labels: Labels, names: dict[str, str]) -> str:
    """A statement of the network with its label: on what has weights, or arms."""
    lines = list(statement(part, lambda hole: str(hole.value)))
    text = "\n".join(resolved(line, labels, names) for line in lines)
    weighty = any(graph[name].weights for name in part.made)
    if not part.made or not weighty or graph[part.made[0]].op == "const":
        return text
    several = part.arms is not None or len(part.made) > len(part.phrases) or part.times > 1
    label = labels.label(part.made if several else part.made[:1])
    return f"{label}: {text}" if label else text


def resolved(line: str, labels: Labels, names: dict[str, str]) -> str:
    """The line with names for values; they stand between NUL characters."""

    def name(match: re.Match[str]) -> str:
        if match[1] not in names:
            names[match[1]] = labels.value(match[1])
        return name_text(names[match[1]])

    return re.sub("\0([^\0]*)\0", name, line)


def block_lines(block: Block) -> list[str]:
    """The definition of a block."""
    params = ", ".join(p if default is None else f"{p}={default}" for p, default in block.params)
    fills = iter(block.fills)
    lines = [f"block {block.name}({params}) {{" if params else f"block {block.name} {{"]
    for part in block.body:
        lines += statement(part, lambda hole: next(fills))
    return [*lines, "}"]


def statement(part: Part, fill: Fill) -> Iterator[str]:
    """The lines of a statement. Holes are filled in the order in which they are written."""
    times = f" x{part.times}" if part.times > 1 else ""
    if part.arms is None:
        yield " ".join(phrase_text(p, fill) for p in part.phrases) + times
        return
    arms = [arm_text(arm, fill) for arm in part.arms]
    tail = "".join(f" {phrase_text(p, fill)}" for p in part.phrases[1:])
    head = phrase_text(part.phrases[0], fill)
    if sum(map(len, arms)) < NARROW and not any("\n" in arm for arm in arms):
        yield f"{head} {{ {' | '.join(arms)} }}{tail}{times}"
        return
    inner = "\n| ".join(arms) if arms[0] else "| " + "\n| ".join(arms[1:])
    yield f"{head} {{ {inner} }}{tail}{times}"


def phrase_text(words: Sequence[object], fill: Fill) -> str:
    """A phrase; the name of a value gets its closing NUL."""
    text = written(words, fill)  # type: ignore[arg-type]
    return f"{text}\0" if text.count("\0") == 1 else text


def arm_text(arm: Sequence[Part], fill: Fill) -> str:
    """An arm, on one line if it is short."""
    lines = [line for part in arm for line in statement(part, fill)]
    short = sum(map(len, lines)) < WIDE and not any("\n" in line for line in lines)
    return ("; " if short else "\n").join(lines)


def matched(graph: Graph, text: str, order: Sequence[str]) -> Written:
    """The graph of the text, node by node the one it was made of."""
    made = parse(text)
    assert len(order) == len(made.nodes) == len(graph.nodes), (len(order), len(made.nodes), len(graph.nodes))
    renamed = {old: new.name for old, new in zip(order, made.nodes, strict=True)}
    constants: dict[str, Constant] = {}
    for old, new in zip((graph[name] for name in order), made.nodes, strict=True):
        wanted = tuple(renamed[i] for i in old.inputs)
        attrs = {**old.attrs, "batch": 1} if old.op == "input" else dict(old.attrs)
        assert (old.op, wanted, attrs) == (new.op, new.inputs, dict(new.attrs)), (old, new)
        constants |= {new.weights[slot]: graph.constants[name] for slot, name in old.weights.items()}
    assert made.outputs == tuple(renamed[o] for o in graph.outputs), (made.outputs, graph.outputs)
    return Written(text, made.rebuild(made.nodes, constants=constants), renamed)
