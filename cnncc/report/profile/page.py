"""A profile as one HTML page that needs nothing else: figures, roofline, a bar for every step. Light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from cnncc.kernels.cpu.algorithms import ALGORITHMS
from cnncc.report.profile.gaps import MEGAFLOPS, NEAR
from cnncc.report.profile.groups import StepGroup, by_op, by_stage
from cnncc.report.profile.measure import Profile, Step, share_of_limit
from cnncc.report.profile.roofline import NARROW, WIDE, Peak, Point, roofline
from cnncc.report.webpage import Cell, TableRow, figures, legend, pictures, table, webpage

KINDS = {
    "conv": "convolution",
    "conv_transpose": "transposed convolution",
    "fc": "fully connected",
    "pool": "pooling",
    "other": "other",
}
"""CSS class of a step's colour -> what the legend says; for steps of the last algorithm of an op too. Those before it
have colours of their own, `WAYS`."""

WAYS = ("way0", "way1", "way2", "way3")
"""CSS classes by the place of an algorithm in the tuple of its op, round and round."""

_POOLS = ("maxpool", "avgpool", "gap", "gmp")

STYLE = """
:root { --conv: #2a6fcb; --conv_transpose: #8250c8; --fc: #11875d; --pool: #b98600; --other: #84847c;
  --way0: #0f8a9d; --way1: #d9601a; --way2: #c2387f; --way3: #6b7f13; }
@media (prefers-color-scheme: dark) { :root { --conv: #6aa5f2; --conv_transpose: #b391ec; --fc: #42bd8c;
  --pool: #dcae35; --other: #98988f; --way0: #4fc3d5; --way1: #f08c4f; --way2: #ee7fb4; --way3: #a9bf4a; } }
.grid { stroke: var(--line); } .roof { stroke: var(--ink); stroke-width: 1.5; fill: none; }
svg .name { fill: var(--ink); }
.dot { fill-opacity: .6; stroke: var(--card); } .dot:hover, a:focus .dot { fill-opacity: 1; stroke: var(--ink); }
td .bar { height: 12px; min-width: 120px; } .gap { fill-opacity: .35; }
.steps td:first-child { width: 42%; } .steps td:nth-child(2) { width: 26%; }
@media (max-width: 640px) { .steps td:first-child, .steps td:nth-child(2) { width: 100%; }
  .steps td:nth-child(2)::before { content: none; } }
"""
STYLE += "".join(f".{k} {{ fill: var(--{k}); background: var(--{k}); }}\n" for k in (*KINDS, *WAYS))


def page(profile: Profile) -> str:
    """The page's text."""
    body = "\n".join([_head(profile), _roofline(profile), _groups(profile), _gaps(profile), _steps(profile)])
    return webpage(f"{profile.name}: profile", STYLE, body)


def kind(step: Step) -> str:
    """Which colour a step has, a key of KINDS or one of WAYS."""
    op, way = _op(step), _way(step)
    if way is not None:
        return WAYS[way % len(WAYS)]
    return "pool" if op in _POOLS else op if op in KINDS else "other"


def _op(step: Step) -> str:
    return step.op.partition("+")[0]


def _way(step: Step) -> int | None:
    """Place of the step's algorithm in the tuple of its op; None for the last one, and for an op without a tuple."""
    before = [algorithm.name for algorithm in ALGORITHMS.get(_op(step), ())][:-1]
    return before.index(step.algorithm) if step.algorithm in before else None


def _meaning(step: Step) -> str:
    """What the legend says of a step's colour."""
    if _way(step) is None:
        return KINDS[kind(step)]
    return f"{KINDS.get(_op(step), _op(step))}, {step.algorithm}"


def describe(step: Step) -> str:
    """Everything about a step, for the title that shows when the pointer rests on it."""
    speed = f"{step.gflops:.1f} GFLOP/s, " if step.flops else ""
    return (
        f"{step.node}\n{step.op}, {step.kernel}\n{step.why}\n"
        f"{step.seconds * 1e3:.4g} ms, {step.share:.1%} of the steps\n{speed}{step.bytes / 1e6:.2f} MB\n"
        f"of its limit: {step.limit_share}; that is {step.limit * 1e3:.4g} ms, set by {step.bound}"
    )


def _head(p: Profile) -> str:
    more = "" if p.weights_dtype == "float32" else f", weights as {p.weights_dtype}"
    if p.dtype == "bfloat16":
        more += f", values are bfloat16; in float32: {escape(', '.join(p.in_float32) or 'nothing')}"
    threads = f"{p.threads} thread{'s' if p.threads > 1 else ''}"
    if p.busy:
        more += f"; a busy machine: {p.interrupted / p.whole:.0%} of a run is in no step's median"
    tiles = [
        (f"{p.unstamped * 1e3:.3g} ms", f"a run; {p.whole * 1e3:.3g} ms while measuring"),
        (f"{p.direct_gflops:.3g} GFLOP/s", "operations as written, over the run"),
        (p.limit_share, f"of the limit: {p.limit * 1e3:.3g} ms if every step reached its own"),
        (", ".join(peak.what for peak in _peaks(p)), f"this machine at best; memory {p.bandwidth / 1e9:.0f} GB/s"),
    ]
    return f"""<h1>{escape(p.name)}</h1>
<p>batch {p.batch}, {threads}, target {escape(p.target)}, medians of the quietest quarter of {p.runs} runs{more}</p>
{figures(tiles)}"""


def _legend(steps: Sequence[Step]) -> str:
    used = {(kind(s), _meaning(s)) for s in steps}
    order = [*KINDS, *WAYS]
    return legend(sorted(used, key=lambda entry: (order.index(entry[0]), entry[1])))


def _roofline(profile: Profile) -> str:
    points = [Point(s, kind(s), describe(s), _anchor(i)) for i, s in enumerate(profile.steps) if s.flops]
    if not points:
        return ""
    wide, narrow = (roofline(points, _peaks(profile), profile.bandwidth, frame) for frame in (WIDE, NARROW))
    return f"""<section>
<h2>Roofline</h2>
<p>Each step that multiplies, by operations per byte and by speed; its area is its share of the time. The line is what
this machine can do. A step above the slope had its operands in a cache. Each algorithm counts its own multiplications.
A dot leads to its row below.</p>
{_legend([p.step for p in points])}
{pictures(wide, narrow)}
</section>"""


def _peaks(profile: Profile) -> list[Peak]:
    """What the machine does at best, of each type that is multiplied."""
    peaks = [Peak(profile.peak_flops, f"{profile.peak_flops / 1e9:.0f} GFLOP/s")]
    return peaks + [Peak(flops, f"{flops / 1e9:.0f} G of {name}/s") for name, flops in profile.peaks.items()]


def _anchor(step: int) -> str:
    return f"step-{step}"


def _groups(profile: Profile) -> str:
    """The time by op and by stage."""
    parts = []
    for title, what, groups in (
        ("By op", "op", by_op(profile)),
        ("By stage, as they run", "stage", by_stage(profile)),
    ):
        rows = [_group(g, profile.digits) for g in groups]
        heads = (what, "steps", "ms", "share", "of limit")
        parts.append(f"<section>\n<h2>{title}</h2>\n{table(f'time by {what}', heads, rows)}\n</section>")
    return "\n".join(parts)


def _group(group: StepGroup, digits: int) -> TableRow:
    reached = group.limit / group.seconds if group.seconds else 0.0
    return TableRow(
        [
            Cell(group.name),
            Cell(str(group.steps), group.steps),
            Cell(f"{group.seconds * 1e3:.{digits}f}", group.seconds),
            Cell(f"{group.share:.1%}", group.share),
            Cell(share_of_limit(reached), reached),
        ]
    )


def _gaps(profile: Profile) -> str:
    """The convolutions that should be nearer their limits, and what else they do."""
    large = profile.large
    if not large.gaps:
        return ""
    rows = [
        TableRow(
            [
                Cell(gap.node, small=[gap.reason]),
                Cell(gap.algorithm),
                Cell(f"{gap.megaflops:.0f}", gap.megaflops),
                Cell(f"{gap.seconds * 1e3:.{profile.digits}f}", gap.seconds),
                Cell(f"{gap.of_limit:.0%}", gap.of_limit),
            ]
        )
        for gap in large.gaps
    ]
    return f"""<section>
<h2>Below their limit</h2>
<p>{len(large.gaps)} of the {large.count} convolutions above {MEGAFLOPS} MFLOP run below {NEAR:.0%} of their limit. What
they do besides, in milliseconds if nothing else hid it: from each kernel's configuration, not measured, but for the
transforms that are steps of their own.</p>
{table("convolutions below their limit", ("convolution", "algorithm", "MFLOP", "ms", "of limit"), rows)}
</section>"""


def _steps(profile: Profile) -> str:
    longest = max(max(s.seconds, s.limit) for s in profile.steps)
    rows = [_row(i, s, longest, profile.digits) for i, s in enumerate(profile.steps)]
    heads = ("step", "time", "ms", "share", "GFLOP/s", "MB", "of limit", "bound by")
    time, reached = Cell(f"{profile.total * 1e3:.{profile.digits}f}"), Cell(profile.limit_share)
    total = TableRow([Cell("all steps"), Cell(""), time, Cell(""), Cell(""), Cell(""), reached, Cell("")])
    return f"""<section class="steps">
<h2>Steps, as they run</h2>
<p>The full colour is the limit, the pale rest is what could be gained. "from cache": faster than memory alone allows,
since operands were in a cache.</p>
{_legend(profile.steps)}
{table("steps", heads, rows, total)}
</section>"""


def _row(number: int, step: Step, longest: float, digits: int) -> TableRow:
    time, limit = (100 * x / longest for x in (step.seconds, min(step.limit, step.seconds)))
    colour = kind(step)
    bar = (
        '<svg class="bar" viewBox="0 0 100 12" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="{colour} gap" width="{time:.2f}" height="12"/>'
        f'<rect class="{colour}" width="{limit:.2f}" height="12"/></svg>'
    )
    cells = [
        Cell(step.node, small=[f"{step.op}, {step.kernel}", step.why]),
        Cell("", step.seconds, html=bar),
        Cell(f"{step.seconds * 1e3:.{digits}f}", step.seconds),
        Cell(f"{step.share:.1%}", step.share),
        Cell(f"{step.gflops:.1f}" if step.flops else "", step.gflops),
        Cell(f"{step.bytes / 1e6:.2f}", step.bytes),
        Cell(step.limit_share, step.of_limit),
        Cell(step.bound),
    ]
    return TableRow(cells, _anchor(number), describe(step))
