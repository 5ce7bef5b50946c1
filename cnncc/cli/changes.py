"""`--name` and `--shape`: what a network is called and what its inputs are, whatever its file says."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cnncc.base.errors import CnnccError

if TYPE_CHECKING:
    from cnncc.base.dim import Symbol
    from cnncc.base.input_shapes import InputShapes
    from cnncc.frontends.input_shapes import Shape


def add_name(parser: argparse.ArgumentParser) -> None:
    """`--name`: what the network is called, whatever its file says."""
    what = "the network's name, with which its functions and macros in C begin (default: what it calls itself)"
    parser.add_argument("--name", type=network_name, metavar="NAME", help=what)


def add_changes(parser: argparse.ArgumentParser) -> None:
    """`--name` and `--shape`: what of NET is not taken as it says."""
    add_name(parser)
    add_shape(parser)


def add_shape(parser: argparse.ArgumentParser) -> None:
    """`--shape`: what inputs are, whatever the file says; the value is a list of names and of shapes for each, or
    None."""
    what = (
        "shape of the input in place of that in NET: 3x320x320; of several inputs image=3x320x320, once for each; of "
        "an ONNX model also all axes as it declares them: image=1,3,320,320; `compile` takes several sizes: "
        "3x224x224,3x320x480; a range of sizes: '3xhxw where h in 32..1024 step 32, w in 32..4096 step 8'"
    )
    parser.add_argument("--shape", action="append", type=input_shape, metavar="[NAME=]CxHxW", help=what)


def input_shape(text: str) -> tuple[str, tuple[Shape, ...]]:
    """An argparse type: the name of an input, "" for the only one, and its shape, or one for each size."""
    from cnncc.frontends.input_shapes import parse_shapes

    try:
        return parse_shapes(text)
    except CnnccError as error:
        hint = f" ({error.hint})" if error.hint else ""
        raise argparse.ArgumentTypeError(f"{error.message}{hint}") from None


def name(args: argparse.Namespace) -> str | None:
    """What `--name` says, None where it is not given or the command has none."""
    return getattr(args, "name", None)


def shapes(args: argparse.Namespace) -> dict[str, Shape]:
    """The shapes of `--shape` by name. CnnccError for several sizes, which `compile` takes."""
    first, *others = sizes(args)
    if others:
        hint = "cnncc compile makes a module for several"
        raise CnnccError(f"--shape: {1 + len(others)} sizes, and this command takes one", hint=hint)
    return first


def sizes(args: argparse.Namespace) -> list[dict[str, Shape]]:
    """The shapes of `--shape` by name, for each size of the network. CnnccError for an input that is named twice."""
    from cnncc.frontends.input_shapes import by_size

    given = getattr(args, "shape", None) or []
    found = {of: tuple(map(_shape, shapes)) for of, shapes in given}
    if len(found) < len(given):
        hint = "of several inputs, name each: --shape a=3x32x32; for several sizes, --shape 3x32x32,3x48x64"
        raise CnnccError("--shape: two shapes for one input", hint=hint)
    return [{name: tuple(shape) for name, shape in shapes.items()} for shapes in by_size(found)]


def _shape(given: str | Sequence[int | Symbol]) -> Shape:
    """A shape, also as `plain` wrote it."""
    from cnncc.frontends.input_shapes import parse_shapes

    return parse_shapes(given)[1][0] if isinstance(given, str) else tuple(given)


def plain(given: Sequence[tuple[str, Sequence[Shape]]] | None) -> list[Any] | None:
    """The value of `--shape` as JSON has it: a shape with ranges is a text."""
    from cnncc.base import size_ranges

    if given is None:
        return None
    return [
        [name, [size_ranges.told(shape) if size_ranges.ranged(shape) else list(shape) for shape in shapes]]
        for name, shapes in given
    ]


def said(size: InputShapes) -> str:
    """Shapes by name as `--shape` takes them."""
    from cnncc.base import size_ranges

    return " ".join(f"{name}{'=' * bool(name)}{size_ranges.told(shape)}" for name, shape in size.items())


def network_name(text: str) -> str:
    """An argparse type: a word that the language and C take as a name."""
    from cnncc.frontends.network_name import is_name

    if not is_name(text):
        raise argparse.ArgumentTypeError(f"expected letters, digits and _, not beginning with a digit, got {text!r}")
    return text
