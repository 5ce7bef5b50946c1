"""What calibration found, as one HTML page: what the outputs lose, and for each value its histogram and its range."""

from __future__ import annotations

from html import escape

import numpy as np

from cnncc.calibrate.search import Calibrated, covered
from cnncc.quantization.ranges import Histogram
from cnncc.report.webpage import Cell, TableRow, figures, table, webpage

STYLE = """
.plot { display: block; width: 240px; height: 44px; } .plot path { fill: #3b7dd8; }
.plot rect { fill: none; stroke: #d8663b; stroke-dasharray: 3 2; }
@media (max-width: 640px) { .plot { width: 100%; } }
"""
BARS = 80
WIDTH, HEIGHT = 240, 44


def page(found: Calibrated) -> str:
    """The page's text."""
    told = found.to_json()
    name = escape(told["name"])
    tiles = [
        (f"{output['decibels']:.1f} dB", f"of {output['name']}; largest element the same in {output['agreement']:.1%}")
        for output in told["outputs"]
    ]
    tiles.append((str(len(told["values"])), f"values are bytes; {len(told['float32'])} layers stay float32"))
    kept = ", ".join(told["keep"]) or "none"
    head = f"""<h1>{name}: int8</h1>
<p>Ranges by {escape(str(about["method"]))} on {about["images"]} images; layers kept in float32: {escape(kept)}.</p>
{figures(tiles)}"""
    return webpage(f"{name}: int8", STYLE, "\n".join([head, _gains(told["gains"]), _values(found)]))


def _gains(gains: list[dict[str, object]]) -> str:
    if not gains:
        return ""
    rows = [
        TableRow([Cell(str(gain["layer"])), Cell(f"{gain['decibels']:+.2f} dB", float(str(gain["decibels"])))])
        for gain in gains
    ]
    return f"""<section>
<h2>What one layer in float32 would give back</h2>
<p>The layers behind which most is lost, each kept by itself (<code>--keep</code>), and what the worst output gains.</p>
{table("what layers in float32 give back", ("layer", "gain"), rows)}
</section>"""


def _values(found: Calibrated) -> str:
    rows = [_row(found, name) for name in found.plan.scaled]
    return f"""<section>
<h2>Values</h2>
<p>Histograms are logarithmic; what lies outside the dashed frame becomes the nearest byte. dB is the distance from
float32 with all layers before on bytes.</p>
{table("the values that are bytes", ("value", "histogram", "range", "scale", "zero", "clipped", "dB"), rows)}
</section>"""


def _row(found: Calibrated, name: str) -> TableRow:
    row = found.row(name)
    return TableRow(
        [
            Cell(name, small=(str(row["op"]),)),
            Cell("", html=_plot(found.histograms[name], *covered(found.scheme.values[name]))),
            Cell(f"{row['low']:.4g} .. {row['high']:.4g}", row["high"] - row["low"]),
            Cell(f"{row['scale']:.4g}", row["scale"]),
            Cell(str(row["zero"]), row["zero"]),
            Cell(f"{row['clipped']:.2%}", row["clipped"]),
            Cell(f"{row['decibels']:.1f}", row["decibels"]),
        ]
    )


def _plot(values: Histogram, low: float, high: float) -> str:
    """A histogram of BARS bars, and the frame of what bytes cover."""
    bars = np.log1p(np.add.reduceat(values.counts, np.arange(0, len(values.counts), len(values.counts) // BARS)))
    tall = HEIGHT * bars / max(1.0, float(bars.max(initial=0.0)))
    step = WIDTH / len(bars)
    path = "".join(f"M{i * step:.1f} {HEIGHT}v{-h:.1f}h{step:.1f}v{h:.1f}z" for i, h in enumerate(tall) if h)
    span = max(values.high - values.low, 1e-30)
    left, right = (min(max((end - values.low) / span, 0.0), 1.0) * WIDTH for end in (low, high))
    frame = f'<rect x="{left:.1f}" y="0.5" width="{max(0.0, right - left):.1f}" height="{HEIGHT - 1}"/>'
    title = f"<title>{values.low:.4g} .. {values.high:.4g}</title>"
    return f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{title}<path d="{path}"/>{frame}</svg>'
