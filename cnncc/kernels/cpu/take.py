"""Reading listed positions of an axis: their places are a table, so that a kernel's code does not depend on them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cnncc.base.dim import above, symbols_of
from cnncc.base.errors import CnnccError
from cnncc.ir import Constant
from cnncc.kernels.cpu.site import MOVED, CpuRule, CpuSite
from cnncc.kernels.shared.spec import Call, Kernel, Packed, Selection


@dataclass(frozen=True)
class TakeConfig:
    """The axis of `size` positions lies between `outer` and `inner` others, in logical order; `count` are taken."""

    outer: int
    size: int
    count: int
    inner: int
    element: str = "float32"

    @property
    def rows(self) -> bool:
        """Whether positions are rows of numbers that follow each other, and not single numbers."""
        return above(self.inner, 1)

    @property
    def units(self) -> int:
        """Of one row each, or, of single numbers, all that lie in a row."""
        return self.outer * (self.count if self.rows else 1)


def select_take(site: CpuSite) -> Selection:
    """take; a row per unit."""
    node = site.node
    old, axis = site.type().shape[1:], node.attrs["axis"]
    if symbols_of(node.attrs["indices"]):
        hint = "compile the sizes that are needed: --shape 3x224x224,3x320x480"
        raise CnnccError("take: positions that change with the size have no kernel yet", node.span, node.stack, hint)
    table = np.array(node.attrs["indices"], np.float32)
    sides = (math.prod(old[:axis]), old[axis], len(table), math.prod(old[axis + 1 :]))
    config = TakeConfig(*sides, site.element.name)
    packed = Packed(f"{node.name}.places", Constant(table.shape, lambda: table))
    kernel = Kernel("take", f"take_{site.element.short}_{site.target.isa}", config, config.units, 0)
    operands = (*site.values(node.inputs), packed.operand)
    return Selection((Call(node.name, kernel, operands, site.result),), (packed,), "rows from a table of places")


RULES: Mapping[str, tuple[CpuRule, ...]] = {
    "take": (select_take,),
}
"""Op -> its selectors."""
RANGES: Mapping[str, bool] = dict.fromkeys(RULES, True)
"""Op -> whether its kernels compute images of any size of a range."""
TAKES = dict.fromkeys(RULES, MOVED)
"""Op -> the element types of the values that its kernels take and give, where these are more than float32."""
