"""Which values share memory: views, arms written inside their concat, results written over an input."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from cnncc.ir.graph import Graph, Node
from cnncc.ir.rules import extra_inputs
from cnncc.ir.types import TensorType
from cnncc.ops import traits
from cnncc.ops.quantize import is_computed
from cnncc.ops.traits import Kind
from cnncc.plan.homes import Home, InArena, InConstant, InInput, InOutput
from cnncc.plan.pieces import Piece


@dataclass(frozen=True)
class Storage:
    """Memory that one or more values share. `nbytes` counts the whole batch. A step is a position in `graph.nodes`."""

    home: Home
    type: TensorType
    first: int
    """Step of the first write into it."""
    last: int
    """Step of the last read of any value in it."""

    @property
    def nbytes(self) -> int:
        return self.type.nbytes

    def of_one_image(self) -> Storage:
        """The memory that one image of the batch needs."""
        return replace(self, type=replace(self.type, shape=(1, *self.type.shape[1:])))


@dataclass(frozen=True)
class Aliases:
    """Which storage each value is in. The root of a storage is the value after which it is called.

    `place` maps a value to (root of its storage, byte offset inside one image), and `storages` maps a root to its
    storage. `lives` maps a root to one piece for each value in the storage: the bytes of an image that the value takes,
    and the steps during which they are needed.
    """

    place: Mapping[str, tuple[str, int]]
    storages: Mapping[str, Storage]
    lives: Mapping[str, tuple[Piece, ...]]
    in_place: frozenset[str]
    placed: Mapping[str, str]
    """Arm -> the concat that it is written inside."""
    views: frozenset[str]
    copies: Mapping[str, tuple[int, ...]]


def alias_values(g: Graph, reuse: bool = True) -> Aliases:
    """The storage of every value of a graph with layouts. Without `reuse`, no result is written over an input."""
    views = frozenset(n.name for n in g.nodes if not g.is_output(n.name) and is_view(g, n))
    arms, copies = _place_arms(g, views)
    walk = _Walk(g, views, arms)
    for step, node in enumerate(g.nodes):
        walk.visit(step, node, reuse)
    placed = {arm: concat for arm, (concat, _) in arms.items()}
    lives = {root: tuple(pieces) for root, pieces in walk.lives.items()}
    return Aliases(walk.place, walk.storages, lives, frozenset(walk.in_place), placed, views, copies)


def is_view(g: Graph, node: Node) -> bool:
    """Whether the result is a contiguous part of the input's memory, in whole blocks of channels.

    A slice that ends inside a block is no view: the rest of that block holds channels of another slice, but kernels
    take it for padding.
    """
    view = traits(node).view
    if view is None:
        return False
    source = g[node.inputs[0]].type
    start, stop = view(source.shape, node.attrs)
    return start % source.block == 0 and (stop % source.block == 0 or stop == source.shape[1])


def image_bytes(type: TensorType) -> int:
    """Bytes of one image of the batch in memory."""
    return type.nbytes // type.shape[0]


def _channel_bytes(type: TensorType, channels: int) -> int:
    """Bytes of that many channels (whole blocks) of one image."""
    return type.element.bytes(channels * math.prod(type.shape[2:]))


def _place_arms(g: Graph, views: frozenset[str]) -> tuple[dict[str, tuple[str, int]], dict[str, tuple[int, ...]]]:
    """The arms that are written inside their concat, as (concat, byte offset in an image); and for each concat the
    positions of the arms that must be copied."""
    arms: dict[str, tuple[str, int]] = {}
    copies: dict[str, tuple[int, ...]] = {}
    barred = views | set(g.outputs) | {n.name for n in g.nodes if traits(n).kind in (Kind.INPUT, Kind.CONSTANT)}
    for concat in (n for n in g.nodes if traits(n).kind is Kind.CONCAT):
        times = Counter(concat.inputs)
        stop = 0
        copied = []
        for position, name in enumerate(concat.inputs):
            type = g[name].type
            start, stop = stop, stop + type.shape[1]
            once = times[name] == 1 and name not in arms and type.shape[0] == concat.type.shape[0]
            if once and name not in barred and _fits(g, concat, name, start, stop):
                arms[name] = (concat.name, _channel_bytes(concat.type, start))
            else:
                copied.append(position)
        if copied:
            copies[concat.name] = tuple(copied)
    return arms, copies


def _fits(g: Graph, concat: Node, name: str, start: int, stop: int) -> bool:
    """Whether an arm may be written at channels [start, stop) of its concat: it starts a block.

    If it ends inside one, channels of the next arm are copied into the rest of that block, which kernels that read the
    arm take for padding. So they must all come before the concat, whatever the order of the steps.
    """
    block = concat.type.block
    if start % block:
        return False
    if stop % block == 0 or stop == concat.type.shape[1]:
        return True
    others = {user.name for user in g.users(name)} - {concat.name}
    return not others or others <= _computed_before(g, concat)


def _computed_before(g: Graph, node: Node) -> set[str]:
    """What a node is computed from, without views: other nodes may read those later."""
    return {name for name in g.ancestors(node.name) if traits(g[name]).view is None}


class _Walk:
    """The storages of the values met so far, in the order of execution."""

    def __init__(self, g: Graph, views: frozenset[str], arms: Mapping[str, tuple[str, int]]) -> None:
        self.g = g
        self.views = views
        self.arms = arms
        self._outermost = _outermost(g, arms)
        self.place: dict[str, tuple[str, int]] = {}
        self.storages: dict[str, Storage] = {}
        self.lives: dict[str, list[Piece]] = {}
        self.in_place: set[str] = set()
        self._steps = {n.name: i for i, n in enumerate(g.nodes)}
        self._outputs = {name: i for i, name in reversed(list(enumerate(g.outputs)))}
        self._written: dict[str, int] = {}
        """The step at which the memory of each value is written. A view has the step of the value that it is a part
        of."""
        self._inputs = {n.name: i for i, n in enumerate(g.inputs) if not is_computed(g, n)}
        self._read = _last_reads(g, views)

    def visit(self, step: int, node: Node, reuse: bool) -> None:
        if node.name in self.views:
            self.place[node.name] = self._view(node)
            self._live(node, self._written[node.inputs[0]])
            return
        if node.name in self.arms:
            self.place[node.name] = self._outermost[node.name]
        else:
            reused = self._reusable(step, node) if reuse and node.name not in self._outputs else None
            if reused:
                self.in_place.add(node.name)
            self.place[node.name] = (reused or node.name, 0)
        self._extend(self.place[node.name][0], step, self._read[node.name])
        self._live(node, step)

    def _live(self, node: Node, first: int) -> None:
        """Adds the piece of a value: it ends at the last read under the value's own name. Views of it add their own
        pieces."""
        root, inner = self.place[node.name]
        self._written[node.name] = first
        readers = (self._steps[u.name] for u in self.g.users(node.name) if u.name not in self.views)
        piece = Piece(inner, inner + image_bytes(node.type), first, max(readers, default=first))
        self.lives.setdefault(root, []).append(piece)

    def _view(self, node: Node) -> tuple[str, int]:
        root, inner = self.place[node.inputs[0]]
        source, view = self.g[node.inputs[0]].type, traits(node).view
        assert view is not None, node.name
        return root, inner + _channel_bytes(source, view(source.shape, node.attrs)[0])

    def _extend(self, root: str, step: int, last: int) -> None:
        """Makes the storage of `root` live from `step`, when a value is written into it, until `last`, when it is last
        read."""
        last = max(step, last)
        if root in self.storages:
            old = self.storages[root]
            self.storages[root] = replace(old, last=max(old.last, last))
        else:
            self.storages[root] = Storage(self._home(root), self.g[root].type, step, last)

    def _home(self, root: str) -> Home:
        if root in self._outputs:
            return InOutput(self._outputs[root])
        if root in self._inputs:
            return InInput(self._inputs[root])
        return InConstant(root) if traits(self.g[root]).kind is Kind.CONSTANT else InArena(root)

    def _reusable(self, step: int, node: Node) -> str | None:
        """The root of an input's storage that `node` may overwrite with its result, element by element; None if there
        is none."""
        elementwise = elementwise_inputs(node)
        others = {self.place[i][0] for i in node.inputs[: len(node.inputs) - len(elementwise)]}
        uneven = {self.place[i][0] for i in elementwise if self.g[i].type != node.type}
        for name in elementwise:
            root, _ = self.place[name]
            storage = self.storages[root]
            # Overwriting is safe if each element is read only where its result is written: every input in this storage
            # must be read element by element, and have the type of the result.
            fits = storage.nbytes == node.type.nbytes and root not in others and root not in uneven
            if isinstance(storage.home, InArena) and storage.last <= step and fits:
                return root
        return None


def _outermost(g: Graph, arms: Mapping[str, tuple[str, int]]) -> dict[str, tuple[str, int]]:
    """For each arm, the outermost concat that it is written inside, and the byte offset in an image of that concat."""
    found: dict[str, tuple[str, int]] = {}
    for node in reversed(g.nodes):  # a concat comes before its arms
        if node.name in arms:
            concat, start = arms[node.name]
            root, outer = found.get(concat, (concat, 0))
            found[node.name] = (root, outer + start)
    return found


def elementwise_inputs(node: Node) -> tuple[str, ...]:
    """The inputs that are read element by element: an element of the result needs the same element of them and no
    other. They are the last ones of `node.inputs`."""
    if traits(node).in_place:
        return node.inputs
    if not traits(node).over_added:
        return ()
    return node.inputs[len(node.inputs) - extra_inputs(node.attrs) :]


def _last_reads(g: Graph, views: frozenset[str]) -> dict[str, int]:
    """The last step at which each value, or a view of it, is read; -1 if it is never read."""
    steps = {n.name: i for i, n in enumerate(g.nodes)}
    last: dict[str, int] = {}
    for node in reversed(g.nodes):
        users = (last[u.name] if u.name in views else steps[u.name] for u in g.users(node.name))
        last[node.name] = max(users, default=-1)
    return last
