"""Darknet's `.cfg`: a section in brackets for each layer, and in it lines KEY=VALUE. Weights come from elsewhere."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from cnncc import lang
from cnncc.base.errors import CnnccError
from cnncc.frontends.onnx.network import Network

Section = Mapping[str, str]
ACTIVATIONS = {"linear": "", "leaky": "leaky_relu 0.1", "relu": "relu", "logistic": "sigmoid"}


def read_darknet(path: str | os.PathLike[str]) -> Network:
    """The network of a file. CnnccError for one that cannot be read, and for what there is no rule for."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CnnccError(f"cannot read {path}: {error}") from error
    lines = ["net " + re.sub(r"\W", "_", Path(path).stem)]
    for name, body in re.findall(r"^\[(\w+)\]([^\[]*)", text, re.M):
        try:
            lines.append(LAYERS[name](dict(re.findall(r"^(\w+) *= *(\S+)", body, re.M))))
        except KeyError as error:
            raise CnnccError(f"{path}: [{name}]: there is no rule for it, or no value for {error}") from error
    written = "\n".join(lines) + "\n"
    return Network(written, lang.parse(written), (), (), ())


def convolution(s: Section) -> str:
    """`pad=1` keeps the size of the image. A batch norm adds its own bias."""
    size = int(s["size"])
    pad = size // 2 if s.get("pad") == "1" else int(s.get("padding", "0"))
    shift = "bn eps 1e-6" if s.get("batch_normalize") == "1" else "bias"
    return f"conv {size}x{size} {s['filters']} /{s['stride']} pad {pad} {shift} {ACTIVATIONS[s['activation']]}"


LAYERS: Mapping[str, Callable[[Section], str]] = {
    "net": lambda s: f"input {s['channels']}x{s['height']}x{s['width']}",
    "convolutional": convolution,
    "maxpool": lambda s: f"maxpool {s['size']}x{s['size']} /{s['stride']} ceil",
    "avgpool": lambda s: "gap",
    "connected": lambda s: f"fc {s['output']} {ACTIVATIONS[s['activation']]}",
    "softmax": lambda s: "softmax",
}
"""The line of the language that a section becomes."""
