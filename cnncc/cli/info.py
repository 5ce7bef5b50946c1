"""`cnncc info`: what a compiled module says about itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cnncc.cli import command

if TYPE_CHECKING:
    import argparse


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("module", metavar="MODULE", help="a shared library written by `cnncc compile`")
    command.add_json(parser)


def _run(args: argparse.Namespace) -> int:
    from cnncc.runtime import cpu
    from cnncc.runtime.load import read_info

    info = read_info(args.module)
    if args.json:
        command.print_json(info)
    else:
        lacking = ", ".join(cpu.missing(info["target"]["requires"]))
        for key, value in info.items():
            print(f"{key:<14} {_text(value)}")
        print(f"{'runs here':<14} {f'no, this processor lacks {lacking}' if lacking else 'yes'}")
    return command.EXIT_OK


def _text(value: Any) -> str:
    """One line: ports as name and shape, kernels as their number, anything nested as key value pairs."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {' '.join(v) if isinstance(v, list) else v}" for key, v in value.items())
    if not isinstance(value, list):
        return str(value)
    if all("shape" in item for item in value):
        return ", ".join(f"{port['name']} {'x'.join(map(str, port['shape']))} {port['dtype']}" for port in value)
    distinct = len({item["kernel"] for item in value})
    return f"{len(value)} calls of {distinct} kernels; --json lists them and why each was picked"


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
