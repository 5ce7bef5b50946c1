"""Whose names the tensors of a file have, when they are not those of a network."""

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
"""How names of libraries look, the libraries, and what to do; the rarer ones first."""
MAPS = {"torchvision": "torchvision"}
ENOUGH = 0.5
"""Share of the names that have to look alike."""


def origin_hint(names: Iterable[str], file: str) -> str:
    """What to do with tensors under names of others; an empty text for names that tell nothing."""
    given = list(names)
    for pattern, library, advice in LIBRARIES:
        if sum(bool(re.fullmatch(pattern, name)) for name in given) > ENOUGH * len(given):
            return f"these look like names of {library}: {advice.format(file, MAPS.get(library, 'order'))}"
    return ""
