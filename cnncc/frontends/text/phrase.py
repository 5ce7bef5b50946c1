"""How an op is written, with holes for the whole numbers in which equal pieces of a network differ."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cnncc.ir import Graph, Node
from cnncc.lang.forms import form_of
from cnncc.lang.print_net import attributes, by, number, statement
from cnncc.ops.permute import depth_to_space, shuffle, space_to_depth, transpose


@dataclass(frozen=True)
class Hole:
    """A number in which alike statements may differ; `kind` says what of: `out` are channels, counted or by place,
    `size` is one of several sizes, `real` is any number."""

    kind: str
    value: float

    @property
    def family(self) -> str:
        """Holes of one family may be filled by the same parameter."""
        return "out" if self.kind == "size" else self.kind


@dataclass(frozen=True)
class Ref:
    """A value of the graph, by its name there; `kind` says what is done with it: save, from, output."""

    kind: str
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
        elif part.kind == "size":
            words.append(text if text.isalnum() and not text.isalpha() else f"({text})")
        elif part.kind == "kernel":
            side = text if text.isdigit() else f"({text})"
            words.append(f"{side}x{side}")
        else:
            words.append(text)
    return "".join(words)


def phrase(graph: Graph, node: Node, then: Node | None, word: str = "") -> Phrase:
    """An op that is followed by another in its statement, or by none; `word` is what it is to be called."""
    rule = PHRASES.get(node.op)
    return rule(graph, node, then, word) if rule else (statement(node.with_(weights={})),)


def sized(graph: Graph, node: Node, then: Node | None, word: str) -> Phrase:
    """An op with sizes: each is a hole."""
    found: list[str | Hole] = []
    for text in re.split(r"(?<= )(\d+(?:x\d+)*)(?= |$)", statement(node.with_(weights={}))):
        if not text[:1].isdigit():
            found.append(text)
            continue
        for i, size in enumerate(text.split("x")):
            found += [*(["x"] if i else []), Hole("size", int(size))]
    return tuple(found)


def affine(graph: Graph, node: Node, then: Node | None, word: str) -> Phrase:
    """The same factor and summand for all values: finite ones are holes."""
    found: list[str | Hole] = ["affine"]
    for key in (key for key in ("scale", "shift") if node.attrs[key] != {"scale": 1.0, "shift": 0.0}[key]):
        value = node.attrs[key]
        found += [f" {key} ", Hole("real", value) if math.isfinite(value) else number(value)]
    return tuple(found)


def upsampled(graph: Graph, node: Node, then: Node | None, word: str) -> Phrase:
    height, width = node.attrs["scale"]
    if height != width:
        return (statement(node),)
    return ("upsample ", Hole("groups", height), "".join(f" {word}" for word in attributes(node)))


def dense(graph: Graph, node: Node, then: Node | None, word: str) -> Phrase:
    return ("fc ", Hole("out", node.attrs["out"]), bias(node, then))


def channels(graph: Graph, node: Node, then: Node | None, word: str) -> Phrase:
    """A slice: the ends are counted in channels."""
    return ("slice ", Hole("out", node.attrs["start"]), ":", Hole("out", node.attrs["stop"]))


def group_norm(graph: Graph, node: Node, then: Node | None, word: str) -> Phrase:
    rest = "".join(f" {word}" for word in attributes(node))
    return ("group_norm ", Hole("groups", node.attrs["groups"]), rest)


def bias(node: Node, then: Node | None) -> str:
    """What has to be said of it: a batch norm that follows lets it be assumed off."""
    assumed = then is None or not form_of(then).unbiased
    if node.attrs["bias"] == assumed:
        return ""
    return " bias" if node.attrs["bias"] else " nobias"


def convolution(graph: Graph, node: Node, then: Node | None, word: str) -> Phrase:
    """A convolution by the word for one of a group a channel, where it is that."""
    attrs, channels = node.attrs, graph[node.inputs[0]].type.shape[1]
    depthwise = attrs["groups"] == channels == attrs["out"] > 1
    return window(graph, node, then, word or ("dwconv" if depthwise else ""), depthwise)


def window(graph: Graph, node: Node, then: Node | None, word: str, depthwise: bool = False) -> Phrase:
    """A sliding window: kernel, channels and stride are holes."""
    attrs, said = node.attrs, attributes(node)
    (kh, kw), (sh, sw) = attrs["kernel"], attrs["stride"]
    padded = [w for w in said if w.startswith("pad ")]
    square = kh == kw and not padded
    kernel: str | Hole = Hole("kernel", kh) if square else by((kh, kw))
    out: Phrase = (" ", Hole("out", attrs["out"])) if "out" in attrs and not depthwise else ()
    stride: Phrase = (Hole("stride", sh),) if sh == sw else (f" /{sh}x{sw}",)
    skipped = ("/", "pad ", "nobias", "groups ")
    rest = [w for w in said if not w.startswith(skipped)]
    groups: Phrase = ()
    if attrs.get("groups", 1) != 1 and not depthwise:
        groups = (" groups ", Hole("groups", attrs["groups"]))
    tail = "".join(f" {w}" for w in (*padded, *rest)) + (bias(node, then) if "bias" in attrs else "")
    return (f"{word or form_of(node).word} ", kernel, *out, *stride, *groups, tail)


def permutation(graph: Graph, node: Node, then: Node | None, word: str) -> Phrase:
    """By a name, if it has one."""
    shape = (*graph[node.inputs[0]].type.shape, 0, 0)
    if len(graph[node.inputs[0]].type.shape) == 4:
        split = node.attrs["split"]
        if transpose({}, shape) == dict(node.attrs):
            return ("transpose",)
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
    return sized(graph, node, then, word)


PHRASES: Mapping[str, Callable[[Graph, Node, Node | None, str], Phrase]] = {
    "conv": convolution,
    "conv_transpose": window,
    "maxpool": window,
    "avgpool": window,
    "fc": dense,
    "slice": channels,
    "group_norm": group_norm,
    "permute": permutation,
    "affine": affine,
    "upsample": upsampled,
    **dict.fromkeys(("reshape", "expand", "strided_slice", "crop", "const"), sized),
}
"""Ops in whose text numbers are holes; the others are written as they are."""
