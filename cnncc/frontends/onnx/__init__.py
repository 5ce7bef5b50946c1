"""ONNX models: read, and written."""

from __future__ import annotations

from cnncc.base import extras
from cnncc.base.errors import CnnccError


def require_onnx() -> None:
    """CnnccError, saying how to get it, unless the package `onnx` can be imported."""
    try:
        import onnx  # noqa: F401
    except ModuleNotFoundError as error:
        raise CnnccError("ONNX needs the package onnx", hint=extras.install(extras.COMPILER)) from error
