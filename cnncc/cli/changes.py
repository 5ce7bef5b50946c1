"""`--name` and `--shape`: what a network is called and what its inputs are, whatever its file says."""

from __future__ import annotations

import argparse

from cnncc.base.errors import CnnccError


def add_name(parser: argparse.ArgumentParser) -> None:
    """`--name`: what the network is called, whatever its file says."""
    what = "the network's name, with which its functions and macros in C begin (default: what it calls itself)"
    parser.add_argument("--name", type=network_name, metavar="NAME", help=what)


def add_changes(parser: argparse.ArgumentParser) -> None:
    """`--name` and `--shape`: what of NET is not taken as it says."""
    add_name(parser)
    add_shape(parser)


def add_shape(parser: argparse.ArgumentParser) -> None:
    """`--shape`: what inputs are, whatever the file says; the value is a list of names and sizes, or None."""
    what = (
        "shape of the input in place of that in NET: 3x320x320; of several inputs image=3x320x320, once for each; of "
        "an ONNX model also all axes as it declares them: image=1,3,320,320"
    )
    parser.add_argument("--shape", action="append", type=input_shape, metavar="[NAME=]CxHxW", help=what)


def input_shape(text: str) -> tuple[str, tuple[int, ...]]:
    """An argparse type: the name of an input, "" for the only one, and its shape."""
    from cnncc.frontends.input_shapes import parse_shape

    try:
        return parse_shape(text)
    except CnnccError as error:
        raise argparse.ArgumentTypeError(error.message) from None


def name(args: argparse.Namespace) -> str | None:
    """What `--name` says, None where it is not given or the command has none."""
    return getattr(args, "name", None)


def shapes(args: argparse.Namespace) -> dict[str, tuple[int, ...]]:
    """The shapes of `--shape` by name. CnnccError for two of one input: a module has one."""
    given = getattr(args, "shape", None) or []
    found = {of: tuple(sizes) for of, sizes in given}
    if len(found) < len(given):
        raise CnnccError("--shape: two shapes for one input", hint="of several inputs, name each: --shape a=3x32x32")
    return found


def network_name(text: str) -> str:
    """An argparse type: a word that the language and C take as a name."""
    from cnncc.frontends.network_name import is_name

    if not is_name(text):
        raise argparse.ArgumentTypeError(f"expected letters, digits and _, not beginning with a digit, got {text!r}")
    return text
