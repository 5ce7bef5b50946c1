"""Words of PyTorch, ONNX and Keras, and the words of the language with the same meaning."""

from __future__ import annotations

import re

EXAMPLES = {
    "input": "input 3x224x224",
    "const": "const 3x1x1",
    "conv": "conv 3x3 64 /2",
    "proj": "proj 1x1 64",
    "dwconv": "dwconv 3x3",
    "upconv": "upconv 2x2 64 /2",
    "fc": "fc 1000",
    "maxpool": "maxpool 2x2 /2",
    "avgpool": "avgpool 2x2 /2",
    "gap": "gap",
    "gmp": "gmp",
    "gsum": "gsum",
    "bn": "conv 3x3 64 bn",
    "lrn": "lrn size 5",
    "relu": "relu",
    "relu6": "relu6",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "hard_swish": "hard_swish",
    "silu": "silu",
    "softmax": "softmax",
    "identity": "identity",
    "leaky_relu": "leaky_relu 0.1",
    "hard_sigmoid": "hard_sigmoid",
    "dropout": "dropout 0.5",
    "slice": "slice 0:2",
    "crop": "crop 1,1 4x4",
    "strided_slice": "strided_slice 3x4x4 at 0,1,0 step 1,2,2",
    "take": "take 2,0 axis 1",
    "unfold": "unfold 3x3 pad 1",
    "flatten": "flatten",
    "reshape": "reshape 12x4x4",
    "upsample": "upsample 2 bilinear",
    "pad": "pad 1 reflect",
    "softplus": "softplus",
    "softsign": "softsign",
    "mish": "mish",
    "gelu": "gelu",
    "gelu_tanh": "gelu_tanh",
    "erf": "erf",
    "exp": "exp",
    "log": "log",
    "sqrt": "sqrt",
    "reciprocal": "reciprocal",
    "abs": "abs",
    "prelu": "prelu",
    "clip": "clip low 0 high 1",
    "affine": "affine scale 2 shift 1",
    "elu": "elu",
    "thresholded_relu": "thresholded_relu 1",
    "power": "power 0.5",
    "shrink": "shrink shift 0.5 edge 0.5",
    **{
        word: word
        for word in (
            *("round_down", "round_up", "round_to_zero", "round", "sign", "sin", "cos", "tan", "asin", "acos", "atan"),
            *("sinh", "cosh", "asinh", "acosh", "atanh"),
        )
    },
    "group_norm": "group_norm 1",
    "permute": "permute 3x8x8 axes 0,2,1 to 3x8x8",
    "shuffle": "shuffle 3",
    "depth_to_space": "depth_to_space 1",
    "space_to_depth": "space_to_depth 2",
    "expand": "expand 3x8x8",
    "topk": "topk 1",
    "resize": "resize 16x16 linear",
    "add": "add { conv 3x3 3 | }",
    "max": "max { conv 3x3 3 | }",
    "min": "min { conv 3x3 3 | }",
    "matmul": "matmul { | sigmoid }",
    "gather": "gather { | topk 3 indices; crop 0,0 8x1 }",
    "scatter": "scatter { | crop 0,0 8x1 | } add",
    "unpool": "unpool { maxpool 2x2 /2 | argmaxpool 2x2 /2 } 16x16",
    "argmaxpool": "argmaxpool 2x2 /2",
    "roi_align": "roi_align { | const 5x1x4 } 7x7",
    "nms": "nms { reshape 1x48x4 | conv 1x1 3; reshape 1x4x48 } 10 iou 0.5",
    "sample": "sample { | conv 1x1 2 tanh } cubic",
    **{word: f"{word} {{ | sigmoid }}" for word in ("div", "pow", "mod", "fmod", "greater", "greater_equal", "equal")},
    "where": "where { sigmoid | | relu }",
    "mul": "mul { conv 3x3 3 | }",
    "concat": "concat { conv 3x3 64 | }",
    "cropcat": "cropcat { conv 3x3 64 pad 0 | }",
    "save": "save a",
    "from": "from a",
    "output": "output",
    "block": "block b(c) { conv 3x3 c relu }",
}
"""An example for each word that may start a statement."""
SYNONYMS = {
    "conv": ["convolution"],
    "dwconv": ["depthwise", "depthwiseconv", "separableconv"],
    "upconv": ["convtranspose", "convtransposed", "transposedconv", "deconv", "deconvolution"],
    "fc": ["linear", "dense", "gemm", "fullyconnected", "innerproduct"],
    "maxpool": ["maxpooling", "pool", "pooling"],
    "avgpool": ["averagepool", "averagepooling", "avgpooling"],
    "gap": ["globalavgpool", "globalaveragepool", "globalaveragepooling", "adaptiveavgpool", "globalpool"],
    "gmp": ["globalmaxpool", "globalmaxpooling", "adaptivemaxpool"],
    "gsum": ["reducesum", "globalsumpool"],
    "bn": ["batchnorm", "batchnormalization"],
    "lrn": ["localresponsenorm", "localresponsenormalization"],
    "silu": ["swish"],
    "leaky_relu": ["lrelu", "leaky"],
    "hard_swish": ["hswish"],
    "hard_sigmoid": ["hsigmoid"],
    "permute": ["transpose"],
    "slice": ["narrow"],
    "resize": ["rescale"],
    "affine": ["scaleshift"],
    "max": ["maximum"],
    "min": ["minimum"],
    "dropout": ["droppath"],
    "upsample": ["upsampling", "interpolate"],
    "nms": ["nonmaxsuppression", "nonmaximumsuppression"],
    "sample": ["gridsample", "warp", "remap"],
    "reshape": ["view"],
    "identity": ["noop", "pass"],
    "pad": ["zeropad", "zeropadding"],
    "crop": ["cropping"],
    "const": ["constant", "parameter"],
    "add": ["sum", "plus", "residual"],
    "mul": ["multiply", "times", "scale"],
    "div": ["divide"],
    "greater": ["gt"],
    "greater_equal": ["ge", "greaterorequal"],
    "equal": ["eq"],
    "where": ["select"],
    "round_down": ["floor"],
    "round_up": ["ceil"],
    "round_to_zero": ["trunc", "truncate"],
    "concat": ["cat", "concatenate", "merge"],
    "save": ["let", "store"],
    "output": ["return", "out", "outputs"],
    "input": ["inputs", "placeholder"],
    "block": ["def", "module", "macro"],
}
"""What other tools call these words, in lower case, without underscores and `2d`."""
OWN_WORDS = {
    "pad": ("reflect", "edge", "constant"),
    "upsample": ("nearest", "bilinear", "align"),
    "resize": ("nearest", "linear", "cubic"),
}
"""Words that come after the numbers of an op. People often write them before the numbers."""
LEFT_OUT = frozenset({"scale", "factor", "to", "by"})
"""Words that other tools put before numbers, and that the language does not have."""
STRIDE = "a stride is written /2, as in `conv 3x3 64 /2`"
PAD = "padding is written pad 1, as in `conv 3x3 64 pad 1`; odd kernels of convolutions keep the size without"
DILATION = "dilation is written dil 2, as in `conv 3x3 64 dil 2`"
NONE_HERE = "the language has no such layer: it is made for convolutional networks"
LOOP = "a line is repeated by x3 at its end; several lines are made a block: `block b(c) { ... }`, then `b(64) x3`"
ADVICE = {
    **dict.fromkeys(("lstm", "gru", "rnn", "embedding", "attention", "multiheadattention", "transformer"), NONE_HERE),
    **dict.fromkeys(("repeat", "for", "loop", "while", "times"), LOOP),
    **dict.fromkeys(("pointwise", "pwconv"), "a pointwise convolution is `conv 1x1 64`"),
    **dict.fromkeys(("separable", "sepconv"), "a separable convolution is two: `dwconv 3x3; conv 1x1 64`"),
    **dict.fromkeys(("layernorm", "layernormalization"), "layer norm is `group_norm 1`"),
    **dict.fromkeys(("instancenorm", "instancenormalization"), "instance norm is group_norm with a group a channel"),
    **dict.fromkeys(("pixelshuffle", "pixelunshuffle"), "`depth_to_space 2 crd`, and back `space_to_depth 2`"),
    **dict.fromkeys(("split", "chunk"), "save the value and take parts of it: `save a`, `slice 0:16`, `from a`, ..."),
    **dict.fromkeys(("squeeze", "unsqueeze"), "axes are not put in or left out; `flatten` makes a vector"),
    **dict.fromkeys(("se", "squeezeexcite"), "`mul { | gap; conv 1x1 4 relu; conv 1x1 64 sigmoid }` with its channels"),
    **dict.fromkeys(("global",), "over the whole image: `gap` (average) or `gmp` (maximum)"),
    **dict.fromkeys(("skip", "shortcut"), "a shortcut is an empty arm: `add { conv 3x3 64 | }`"),
    **dict.fromkeys(("sub", "subtract", "minus"), "`affine scale -1` turns the sign of an arm of `add`"),
    **dict.fromkeys(("div", "divide"), "`reciprocal` in an arm of `mul` divides"),
    **dict.fromkeys(("end", "stop"), "nothing ends a text; the last value is the output"),
    **dict.fromkeys(("loss", "train", "optimizer", "fit"), "a text says what is computed, not how it is trained"),
}
"""Words without a counterpart in the language, simplified in the same way, and what to do instead."""
SETTINGS = {
    **dict.fromkeys(("stride", "strides", "subsample"), STRIDE),
    **dict.fromkeys(("padding", "pads", "zeropadding", "same"), PAD),
    "valid": "no padding is written pad 0, as in `conv 3x3 64 pad 0`",
    **dict.fromkeys(("dilation", "dilations", "dilationrate", "dilated"), DILATION),
    "group": "groups are written groups 2, as in `conv 3x3 64 groups 2`",
    **dict.fromkeys(("kernel", "kernelsize", "kernelshape", "size"), "the kernel comes first, as in `conv 3x3 64`"),
    **dict.fromkeys(
        ("channels", "filters", "outchannels", "out", "c", "cout", "numoutput"),
        "the channels follow the kernel, as in `conv 3x3 64`",
    ),
    **dict.fromkeys(("bias", "usebias"), "convolutions and fc have a bias; `nobias` leaves it out"),
    "outputpadding": "it is written outpad 1, as in `upconv 3x3 64 /2 pad 1 outpad 1`",
    "ceilmode": "it is written ceil, as in `maxpool 3x3 /2 ceil`",
    "countincludepad": "it is written countpad, as in `avgpool 3x3 pad 1 countpad`",
    "epsilon": "it is written eps 1e-5, as in `bn eps 1e-3`",
    **dict.fromkeys(("units", "outfeatures", "features", "numclasses"), "the results follow, as in `fc 1000`"),
    **dict.fromkeys(
        ("inchannels", "infeatures", "cin", "inputdim"), "leave it out: those of the current value are known"
    ),
    **dict.fromkeys(("activation", "act", "nonlinearity"), "it is a word of its own, as in `conv 3x3 64 relu`"),
    **dict.fromkeys(
        ("inplace", "dtype", "device", "trainable", "momentum"), "leave it out: it says nothing for inference"
    ),
    "name": "a label names a line, as in `conv1: conv 3x3 64`",
    "shape": "the shape follows at once, as in `input 3x224x224`",
    "inputshape": "the shape is on a line of its own: `input 3x224x224`",
    "scalefactor": "the factor follows at once, as in `upsample 2`",
    "mode": "it is a word of its own, as in `upsample 2 bilinear`",
    **dict.fromkeys(("float32", "float", "fp32"), "leave it out: inputs are float32"),
}
"""What other tools call attributes, simplified in the same way."""
PICTURE = {
    **dict.fromkeys(("centercrop", "randomcrop"), "the middle is cut out after `resize`: `input 3x224x224 resize 256`"),
    "scale": "pixels are divided by 255 where there is neither mean nor std; `std (255)` says so",
    **dict.fromkeys(("interpolation", "filter", "cubic", "linear"), "a filter is its name: `resize 256 bicubic`"),
    **dict.fromkeys(
        ("normalize", "subtract"), "pixels of 0 to 255: `input 3x224x224 mean (123.7, 116.3, 103.5) std (58)`"
    ),
}
"""What other tools call the steps of preparing pictures, simplified in the same way. They count on an `input` line
only."""
LETTERS = {"s": "a stride is written /{0}", "p": "padding is written pad {0}", "d": "dilation is written dil {0}",
           "g": "groups are written groups {0}", "k": "a kernel is written {0}x{0}, and comes first"}  # fmt: skip


def simplified(word: str) -> str:
    """`AdaptiveAvgPool2d` and `adaptive_avg_pool` as `adaptiveavgpool`."""
    return re.sub(r"[123]d$", "", word.lower().replace("_", ""))


HERE = {other: word for word, others in SYNONYMS.items() for other in others}
HERE |= {simplified(word): word for word in EXAMPLES}


def setting(word: str) -> str:
    """The hint for what another tool calls an attribute, or for shorthand such as `s2`; an empty text for other
    words."""
    if short := re.fullmatch(r"([spdgk])(\d+)", word):
        return LETTERS[short[1]].format(short[2])
    return SETTINGS.get(simplified(word), "")


def picture(word: str) -> str:
    """The hint for what another tool calls a step of preparing pictures; an empty text for other words."""
    return PICTURE.get(simplified(word), "")


def op(word: str) -> str:
    """The hint for what another tool calls an op, or for another spelling of it; an empty text for other words."""
    here = HERE.get(simplified(word))
    if here is None:
        return ADVICE.get(simplified(word), "")
    example = EXAMPLES[here]
    return f"did you mean {here!r}?" if example == here else f"did you mean {here!r}? e.g. `{example}`"
