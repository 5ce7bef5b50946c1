"""Times what a module for many images costs one image, and what one for several sizes costs each of them.

    python benchmarks/bench_images.py [NETWORKS...] [--batch N] [--some N] [--shape A,B] [--sizes N] [--threads N]
        [--rounds N] [--seconds S]

For each network of the zoo: milliseconds of one image in a module for one and in a module for `--batch` images, and of
each of `--some` images at once in the latter. With `--shape`, instead: milliseconds at each size in a module for that
size alone, and in one for all; of a range (`3xhxw where h in ...`) at the middle and `--sizes` others that are drawn.
Modules take turns in this process; what counts is the ratio within a round. With `--threads 1` it is the time of the
processor, which others on a busy machine disturb less.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from cnncc import api
from cnncc.frontends import sources
from cnncc.frontends.input_shapes import sizes_by_name
from cnncc.ir.ranged import said
from cnncc.options import Options
from cnncc.runtime.model import Model

NETWORKS = (
    "lenet5", "resnet18", "resnet50", "mobilenet_v1", "mobilenet_v2", "squeezenet1_1", "alexnet", "vgg_a",
    "densenet121", "efficientnet_b0",
)  # fmt: skip

Turn = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--some", type=int, default=8)
    parser.add_argument("--shape")
    parser.add_argument("--sizes", type=int, default=9)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.3)
    args = parser.parse_args()
    for name in args.networks:
        for line in by_size(name, args) if args.shape else [by_images(name, args)]:
            print(line, flush=True)


def by_images(name: str, args: argparse.Namespace) -> str:
    graph = sources.read_source(name, None, 0).graph
    one, many = (api.build(graph, Options(batch=n)).model() for n in (1, args.batch))
    single, some = images(one, 1), images(one, args.some)
    alone, within, several = measured([lambda: one(*single), lambda: many(*single), lambda: many(*some)], args)
    each = [t / args.some for t in several]
    return (
        f"{name:16} 1 image: {median(alone)} ms, in a module for {args.batch} {median(within)} ms, "
        f"{ratio(within, alone)}; {args.some} images: {median(each)} ms each, {ratio(each, alone)}"
    )


def by_size(name: str, args: argparse.Namespace) -> Iterable[str]:
    if "where" in args.shape:
        return in_range(name, args)
    sizes = [network.graph for network in sources.read_sizes(name, None, 0, sizes_by_name(args.shape))]
    whole = api.build(sizes[0], Options(), further=sizes[1:]).model()
    return [
        at_size(f"{name:16} {port.inputs[0].shapes:14}", api.build(graph, Options()).model(), whole, args)
        for port, graph in zip(whole.sizes, sizes, strict=True)
    ]


def in_range(name: str, args: argparse.Namespace) -> Iterator[str]:
    """Each line when it is known: compiling the modules of single sizes takes most of the time."""
    network = sources.read_source(name, None, 0, sizes_by_name(args.shape)[0])
    assert network.ranged is not None
    options = Options(threads=args.threads)
    whole = api.link([network], options)
    drawn, ratios = random.Random(0), []
    others = ({s: drawn.randrange(s.count) for s in network.ranged.symbols} for _ in range(args.sizes))
    for steps in (network.ranged.typical, *others):
        own = api.build(network.ranged.graph(steps), options).model()
        arrays = images(own, 1)
        alone, shared = measured([lambda own=own, a=arrays: own(*a), lambda a=arrays: whole(*a)], args)
        ratios.append(statistics.median(a / b for a, b in zip(shared, alone, strict=True)))
        arena = whole.at_size(**{s.name: s.least + n * s.step for s, n in steps.items()}).arena_bytes_for(1)
        yield (
            f"{name:16} {said(steps):18} alone {median(alone)} ms, of any {median(shared)} ms, {ratio(shared, alone)}; "
            f"arena {arena / own.arena_bytes_for(1):.2f}"
        )
    mean = math.exp(statistics.fmean(map(math.log, ratios)))
    yield f"{name:16} geometric mean of {len(ratios)} sizes {mean:.3f}"


def at_size(head: str, own: Model, whole: Model, args: argparse.Namespace) -> str:
    arrays = images(own, 1)
    alone, shared = measured([lambda: own(*arrays), lambda: whole(*arrays)], args)
    return f"{head} alone {median(alone)} ms, of several {median(shared)} ms, {ratio(shared, alone)}"


def images(model: Model, count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal((count, *port.shape[1:])).astype(np.float32) for port in model.inputs]


def measured(turns: Sequence[Turn], args: argparse.Namespace) -> list[list[float]]:
    """Seconds of a call of each, the least of each round: what disturbs a call makes it longer."""
    for turn in turns:
        turn()
    found: list[list[float]] = [[] for _ in turns]
    for number in range(args.rounds):
        order = range(len(turns)) if number % 2 else reversed(range(len(turns)))
        for i in order:
            found[i].append(least(turns[i], args.seconds, time.thread_time if args.threads == 1 else time.perf_counter))
    return found


def least(turn: Turn, seconds: float, clock: Callable[[], float]) -> float:
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = clock()
        turn()
        best = min(best, clock() - start)
    return best


def median(times: Sequence[float]) -> str:
    return f"{statistics.median(times) * 1e3:.3f}"


def ratio(mine: Sequence[float], theirs: Sequence[float]) -> str:
    return f"ratio {statistics.median(a / b for a, b in zip(mine, theirs, strict=True)):.3f}"


if __name__ == "__main__":
    main()
