"""Packages that only a part of cnncc needs, the extra that brings each, and how to install it.

NumPy alone loads and runs modules. What else is missing is said in one line, where it is first needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from cnncc.base.errors import CnnccError

DISTRIBUTION = "cnncc-inference"
"""What pip calls cnncc: the short name is another project's on PyPI."""
COMPILER, IMAGES = "compiler", "images"
RAY, DASK, SPARK, BEAM, KSERVE, TORCH = "ray", "dask", "spark", "beam", "kserve", "torch"
PACKAGES: Mapping[str, Mapping[str, str]] = {
    COMPILER: {
        "tvm": "apache-tvm",
        "tvm_ffi": "apache-tvm-ffi",
        "llvmlite": "llvmlite",
        "lark": "lark",
        "networkx": "networkx",
        "safetensors": "safetensors",
        "rich": "rich",
        "onnx": "onnx",
    },
    IMAGES: {"PIL": "pillow"},
    RAY: {"ray": "ray[data]"},
    DASK: {"dask": "dask[array]"},
    SPARK: {"pyspark": "pyspark[ml]"},
    BEAM: {"apache_beam": "apache-beam"},
    KSERVE: {"kserve": "kserve"},
    TORCH: {"torch": "torch"},
}
"""Extra -> what Python imports -> what pip installs. `compiler` brings `images` with it."""
PURPOSE = {
    COMPILER: "reading and compiling networks",
    IMAGES: "reading image files",
    **{extra: f"cnncc.contrib.{extra}" for extra in (RAY, DASK, SPARK, BEAM, KSERVE)},
    TORCH: "cnncc.torch",
}
WITHOUT = {
    COMPILER: "; without it cnncc loads and runs modules that are compiled already",
    IMAGES: "; arrays in .npy files need nothing more",
}
"""What goes without an extra: the end of its hint."""


def install(extra: str) -> str:
    """The command that adds an extra to this installation, from where it came: a folder, a wheel, or an index."""
    source, editable = _source()
    return f"pip install {'--editable ' if editable else ''}'{source}[{extra}]'"


def _source() -> tuple[str, bool]:
    """What pip was given when it installed cnncc (PEP 610), if that is still there, else the name of the distribution;
    and whether it was to stay where it is."""
    # Imported here: every start of the command would wait for them.
    import json
    from importlib.metadata import PackageNotFoundError, distribution
    from urllib.parse import unquote, urlsplit

    try:
        record = json.loads(distribution(DISTRIBUTION).read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        return DISTRIBUTION, False
    url = urlsplit(record.get("url", ""))
    path = Path(unquote(url.path))
    if url.scheme != "file" or not path.exists():
        return DISTRIBUTION, False
    return str(path), bool(record.get("dir_info", {}).get("editable"))


def missing(extra: str) -> list[str]:
    """The packages of an extra that are not installed."""
    return [package for module, package in PACKAGES[extra].items() if find_spec(module) is None]


def require(extra: str) -> None:
    """CnnccError, naming the packages and the extra, unless all of it is installed."""
    lacking = missing(extra)
    if lacking:
        raise _error(extra, lacking)


def explain(error: ModuleNotFoundError) -> CnnccError | None:
    """What to tell the user about a failed import; None if no extra brings the module."""
    name = (error.name or "").split(".")[0]
    extra = next((extra for extra, packages in PACKAGES.items() if name in packages), None)
    if extra is None or find_spec(name) is not None:
        return None
    return _error(extra, missing(extra))


def _error(extra: str, lacking: list[str]) -> CnnccError:
    plural = "is" if len(lacking) == 1 else "are"
    return CnnccError(
        f"{PURPOSE[extra]} needs {', '.join(lacking)}, which {plural} not installed",
        hint=install(extra) + WITHOUT.get(extra, ""),
    )
