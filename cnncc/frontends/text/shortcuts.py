"""Shortcuts of residual blocks, with a convolution or without, as one and the same statement."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from dataclasses import replace

from cnncc.frontends.text.parts import Part, sequences
from cnncc.frontends.text.phrase import Hole, Ref
from cnncc.ir import Graph


def with_projections(graph: Graph, top: tuple[Part, ...]) -> tuple[Part, ...]:
    """add { a | conv } and add { a | } with the same a: both add { a | proj }, which is a conv where it has to be."""
    groups: dict[Hashable, list[tuple[Part, int]]] = defaultdict(list)
    for body in sequences(top):
        for part in body:
            for side in shortcut_sides(part):
                assert part.arms
                others = tuple(tuple(p.key for p in arm) for i, arm in enumerate(part.arms) if i != side)
                groups[others, side, part.phrases[1:]].append((part, side))
    changes: dict[int, Part] = {}
    for group in groups.values():
        convs = [part.arms[side][0] for part, side in group if part.arms and part.arms[side]]
        if len(convs) == len(group) or not convs or len({c.key for c in convs}) > 1:
            continue
        kernels = {convs_hole.value for c in convs for convs_hole in c.holes if convs_hole.kind == "kernel"}
        if len(kernels) == 1 and all(changes_shape(graph, c) for c in convs):
            changes |= {id(part): projected(graph, part, side, convs[0]) for part, side in group}
    return tuple(rewritten(part, changes) for part in top)


def shortcut_sides(part: Part) -> list[int]:
    """Which arm of an add of two may be a shortcut: an empty one, or one with a convolution alone."""
    if part.phrases[0] != ("add",) or part.arms is None or len(part.arms) != 2:
        return []
    return [
        i for i, arm in enumerate(part.arms) if (not arm and part.arms[1 - i]) or (len(arm) == 1 and is_conv(arm[0]))
    ]


def is_conv(part: Part) -> bool:
    """A convolution, with a batch norm or without."""
    head, *rest = part.phrases
    return (
        part.arms is None
        and head[0] == "conv "
        and isinstance(head[1], Hole)
        and (not rest or (str(rest[0][0]).startswith("bn") and len(rest) == 1))
    )


def changes_shape(graph: Graph, part: Part) -> bool:
    """Whether the convolution cannot be left out: `proj` would be."""
    conv = graph[part.nodes[0]]
    return conv.type.shape != graph[conv.inputs[0]].type.shape


def projected(graph: Graph, part: Part, side: int, example: Part) -> Part:
    """The add with its shortcut as a `proj`."""
    assert part.arms
    (conv,) = part.arms[side] or (example,)
    head: list[str | Hole | Ref] = ["proj ", *conv.phrases[0][1:]]
    nodes = conv.nodes if part.arms[side] else ()
    if not part.arms[side]:
        channels = graph[part.nodes[-len(part.phrases)]].type.shape[1]
        trivial = {"out": channels, "stride": 1}
        head = [replace(h, value=trivial.get(h.kind, h.value)) if isinstance(h, Hole) else h for h in head]
    arm = (replace(conv, phrases=(tuple(head), *conv.phrases[1:]), nodes=nodes),)
    return replace(part, arms=tuple(arm if i == side else other for i, other in enumerate(part.arms)))


def rewritten(part: Part, changes: dict[int, Part]) -> Part:
    """The part with changes made in it and in its arms."""
    new = changes.get(id(part), part)
    if new.arms is None:
        return new
    return replace(new, arms=tuple(tuple(rewritten(p, changes) for p in arm) for arm in new.arms))
