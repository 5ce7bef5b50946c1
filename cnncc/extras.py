"""Packages that only a part of cnncc needs, and the extra of `pip install cnncc[...]` that brings each.

NumPy alone loads and runs modules. What else is missing is said in one line, where it is first needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from cnncc.errors import CnnccError

COMPILER, IMAGES = "compiler", "images"
RAY, DASK, SPARK, BEAM = "ray", "dask", "spark", "beam"
PACKAGES: Mapping[str, Mapping[str, str]] = {
    COMPILER: {
        "tvm": "apache-tvm",
        "tvm_ffi": "apache-tvm-ffi",
        "llvmlite": "llvmlite",
        "lark": "lark",
        "networkx": "networkx",
        "safetensors": "safetensors",
        "rich": "rich",
    },
    IMAGES: {"PIL": "pillow"},
    RAY: {"ray": "ray[data]"},
    DASK: {"dask": "dask[array]"},
    SPARK: {"pyspark": "pyspark[ml]"},
    BEAM: {"apache_beam": "apache-beam"},
}
"""Extra -> what Python imports -> what pip installs. `compiler` brings `images` with it."""
PURPOSE = {
    COMPILER: "reading and compiling networks",
    IMAGES: "reading image files",
    **{extra: f"cnncc.contrib.{extra}" for extra in (RAY, DASK, SPARK, BEAM)},
}
HINTS = {
    COMPILER: "pip install 'cnncc[compiler]'; without it cnncc loads and runs modules that are compiled already",
    IMAGES: "pip install 'cnncc[images]'; arrays in .npy files need nothing more",
    **{extra: f"pip install 'cnncc[{extra}]'" for extra in (RAY, DASK, SPARK, BEAM)},
}


def require(extra: str) -> None:
    """CnnccError, naming the packages and the extra, unless all of it is installed."""
    lacking = [package for module, package in PACKAGES[extra].items() if find_spec(module) is None]
    if lacking:
        raise _error(extra, lacking)


def explain(error: ModuleNotFoundError) -> CnnccError | None:
    """What to tell the user about a failed import; None if no extra brings the module."""
    name = (error.name or "").split(".")[0]
    extra = next((extra for extra, packages in PACKAGES.items() if name in packages), None)
    if extra is None or find_spec(name) is not None:
        return None
    return _error(extra, [package for module, package in PACKAGES[extra].items() if find_spec(module) is None])


def _error(extra: str, lacking: list[str]) -> CnnccError:
    plural = "is" if len(lacking) == 1 else "are"
    return CnnccError(f"{PURPOSE[extra]} needs {', '.join(lacking)}, which {plural} not installed", hint=HINTS[extra])
