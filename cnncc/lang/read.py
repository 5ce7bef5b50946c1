"""Reading network texts from files, from standard input and from strings."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from cnncc.base import resources
from cnncc.base.errors import CnnccError, Span, nearest, nearest_one
from cnncc.base.input_shapes import AS_WRITTEN, InputShapes
from cnncc.ir import Graph
from cnncc.lang.elaborate import elaborate
from cnncc.lang.habits import recognise
from cnncc.lang.parse import syntax_tree
from cnncc.lang.reshaped import reshaped
from cnncc.lang.source import Source

COMPILED = (b"\x7fELF", b"\0asm", b"!<arch>\n")
"""How files of machine code, of WebAssembly and static libraries begin."""
OTHERS = {
    b"PK\3\4": "an archive, maybe a PyTorch checkpoint: export the model as ONNX, or `cnncc weights NET --from` it",
    b"\x89HDF": "HDF5, as Keras writes it: convert the model with tf2onnx, then `cnncc import`",
    b"\x80\2": "a pickle, maybe a PyTorch checkpoint: `cnncc weights NET --from FILE` reads its weights",
    b"\x89PNG": "a picture: `cnncc run NET PICTURE` takes it after the network",
    b"\xff\xd8\xff": "a picture: `cnncc run NET PICTURE` takes it after the network",
    b"\x93NUMPY": "an array: `cnncc run NET ARRAY` takes it after the network",
}
"""How other files begin that people give in the place of networks, and what to do with them."""


def parse(text: str, file: str = "<text>", shapes: InputShapes = AS_WRITTEN) -> Graph:
    """The graph of a network text. Attributes are complete and shapes are inferred, with batch 1 unless the
    text says otherwise. The weights have no values yet (see `cnncc.weights.bind`).

    `file` is the name of the text in errors. `shapes` are those of one image that inputs have in place of the text's,
    by name; the name "" is the only input. Raises CnnccError, with line and column, for whatever is wrong, and for
    shapes with which a weight would have another size."""
    source = Source(file, text.removeprefix("\ufeff"))
    tree = syntax_tree(source)
    try:
        graph = elaborate(tree, source)
        return reshaped(graph, lambda given: elaborate(tree, source, given), shapes) if shapes else graph
    except CnnccError as error:
        raise recognise(source, error) from None


def read(source: str | os.PathLike[str], shapes: InputShapes = AS_WRITTEN) -> Graph:
    """The graph of a network, as `parse` makes it.

    `source` is a path, or `-` for standard input, or the text itself if it has a newline. Raises CnnccError if it
    cannot be read or is wrong."""
    return parse(*load(source), shapes)


def load(source: str | os.PathLike[str]) -> tuple[str, str]:
    """The text of a network and its name in messages; `source` is that of `read`. CnnccError if it cannot be read."""
    if isinstance(source, str) and "\n" in source:
        return source, "<text>"
    if source == "-":
        return decode(sys.stdin.buffer.read(), "<stdin>"), "<stdin>"
    path = Path(source)
    return decode(contents(path), str(path)), str(path)


def contents(path: Path) -> bytes:
    """The bytes of a file, or CnnccError."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise CnnccError(f"{path}: there is no such file", hint=zoo_hint(path)) from None
    except IsADirectoryError:
        raise CnnccError(f"{path}: is a directory, not a network text") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise CnnccError(f"{path}: cannot be read: {reason}") from None


def zoo_hint(path: Path) -> str:
    """The hint for a missing file: the network of the zoo with that name, or with the nearest one."""
    known = {p.stem: p for p in sorted(resources.directory("models").glob("*.net"))}
    if path.stem in known:
        return f"did you mean {known[path.stem]}?"
    if str(path) != path.stem:  # a path, and not the name of a network
        return nearest_one(path.stem, known)
    return nearest(path.stem, known, heading="networks that come with cnncc")


def decode(data: bytes, file: str) -> str:
    """The text in UTF-8 bytes. CnnccError at the first byte that is not UTF-8. A CR without LF counts as a line end."""
    if data.startswith(COMPILED):
        hint = "`cnncc info` tells of modules; of the other commands, run, check and profile take them, named .so"
        raise CnnccError(f"{file}: is a compiled module or program, not the text of a network", hint=hint)
    for magic, what in OTHERS.items():
        if data.startswith(magic):
            raise CnnccError(f"{file}: is no network text", hint=f"it is {what}")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise CnnccError(f"{file}: is UTF-16", hint="save it as UTF-8, the encoding of network texts")
    try:
        return re.sub("\r(?!\n)", "\n", data.decode("utf-8"))
    except UnicodeDecodeError as error:
        start = data.rfind(b"\n", 0, error.start) + 1
        line = data[start:].split(b"\n", 1)[0].decode("utf-8", "replace")
        column = len(data[start : error.start].decode("utf-8", "replace")) + 1
        span = Span(file, data.count(b"\n", 0, error.start) + 1, column, 1, line)
        hint = "network texts are UTF-8; is this another kind of file?"
        raise CnnccError(f"byte 0x{data[error.start]:02x} is no UTF-8 text", span, hint=hint) from None
