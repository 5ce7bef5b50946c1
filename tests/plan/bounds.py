"""The least that any packing takes."""

from __future__ import annotations

from collections.abc import Sequence

from cnncc.plan.pieces import Record, live_bytes, outline_of


def live_bound(records: Sequence[Record], align: int = 1) -> int:
    """The largest sum of sizes (rounded up to `align` bytes) that are alive at one step."""
    return max(live_bytes([outline_of(r, align) for r in records]).values(), default=0)
