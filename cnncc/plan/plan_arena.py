"""Where every value lives: one arena for what is computed, the caller's buffers for inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cnncc.ir.graph import Graph
from cnncc.plan.alias_values import Aliases, Storage, alias_values, image_bytes
from cnncc.plan.homes import Home, InArena, InConstant, InInput
from cnncc.plan.pack_records import pack_shapes
from cnncc.plan.pieces import Piece, Record, Shape, alive_at, live_bytes, outline, shape_of

__all__ = ["ArenaPlan", "Slot", "plan_arena"]


_MOST_PIECES = 400
"""Of one storage. More take long to fit around each other."""


@dataclass(frozen=True)
class Slot:
    """Where a value lives: image i of it starts at byte `offset + inner + i * image_stride` of the memory it lies in.

    An input with mean or std lies in the arena: its value is computed, by the node itself, from the caller's buffer.
    """

    home: Home
    offset: int
    """Bytes from the start of the arena to the storage; 0 for what lies elsewhere."""
    inner: int
    """Bytes from the start of an image of the storage to this value."""
    image_stride: int
    """Bytes from one image of the batch to the next; 0 for a value that all images share (a constant)."""
    in_place: bool
    """The result overwrites one of the node's inputs."""
    placed: bool
    """An arm, written inside the storage of its concat."""
    view: bool
    """A part of another value's memory: the node has no work."""

    @property
    def computed(self) -> bool:
        """Whether the node has work: the value is neither a view nor given."""
        return not self.view and not isinstance(self.home, InInput | InConstant)


@dataclass(frozen=True)
class Tenant:
    """A storage in the arena: byte b of a piece of its shape is byte `offset + b` of the arena."""

    storage: str
    offset: int
    shape: Shape


@dataclass(frozen=True)
class ArenaPlan:
    """The memory of one run. `bound` is the largest sum of live storages at any step: `bytes` cannot be less."""

    bytes: int
    bound: int
    slots: Mapping[str, Slot]
    copies: Mapping[str, tuple[int, ...]]
    """For each concat that has work left: the positions of the arms to copy into it."""
    tenants: tuple[Tenant, ...]
    """The storages in the arena."""

    @property
    def gap(self) -> float:
        """By how much the plan exceeds its bound, as a share of that."""
        return self.bytes / self.bound - 1 if self.bound else 0.0


def plan_arena(g: Graph, align: int = 64, reuse: bool = True, guests: Sequence[Record] = ()) -> ArenaPlan:
    """The plan for a graph with layouts, whose offsets in the arena are multiples of `align` bytes.

    Without `reuse` every storage keeps its own bytes and nothing is computed in place, so that all values (views and
    arms still share the memory of what they are part of) can be read after a run. Of plans with equal bytes, one that
    leaves room for `guests` is taken: other memory, at steps of the graph, which the plan does not place.
    """
    aliases = alias_values(g, reuse)
    shapes = _shapes(g, aliases, align, reuse)
    offsets, total = _pack(list(shapes.values()), [shape_of(r, align) for r in guests], align)
    placed = dict(zip(shapes, offsets, strict=True))
    tenants = tuple(Tenant(root, placed[root], shape) for root, shape in shapes.items())
    batch = max((n.type.shape[0] for n in g.inputs), default=1)
    return ArenaPlan(total, _most(shapes), _slots(g, aliases, placed, batch), aliases.copies, tenants)


def activation_bound(g: Graph, align: int = 64) -> int:
    """The largest sum of what is alive at one step of a graph with layouts, in the order it has."""
    return max(activations_alive(g, align), default=0)


def activations_alive(g: Graph, align: int = 64) -> list[int]:
    """Bytes of the arena in use at each step of a graph with layouts, in the order it has."""
    return alive_at(list(_shapes(g, alias_values(g), align, reuse=True).values()), len(g.nodes))


def _pack(shapes: list[Shape], guests: list[Shape], align: int) -> tuple[tuple[int, ...], int]:
    """Around pieces, or if that turns out worse (holes of a batch seldom fit anything) around whole storages."""
    packed = pack_shapes(shapes, guests)
    whole = [shape_of((min(p.first for p in s), max(p.last for p in s), max(p.stop for p in s)), align) for s in shapes]
    if whole == shapes or packed[1] == max(live_bytes(shapes).values(), default=0):
        return packed
    return min(packed, pack_shapes(whole, guests), key=lambda found: found[1])


def _most(shapes: Mapping[str, Shape]) -> int:
    return max(live_bytes(list(shapes.values())).values(), default=0)


def _shapes(g: Graph, aliases: Aliases, align: int, reuse: bool) -> dict[str, Shape]:
    """Of every storage in the arena: which of its bytes are in use, and when."""
    arena = {root: s for root, s in aliases.storages.items() if isinstance(s.home, InArena)}
    if not reuse:
        return {root: shape_of((0, len(g.nodes), s.nbytes), align) for root, s in arena.items()}
    return {root: _shape(storage, aliases.lives[root], align) for root, storage in arena.items()}


def _shape(storage: Storage, lives: Sequence[Piece], align: int) -> Shape:
    """The pieces of one image, for each image of the batch; or the whole, where that would be many or uneven."""
    images, size = storage.type.shape[0], image_bytes(storage.type)
    one = outline(lives, align)
    if images == 1:
        return one
    if len(one) == 1 or size % align or len(one) * images > _MOST_PIECES:
        return shape_of((storage.first, storage.last, storage.nbytes), align)
    return tuple(replace(p, start=p.start + i * size, stop=p.stop + i * size) for i in range(images) for p in one)


def _slots(g: Graph, aliases: Aliases, offsets: Mapping[str, int], batch: int) -> dict[str, Slot]:
    slots = {}
    for node in g.nodes:
        root, inner = aliases.place[node.name]
        storage = aliases.storages[root]
        slots[node.name] = Slot(
            home=storage.home,
            offset=offsets.get(root, 0),
            inner=inner,
            image_stride=_stride(storage, batch),
            in_place=node.name in aliases.in_place,
            placed=node.name in aliases.placed,
            view=node.name in aliases.views,
        )
    return slots


def _stride(storage: Storage, batch: int) -> int:
    shared = storage.type.shape[0] < batch
    return 0 if shared else image_bytes(storage.type)
