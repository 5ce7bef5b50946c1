"""What an imported network is called. Modules get their functions and macros named after it, so it has to tell them
apart, and what most exporters call every graph does not."""

from __future__ import annotations

import os
import re
from pathlib import Path

from cnncc.base.errors import CnnccError

GENERIC = re.compile(
    r"""(main|torch|jit|script|export|exported|converted|optimized|simplified|quantized|inferred|extracted|from|onnx|tf
    |tensorflow|keras|mxnet|paddle|pytorch|caffe|chainer|cntk|sklearn|tvm|coreml|mlir|stablehlo|functional|sequential
    |saved|sub|graph|def|model|net|network|nnet|module|untitled|unnamed|none|default|predict|serving|forward|infer
    |inference|root|body)+|g""",
    re.VERBOSE,
)
"""Words that a name may be made of and still say nothing of the network; nor do digits, or the marks between them."""


def network_name(graph_name: str, path: str | os.PathLike[str]) -> str:
    """The name that the model gives its graph, unless that says nothing; then the file's, without its ending."""
    return Path(path).stem if is_generic(graph_name) else graph_name


def is_name(text: str) -> bool:
    """Whether the language and C take a text as a name."""
    return re.fullmatch(r"[A-Za-z_]\w*", text, re.ASCII) is not None


def check_name(name: str | None) -> None:
    """CnnccError for a name that is none."""
    if name is not None and not is_name(name):
        raise CnnccError(f"a name is letters, digits and _, not beginning with a digit, got {name!r}")


def is_generic(name: str) -> bool:
    """Whether a name is one that exporters give to any graph: `main_graph`, `torch-jit-export`, `tf2onnx`, a number."""
    letters = re.sub(r"[^a-z]", "", name.lower())
    return not letters or GENERIC.fullmatch(letters) is not None
