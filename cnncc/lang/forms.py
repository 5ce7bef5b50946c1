"""How each op is written: what follows its word, by position and by further words. The reader and the printer use
it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cnncc.lang import items as read
from cnncc.lang.items import Reader
from cnncc.ops import ELEMENTWISE
from cnncc.ops.gather import REDUCTIONS
from cnncc.ops.resize import PLACES
from cnncc.ops.source import FILTERS, ORDERS

Attrs = dict[str, Any]
Shape = tuple[int, ...]
Finish = Callable[[Attrs, Shape], Attrs]


@dataclass(frozen=True)
class Form:
    """One word of the language that stands for an op."""

    op: str
    """The op's name in the graph."""
    positional: tuple[tuple[str, Reader], ...] = ()
    """Attributes that follow the word, in order."""
    optional: tuple[str, Reader] | None = None
    """An attribute that may follow them, if a number does."""
    words: Mapping[str, tuple[str, Reader]] = field(default_factory=dict)
    """Further words and the attribute each one sets; `/` is the stride."""
    finish: Finish = lambda attrs, shape: attrs
    """Sets the attributes that follow from the others and from the shape of the input."""
    chains: bool = False
    """Whether it may follow another op in the same statement."""
    source: bool = False
    """Whether it has no input and may be named by its first item."""


def same_pad(attrs: Attrs, shape: Shape) -> Attrs:
    """Sets zero padding d*(F-1)/2 for an odd kernel, so that stride 1 keeps the size; no padding for an even one."""
    (kh, kw), (dh, dw) = attrs["kernel"], attrs.get("dilation", (1, 1))
    tall, wide = (d * (k - 1) // 2 if k % 2 else 0 for k, d in ((kh, dh), (kw, dw)))
    return {"pad": (tall, wide, tall, wide), **attrs}


def depthwise(attrs: Attrs, shape: Shape) -> Attrs:
    """Sets one group for each channel, with `mult` results each."""
    rest = {key: value for key, value in attrs.items() if key != "mult"}
    return same_pad({**rest, "out": shape[1] * attrs.get("mult", 1), "groups": shape[1]}, shape)


def unpack(*names: str) -> Finish:
    """Sets each of the attributes from the pair that was read under the first name."""

    def finish(attrs: Attrs, shape: Shape) -> Attrs:
        attrs = dict(attrs)
        for packed in names:
            if packed in attrs:
                attrs |= dict(zip(packed.split("+"), attrs.pop(packed), strict=True))
        return attrs

    return finish


def shuffle(attrs: Attrs, shape: Shape) -> Attrs:
    """Sets a permutation that takes one channel of each of `groups` groups in turn (ShuffleNet)."""
    groups, (c, h, w) = attrs["groups"], shape[1:4]
    return {"split": (groups, c // groups, h, w), "axes": (1, 0, 2, 3), "dims": (c, h, w)}


def depth_to_space(attrs: Attrs, shape: Shape) -> Attrs:
    """Sets a permutation that turns channels into blocks of b x b pixels. The place in the block is the outermost part
    of the channel's number; with `crd` the innermost, as in PyTorch's PixelShuffle."""
    b, (c, h, w) = attrs["block"], shape[1:4]
    few = c // (b * b)
    inner = attrs.get("crd", False)
    split, axes = ((few, b, b, h, w), (0, 3, 1, 4, 2)) if inner else ((b, b, few, h, w), (2, 3, 0, 4, 1))
    return {"split": split, "axes": axes, "dims": (few, h * b, w * b)}


def space_to_depth(attrs: Attrs, shape: Shape) -> Attrs:
    """Sets a permutation that turns blocks of b x b pixels into channels. The place in the block is the outermost part
    of the channel's number."""
    b, (c, h, w) = attrs["block"], shape[1:4]
    return {"split": (c, h // b, b, w // b, b), "axes": (2, 4, 0, 1, 3), "dims": (b * b * c, h // b, w // b)}


BIAS = {"bias": ("bias", read.always(True)), "nobias": ("bias", read.always(False))}
ROUNDING = {r: ("rounding", read.always(r)) for r in ("floor", "ceil", "exact")}
STRIDE_PAD = {"/": ("stride", read.pair(1)), "pad": ("pad", read.pads)}
DILATION = {"dil": ("dilation", read.pair(1))}
KERNEL, OUT = ("kernel", read.kernel), ("out", read.channels)
CONV = {**STRIDE_PAD, **DILATION, "groups": ("groups", read.count), **BIAS, **ROUNDING}
DEPTHWISE = {**STRIDE_PAD, **DILATION, "mult": ("mult", read.count), **BIAS, **ROUNDING}
UPCONV = {**STRIDE_PAD, **DILATION, "outpad": ("output_pad", read.pair(0)), "groups": ("groups", read.count), **BIAS}
COUNTPAD = {"countpad": ("count_include_pad", read.always(True))}
RESIZE = {
    **{m: ("mode", read.always(m)) for m in ("nearest", "linear", "cubic")},
    **{m: ("place", read.always(m)) for m in PLACES},
    **{m: ("rounding", read.always(m)) for m in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")},
    **{m: (m, read.always(True)) for m in ("exclude_outside", "antialias")},
    "scale": ("scale", read.factors),
    "region": ("region", read.numbers),
    "coefficient": ("coefficient", read.number),
}
SAMPLE = {
    **{m: ("mode", read.always(m)) for m in ("linear", "nearest", "cubic")},
    **{m: ("outside", read.always(m)) for m in ("zeros", "border", "reflection")},
    **{m: ("place", read.always(m)) for m in ("half_pixel", "align_corners", "pixels")},
    "depth": ("depth", read.count),
}
ROWS = {"sizes": ("sizes", read.sizes), "wrap": ("wrap", read.always(True))}
ROI_ALIGN = {
    **{m: ("mode", read.always(m)) for m in ("avg", "max")},
    **{m: ("place", read.always(m)) for m in ("half_pixel", "output_half_pixel")},
    "scale": ("scale", read.number),
    "samples": ("samples", read.count),
    "images": ("images", read.count),
}
NMS = {
    **{name: (name, read.number) for name in ("iou", "score")},
    "center": ("center", read.always(True)),
}
TOPK = {
    "smallest": ("largest", read.always(False)),
    "indices": ("indices", read.always(True)),
    "last": ("last", read.always(True)),
}
SIMPLE = (
    *("relu", "relu6", "sigmoid", "tanh", "hard_swish", "silu", "softmax", "identity", "softplus", "softsign", "mish"),
    *("gelu", "gelu_tanh", "erf", "exp", "log", "sqrt", "reciprocal", "abs", "prelu"),
    *("round_down", "round_up", "round_to_zero", "round", "sign", "sin", "cos", "tan", "asin", "acos", "atan"),
    *("sinh", "cosh", "asinh", "acosh", "atanh"),
)
"""Words that take no attribute and may follow another op."""
FLAGS = {m: ("mode", read.always(m)) for m in ("nearest", "bilinear")}
EDGES = {m: ("mode", read.always(m)) for m in ("constant", "edge", "reflect", "wrap")}


UNUSED = "unused"
"""The word after an input that nothing reads. It is no attribute: the graph shows that the input has no reader."""
PICTURE = {
    "resize": ("resize", read.sides),
    "crop": ("crop", read.number),
    **{f: ("filter", read.always(f)) for f in FILTERS},
    **{order: ("order", read.always(order)) for order in ORDERS},
}
"""The words of an `input` line about pictures."""


def numbers(*names: str) -> Mapping[str, tuple[str, Reader]]:
    """Words that are called as an attribute, and are followed by its number."""
    return {name: (name, read.number) for name in names}


def plain(op: str, chains: bool = True) -> Form:
    return Form(op, chains=chains)


FORMS: Mapping[str, Form] = {
    "input": Form(
        "input",
        (("dims", read.dims),),
        words={
            "mean": ("mean", read.numbers),
            "std": ("std", read.numbers),
            "batch": ("batch", read.count),
            **PICTURE,
            UNUSED: (UNUSED, read.always(True)),
        },
        source=True,
    ),
    "const": Form("const", (("dims", read.dims),), source=True),
    "conv": Form("conv", (KERNEL, OUT), words=CONV, finish=same_pad),
    "proj": Form("conv", (KERNEL, OUT), words=CONV, finish=same_pad),
    "dwconv": Form("conv", (KERNEL,), words=DEPTHWISE, finish=depthwise),
    "upconv": Form("conv_transpose", (KERNEL, OUT), words=UPCONV),
    "fc": Form("fc", (("out", read.results),), words=BIAS),
    "maxpool": Form("maxpool", (KERNEL,), words={**STRIDE_PAD, **DILATION, **ROUNDING}),
    "argmaxpool": Form("argmaxpool", (KERNEL,), words={**STRIDE_PAD, **DILATION, **ROUNDING}),
    "avgpool": Form("avgpool", (KERNEL,), words={**STRIDE_PAD, **ROUNDING, **COUNTPAD}),
    "gap": plain("gap", chains=False),
    "gmp": plain("gmp", chains=False),
    "gsum": plain("gsum", chains=False),
    "bn": Form("bn", words=numbers("eps"), chains=True),
    "lrn": Form("lrn", words={"size": ("size", read.count), **numbers("alpha", "beta", "k")}, chains=True),
    **{op: plain(op) for op in SIMPLE},
    "clip": Form("clip", words=numbers("low", "high"), chains=True),
    "affine": Form("affine", words=numbers("scale", "shift"), chains=True),
    "power": Form("power", (("exponent", read.number),), chains=True),
    "shrink": Form("shrink", words=numbers("shift", "edge"), chains=True),
    "elu": Form("elu", optional=("alpha", read.number), words=numbers("alpha"), chains=True),
    "thresholded_relu": Form("thresholded_relu", optional=("alpha", read.number), words=numbers("alpha"), chains=True),
    "group_norm": Form(
        "group_norm",
        (("groups", read.count),),
        words={**numbers("eps"), "noaffine": ("affine", read.always(False))},
        chains=True,
    ),
    "leaky_relu": Form("leaky_relu", optional=("slope", read.number), words=numbers("slope"), chains=True),
    "hard_sigmoid": Form("hard_sigmoid", words=numbers("alpha", "beta"), chains=True),
    "dropout": Form("dropout", optional=("p", read.number), words=numbers("p"), chains=True),
    "slice": Form("slice", (("start+stop", read.bounds),), finish=unpack("start+stop")),
    "crop": Form(
        "crop",
        (("top+left", read.corner), ("height+width", read.kernel)),
        finish=unpack("top+left", "height+width"),
    ),
    "strided_slice": Form(
        "strided_slice", (("dims", read.dims),), words={"at": ("start", read.positions), "step": ("step", read.steps)}
    ),
    "take": Form("take", (("indices", read.positions),), words={"axis": ("axis", read.axis)}),
    "unfold": Form("unfold", (KERNEL,), words={**STRIDE_PAD, **DILATION}),
    "flatten": plain("flatten", chains=False),
    "reshape": Form("reshape", (("dims", read.dims),)),
    "permute": Form(
        "permute", (("split", read.sizes),), words={"axes": ("axes", read.order), "to": ("dims", read.dims)}
    ),
    "shuffle": Form("permute", (("groups", read.count),), finish=shuffle),
    "depth_to_space": Form(
        "permute", (("block", read.count),), words={"crd": ("crd", read.always(True))}, finish=depth_to_space
    ),
    "space_to_depth": Form("permute", (("block", read.count),), finish=space_to_depth),
    "expand": Form("expand", (("dims", read.dims),)),
    "topk": Form("topk", (("k", read.count),), words=TOPK),
    "resize": Form("resize", (("size", read.kernel),), words=RESIZE),
    "upsample": Form(
        "upsample", (("scale", read.pair(1)),), words={**FLAGS, "align": ("align_corners", read.always(True))}
    ),
    "pad": Form("pad", (("pad", read.pads),), words={**EDGES, **numbers("value")}),
}
"""All words for ops."""
MERGE_FORMS: Mapping[str, Form] = {
    **{op: Form(op) for op in (*sorted(ELEMENTWISE), "matmul", "concat")},
    "cropcat": Form("concat"),
    "sample": Form("sample", words=SAMPLE),
    "gather": Form("gather", words=ROWS),
    "scatter": Form("scatter", words={**ROWS, **{m: ("reduction", read.always(m)) for m in REDUCTIONS}}),
    "unpool": Form("unpool", (("size", read.kernel),)),
    "roi_align": Form("roi_align", (("size", read.kernel),), words=ROI_ALIGN),
    "nms": Form("nms", (("most", read.count),), words=NMS),
}
"""Words for merges, which come before the arms in braces. Attributes come after the closing brace. `cropcat` crops all
arms, centred, to the smallest and concatenates them."""
MERGES = tuple(MERGE_FORMS)
WORD = {form.op: word for word, form in reversed(list(FORMS.items()))}
"""The word the printer uses for an op."""
KEYWORDS = ("block", "save", "from", "output")
"""Words that start a statement that is neither an op nor a merge. `net` is not among them: it starts the first line
only."""
RESERVED = frozenset({*FORMS, *MERGES, *KEYWORDS, "net", "bias", "nobias", "floor", "ceil",
                      "exact", "dil", "groups", "mult", "countpad", "outpad", "weights"})  # fmt: skip
"""Words that cannot name a block or a parameter."""
