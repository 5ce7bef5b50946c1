"""Words of PyTorch, ONNX and Keras, and the words of the language with the same meaning."""

from __future__ import annotations

import re
from collections.abc import Mapping

from cnncc.ops import TABLE

_FORMS = [form for op in TABLE.values() for form in op.forms]
EXAMPLES: Mapping[str, str] = {
    **{form.word: form.example for form in _FORMS},
    "save": "save a",
    "from": "from a",
    "output": "output",
    "block": "block b(c) { conv 3x3 c relu }",
}
"""One use of every word a statement may start with."""
SYNONYMS: Mapping[str, tuple[str, ...]] = {
    **{form.word: form.synonyms for form in _FORMS if form.synonyms},
    "save": ("let", "store"),
    "output": ("return", "out", "outputs"),
    "block": ("def", "module", "macro"),
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
