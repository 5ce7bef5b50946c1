"""`cnncc info`: what a compiled module says about itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from cnncc.cli import command

if TYPE_CHECKING:
    import argparse


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("module", metavar="MODULE", help="a shared library written by `cnncc compile`")
    command.add_json(parser)


def _run(args: argparse.Namespace) -> int:
    from cnncc import api

    info = api.load(args.module).info
    if args.json:
        command.print_json(info)
    else:
        for key, value in info.items():
            print(f"{key:<16} {value if isinstance(value, str) else json.dumps(value)}")
    return command.EXIT_OK


COMMAND = command.Command(
    name="info",
    help="print what a compiled module says about itself: inputs, outputs, target, compiler version, flags",
    examples="""
        cnncc info resnet50.so
        cnncc info resnet50.so --json | jq .target
    """,
    configure=_configure,
    run=_run,
)
