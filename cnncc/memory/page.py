"""The report as one HTML page that needs nothing else: figures, picture, what is alive at the peak. Light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from cnncc.kernels.room import SHARE
from cnncc.memory.facts import Report
from cnncc.memory.hints import mebibytes
from cnncc.memory.picture import COLOURS, KINDS, plot
from cnncc.webpage import webpage

STYLE = """
th:first-child, td:first-child { text-align: left; padding-left: 0; white-space: normal; }
li { color: var(--soft); max-width: 90ch; }
"""


def page(facts: Report, advice: Sequence[str]) -> str:
    """The page's text."""
    body = "\n".join([_head(facts), _picture(facts), _peak(facts), _advice(advice), _exceeding(facts)])
    return webpage(f"{facts.name}: memory", COLOURS + STYLE, body)


def _head(f: Report) -> str:
    figures = [
        (mebibytes(f.total), f"the arena; {f.total_gap:.1%} above the least for these kernels"),
        (mebibytes(f.activations), f"activations; {f.gap:.1%} above their bound of {mebibytes(f.bound)}"),
        (mebibytes(f.added), "added by workspace, scratch and counters; the rest of them lies inside"),
        (mebibytes(f.workspace), f"the most workspace at a step; scratch {mebibytes(f.scratch)}"),
    ]
    tiles = "".join(f"<div><b>{value}</b><span>{text}</span></div>" for value, text in figures)
    threads = f"{f.threads} thread{'s' if f.threads > 1 else ''}"
    return f"""<h1>{escape(f.name)}</h1>
<p>batch {f.batch}, {threads}, target {escape(f.target)}</p>
<section class="figures">{tiles}</section>"""


def _picture(f: Report) -> str:
    used = {b.kind for b in f.blocks}
    items = (f'<span><i class="{k}"></i>{text}</span>' for k, text in KINDS.items() if k in used)
    return f"""<section>
<h2>Time against address</h2>
<p>Each rectangle is memory in use: steps from left to right, addresses from bottom to top. The dashed line is the least
that any plan of the activations needs. Rest the pointer on a rectangle for its bytes.</p>
<div class="legend">{"".join(items)}</div>
<div class="scroll">{plot(f)}</div>
</section>"""


def _peak(f: Report) -> str:
    step = f.steps[f.peak]
    rows = "\n".join(
        f"<tr><td>{escape(h.name)}</td><td>{escape(h.role)}</td><td>{mebibytes(h.bytes)}</td></tr>" for h in f.held
    )
    return f"""<section>
<h2>The peak: {escape(step.node)}, {escape(step.op)}</h2>
<table><thead><tr><th>tensor</th><th>at this step</th><th>bytes</th></tr></thead>
<tbody>
{rows}
</tbody></table>
</section>"""


def _advice(advice: Sequence[str]) -> str:
    lines = "\n".join(f"<li>{escape(line)}</li>" for line in advice)
    return f"<section>\n<h2>What would lower it</h2>\n<ul>\n{lines}\n</ul>\n</section>" if advice else ""


def _exceeding(f: Report) -> str:
    if not f.exceeding:
        return ""
    rows = "\n".join(
        f"<tr><td>{escape(node)}<small>{escape(why)}</small></td><td>{mebibytes(over)}</td></tr>"
        for node, over, why in f.exceeding
    )
    return f"""<section>
<h2>Kernels that make the arena more than {SHARE:.0%} larger than the activations</h2>
<table><thead><tr><th>layer</th><th>beyond</th></tr></thead><tbody>
{rows}
</tbody></table>
</section>"""
