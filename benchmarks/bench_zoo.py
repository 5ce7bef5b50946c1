"""The zoo, cnncc against ONNX Runtime, one line a network."""

from __future__ import annotations

from math import prod

import results
from engines import OURS, PEER

ZOO = (
    "alexnet", "zfnet", "vgg_d", "vgg_e", "googlenet", "resnet18", "resnet50_v1_5", "resnet152", "squeezenet1_1",
    "mobilenet_v1", "densenet121",
)  # fmt: skip


def run() -> int:
    """Measures, prints each line as it is known, and returns the exit code."""
    parser = results.options(__doc__ or "", rounds=5, seconds=0.7)
    parser.add_argument("nets", nargs="*", metavar="NET", help=f"networks or .net files (default: {' '.join(ZOO)})")
    args = parser.parse_args()
    about = results.machine()
    if not args.json:
        results.print_header(about, args)
        ours, peer = f"{OURS + ' ms':>10} {'p15':>8}", f"{PEER + ' ms':>16} {'p15':>8}"
        print(f"\n{'':16} {ours} {peer}   time / {PEER}'s  difference  others")
    rows = []
    for net in args.nets or ZOO:
        rows.append(results.measure(net, args))
        if not args.json:
            show(rows[-1])
    mean = prod(row["engines"][OURS]["ratio"] for row in rows) ** (1 / len(rows))
    if not args.json:
        print(f"geometric mean of the ratios: {mean:.2f}")
    return results.finish(about, rows, args, {"geometric_mean_ratio": mean})


def show(row: results.Row) -> None:
    """The line of one network."""
    ours, peer = row["engines"][OURS], row["engines"][PEER]
    print(
        f"{row['net']:16} {ours['median_ms']:10.2f} {ours['p15_ms']:8.2f} {peer['median_ms']:16.2f}"
        f" {peer['p15_ms']:8.2f}   {ours['ratio']:21.2f}  {row['difference']:10.1e}  {row['disturbance']:6.1%}",
        flush=True,
    )


if __name__ == "__main__":
    results.main(run)
