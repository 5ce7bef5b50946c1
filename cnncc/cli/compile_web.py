"""The part of `cnncc compile` that writes a folder for browsers and Node."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnncc.cli import command, screen
from cnncc.module import roles

if TYPE_CHECKING:
    import argparse

    from cnncc.ir import Graph
    from cnncc.module.cpu.build import Build


FILES = (".so", ".a", ".o", ".h", ".wasm", ".js")
"""Endings that nobody gives a folder."""


def is_web(args: argparse.Namespace) -> bool:
    """Whether the target's modules are folders of this kind."""
    from cnncc import machines

    return [machines.load(name).format for name in args.target.split(",")] == ["wasm"]


def folder_of(graph: Graph, args: argparse.Namespace) -> Path:
    """Where the files go: `--output`, else a folder with the name of the network."""
    return Path(args.output or graph.name)


def check_folder(graph: Graph, args: argparse.Namespace) -> None:
    """Before a long compilation, that the files can be written; the folder itself is made if need be."""
    from cnncc.base.errors import CnnccError
    from cnncc.module.wasm.wasm import ROLES, outputs

    if args.emit != list(roles.DEFAULT) or args.weights_external:
        hint = "its weights are in a file of their own as it is"
        raise CnnccError(f"target {args.target} writes a folder and takes no --emit or --weights-external", hint=hint)
    folder = folder_of(graph, args)
    if folder.suffix in FILES:
        hint = f"for this target, -o names a folder: {folder.with_suffix('')}"
        raise CnnccError(f"{folder} is the name of a file", hint=hint)
    if folder.is_dir():
        command.check_outputs(args, {ROLES[kind]: path for kind, path in outputs(folder, graph.name).items()})
    elif folder.exists():
        raise CnnccError(f"cannot write folder {folder}: it is a file", hint="for this target, -o names a folder")
    elif not folder.parent.is_dir():
        raise CnnccError(f"cannot make folder {folder}: folder {folder.parent} does not exist")


def write(build: Build, folder: Path) -> dict[str, Any]:
    """Writes the files; what the result says of them."""
    from cnncc.module.wasm.wasm import chosen, write_wasm

    paths = write_wasm(build, folder)
    files = {kind: str(path) for kind, path in paths.items()}
    total = sum(path.stat().st_size for path in paths.values())
    return {"folder": str(folder), "files": files, "bytes": total, "call": f"model.run({chosen(build.info)}input)"}


def show(result: dict[str, Any]) -> None:
    """The summary that people read."""
    for path in map(Path, result["files"].values()):
        print(f"{path}  {screen.size(path.stat().st_size)}")
    for name, shape in result["ranges"].items():
        print(f"any size: {screen.port_name(name)} {shape}")
    seconds, arena = result["seconds"], screen.size(result["arena_bytes"])
    largest = " of the largest size" * bool(result["ranges"])
    print(f"for {result['target']}, in {seconds:.1f} s; arena {arena}{largest}, one thread")
    script = Path(result["files"]["js"]).name
    print(f'next: import {{ load }} from "./{script}"; const model = await load(); {result["call"]}')
