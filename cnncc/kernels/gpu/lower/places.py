"""Where numbers of a value lie."""

from __future__ import annotations

from cnncc.kernels.gpu.lower.builder import CudaBuilder, divmod_
from cnncc.kernels.gpu.spec import View
from cnncc.kernels.shared.builder import Expr


def index_in(k: CudaBuilder, view: View, channel: Expr, pixel: Expr) -> Expr:
    """The index of a number in its image, whatever the layout."""
    block, lane = divmod_(k, channel, view.block)
    return (block * view.pixels + pixel) * view.block + lane if view.block > 1 else channel * view.pixels + pixel
