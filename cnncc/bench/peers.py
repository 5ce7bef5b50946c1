"""The names of the competitors, what each needs, and which are installed. Imports none of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec

from cnncc.base import extras
from cnncc.base.errors import CnnccError, nearest

OURS = "cnncc"
FLOAT32, LITERAL = "float32", "literal"
JUDGES = (FLOAT32, LITERAL)
"""Who says what is right where not everybody computes in float32: cnncc in float32; or, where a network is known on
bytes only, ONNX Runtime without optimisations, which computes each operation as the format defines it."""

PEERS: Mapping[str, tuple[str, ...]] = {
    "onnxruntime": ("onnx", "onnxruntime"),
    "openvino": ("onnx", "openvino"),
    "mnn": ("onnx", "MNN"),
    "ncnn": ("onnx", "ncnn", "pnnx"),
    "torch": ("onnx", "torch", "onnx2torch"),
    "torch_compile": ("onnx", "torch", "onnx2torch"),
    "executorch": ("onnx", "torch", "onnx2torch", "executorch"),
}
"""Of each the packages it needs: `onnx` hands the network over, `pnnx` and `onnx2torch` convert it."""

TITLES: Mapping[str, str] = {
    OURS: "cnncc",
    FLOAT32: "cnncc in float32",
    LITERAL: "ONNX Runtime, unoptimised",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "mnn": "MNN",
    "ncnn": "ncnn",
    "torch": "PyTorch",
    "torch_compile": "torch.compile",
    "executorch": "ExecuTorch",
}


OF_PYTORCH = ("torch", "torch_compile", "executorch")
"""Peers that need PyTorch, which is 3 GB: they are an extra of their own."""


ON_BYTES = ("onnxruntime", "openvino")
"""Peers that compute on bytes what an ONNX model has on bytes."""
IN_BFLOAT16 = (OURS, "openvino")
"""Competitors that compute in bfloat16 if asked to; the others go on in float32."""


def hint(names: Iterable[str] = ()) -> str:
    """How to get the peers, these among them."""
    return extras.install("bench" if set(names).isdisjoint(OF_PYTORCH) else "bench-torch")


def missing(name: str) -> list[str]:
    """The packages a peer needs and that are not installed."""
    return [package for package in PEERS[name] if find_spec(package) is None]


def installed() -> list[str]:
    """The peers that can be run here. CnnccError if there are none."""
    names = [name for name in PEERS if not missing(name)]
    if not names:
        raise CnnccError(f"none of {', '.join(PEERS)} is installed: there is nothing to compare with", hint=hint())
    return names


def require(names: Sequence[str]) -> list[str]:
    """The names, each once. CnnccError for one that is unknown or not installed."""
    for name in names:
        if name not in PEERS:
            raise CnnccError(f"no competitor {name!r}", hint=nearest(name, PEERS))
    lacking = {name: missing(name) for name in names if missing(name)}
    if lacking:
        text = "; ".join(f"{name} needs {', '.join(packages)}" for name, packages in lacking.items())
        raise CnnccError(f"not installed: {text}", hint=hint(lacking))
    return list(dict.fromkeys(names))
