"""How an op is written, with holes for the whole numbers in which equal pieces of a network differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cnncc.ir import Graph, Node
from cnncc.lang.forms import WORD, depth_to_space, same_pad, shuffle, space_to_depth
from cnncc.lang.print_net import attributes, by, statement


@dataclass(frozen=True)
class Hole:
    """A whole number; `kind` says what of: `out` are channels, counted or by their place."""

    kind: str
    value: int


@dataclass(frozen=True)
class Ref:
    """A value of the graph, by its name there."""

    value: str


Phrase = tuple[str | Hole | Ref, ...]
Fill = Callable[[Hole | Ref], str]


def written(parts: Sequence[str | Hole | Ref], fill: Fill) -> str:
    """The text, with holes filled; a stride of 1 is not written."""
    words: list[str] = []
    for part in parts:
        if isinstance(part, str):
            words.append(part)
            continue
        text = fill(part)
        if isinstance(part, Ref):
            words.append(text)
        elif part.kind == "stride":
            words.append("" if text == "1" else f" /{text}")
        elif part.kind == "kernel":
            side = text if text.isdigit() else f"({text})"
            words.append(f"{side}x{side}")
        else:
            words.append(text)
    return "".join(words)


def phrase(graph: Graph, node: Node, then: Node | None, word: str = "") -> Phrase:
    """An op that is followed by another in its statement, or by none."""
    if node.op in ("conv", "conv_transpose", "maxpool", "avgpool"):
        return window(graph, node, then, word)
    if node.op == "fc":
        return ("fc ", Hole("out", node.attrs["out"]), bias(node, then))
    if node.op == "slice":
        return ("slice ", Hole("out", node.attrs["start"]), ":", Hole("out", node.attrs["stop"]))
    if node.op == "group_norm":
        rest = "".join(f" {word}" for word in attributes(node))
        return ("group_norm ", Hole("groups", node.attrs["groups"]), rest)
    if node.op == "permute":
        return permutation(graph, node)
    return (statement(node.with_(weights={})),)


def bias(node: Node, then: Node | None) -> str:
    """What has to be said of it: a batch norm that follows lets it be assumed off."""
    assumed = not (then is not None and then.op == "bn")
    if node.attrs["bias"] == assumed:
        return ""
    return " bias" if node.attrs["bias"] else " nobias"


def window(graph: Graph, node: Node, then: Node | None, word: str) -> Phrase:
    """A sliding window: kernel, channels and stride are holes."""
    attrs = dict(node.attrs)
    (kh, kw), (sh, sw) = attrs["kernel"], attrs["stride"]
    channels = graph[node.inputs[0]].type.shape[1]
    depthwise = node.op == "conv" and attrs["groups"] == channels == attrs["out"] > 1
    name = word or ("dwconv" if depthwise else WORD[node.op])
    padding = attrs.get("pad")
    if node.op == "conv" and padding == same_pad({k: attrs[k] for k in ("kernel", "dilation")}, ())["pad"]:
        attrs["pad"] = same_pad({"kernel": (1, 1)}, ())["pad"]
        padded: list[str] = []
    else:
        padded = [w for w in attributes(node) if w.startswith("pad ")]
    square = kh == kw and not padded
    kernel: str | Hole = Hole("kernel", kh) if square else by((kh, kw))
    out: Phrase = (" ", Hole("out", attrs["out"])) if "out" in attrs and not depthwise else ()
    stride: Phrase = (Hole("stride", sh),) if sh == sw else (f" /{sh}x{sw}",)
    skipped = ("/", "pad ", "nobias", "groups ")
    rest = [w for w in attributes(node) if not w.startswith(skipped)]
    groups: Phrase = ()
    if attrs.get("groups", 1) != 1 and not depthwise:
        groups = (" groups ", Hole("groups", attrs["groups"]))
    tail = "".join(f" {w}" for w in (*padded, *rest)) + (bias(node, then) if "bias" in attrs else "")
    return (f"{name} ", kernel, *out, *stride, *groups, tail)


def permutation(graph: Graph, node: Node) -> Phrase:
    """By a name, if it has one."""
    shape = (*graph[node.inputs[0]].type.shape, 0, 0)
    if len(graph[node.inputs[0]].type.shape) == 4:
        split = node.attrs["split"]
        candidates = [("shuffle", {"groups": split[0]}, shuffle, "")]
        if len(split) == 5:
            candidates += [
                ("depth_to_space", {"block": split[0]}, depth_to_space, ""),
                ("depth_to_space", {"block": split[1], "crd": True}, depth_to_space, " crd"),
                ("space_to_depth", {"block": split[2]}, space_to_depth, ""),
            ]
        for name, attrs, finish, flag in candidates:
            if finish(attrs, shape) == dict(node.attrs):
                return (f"{name} ", Hole("groups", next(iter(attrs.values()))), flag)
    return (statement(node),)
