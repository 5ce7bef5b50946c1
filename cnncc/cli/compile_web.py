"""The part of `cnncc compile` that writes a folder for browsers and Node."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnncc.cli import command, screen

if TYPE_CHECKING:
    import argparse

    from cnncc.codegen.build import Build
    from cnncc.ir import Graph


def is_web(args: argparse.Namespace) -> bool:
    """Whether the target's modules are folders of this kind."""
    from cnncc import targets

    return "," not in args.target and targets.load(args.target).format == "wasm"


def folder_of(graph: Graph, args: argparse.Namespace) -> Path:
    """Where the files go: `--output`, else a folder with the name of the network."""
    return Path(args.output or graph.name)


def check_folder(graph: Graph, args: argparse.Namespace) -> None:
    """Before a long compilation, that the files can be written; the folder itself is made if need be."""
    from cnncc.codegen.wasm import outputs
    from cnncc.errors import CnnccError

    folder = folder_of(graph, args)
    if folder.is_dir():
        command.check_outputs(args, outputs(folder, graph.name))
    elif folder.exists():
        raise CnnccError(f"cannot write folder {folder}: it is a file", hint="for this target, -o names a folder")
    elif not folder.parent.is_dir():
        raise CnnccError(f"cannot make folder {folder}: folder {folder.parent} does not exist")


def write(build: Build, folder: Path) -> dict[str, Any]:
    """Writes the files; what the result says of them."""
    from cnncc.codegen.wasm import write_wasm

    paths = write_wasm(build, folder)
    files = {path.name: path.stat().st_size for path in paths.values()}
    return {"folder": str(folder), "files": files, "bytes": sum(files.values())}


def show(result: dict[str, Any]) -> None:
    """The summary that people read."""
    for name, size in result["files"].items():
        print(f"{Path(result['folder']) / name}  {screen.size(size)}")
    seconds, arena = result["seconds"], screen.size(result["arena_bytes"])
    print(f"for {result['target']}, in {seconds:.1f} s; arena {arena}, one thread")
    script = next(name for name in result["files"] if name.endswith(".js"))
    print(f'next: import {{ load }} from "./{script}"; const model = await load(); model.run(input)')
