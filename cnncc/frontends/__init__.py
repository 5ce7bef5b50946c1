"""Networks in the formats of others. Only ONNX so far, and only out of cnncc: `export_onnx`."""

from __future__ import annotations

from cnncc.errors import CnnccError


def require_onnx() -> None:
    """CnnccError, saying how to get it, unless the package `onnx` is there: it is an extra, not a dependency."""
    try:
        import onnx  # noqa: F401
    except ModuleNotFoundError as error:
        raise CnnccError("ONNX needs the package onnx", hint="pip install cnncc[onnx]") from error
