"""Which kernel computes a node: ordered rules, the first that answers wins."""

from __future__ import annotations

from collections.abc import Callable

from cnncc.kernels.cpu.algorithms import select_by_algorithm
from cnncc.kernels.cpu.channels import select_global_pool, select_lrn, select_softmax
from cnncc.kernels.cpu.conv_transposed import select_transposed
from cnncc.kernels.cpu.copy import select_copy
from cnncc.kernels.cpu.dense import select_dense
from cnncc.kernels.cpu.elementwise import select_elementwise, select_normalize
from cnncc.kernels.cpu.gather import select_gather
from cnncc.kernels.cpu.group_norm import select_group_norm
from cnncc.kernels.cpu.matmul import select_matmul
from cnncc.kernels.cpu.nms import select_nms
from cnncc.kernels.cpu.resample import select_resample
from cnncc.kernels.cpu.resize import select_resize
from cnncc.kernels.cpu.roi_align import select_roi_align
from cnncc.kernels.cpu.room import explained
from cnncc.kernels.cpu.sample import select_sample
from cnncc.kernels.cpu.strided import select_strided
from cnncc.kernels.cpu.take import select_take
from cnncc.kernels.cpu.topk import select_topk
from cnncc.kernels.cpu.unfold import select_unfold
from cnncc.kernels.cpu.window import select_argmaxpool, select_pool
from cnncc.kernels.shared.spec import Selection, Site

RULES: tuple[Callable[[Site], Selection | None], ...] = (
    select_normalize,
    select_by_algorithm,
    select_transposed,
    select_dense,
    select_pool,
    select_argmaxpool,
    select_global_pool,
    select_lrn,
    select_softmax,
    select_elementwise,
    select_resample,
    select_resize,
    select_group_norm,
    select_matmul,
    select_topk,
    select_strided,
    select_take,
    select_unfold,
    select_sample,
    select_gather,
    select_roi_align,
    select_nms,
    select_copy,
)


def select(site: Site) -> Selection:
    """The kernel calls of a node. Every op of the table has a rule, which a test holds."""
    for rule in RULES:
        selection = rule(site)
        if selection is not None:
            return explained(site, selection)
    raise AssertionError(f"no kernel rule for {site.node.op}")
