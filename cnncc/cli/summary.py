"""`cnncc summary`: figures of a network, layer by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnncc.cli import changes, command, screen

if TYPE_CHECKING:
    import argparse

    from cnncc.report.summary import LayerSummary, Summary


def _configure(parser: argparse.ArgumentParser) -> None:
    command.add_net(parser)
    changes.add_changes(parser)
    command.add_build_options(parser)
    command.add_scales(parser)
    command.add_json(parser)


def _run(args: argparse.Namespace) -> int:
    from cnncc import api
    from cnncc.report.summary import summarize

    graph = command.read_shown(args)
    arena = api.arena(graph, command.options(args))
    summary = summarize(graph, arena)
    if args.json:
        command.print_json(summary.to_json())
    else:
        show(summary, args.batch)
    return command.EXIT_OK


def show(summary: Summary, batch: int = 1) -> None:
    """The table and the totals, for people: all of one image, but for the arena."""
    print(f"network {summary.name}")
    titles = ("layer", "op", "output", "params", "MACs", "memory", "RF")
    rows = [_row(layer) for layer in summary.layers]
    screen.print_table(titles, rows, left=2, drop=("RF", "memory", "params", "MACs", "output"))
    for label, text in _totals(summary, batch):
        screen.print_field(label, text)


def _row(layer: LayerSummary) -> tuple[str, ...]:
    channels, height, width = layer.output
    field = layer.receptive_field_hw
    return (
        layer.name,
        f"{layer.op} {layer.window}".rstrip(),
        f"{channels}" if (height, width) == (1, 1) else f"{channels}x{height}x{width}",
        screen.short_count(layer.params) if layer.params else "",
        screen.short_count(layer.macs) if layer.macs else "",
        screen.short_size(layer.activation_bytes) if layer.activation_bytes else "reused",
        str(field[0]) if field[0] == field[1] else f"{field[0]}x{field[1]}",
    )


def _totals(summary: Summary, batch: int) -> list[tuple[str, str]]:
    arena = summary.arena
    parts = f"activations {screen.size(arena.bytes)}, at least {screen.size(arena.bound)}"
    *others, last = summary.param_types or ("float32",)
    types = f"{', '.join(others)} and {last}" if others else last
    of_all = f" for {batch} images" if batch > 1 else ""
    padded = "; channels are stored in blocks of 8 or 16, parts on 64 bytes" if _is_padded(summary) else ""
    return [
        ("parameters", f"{summary.params:,} ({screen.size(summary.param_bytes)} in {types}; no running statistics)"),
        ("MACs", f"{summary.macs:,} multiply-adds (papers often call these FLOPs)"),
        ("FLOPs", f"{summary.flops:,} (2 per MAC)"),
        ("activations", f"{screen.size(summary.activation_bytes)} if every result kept its own memory, input included"),
        (
            "arena",
            f"{screen.size(arena.total_bytes)}{of_all} ({parts}; kernels add {screen.size(arena.added_bytes)}){padded}",
        ),
        ("RF", "receptive field, in input pixels; --json has every figure exactly"),
    ]


def _is_padded(summary: Summary) -> bool:
    """Whether the arena is larger than the sum that its plan should save on, which wants a word."""
    return summary.arena.total_bytes > summary.activation_bytes


COMMAND = command.Command(
    name="summary",
    help="print shape, parameters, MACs, activation memory and receptive field of each layer, and totals",
    examples="""
        cnncc summary models/googlenet.net
        cnncc summary resnet50 --json | jq .macs
        cnncc summary resnet50 --shape 3x320x320
        printf 'net t\\ninput 3x8x8\\nconv 3x3 4 relu\\n' | cnncc summary -
    """,
    configure=_configure,
    run=_run,
)
