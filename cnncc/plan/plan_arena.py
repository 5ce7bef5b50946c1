"""Where each value lies in memory: computed values in one arena, inputs and outputs in the caller's buffers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from cnncc.base.dim import Extent
from cnncc.ir.graph import Graph
from cnncc.plan.alias_values import Aliases, Storage, alias_values, image_bytes
from cnncc.plan.homes import Home, InArena, InConstant, InInput
from cnncc.plan.pack_records import pack_outlines
from cnncc.plan.pieces import (
    Outline,
    Piece,
    Record,
    alive_at,
    first_of,
    last_of,
    live_bytes,
    outline_of,
    outlined,
    stop_of,
)

__all__ = ["ArenaPlan", "Placement", "plan_arena"]


_MOST_PIECES = 400
"""Most pieces of one storage. Packing more takes long."""


@dataclass(frozen=True)
class Placement:
    """Where a value lies: its image i starts at byte `offset + inner + i * image_stride` of the memory
    that `home` names.

    An input that is prepared (mean, std, another type) lies in the arena: its node computes the value from the
    caller's buffer.
    """

    home: Home
    offset: int
    """Bytes from the start of the arena to the storage; 0 for what lies elsewhere."""
    inner: int
    """Bytes from the start of an image of the storage to this value."""
    image_stride: int
    """Bytes from one image of the batch to the next; 0 for a value that all images share (a constant)."""
    in_place: bool
    """Whether the result overwrites an input of the node."""
    placed: bool
    """Whether the value is an arm that is written inside the storage of its concat."""
    view: bool
    """Whether the value is a part of another value's memory. Its node then has no work."""

    @property
    def computed(self) -> bool:
        """Whether the node has work: the value is neither a view nor given."""
        return not self.view and not isinstance(self.home, InInput | InConstant)


@dataclass(frozen=True)
class Tenant:
    """A storage in the arena. Byte b of its outline is byte `offset + b` of the arena."""

    storage: str
    offset: int
    outline: Outline


@dataclass(frozen=True)
class ArenaPlan:
    """The memory of one run, or of one image of a run if images lie apart. `bound` is the largest sum of bytes that are
    alive at one step: `bytes` cannot be less."""

    bytes: int
    bound: int
    placements: Mapping[str, Placement]
    copies: Mapping[str, tuple[int, ...]]
    """For each concat that must copy arms: their positions among its inputs."""
    tenants: tuple[Tenant, ...]
    """The storages in the arena."""
    pitch: int = 0
    """Bytes from one image to the next if images lie apart: each has a part of the arena, and all parts are alike. 0 if
    the values of all images lie side by side."""

    def spaced(self, pitch: int) -> ArenaPlan:
        """The plan of images that lie apart, with another distance from one to the next."""
        moved = {
            name: replace(p, image_stride=pitch) if isinstance(p.home, InArena) and p.image_stride else p
            for name, p in self.placements.items()
        }
        return replace(self, placements=moved, pitch=pitch)

    @property
    def gap(self) -> float:
        """By how much the plan exceeds its bound, as a share of that."""
        return self.bytes / self.bound - 1 if self.bound else 0.0


def plan_arena(
    g: Graph, align: int = 64, reuse: bool = True, guests: Sequence[Record] = (), *, apart: bool = False
) -> ArenaPlan:
    """The plan for a graph with layouts, whose offsets in the arena are multiples of `align` bytes.

    Without `reuse` no storage shares bytes with another, and no result is written over an input, so that all values can
    be read after a run. (Views and arms still share the memory of the value that they are part of.)

    `guests` are further memory, such as workspace, that is needed at steps of the graph and gets no place here. Of
    plans with equally few bytes, the one that leaves most room for them is taken.

    With `apart`, the plan of a batch is that of one image, and each image has an arena of its own behind the one
    before: a run of fewer images then needs less memory.
    """
    aliases = alias_values(g, reuse)
    outlines = _outlines(g, aliases, align, reuse, apart)
    offsets, total = _pack(list(outlines.values()), [outline_of(r, align) for r in guests], align)
    placed = dict(zip(outlines, offsets, strict=True))
    tenants = tuple(Tenant(root, placed[root], outline) for root, outline in outlines.items())
    batch = max((n.type.shape[0] for n in g.inputs), default=1)
    places = placements(g, aliases, placed, partial(_stride, batch))
    plan = ArenaPlan(total, _most(outlines), places, aliases.copies, tenants)
    return plan.spaced(total) if apart and batch > 1 else plan


def activation_bound(g: Graph, align: int = 64) -> int:
    """The largest sum of bytes that are alive at one step of a graph with layouts, in its present order."""
    return max(activations_alive(g, align), default=0)


def activations_alive(g: Graph, align: int = 64, *, apart: bool = False) -> list[int]:
    """The bytes of activations that are alive at each step of a graph with layouts, in its present order: of the whole
    batch, or of one image if images lie apart."""
    return alive_at(list(_outlines(g, alias_values(g), align, True, apart).values()), len(g.nodes))


def _pack(outlines: list[Outline], guests: list[Outline], align: int) -> tuple[tuple[int, ...], int]:
    """Packs pieces and, unless these reach the bound, also whole storages; takes the packing with fewer bytes. Whole
    storages may win because the holes between the pieces of a batch are seldom large enough for a value."""
    packed = pack_outlines(outlines, guests)
    whole = [outline_of((first_of(o), last_of(o), stop_of(o)), align) for o in outlines]
    if whole == outlines or packed[1] == max(live_bytes(outlines).values(), default=0):
        return packed
    return min(packed, pack_outlines(whole, guests), key=lambda found: found[1])


def _most(outlines: Mapping[str, Outline]) -> int:
    return max(live_bytes(list(outlines.values())).values(), default=0)


def _outlines(g: Graph, aliases: Aliases, align: int, reuse: bool, apart: bool) -> dict[str, Outline]:
    """For each storage in the arena, its pieces: which bytes are in use, and when."""
    arena = {root: s for root, s in aliases.storages.items() if isinstance(s.home, InArena)}
    if apart:
        arena = {root: s.of_one_image() for root, s in arena.items()}
    if not reuse:
        return {root: outline_of((0, len(g.nodes), s.nbytes), align) for root, s in arena.items()}
    return {root: _outline(storage, aliases.lives[root], align) for root, storage in arena.items()}


def _outline(storage: Storage, lives: Sequence[Piece], align: int) -> Outline:
    """The pieces of one image, repeated for each image of the batch. If they are too many, or an image is no multiple
    of `align`, the whole storage is one piece."""
    images, size = storage.type.shape[0], image_bytes(storage.type)
    one = outlined(lives, align)
    if images == 1:
        return one
    if len(one) == 1 or size % align or len(one) * images > _MOST_PIECES:
        return outline_of((storage.first, storage.last, storage.nbytes), align)
    return tuple(replace(p, start=p.start + i * size, stop=p.stop + i * size) for i in range(images) for p in one)


def placements(
    g: Graph, aliases: Aliases, offsets: Mapping[str, Extent], stride: Callable[[Storage], Extent]
) -> dict[str, Placement]:
    """Where each value of a graph lies: by the offset of its storage, and how far the images of a storage lie apart."""
    found = {}
    for node in g.nodes:
        root, inner = aliases.place[node.name]
        storage = aliases.storages[root]
        found[node.name] = Placement(
            home=storage.home,
            offset=offsets.get(root, 0),
            inner=inner,
            image_stride=stride(storage),
            in_place=node.name in aliases.in_place,
            placed=node.name in aliases.placed,
            view=node.name in aliases.views,
        )
    return found


def _stride(batch: int, storage: Storage) -> int:
    shared = storage.type.shape[0] < batch
    return 0 if shared else image_bytes(storage.type)
