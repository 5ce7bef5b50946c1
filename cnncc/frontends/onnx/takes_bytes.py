"""Which ops of a model move bytes as they are. All others that are no ops of quantised models see whole numbers."""

from __future__ import annotations

from cnncc.frontends.onnx.convert.quantize import QUANTISED
from cnncc.frontends.onnx.site import OnnxSite
from cnncc.frontends.onnx.values import Value

MOVES = frozenset(
    """
    Concat DepthToSpace Flatten Identity MaxPool Pad Reshape Resize Slice SpaceToDepth Split Squeeze Transpose Unsqueeze
    Upsample
    """.split()
)


def takes_bytes(site: OnnxSite) -> bool:
    """Whether an op is one of quantised models, or does no more with tensors of bytes than move them."""
    if QUANTISED.fullmatch(site.op_type):
        return True
    if site.op_type not in MOVES or (len([name for name in site.results if name]) > 1 and site.op_type == "MaxPool"):
        return False
    if site.op_type in ("Resize", "Upsample") and site.choice("mode", MODES, "nearest") != "nearest":
        return False
    return site.op_type != "Concat" or alike(site)


MODES = ("nearest", "linear", "bilinear", "cubic")


def alike(site: OnnxSite) -> bool:
    """Whether all inputs are computed, and their numbers have one type and one scale."""
    kinds = {site.b.nodes[t.node].type.numbers if isinstance(t, Value) else None for t in site.inputs}
    return len(kinds) == 1 and None not in kinds
