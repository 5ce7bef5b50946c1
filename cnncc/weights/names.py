"""Recognises the library whose names the tensors of a file have, if they are not those of a network."""

from __future__ import annotations

import re
from collections.abc import Iterable

CONVERT = "`cnncc weights NET --from {0} --map {1} -o FILE` converts them"
LIBRARIES = (
    (
        r"onnx::\w+_\d+",
        "an exporter to ONNX",
        "import the model itself: `cnncc import MODEL.onnx` writes text and weights",
    ),
    (
        r".*(/|^)(kernel|gamma|beta|moving_mean|moving_variance|depthwise_kernel)(:0)?",
        "Keras",
        "its kernels are stored otherwise: convert the model with tf2onnx, then `cnncc import MODEL.onnx`",
    ),
    (r"(conv_stem|conv_head|stem\.\d|stem_\d|stages\.\d+|blocks\.\d+|head\.fc|patch_embed)\b.*", "timm", CONVERT),
    (r"(encoder|decoder|backbone|embedder|model\.\w+|resnet\.\w+)\..*", "a larger model", CONVERT),
    (
        r"(layer\d+\.\d+\.(conv|bn|downsample)|features\.|conv1\.|bn1\.|fc\.|classifier\.|inception\d).*",
        "torchvision",
        CONVERT,
    ),
)
"""Patterns of names, the libraries that use them, and what to do; rarer patterns come first."""
MAPS = {"torchvision": "torchvision"}
ENOUGH = 0.5
"""Share of the names that must match a pattern."""


def origin_hint(names: Iterable[str], file: str) -> str:
    """The hint for tensors with the names of another library; an empty text if no library is recognised."""
    given = list(names)
    for pattern, library, advice in LIBRARIES:
        if sum(bool(re.fullmatch(pattern, name)) for name in given) > ENOUGH * len(given):
            return f"these look like names of {library}: {advice.format(file, MAPS.get(library, 'order'))}"
    return ""
