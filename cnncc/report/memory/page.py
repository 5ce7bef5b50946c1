"""The report as one HTML page that needs nothing else: figures, picture, what is alive at the peak. Light and dark."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from cnncc.kernels.cpu.budget import SHARE
from cnncc.report.memory.facts import MemoryReport
from cnncc.report.memory.hints import Unit
from cnncc.report.memory.picture import COLOURS, KINDS, NARROW, WIDE, plot
from cnncc.report.webpage import Cell, TableRow, figures, legend, pictures, table, webpage

STYLE = """
li { color: var(--soft); max-width: 90ch; overflow-wrap: anywhere; } ul { padding-left: 20px; }
"""


def page(facts: MemoryReport, advice: Sequence[str]) -> str:
    """The page's text."""
    body = "\n".join([_head(facts), _picture(facts), _peak(facts), _advice(advice), _steps(facts), _exceeding(facts)])
    return webpage(f"{facts.name}: memory", COLOURS + STYLE, body)


def _head(f: MemoryReport) -> str:
    size = Unit.of(f.total).text
    tiles = [
        (size(f.total), f"the arena of one image; {f.total_gap:.1%} above the least for these kernels"),
        (size(f.activations), f"activations; {f.gap:.1%} above their bound of {size(f.bound)}"),
        (size(f.added), "added by workspace, scratch and counters; the rest of them lies inside"),
        (size(f.workspace), f"the most workspace at a step; scratch {size(f.scratch)}"),
    ]
    threads = f"{f.threads} thread{'s' if f.threads > 1 else ''}"
    return f"""<h1>{escape(f.name)}</h1>
<p>{_images(f, size)}{threads}, target {escape(f.target)}</p>
{figures(tiles)}"""


def _images(f: MemoryReport, size: Callable[[int], str]) -> str:
    return f"{size(f.of_batch)} for {f.batch} images, " if f.batch > 1 else ""


def _picture(f: MemoryReport) -> str:
    used = {b.kind for b in f.blocks}
    return f"""<section>
<h2>Time against address</h2>
<p>Each rectangle is memory in use: steps from left to right, addresses from bottom to top. The dashed line is the least
that any plan of the activations needs. Rest the pointer on a rectangle for its bytes.</p>
{legend([(k, text) for k, text in KINDS.items() if k in used])}
{pictures(plot(f, WIDE), plot(f, NARROW))}
</section>"""


def _peak(f: MemoryReport) -> str:
    step, unit = f.steps[f.peak], Unit.of(f.total)
    rows = [TableRow([Cell(h.name), Cell(h.role), _bytes(h.bytes, unit)]) for h in f.held]
    return f"""<section>
<h2>The peak: {escape(step.node)}, {escape(step.op)}</h2>
{table("what is in use at the peak", ("tensor", "at this step", unit.name), rows)}
</section>"""


def _bytes(count: int, unit: Unit) -> Cell:
    """A number of bytes in a column of one unit."""
    return Cell(unit.text(count).partition(" ")[0], count)


def _steps(f: MemoryReport) -> str:
    """What is in use at each step."""
    unit = Unit.of(f.total)
    sizes = ("activations", "workspace", "scratch", "bytes")
    rows = [
        TableRow([Cell(s.node, small=[s.op]), *(_bytes(getattr(s, size), unit) for size in sizes)]) for s in f.steps
    ]
    heads = ("step", *(f"{what}, {unit.name}" for what in ("activations", "workspace", "scratch", "together")))
    return f"""<section>
<h2>Steps, as they run</h2>
{table("steps", heads, rows)}
</section>"""


def _advice(advice: Sequence[str]) -> str:
    lines = "\n".join(f"<li>{escape(line)}</li>" for line in advice)
    return f"<section>\n<h2>What would lower it</h2>\n<ul>\n{lines}\n</ul>\n</section>" if advice else ""


def _exceeding(f: MemoryReport) -> str:
    if not f.exceeding:
        return ""
    unit = Unit.of(f.total)
    rows = [TableRow([Cell(node, small=[why]), _bytes(over, unit)]) for node, over, why in f.exceeding]
    return f"""<section>
<h2>Kernels that make the arena more than {SHARE:.0%} larger than the activations</h2>
{table("kernels that need most besides", ("layer", f"beyond, {unit.name}"), rows)}
</section>"""
