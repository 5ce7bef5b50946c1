"""Products of two computed matrices."""

from __future__ import annotations

from dataclasses import dataclass

from cnncc.kernels.spec import Call, Kernel, Selection, Site


@dataclass(frozen=True)
class MatmulConfig:
    """`planes` products of `rows` x `depth` and `depth` x `columns`, in logical order."""

    planes: int
    rows: int
    depth: int
    columns: int
    lanes: int


def select_matmul(site: Site) -> Selection | None:
    """matmul; a row of the result per unit."""
    node = site.node
    if node.op != "matmul":
        return None
    _, planes, rows, columns = node.type.shape
    config = MatmulConfig(planes, rows, site.type().shape[3], columns, site.target.lanes)
    kernel = Kernel("matmul", f"matmul_f32_{site.target.isa}", config, planes * rows, 0)
    return Selection((Call(node.name, kernel, site.values(node.inputs), site.result),), (), "a row at a time")
