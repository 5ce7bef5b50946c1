"""Texts of large networks, kept between processes: to look for blocks and repeats takes longer than to read a text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

from cnncc import ops
from cnncc.base import kept, resources
from cnncc.frontends.text.write import Written, matched, net_text
from cnncc.ir import Graph

WORTH_KEEPING = 60
"""Nodes from which a text is kept: with fewer it is found as soon as read."""

PARTS = ("frontends/text", "ir", "lang", "ops")
"""The sources that a text depends on."""


def kept_text(graph: Graph, sources: Mapping[str, str]) -> Written:
    """`net_text` of a graph, kept under all that it depends on. What was kept is read back like any other text."""
    key = key_of(graph, sources)
    if key and (body := kept.read(key)) and (known := again(graph, **json.loads(body))):
        return known
    written = net_text(graph, sources)
    if key:
        text = {"text": written.text, "order": [*written.renamed], "flat": written.flat}
        kept.write(key, json.dumps(text).encode())
    return written


def again(graph: Graph, text: str, order: list[str], flat: bool) -> Written | None:
    """A text that was found before; None if it is not read as the graph."""
    written = matched(graph, text, tuple(order))
    return replace(written, flat=flat) if written else None


def key_of(graph: Graph, sources: Mapping[str, str]) -> str:
    """The key of the text of a graph; nothing for a small one, and while a script has added ops."""
    if len(graph.nodes) < WORTH_KEEPING or ops.ADDED:
        return ""
    nodes = [(n.name, n.op, n.inputs, str(n.type), dict(n.attrs), dict(n.weights)) for n in graph.nodes]
    everything = (_sources_digest(), graph.name, graph.outputs, graph.ports, nodes, dict(sources))
    return hashlib.sha256(repr(everything).encode()).hexdigest()


@cache
def _sources_digest() -> str:
    digest = hashlib.sha256((resources.directory("grammars") / "net.lark").read_bytes())
    for part in PARTS:
        for source in sorted((resources.PACKAGE / part).glob("*.py")):
            digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()
