"""cnncc compiles the text of a convolutional network to one self-contained native module.

    import cnncc
    model = cnncc.compile("resnet50.net")      # or cnncc.load("resnet50.so")
    probabilities = model(image)               # float32 NumPy array in NCHW

Names are loaded when first used, so that `import cnncc` costs milliseconds.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnncc.api import build, compile, load
    from cnncc.base.errors import CnnccError, CnnccWarning
    from cnncc.calibrate import quantize
    from cnncc.options import Options
    from cnncc.runtime.arrays import InputError
    from cnncc.runtime.model import Model

__version__ = "0.2.0"
__all__ = [
    "CnnccError", "CnnccWarning", "InputError", "Model", "Options",
    "__version__", "build", "compile", "load", "quantize",
]  # fmt: skip

_HOMES = {
    "build": "cnncc.api",
    "compile": "cnncc.api",
    "load": "cnncc.api",
    "quantize": "cnncc.calibrate",
    "CnnccError": "cnncc.base.errors",
    "CnnccWarning": "cnncc.base.errors",
    "InputError": "cnncc.runtime.arrays",
    "Model": "cnncc.runtime.model",
    "Options": "cnncc.options",
}


def __getattr__(name: str) -> Any:
    """PEP 562: import the module that holds `name` on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'cnncc' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
