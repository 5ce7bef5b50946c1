"""How good the model's picks are: each against the best candidate, measured, on a fixed list of layers.

`python -m cnncc.tune.kernels [--seconds N] [--target NAME] [--threads N]` prints the table.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from cnncc import lang, targets
from cnncc.codegen.program import make_program
from cnncc.kernels.choices import Choice, DirectChoice
from cnncc.targets import Target
from cnncc.tune.layers import Layer, Setting, layers_of
from cnncc.tune.search import search_layer

LAYERS = {
    "ResNet 3x3 at 56": "64x56x56: relu; conv 3x3 64",
    "ResNet 1x1 at 56": "256x56x56: relu; conv 1x1 64",
    "ResNet 3x3 at 28": "128x28x28: relu; conv 3x3 128",
    "ResNet 1x1 at 14": "256x14x14: relu; conv 1x1 1024",
    "ResNet 3x3 at 14": "256x14x14: relu; conv 3x3 256",
    "ResNet 1x1 at 7": "2048x7x7: relu; conv 1x1 512",
    "ResNet 3x3 at 7": "512x7x7: relu; conv 3x3 512",
    "3x3 /2 at 56": "128x56x56: relu; conv 3x3 128 /2",
    "1x1 /2 at 56": "256x56x56: relu; conv 1x1 512 /2",
    "VGG 3x3 at 224": "64x224x224: relu; conv 3x3 64",
    "VGG 3x3 at 112": "128x112x112: relu; conv 3x3 128",
    "VGG 3x3 at 28": "512x28x28: relu; conv 3x3 512",
    "VGG 3x3 at 14": "512x14x14: relu; conv 3x3 512",
    "first 7x7 /2": "3x224x224: conv 7x7 64 /2",
    "first 11x11 /4": "3x227x227: conv 11x11 96 /4 pad 0",
    "GoogLeNet 3x3": "96x28x28: relu; conv 3x3 128",
    "GoogLeNet 5x5": "16x28x28: relu; conv 5x5 32",
    "DenseNet 3x3": "128x28x28: relu; conv 3x3 32",
}
"""Input and convolution of each layer."""

SECONDS = 5.0
"""For the candidates of one layer, by default."""


@dataclass(frozen=True)
class Row:
    """One layer of the report: the model's pick and the best candidate, in seconds. `ratio` is 1 where none is
    measurably faster than the pick."""

    name: str
    pick: str
    best: str
    pick_seconds: float
    best_seconds: float
    tried: int
    of: int

    @property
    def ratio(self) -> float:
        return self.pick_seconds / self.best_seconds


def kernel_report(
    target: Target,
    threads: int,
    seconds: float = SECONDS,
    names: list[str] | None = None,
    on_row: Callable[[Row], object] | None = None,
) -> list[Row]:
    """Measures all layers of the list, or those named, `seconds` each; nothing is taken from the disk."""
    rows = []
    for name in names or LAYERS:
        layer, setting = _layer(LAYERS[name], target, threads)
        found = search_layer(layer, setting, time.perf_counter() + seconds)
        times = (found.pick_seconds, found.seconds)
        row = Row(name, describe(layer.pick), describe(found.choice), *times, found.tried, len(layer.candidates))
        rows.append(row)
        if on_row is not None:
            on_row(row)
    return rows


def _layer(text: str, target: Target, threads: int) -> tuple[Layer, Setting]:
    dims, line = text.split(": ")
    setting = Setting(target, threads, 1e-5)
    program = make_program(lang.parse(f"net layer\ninput {dims}\n{line} relu\n"), target, 1, threads)
    return layers_of(program, setting)[0], setting


def describe(choice: Choice) -> str:
    """A choice in a few words."""
    if isinstance(choice, DirectChoice):
        t = choice.tile
        return f"direct {t.rows}x{t.columns} px x {t.groups}, {choice.rows} rows, {choice.chunks} chunks"
    shared = ", shared" if choice.shared else ""
    return f"F({choice.m}) {choice.tiles} tiles x {choice.groups}, {choice.chunks} chunks{shared}"


def main(arguments: list[str]) -> None:
    """Prints the report."""
    parser = argparse.ArgumentParser(prog="python -m cnncc.tune.kernels", description=__doc__)
    parser.add_argument("--target", default="host")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for the candidates of each layer")
    parser.add_argument("--layer", action="append", choices=LAYERS, help="only this one; may be repeated")
    args = parser.parse_args(arguments)
    target = targets.load(args.target)
    print(f"{'layer':<18} {'pick ms':>8} {'best ms':>8} {'ratio':>6} {'tried':>8}  pick -> best")
    rows = kernel_report(target, args.threads or target.cores, args.seconds, args.layer, _print_row)
    print(f"median ratio {statistics.median(r.ratio for r in rows):.3f}, worst {max(r.ratio for r in rows):.3f}")


def _print_row(row: Row) -> None:
    times = f"{row.pick_seconds * 1e3:8.3f} {row.best_seconds * 1e3:8.3f} {row.ratio:6.2f}"
    change = row.pick + (f" -> {row.best}" if row.best != row.pick else "")
    print(f"{row.name:<18} {times} {f'{row.tried}/{row.of}':>8}  {change}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
