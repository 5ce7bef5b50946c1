"""One network, cnncc against ONNX Runtime: ResNet-50 v1.5, or any other with --net."""

from __future__ import annotations

import results


def run() -> int:
    """Measures, prints, and returns the exit code."""
    parser = results.options(__doc__ or "", rounds=9, seconds=1.0)
    parser.add_argument("--net", default="resnet50_v1_5", metavar="PATH", help="a .net file, or a network of the zoo")
    args = parser.parse_args()
    about = results.machine()
    row = results.measure(args.net, args)
    if not args.json:
        results.print_header(about, args)
        show(row)
    return results.finish(about, [row], args, {})


def show(row: results.Row) -> None:
    """A line for each competitor."""
    print(f"\n{row['net']:38} median ms    p15 ms   runs   time / ONNX Runtime's (rounds)")
    for engine in row["engines"].values():
        spread = f"{engine['ratio_low']:.2f}-{engine['ratio_high']:.2f}"
        print(
            f"  {engine['about']:36} {engine['median_ms']:9.2f} {engine['p15_ms']:9.2f} {engine['runs']:6}"
            f"   {engine['ratio']:.2f} ({spread})"
        )
    print(f"largest output difference: {row['difference']:.1e} of the largest output")
    print(f"taken by other processes: {row['disturbance']:.1%} of the machine")


if __name__ == "__main__":
    results.main(run)
