"""The files of a compiled network: libraries, objects, headers, weights. Each appears whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Literal

from cnncc.base.errors import CnnccError, reason
from cnncc.base.files import check_outputs, replacing, scratch_folder
from cnncc.machines.targets import Target
from cnncc.module import toolchain
from cnncc.module.cpu import weights_object, weights_segment
from cnncc.module.cpu.code import CpuCode, aligned
from cnncc.module.cpu.emit import glue_object
from cnncc.module.cpu.entry import run_ir
from cnncc.module.cpu.glue import steps_ir
from cnncc.module.cpu.header import header
from cnncc.module.cpu.header_cpp import header_cpp
from cnncc.module.cpu.packing import Packing
from cnncc.module.cpu.queries import queries_ir
from cnncc.module.cpu.variants import Layout, Variant
from cnncc.module.names import c_name
from cnncc.module.roles import ROLES
from cnncc.runtime.interface import EMBEDDED, EXTERNAL, FUNCTIONS, RANGED, WEIGHTS_HEADER, WEIGHTS_MAGIC

_SUFFIX = ".cnncc"
_JUST_MADE = 60
"""Seconds after which a folder that nobody has locked must have been left."""


WEIGHTS = "packed.o"
"""The file of the packed weights while a module is made."""

WITHOUT_WEIGHTS = {"h", "hpp"}
"""The kinds of file that neither hold them nor say their hash."""


def write(build: CpuCode, files: Mapping[str, Path]) -> dict[str, Path]:
    """Writes files of a network, by kind (see `ROLES`); with a file for `weights` these are left out of the others.

    Nothing appears before everything is made. CnnccError if a file cannot be written. Returns the files.
    """
    target = build.program.target
    if target.format != "elf":
        hint = "`cnncc compile NET --target wasm32 -o FOLDER` and `cnncc.module.wasm.wasm.write_wasm` write what it has"
        raise CnnccError(f"target {target.name} has no libraries, objects or headers", hint=hint)
    check_outputs({ROLES[kind]: path for kind, path in files.items()}, {})
    first = next(iter(files.values()))
    try:
        with _workplace(first) as folder, contextlib.ExitStack() as ending:
            begun = None
            if files.keys() - WITHOUT_WEIGHTS:
                begun = ending.enter_context(contextlib.closing(Packing(build.program.weights)))
            work = _Work(build, files, folder, begun)
            made = {kind: work.make(kind) for kind in files}
            with _locked(first.parent):
                for kind, path in files.items():
                    with replacing(path) as scratch:
                        os.replace(made[kind], scratch)
    except OSError as error:
        raise CnnccError(f"cannot write {first}: {reason(error)}") from error
    return dict(files)


@contextlib.contextmanager
def _workplace(target: Path) -> Iterator[Path]:
    """A hidden folder beside a file, locked while it is used and removed afterwards. Those that compilers left which
    were killed are removed too: nobody holds their lock."""
    for left in target.parent.glob(f".{glob.escape(target.name)}.*{_SUFFIX}"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _JUST_MADE:
                with _locked(left, wait=False):
                    shutil.rmtree(left)
    with (
        scratch_folder(target.parent, prefix=f".{target.name}.", suffix=_SUFFIX) as folder,
        _locked(folder),
    ):
        yield folder


@contextlib.contextmanager
def _locked(folder: Path, wait: bool = True) -> Iterator[None]:
    """Holds a folder's lock; OSError if somebody else does and we do not wait.

    The files of two compilations that end at once do not mix: one at a time gives its files their names. Where folders
    cannot be locked (some network file systems), they might.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError:
            if not wait:
                raise
        yield
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class _Work:
    """A folder in which the files are made, each once."""

    build: CpuCode
    files: Mapping[str, Path]
    folder: Path
    begun: Packing | None
    """The weights of the first variant, packed while its code is made."""

    def make(self, kind: str) -> Path:
        """The finished file of a kind, under a name of its own in the folder."""
        makers: dict[str, Callable[[], Path]] = {
            "so": self._shared,
            "a": self._archive,
            "o": self._relocatable,
            "h": lambda: self._text("module.h", header(self.layout)),
            "hpp": lambda: self._text("module.hpp", header_cpp(self.layout, self.files["h"].name)),
            "ll": lambda: self._listing("module.ll", "llvm_ir"),
            "asm": lambda: self._listing("module.s", "assembly"),
            "weights": lambda: self._weights,
        }
        return makers[kind]()

    @property
    def external(self) -> bool:
        return "weights" in self.files

    @property
    def name(self) -> str:
        return c_name(self.build.program.graph.name)

    @property
    def target(self) -> Target:
        """Of the first variant: all are of one platform."""
        return self.build.program.target

    @cached_property
    def _packed(self) -> tuple[Path, bytes]:
        """All packed weights, behind room for a header: of a file of their own, or of the object they become. And
        their hash."""
        path = self.folder / WEIGHTS
        with path.open("wb") as file:
            file.seek(self._weights_start)
            digest = self._write_weights(file)
            if self.external:
                file.seek(0)
                file.write(WEIGHTS_HEADER.pack(WEIGHTS_MAGIC, self._weight_bytes, digest))
        return path, digest

    def _write_weights(self, file: BinaryIO) -> bytes:
        """Writes all packed weights. Returns their hash, taken while they are written: other threads compute the next
        ones meanwhile."""
        digest = hashlib.blake2b(digest_size=32)

        def write(piece: bytes | memoryview) -> None:
            file.write(piece)
            digest.update(piece)

        for i, build in enumerate(self.build.variants):
            if i:
                size = self.build.variants[i - 1].program.weight_bytes
                write(bytes(aligned(size) - size))
            build.write_weights(write, self.begun if i == 0 else None)
        return digest.digest()

    @cached_property
    def _placed(self) -> bool:
        """Whether the weights are written straight into the library, once it is linked."""
        wanted = self._weight_bytes > 0 and self.files.keys() <= {"so", "h", "hpp"}
        return wanted and toolchain.places_sections(self.target)

    @property
    def _weights(self) -> Path:
        return self._packed[0]

    @property
    def _weights_start(self) -> int:
        return WEIGHTS_HEADER.size if self.external else weights_object.START

    @property
    def _weight_bytes(self) -> int:
        return self.build.weight_bytes

    @property
    def digest(self) -> bytes:
        """The hash of the packed weights, or what stands for it until they are written."""
        return weights_segment.MARK if self._placed else self._packed[1]

    @cached_property
    def layout(self) -> Layout:
        variants, offset = [], 0
        for i, build in enumerate(self.build.variants):
            variants.append(Variant(build.program, f"{self.name}_steps{i}", offset))
            offset += aligned(build.program.weight_bytes)
        return Layout(variants, self._weight_bytes, self.digest if self.external else None)

    @cached_property
    def info(self) -> dict[str, Any]:
        """What the module says of itself, its weights too."""
        info = dict(self.build.info)
        info["weights"] = {
            "bytes": self._weight_bytes,
            "blake2b": self.digest.hex(),
            "file": self.files["weights"].name if self.external else None,
            "from": self.build.weights_from,
        }
        return info

    @property
    def exported(self) -> list[str]:
        held = EXTERNAL if self.external else EMBEDDED
        return [f"{self.name}_{f}" for f in (*FUNCTIONS, *(RANGED if self.layout.ranged else ()), *held)]

    @cached_property
    def _objects(self) -> list[str]:
        """All that is linked: the steps and kernels of each variant, what callers see, the C parts, the weights."""
        layout, target = self.layout, self.target
        bodies = {f"{name}.o": glue_object(text, target) for name, text in self._texts.items()}
        for part, wanted in (
            ("pool", layout.pooled),
            ("cpu", layout.checked),
            ("weights", self.external),
            ("prefault", layout.prefaulted),
        ):
            if wanted:
                bodies[f"{part}.o"] = toolchain.runtime_object(part, target)
        for i, build in enumerate(self.build.variants):
            bodies |= {f"kernel{i}.{j}.o": body for j, body in enumerate(build.objects)}
        for name, body in bodies.items():
            (self.folder / name).write_bytes(body)
        names = list(bodies) if len(self.build.variants) == 1 else self._variants(list(bodies))
        if self._placed:
            stand_in = weights_segment.stand_in(bodies["entry.o"], f"{self.name}_weights")
            (self.folder / WEIGHTS).write_bytes(stand_in)
            names.append(WEIGHTS)
        elif layout.weight_bytes and not self.external:
            with self._weights.open("r+b") as opened:
                weights_object.finish(opened, bodies["entry.o"], f"{self.name}_weights", layout.weight_bytes)
            names.append(WEIGHTS)
        return names

    def _variants(self, objects: list[str]) -> list[str]:
        """The objects of each variant joined to one, with local names: their kernels are called alike."""
        others = objects
        for i, variant in enumerate(self.layout.variants):
            own = [name for name in objects if name.startswith((f"steps{i}.", f"kernel{i}."))]
            toolchain.call(self.target, ["-r", "-nostdlib", "-o", f"joined{i}.o", *own], self.folder)
            called = [*variant.symbols, *([f"{variant.symbol}_arena"] if self.layout.ranged else [])]
            kept = [f"--keep-global-symbol={symbol}" for symbol in called]
            toolchain.binutil(self.target, "objcopy", [*kept, f"joined{i}.o", f"variant{i}.o"], self.folder)
            others = [name for name in others if name not in own] + [f"variant{i}.o"]
        return others

    @cached_property
    def _texts(self) -> dict[str, str]:
        """The LLVM IR of all but the kernels."""
        entry = run_ir(self.layout, standalone=True) + queries_ir(self.layout, json.dumps(self.info))
        steps = {
            f"steps{i}.{size}": steps_ir(program, symbol)
            for i, v in enumerate(self.layout.variants)
            for size, (program, symbol) in enumerate(zip(v.program.sizes, v.symbols, strict=True))
        }
        return {"entry": entry, **steps}

    def _listing(self, name: str, form: Literal["llvm_ir", "assembly"]) -> Path:
        from cnncc.module.cpu import listing  # loads LLVM

        text_of = {"llvm_ir": listing.llvm_ir, "assembly": listing.assembly}[form]
        return self._text(name, text_of(self._texts, self.build.program, self.build.progress))

    def _shared(self) -> Path:
        exported = "".join(f" {name};" for name in self.exported)
        self._text("exports.map", f"{{ global:{exported} local: *; }};\n")
        # nodelete: the pool's threads live in the library, so a dlclose must not take their code away.
        options = ["--version-script=exports.map", "-z,noexecstack", "-z,nodelete", "--build-id=none", "--no-undefined"]
        options.append("--strip-debug")  # TVM notes a line for every kernel: larger than the code
        if self._placed:
            self._text("weights.ld", weights_segment.SCRIPT)
            options.append("-T,weights.ld")
        self._link("module.so", ["-shared", *(f"-Wl,{option}" for option in options), "-pthread"])
        if self._placed:
            self._place(self.folder / "module.so")
        return self.folder / "module.so"

    def _place(self, library: Path) -> None:
        """Writes the weights, and their hash, into the library."""
        with library.open("r+b") as file:
            start = weights_segment.extend(file, self._weight_bytes)
            file.seek(start)
            digest = self._write_weights(file)
            weights_segment.put_digest(file, digest, start)

    def _relocatable(self) -> Path:
        """One object in which all but the interface is local, so that several networks fit into one program."""
        if not (self.folder / "module.o").exists():
            self._link("all.o", ["-r", "-nostdlib"])
            self._text("keep.txt", "\n".join(self.exported))
            options = ["--strip-debug", "--keep-global-symbols=keep.txt"]
            toolchain.binutil(self.target, "objcopy", [*options, "all.o", "module.o"], self.folder)
        return self.folder / "module.o"

    def _archive(self) -> Path:
        name = self._text("member", self.name + ".o").read_text()
        os.link(self._relocatable(), self.folder / name)
        toolchain.binutil(self.target, "ar", ["rcsD", "module.a", name], self.folder)
        return self.folder / "module.a"

    def _link(self, output: str, flags: list[str]) -> None:
        self._text("objects.txt", "\n".join(self._objects))
        toolchain.call(self.target, [*flags, "-o", output, "@objects.txt"], self.folder)

    def _text(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path
