"""Which files `cnncc compile` writes, and what they are called."""

from __future__ import annotations

import argparse
from pathlib import Path

from cnncc.module.roles import DEFAULT, ENDINGS, files_of, with_headers

KINDS = tuple(kind for kind in ENDINGS if kind != "weights")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which files are written."""
    what = f"what to write, a list with commas: {', '.join(KINDS)} (default: so,h)"
    parser.add_argument("--emit", type=_kinds, default=list(DEFAULT), metavar="KINDS", help=what)
    what = "keep the weights in a file beside the module, mapped and checked when it is opened"
    parser.add_argument("--weights-external", action="store_true", help=what)


def _kinds(text: str) -> list[str]:
    """An argparse type: kinds of files, in order; the C++ header brings the C header it includes."""
    kinds = text.split(",")
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown kind {unknown[0]!r}; known: {', '.join(KINDS)}")
    return with_headers(kinds)


def check(args: argparse.Namespace) -> None:
    """CnnccError for files that a module of the target does not have, before the work."""
    from cnncc import machines
    from cnncc.base.errors import CnnccError
    from cnncc.module.backends import backend_of
    from cnncc.module.roles import check_kinds

    names = args.target.split(",")
    kinds = backend_of(machines.load(names[0])).kinds
    check_kinds(args.emit, [kind for kind in kinds if kind in KINDS], names, "--emit")
    if args.weights_external and "weights" not in kinds:
        hint = "leave --weights-external out"
        raise CnnccError(f"--weights-external: target {args.target} keeps the weights in the module", hint=hint)


def files(args: argparse.Namespace, name: Path) -> dict[str, Path]:
    """The file of each kind; see `files_of`."""
    return files_of([*args.emit, *(["weights"] if args.weights_external else [])], name)


def default(network: str, args: argparse.Namespace) -> Path:
    """The name of the first file where none is given."""
    return Path(f"{network}.{ENDINGS[args.emit[0]]}")
