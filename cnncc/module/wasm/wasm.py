"""A compiled network for browsers and Node: code, weights in a file of their own, an ES module and its types."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cnncc.base.elements import ELEMENTS, FLOAT16
from cnncc.base.errors import CnnccError, reason
from cnncc.base.files import check_outputs, scratch_folder
from cnncc.module import toolchain
from cnncc.module.cpu.build import Build
from cnncc.module.cpu.emit import glue_object
from cnncc.module.cpu.glue import steps_ir
from cnncc.module.names import c_name
from cnncc.runtime.load import SECTION
from cnncc.runtime.wasm_section import custom_section

ROLES = {"weights": "the weights", "wasm": "the code", "d.ts": "the types", "js": "the JavaScript"}
"""The kinds of files, which are also their endings, and how messages call them, in the order in which they appear: the
JavaScript, which knows the hash of the weights, last."""
STACK_BYTES = 1 << 18

_TEMPLATE = Path(__file__).resolve().parent / "wasm_model"


def outputs(folder: Path, name: str) -> dict[str, Path]:
    """The files of a network, by kind."""
    return {kind: folder / f"{c_name(name)}.{kind}" for kind in ROLES}


def write_wasm(build: Build, folder: Path) -> dict[str, Path]:
    """Writes the files into a folder, which is made if its parent exists, each whole or not at all."""
    paths = outputs(folder, build.program.graph.name)
    try:
        folder.mkdir(exist_ok=True)
        check_outputs({ROLES[kind]: path for kind, path in paths.items()}, {})
        with scratch_folder(folder, prefix=".cnncc-") as work:
            weights = build.weights()
            weights.tofile(work / "weights")
            _link(build, work, _held(build, weights, paths["weights"]))
            _write_scripts(build, hashlib.sha256(weights.data).hexdigest(), work)
            for kind, path in paths.items():
                os.replace(work / kind, path)
    except OSError as error:
        raise CnnccError(f"cannot write {folder}: {reason(error)}") from error
    return paths


def _held(build: Build, weights: np.ndarray, file: Path) -> dict[str, Any]:
    """What the module says of its weights, if it is known where these are from."""
    if not build.weights_from:
        return {}
    digest = hashlib.blake2b(weights.data, digest_size=32).hexdigest()
    about = {"bytes": weights.nbytes, "blake2b": digest, "file": file.name, "from": build.weights_from}
    return {"weights": about}


def _link(build: Build, work: Path, held: dict[str, Any]) -> None:
    """The steps and what they reach; no imports, since nothing is left undefined. What callers see is JavaScript."""
    name, target = c_name(build.program.graph.name), build.program.target
    bodies = [glue_object(steps_ir(build.program, f"{name}_run"), target), *build.objects]
    files = [f"{i}.o" for i in range(len(bodies))]
    for file, body in zip(files, bodies, strict=True):
        (work / file).write_bytes(body)
    flags = ["--no-entry", "--strip-all", "--gc-sections", "--stack-first", "-z", f"stack-size={STACK_BYTES}"]
    exported = [f"--export={name}_run", "--export=__heap_base"]
    toolchain.call(target, [*flags, *exported, *files, "-o", "wasm"], work)
    with (work / "wasm").open("ab") as code:
        code.write(custom_section(SECTION, json.dumps({**build.info, **held}).encode()))


def _write_scripts(build: Build, weights_sha256: str, work: Path) -> None:
    info, inputs = build.info, build.info["inputs"]
    arrays = {f"input{i}" if len(inputs) > 1 else "input": array_type(port) for i, port in enumerate(inputs)}
    results = ", ".join(map(array_type, info["outputs"]))
    values = {
        "NAME": info["symbol"],
        "INFO": json.dumps(_summary(build, weights_sha256), indent=2),
        "INPUTS": ", ".join(f"{array}: {kind}" for array, kind in arrays.items()),
        "OUTPUTS": results if len(info["outputs"]) == 1 else f"[{results}]",
        "EXAMPLE": f"{', '.join(arrays.values())} in, {results} out, in NCHW order{_images(build.program.batch)}",
        "NAMED_INPUTS": _named(info["inputs"]),
        "NAMED_OUTPUTS": _named(info["outputs"]),
        **_range_types(info),
    }
    for kind in ("js", "d.ts"):
        text = _TEMPLATE.with_suffix(f".{kind}").read_text(encoding="utf-8")
        for key, value in values.items():
            text = text.replace(f"@{key}@", value)
        (work / kind).write_text(text, encoding="utf-8")


def chosen(info: dict[str, Any]) -> str:
    """How an example of a call says the sizes, before other arguments: those in the middle; empty without ranges."""
    if "ranges" not in info:
        return ""
    sizes = ", ".join(f"{name if name.isidentifier() else json.dumps(name)}: {n}" for name, n in info["middle"].items())
    return f"{{ {sizes} }}, "


def _range_types(info: dict[str, Any]) -> dict[str, str]:
    """What the scripts say of sizes, where these are of a range."""
    empty = dict.fromkeys(("RANGE_TYPES", "RANGE_INFO", "RANGE_FUNCTIONS", "SIZES", "EXAMPLE_SIZES"), "")
    if "ranges" not in info:
        return {**empty, "EXTENT": "number"}
    names = [json.dumps(one["name"]) for one in info["ranges"]]
    return {
        "EXTENT": "Extent",
        "SIZES": f"sizes: {{ {'; '.join(f'{name}: number' for name in names)} }}, ",
        "EXAMPLE_SIZES": chosen(info),
        "RANGE_TYPES": _RANGE_TYPES,
        "RANGE_INFO": _RANGE_INFO,
        "RANGE_FUNCTIONS": _RANGE_FUNCTIONS,
    }


_RANGE_TYPES = """\
/** A number, the name of a size, or an operator (+ * // max min) before what it works on: `shapeAt` evaluates it. */
export type Extent = number | string | readonly (string | Extent)[];

/** A size that a run is told: `least`, `least + step`, ... up to `most`. */
export interface Range {
  readonly name: string;
  readonly least: number;
  readonly most: number;
  readonly step: number;
}

"""
_RANGE_INFO = """\
  readonly ranges: readonly Range[];
"""
_RANGE_FUNCTIONS = """\
/** The shape of an input or output of `info`, for sizes by name. */
export function shapeAt(port: Port, sizes: Readonly<Record<string, number>>): number[];

"""


def _images(most: int) -> str:
    return f"; 1 to {most} images, one after the other" if most > 1 else ""


def array_type(port: dict[str, Any]) -> str:
    """JavaScript's type of the arrays of an input or output: of 16 bits their bits."""
    return {"i": "Int", "u": "Uint", "f": "Float"}[_stored(port).kind] + f"{8 * _stored(port).itemsize}Array"


def _stored(port: dict[str, Any]) -> np.dtype:
    element = ELEMENTS[port["dtype"]]
    return np.dtype(np.uint16) if element == FLOAT16 else element.dtype


def _named(ports: Sequence[dict[str, Any]]) -> str:
    """The type of an object with an array for each port."""
    fields = (f"{json.dumps(port['name'])}: {array_type(port)}" for port in ports)
    return f"{{ {'; '.join(fields)} }}"


def _summary(build: Build, weights_sha256: str) -> dict[str, Any]:
    """What the JavaScript says of the network: the part of the module's information that its users need."""
    info = build.info
    memory = info["memory"]
    ranged = {}
    if "ranges" in info:
        arena = memory["arena"]
        told = {"parts": arena["parts"], "firstImage": arena["first_image"], "furtherImage": arena["further_image"]}
        ranged = {"ranges": info["ranges"], "arena": told}
    return {
        "name": info["name"],
        "inputs": info["inputs"],
        "outputs": info["outputs"],
        "weightBytes": memory["weight_bytes"],
        "weightsSha256": weights_sha256,
        "maxImages": build.program.batch,
        "arenaBytes": memory["arena_bytes"],
        "arenaAlign": memory["arena_align"],
        "params": info["params"],
        "macs": info["macs"],
        "target": info["target"]["name"],
        "sourceSha256": info["source_sha256"],
        "compiler": info["compiler"],
        **ranged,
    }
