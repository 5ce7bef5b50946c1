"""The second of three files: the choice of a kernel and its code, in `cnncc/kernels/cpu`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cnncc.kernels.shared.spec import Call, CpuSite, Kernel, Rule, Selection, blocks

if TYPE_CHECKING:
    from tvm.tirx import PrimFunc


@dataclass(frozen=True)
class RmspoolConfig:
    """A row of the result of one channel block per unit."""

    planes: int
    block: int
    in_size: tuple[int, int]
    out_size: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]


def select_rmspool(site: CpuSite) -> Selection:
    node, source, block = site.node, site.type(), site.type().block
    sizes = (source.chw[1:], node.type.chw[1:], node.attrs["kernel"], node.attrs["stride"])
    config = RmspoolConfig(blocks(source.shape[1], block), block, *sizes)
    kernel = Kernel("rmspool", f"rmspool_f32_{site.target.isa}", config, config.planes * config.out_size[0], 0)
    return Selection((Call(node.name, kernel, site.values(node.inputs), site.result),), (), "number by number")


def lower(c: RmspoolConfig, symbol: str) -> PrimFunc:
    from tvm import tirx

    from cnncc.kernels.shared.builder import KernelBuilder, splat

    k = KernelBuilder()
    (height, width), (rows, columns) = c.in_size, c.out_size
    source = k.operand("source", c.planes * height * width * c.block)
    result = k.operand("result", c.planes * rows * columns * c.block)
    with k.units() as unit:
        plane, row = k.let(unit // rows), k.let(unit % rows)
        with k.loop(columns) as x, k.loop(c.block) as lane:
            total = splat(0.0, 1)
            for i in range(c.kernel[0]):
                for j in range(c.kernel[1]):
                    pixel = (plane * height + row * c.stride[0] + i) * width + x * c.stride[1] + j
                    value = k.let(source.load(pixel * c.block + lane))
                    total = k.let(total + value * value)
            mean = total * splat(1 / (c.kernel[0] * c.kernel[1]), 1)
            result.store((unit * columns + x) * c.block + lane, tirx.sqrt(mean))
    return k.finish(symbol)


RULES: Mapping[str, tuple[Rule, ...]] = {"rmspool": (select_rmspool,)}
LOWER: Mapping[str, Callable[[Any, str], Any]] = {"rmspool": lower}
