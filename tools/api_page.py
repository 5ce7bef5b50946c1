"""Makes docs/api.md from the signatures and docstrings of the public names: `make api`.

The sources are parsed, not imported: the packages that some of them need (Ray, Beam) are not installed, and docstrings
of attributes are in the source alone.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/api.md"
Function = ast.FunctionDef | ast.AsyncFunctionDef
INTRODUCTION = """\
# Python API

<!-- Made by `make api` from the docstrings. Do not edit it: change the docstrings and make it again. -->

These are the public names of cnncc. [CHANGELOG.md](../CHANGELOG.md) says which of them a new version changes.
Everything else in `cnncc` may change without notice. [Python](python.md) shows how they are used.
"""


@dataclass(frozen=True)
class Public:
    """A public name. Where users import it from may be another module than that of its source."""

    name: str
    source: str
    """`module:name`; a method is `module:Class.name`."""
    short: str = ""
    """What an instance of a class is called in the page."""
    members: Sequence[str] = ()
    """What of a class is public."""


@dataclass(frozen=True)
class Section:
    """Public names that belong together, under one heading."""

    title: str
    names: Sequence[Public]


@dataclass(frozen=True)
class Entry:
    """One name as the page shows it."""

    name: str
    signature: str
    """The call with types and defaults; empty for what is not called."""
    text: str
    """The docstring; empty if there is none."""
    level: int
    """Of the heading."""


COUNTS = (
    *("batches", "requests", "images", "failed", "cancelled", "refused", "waiting"),
    *("mean_batch", "wait_p50_ms", "wait_p99_ms"),
)
_BACKEND = "cnncc.contrib.onnx_backend"
SECTIONS = (
    Section(
        "Compile and load",
        (
            Public("cnncc.compile", "cnncc.api:compile"),
            Public("cnncc.load", "cnncc.runtime.load:load"),
            Public("cnncc.build", "cnncc.api:build"),
            Public(
                "cnncc.Options",
                "cnncc.options:Options",
                "options",
                ("targets", "batch", "threads", "max_error", "dtype", "weights_dtype", "tune"),
            ),
            Public("cnncc.module.built.Built", "cnncc.module.built:Built", "built", ("model", "write", "info")),
            Public("cnncc.frontends.sources.read_bound", "cnncc.frontends.sources:read_bound"),
            Public("cnncc.quantize", "cnncc.calibrate.search:quantize"),
            Public(
                "cnncc.calibrate.search.Calibrated", "cnncc.calibrate.search:Calibrated", "found", ("save", "to_json")
            ),
            Public(
                "cnncc.Model",
                "cnncc.runtime.model:Model",
                "model",
                (
                    "__call__",
                    "run_many",
                    "save",
                    "at_size",
                    "arena_bytes_for",
                    "set_threads",
                    "name",
                    "batch",
                    "threads",
                    "inputs",
                    "outputs",
                    "sizes",
                    "ranges",
                    "info",
                ),
            ),
            Public("cnncc.runtime.model.Port", "cnncc.runtime.arrays:Port", "port", ("name", "shape", "declared")),
            Public(
                "cnncc.runtime.model.PortSize",
                "cnncc.runtime.arrays:PortSize",
                "size",
                ("inputs", "outputs", "arena_bytes"),
            ),
            Public(
                "cnncc.runtime.model.Range",
                "cnncc.runtime.ranges:Range",
                "size",
                ("name", "least", "most", "step"),
            ),
            Public(
                "cnncc.runtime.cuda.driver.CudaModel",
                "cnncc.runtime.cuda.driver:CudaModel",
                "model",
                ("open", "release"),
            ),
        ),
    ),
    Section(
        "Errors and warnings",
        (
            Public("cnncc.CnnccError", "cnncc.base.errors:CnnccError", "error", ("message", "span", "stack", "hint")),
            Public("cnncc.InputError", "cnncc.runtime.arrays:InputError"),
            Public("cnncc.CnnccWarning", "cnncc.base.errors:CnnccWarning", "warning", ("message", "span", "hint")),
        ),
    ),
    Section(
        "PyTorch",
        (
            Public("cnncc.torch.compile", "cnncc.torch.compiled:compile"),
            Public("cnncc.torch.to_net", "cnncc.torch.compiled:to_net"),
            Public(
                "cnncc.torch.CompiledModule",
                "cnncc.torch.compiled:CompiledModule",
                "model",
                ("__call__", "save", "model", "network"),
            ),
        ),
    ),
    Section("Pictures", (Public("cnncc.pictures.images.prepare", "cnncc.pictures.images:prepare"),)),
    Section(
        "Networks, weights and the reference",
        (
            Public("cnncc.lang.read", "cnncc.lang.read:read"),
            Public("cnncc.lang.parse", "cnncc.lang.read:parse"),
            Public("cnncc.lang.format_text", "cnncc.lang.format:format_text"),
            Public("cnncc.lang.print_net", "cnncc.lang.print_net:print_net"),
            Public("cnncc.weights.bind", "cnncc.weights.files:bind"),
            Public("cnncc.weights.load", "cnncc.weights.files:load"),
            Public("cnncc.weights.save", "cnncc.weights.files:save"),
            Public("cnncc.ops.reference.run", "cnncc.ops.reference:run"),
        ),
    ),
    Section(
        "Serving",
        (
            Public(
                "cnncc.serving.Batcher",
                "cnncc.serving.batcher:Batcher",
                "batcher",
                ("__init__", "submit", "infer", "counts", "close", "model"),
            ),
            Public("cnncc.serving.ServingCounts", "cnncc.serving.counters:ServingCounts", "counts", COUNTS),
            Public("cnncc.serving.QueueFullError", "cnncc.serving.queue:QueueFullError"),
            Public("cnncc.serving.ClosedError", "cnncc.serving.queue:ClosedError"),
        ),
    ),
    Section(
        "Clusters and servers of others",
        (
            Public("cnncc.contrib.predictor.ship", "cnncc.contrib.predictor:ship"),
            Public(
                "cnncc.contrib.predictor.Predictor",
                "cnncc.contrib.predictor:Predictor",
                "predict",
                ("__call__", "path", "sha256", "threads", "info", "model"),
            ),
            Public("cnncc.contrib.ray.predict", "cnncc.contrib.ray:predict"),
            Public("cnncc.contrib.dask.predict", "cnncc.contrib.dask:predict"),
            Public("cnncc.contrib.spark.predict_udf", "cnncc.contrib.spark:predict_udf"),
            Public("cnncc.contrib.beam.CnnccModelHandler", "cnncc.contrib.beam:CnnccModelHandler", "", ("__init__",)),
            Public("cnncc.contrib.kserve.CnnccKServeModel", "cnncc.contrib.kserve:CnnccKServeModel", "", ("__init__",)),
        ),
    ),
    Section(
        "ONNX backend",
        (
            Public(f"{_BACKEND}.CnnccBackend", f"{_BACKEND}:CnnccBackend"),
            Public(f"{_BACKEND}.prepare", f"{_BACKEND}:CnnccBackend.prepare"),
            Public(f"{_BACKEND}.run_node", f"{_BACKEND}:CnnccBackend.run_node"),
            Public(f"{_BACKEND}.is_compatible", f"{_BACKEND}:CnnccBackend.is_compatible"),
            Public(f"{_BACKEND}.supports_device", f"{_BACKEND}:CnnccBackend.supports_device"),
            Public(f"{_BACKEND}.CnnccRep", f"{_BACKEND}:CnnccRep", "prepared", ("run",)),
        ),
    ),
)


def page() -> str:
    """The text of docs/api.md."""
    parts = [INTRODUCTION]
    for section in SECTIONS:
        parts.append(f"## {section.title}\n")
        for entry in (e for public in section.names for e in entries(public)):
            parts.append(f"{'#' * entry.level} `{entry.name}`\n")
            if entry.signature:
                parts.append(f"```python not-run\n{entry.signature}\n```\n")
            parts.append(f"{entry.text}\n")
    return "\n".join(parts)


def entries(public: Public) -> Iterator[Entry]:
    """The entry of a public name, and those of its public members."""
    module, path = public.source.split(":")
    tree = _parsed(module)
    owner: ast.Module | ast.ClassDef = tree
    *classes, name = path.split(".")
    for outer in classes:
        owner = _class(owner, outer)
    function = _function(owner, name)
    if function is not None:
        yield Entry(public.name, _signature(public.name, function, tree), _doc(function), 3)
        return
    found = _class(owner, name)
    constructor = _function(found, "__init__") if "__init__" in public.members else None
    shown = _signature(public.name, constructor, tree) if constructor else ""
    yield Entry(public.name, shown, _doc(found), 3)
    yield from (_member(found, public.short, m, tree) for m in public.members if m != "__init__")


def _member(owner: ast.ClassDef, short: str, name: str, tree: ast.Module) -> Entry:
    """A method, property or attribute of a class."""
    function = _function(owner, name)
    if function is None:
        return Entry(f"{short}.{name}", "", _attribute_doc(owner, name), 4)
    if any(isinstance(d, ast.Name) and d.id == "property" for d in function.decorator_list):
        return Entry(f"{short}.{name}", "", _doc(function), 4)
    called = short if name == "__call__" else f"{short}.{name}"
    return Entry(f"{called}(...)", _signature(called, function, tree), _doc(function), 4)


def _parsed(module: str) -> ast.Module:
    return ast.parse(ROOT.joinpath(*module.split(".")).with_suffix(".py").read_text(encoding="utf-8"))


def _function(owner: ast.Module | ast.ClassDef, name: str) -> Function | None:
    return next((s for s in owner.body if isinstance(s, Function) and s.name == name), None)


def _class(owner: ast.Module | ast.ClassDef, name: str) -> ast.ClassDef:
    """The class of that name; an error if a public name has moved."""
    found = next((s for s in owner.body if isinstance(s, ast.ClassDef) and s.name == name), None)
    if found is None:
        raise LookupError(f"tools/api_page.py: {name} is not where SECTIONS says")
    return found


def _doc(node: Function | ast.ClassDef) -> str:
    return ast.get_docstring(node) or ""


def _attribute_doc(owner: ast.ClassDef, name: str) -> str:
    """The string below the assignment of an attribute, in the class or in its constructor."""
    constructor = _function(owner, "__init__")
    for body in (owner.body, constructor.body if constructor else []):
        for statement, below in pairwise(body):
            value = below.value if isinstance(below, ast.Expr) else None
            if _assigns(statement, name) and isinstance(value, ast.Constant) and isinstance(value.value, str):
                return inspect.cleandoc(value.value)
    return ""


def _assigns(statement: ast.stmt, name: str) -> bool:
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return any(name in (getattr(t, "id", None), getattr(t, "attr", None)) for t in targets)


def _signature(name: str, function: Function, tree: ast.Module) -> str:
    """The call with types and defaults, without `self`; one parameter a line if it is long."""
    name = f"await {name}" if isinstance(function, ast.AsyncFunctionDef) else name
    parameters = list(_parameters(function.args, tree))
    result = "" if function.returns is None or function.name == "__init__" else f" -> {ast.unparse(function.returns)}"
    line = f"{name}({', '.join(parameters)}){result}"
    if len(line) <= 100:
        return line
    return f"{name}(\n" + "".join(f"    {parameter},\n" for parameter in parameters) + f"){result}"


def _parameters(given: ast.arguments, tree: ast.Module) -> Iterator[str]:
    """Each parameter as Python writes it. A default that is named, `ROWS` or `DEFAULT.batch`, is shown by its value."""
    plain = [*given.posonlyargs, *given.args]
    defaults = [None] * (len(plain) - len(given.defaults)) + given.defaults
    for parameter, default in zip(plain, defaults, strict=True):
        if parameter.arg not in ("self", "cls"):
            yield _parameter(parameter, default, tree)
    if given.vararg:
        yield f"*{_parameter(given.vararg, None, tree)}"
    elif given.kwonlyargs:
        yield "*"
    for parameter, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        yield _parameter(parameter, default, tree)
    if given.kwarg:
        yield f"**{_parameter(given.kwarg, None, tree)}"


def _parameter(parameter: ast.arg, default: ast.expr | None, tree: ast.Module) -> str:
    text = ast.unparse(parameter)
    return text if default is None else f"{text} = {_value(default, tree)}"


def _value(default: ast.expr, tree: ast.Module) -> str:
    if isinstance(default, ast.Attribute) and isinstance(default.value, ast.Name):
        for home in (s.module for s in tree.body if isinstance(s, ast.ImportFrom) and s.module):
            if home.startswith("cnncc.") and hasattr(found := importlib.import_module(home), default.value.id):
                return repr(getattr(getattr(found, default.value.id), default.attr))
    constants = (s for s in tree.body if isinstance(s, ast.Assign) and isinstance(s.value, ast.Constant))
    named = {t.id: s.value for s in constants for t in s.targets if isinstance(t, ast.Name)}
    return ast.unparse(named.get(default.id, default) if isinstance(default, ast.Name) else default)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE.relative_to(ROOT)}\n")
