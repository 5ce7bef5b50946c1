"""PyTorch programs, as `torch.export` gives them: read, node by node, with no ONNX in between."""

from __future__ import annotations

from cnncc.base import extras


def require_torch() -> None:
    """CnnccError, saying how to get it, unless PyTorch can be imported."""
    extras.require(extras.TORCH)
