"""Compiles random graphs over every op until the time is up, and prints how many, of which ops, and what was wrong.

    python tests/fuzz/compile_graphs.py --seed 0 --hours 1

Each seed gives the same graphs on every machine. A graph that fails is shrunk by Hypothesis and printed with its seed;
the run goes on with the next seed.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parents[1])]

from every_op import MADE, graph_of  # noqa: E402
from fuzz.compiled import hold  # noqa: E402

from cnncc.base.errors import CnnccError  # noqa: E402
from cnncc.ir import Graph  # noqa: E402
from cnncc.ir.text import print_graph  # noqa: E402
from cnncc.ops import TABLE  # noqa: E402


class Run:
    """What was done so far."""

    def __init__(self, ops: list[str], most: int, epilogue: int) -> None:
        self.ops, self.most, self.epilogue = ops, most, epilogue
        self.graphs = self.values = self.refused = 0
        self.seen: Counter[str] = Counter()
        self.failures: list[int] = []
        self.last: Graph | None = None

    def round(self, number: int, examples: int) -> None:
        """The graphs of one seed."""

        @seed(number)
        @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(st.data())
        def one(data: st.DataObject) -> None:
            chosen = data.draw(st.lists(st.sampled_from(self.ops), min_size=1, max_size=self.most))
            self.last = graph_of(data.draw, chosen, self.epilogue)
            try:
                self.values += hold(self.last, number)
            except CnnccError:
                self.refused += 1  # in one line, which others tests hold
                return
            self.graphs += 1
            self.seen.update(n.op for n in self.last.nodes)

        try:
            one()
        except Exception:
            self.failures.append(number)
            print(f"seed {number} fails:\n{traceback.format_exc(limit=-3, chain=False)}", flush=True)
            if self.last is not None:
                print(print_graph(self.last), flush=True)

    def counts(self) -> str:
        """One line for people."""
        never = sorted(set(self.ops) - self.seen.keys())
        without = f"; never: {', '.join(never)}" if never else ""
        refused = f", {self.refused} refused" if self.refused else ""
        return f"{self.graphs} graphs, {self.values} values, {len(self.failures)} seeds fail{refused}{without}"


def main() -> int:
    """Exit status 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--hours", type=float, default=1.0, help="how long to go on (default 1)")
    parser.add_argument("--examples", type=int, default=20, help="graphs of a seed (default 20)")
    parser.add_argument("--most", type=int, default=5, help="ops asked for in a graph (default 5)")
    parser.add_argument("--epilogue", type=int, default=4, help="post-ops of an epilogue at the most (default 4)")
    parser.add_argument("--op", action="append", choices=sorted(MADE & TABLE.keys()), help="only these ops")
    args = parser.parse_args()
    run = Run(args.op or sorted(MADE & TABLE.keys()), args.most, args.epilogue)
    end, number = time.monotonic() + 3600 * args.hours, args.seed
    while time.monotonic() < end:
        run.round(number, args.examples)
        print(f"seed {number}: {run.counts()}", flush=True)
        number += 1
    return bool(run.failures)


if __name__ == "__main__":
    sys.exit(main())
