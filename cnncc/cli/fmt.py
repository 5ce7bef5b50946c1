"""`cnncc fmt`: the one way to write a network text."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnncc.cli import command

if TYPE_CHECKING:
    import argparse


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", metavar="FILE", nargs="+", help="network texts; - for standard input")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("-w", "--write", action="store_true", help="write the files back instead of printing them")
    how.add_argument("--check", action="store_true", help="only name the files that would change; exit 1 if any")
    command.add_json(parser)


def _run(args: argparse.Namespace) -> int:
    done = [_format(name, args) for name in args.files]
    if args.json:
        command.print_json({"files": done})
    return command.EXIT_CHECK_FAILED if args.check and any(file["changed"] for file in done) else command.EXIT_OK


def _format(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Print, write or only compare one text; whether it was not yet formatted, and what it is then."""
    from cnncc import lang
    from cnncc.base.files import write_whole
    from cnncc.lang.read import contents, decode

    file = "<stdin>" if name == "-" else name
    before = decode(sys.stdin.buffer.read() if name == "-" else contents(Path(name)), file)
    after = lang.format_text(before, file)
    changed = before != after
    if args.write and name != "-" and changed:
        write_whole(Path(name), after)
    if args.check and changed and not (args.json or args.quiet):
        print(f"{name}: not formatted; `cnncc fmt -w {name}` does it")
    prints = not args.check and (not args.write or name == "-")
    if prints and not args.json:
        sys.stdout.write(after)
    return {"file": name, "changed": changed, **({"text": after} if prints else {})}


COMMAND = command.Command(
    name="fmt",
    help="format network texts, keeping comments",
    examples="""
        cnncc fmt my.net
        cnncc fmt -w models/*.net
        cnncc fmt --check models/*.net
        cnncc fmt --check --json models/*.net | jq '.files[] | select(.changed).file'
    """,
    configure=_configure,
    run=_run,
    exits="0 done; 1 --check found a text that is not formatted; 2 bad input or usage",
)
