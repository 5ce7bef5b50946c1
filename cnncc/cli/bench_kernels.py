"""`cnncc bench --kernels`: the kernels that the model picks against the best candidates, measured."""

from __future__ import annotations

import statistics
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cnncc.cli import command, moment, screen

if TYPE_CHECKING:
    import argparse

    from cnncc.tune.kernels import Row

NOT_TAKEN = {"nets": [], "zoo": False, "vs": None, "rounds": None, "batch": 1, "weights": None, "seed": 0,
             "dtype": "float32"}  # fmt: skip
"""What is for networks only, and its value where it is not given."""


def run(args: argparse.Namespace) -> int:
    """Prints the report. Exit code 1 if some pick is further from the best than it should be."""
    from cnncc.machines import targets
    from cnncc.tune import kernels

    _refuse(args)
    target = targets.load(args.target)
    options = replace(command.options(args), threads=args.threads or target.cores)
    names = kernels.known(args.layers or kernels.LAYERS)
    seconds = args.seconds or kernels.SECONDS
    settings = {"target": args.target, "threads": options.threads, "max_error": options.max_error}
    about = {**moment.moment(), **settings, "seconds": seconds}
    if not args.json:
        _show_about(about)
    with screen.progress("compiling") as report:
        rows = kernels.kernel_report(
            target,
            options,
            seconds,
            names,
            on_layer=report and (lambda name: report(name, names.index(name), len(names))),
            on_row=None if args.json else _show_row,
        )
    _finish(about, rows, args.json)
    return command.EXIT_OK if all(row.near for row in rows) else command.EXIT_CHECK_FAILED


def _refuse(args: argparse.Namespace) -> None:
    from cnncc.base.errors import CnnccError

    given = [name for name, default in NOT_TAKEN.items() if getattr(args, name) != default]
    if given:
        what = "NET" if given[0] == "nets" else f"--{given[0]}"
        raise CnnccError(f"--kernels measures a list of its own and takes no {what}")


def _show_about(about: dict[str, Any]) -> None:
    moment.show(about)
    print(f"threads {about['threads']}, {about['seconds']:g} s for the candidates of each layer, weights from memory\n")
    print(f"{'layer':<20} {'pick ms':>8} {'best ms':>8} {'ratio':>6} {'tried':>8}  pick -> best", flush=True)


def _show_row(row: Row) -> None:
    """A line, as soon as its layer is done."""
    times = f"{row.pick_seconds * 1e3:8.3f} {row.best_seconds * 1e3:8.3f} {row.ratio:6.2f}"
    change = row.pick + (f" -> {row.best}" if row.best != row.pick else "")
    print(f"{row.name:<20} {times} {f'{row.tried}/{row.of}':>8}  {change}", flush=True)


def _finish(about: dict[str, Any], rows: list[Row], as_json: bool) -> None:
    from cnncc.base.errors import warn

    for row in rows:
        if not row.near:
            warn(f"{row.name}: the pick takes {row.ratio:.2f} times as long as the best candidate")
    median, worst = statistics.median(r.ratio for r in rows), max(r.ratio for r in rows)
    if as_json:
        command.print_json({**about, "layers": [r.to_json() for r in rows], "median": median, "worst": worst})
    else:
        print(f"pick / best: median {median:.3f}, worst {worst:.3f}")
