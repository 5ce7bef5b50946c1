"""`cnncc fmt`: the one way to write a network text."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cnncc.cli import command

if TYPE_CHECKING:
    import argparse


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", metavar="FILE", nargs="+", help="network texts; - for standard input")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("-w", "--write", action="store_true", help="write the files back instead of printing them")
    how.add_argument("--check", action="store_true", help="only name the files that would change; exit 1 if any")


def _run(args: argparse.Namespace) -> int:
    changed = [name for name in args.files if _format(name, args)]
    return command.EXIT_CHECK_FAILED if args.check and changed else command.EXIT_OK


def _format(name: str, args: argparse.Namespace) -> bool:
    """Print, write or only compare one text; whether it was not yet formatted."""
    from cnncc import lang
    from cnncc.files import write_whole
    from cnncc.lang.read import contents, decode

    file = "<stdin>" if name == "-" else name
    before = decode(sys.stdin.buffer.read() if name == "-" else contents(Path(name)), file)
    after = lang.format_text(before, file)
    if args.check:
        if before != after:
            print(f"{name}: not formatted; `cnncc fmt -w {name}` does it")
    elif args.write and name != "-":
        if before != after:
            write_whole(Path(name), after)
    else:
        sys.stdout.write(after)
    return before != after


COMMAND = command.Command(
    name="fmt",
    help="format network texts, keeping comments",
    examples="""
        cnncc fmt my.net
        cnncc fmt -w models/*.net
        cnncc fmt --check models/*.net
    """,
    configure=_configure,
    run=_run,
    exits="0 done; 1 --check found a text that is not formatted; 2 bad input or usage",
)
