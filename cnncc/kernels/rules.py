"""Which kernel computes a node: ordered rules, the first that answers wins."""

from __future__ import annotations

from collections.abc import Callable

from cnncc.kernels.channels import select_global_pool, select_lrn, select_softmax
from cnncc.kernels.conv_choice import select_conv
from cnncc.kernels.conv_transposed import select_transposed
from cnncc.kernels.copy import select_copy
from cnncc.kernels.dense import select_dense
from cnncc.kernels.elementwise import select_elementwise, select_normalize
from cnncc.kernels.gather import select_gather
from cnncc.kernels.group_norm import select_group_norm
from cnncc.kernels.matmul import select_matmul
from cnncc.kernels.nms import select_nms
from cnncc.kernels.resample import select_resample
from cnncc.kernels.resize import select_resize
from cnncc.kernels.roi_align import select_roi_align
from cnncc.kernels.room import explained
from cnncc.kernels.sample import select_sample
from cnncc.kernels.spec import Selection, Site
from cnncc.kernels.strided import select_strided
from cnncc.kernels.take import select_take
from cnncc.kernels.topk import select_topk
from cnncc.kernels.unfold import select_unfold
from cnncc.kernels.window import select_argmaxpool, select_depthwise, select_pool
from cnncc.kernels.winograd_choice import select_winograd

RULES: tuple[Callable[[Site], Selection | None], ...] = (
    select_normalize,
    select_depthwise,  # before conv, which would merge groups into a dense one
    select_winograd,  # before the direct kernel, which it must beat
    select_conv,
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
