"""A profile as one HTML page that needs nothing else: figures, roofline, a bar for every step. Light and dark."""

from __future__ import annotations

from html import escape

from cnncc.profile.gaps import MEGAFLOPS, NEAR
from cnncc.profile.measure import Profile, Step
from cnncc.profile.roofline import roofline
from cnncc.webpage import webpage

KINDS = {
    "conv": "convolution",
    "winograd": "Winograd",
    "conv_transpose": "transposed convolution",
    "fc": "fully connected",
    "pool": "pooling",
    "other": "other",
}
"""CSS class of a step's colour -> what the legend says."""

_POOLS = ("maxpool", "avgpool", "gap", "gmp")

STYLE = """
:root { --conv: #2a6fcb; --winograd: #d9601a; --conv_transpose: #8250c8; --fc: #11875d; --pool: #b98600;
  --other: #84847c; }
@media (prefers-color-scheme: dark) { :root { --conv: #6aa5f2; --winograd: #f08c4f; --conv_transpose: #b391ec;
  --fc: #42bd8c; --pool: #dcae35; --other: #98988f; } }
.grid { stroke: var(--line); } .roof { stroke: var(--ink); stroke-width: 1.5; fill: none; }
svg .name { fill: var(--ink); }
.dot { fill-opacity: .6; stroke: var(--card); } .dot:hover { fill-opacity: 1; stroke: var(--ink); }
table { min-width: 720px; }
th:first-child, td:first-child { text-align: left; padding-left: 0; white-space: normal; width: 42%; }
th.bar, td.bar { text-align: left; width: 26%; }
td svg { height: 12px; } .gap { fill-opacity: .35; } .sum td { font-weight: 600; }
"""
STYLE += "".join(f".{k} {{ fill: var(--{k}); background: var(--{k}); }}\n" for k in KINDS)


def page(profile: Profile) -> str:
    """The page's text."""
    body = "\n".join([_head(profile), _roofline(profile), _gaps(profile), _steps(profile)])
    return webpage(f"{profile.name}: profile", STYLE, body)


def kind(step: Step) -> str:
    """Which colour a step has, a key of KINDS."""
    if step.algorithm in _POOLS:
        return "pool"
    return step.algorithm if step.algorithm in KINDS else "other"


def describe(step: Step) -> str:
    """Everything about a step, for the title that shows when the pointer rests on it."""
    speed = f"{step.gflops:.1f} GFLOP/s, " if step.flops else ""
    return (
        f"{step.node}\n{step.op}, {step.kernel}\n{step.why}\n"
        f"{step.seconds * 1e3:.4g} ms, {step.share:.1%} of the steps\n{speed}{step.bytes / 1e6:.2f} MB\n"
        f"{step.of_limit:.0%} of its limit, {step.limit * 1e3:.4g} ms, set by {step.bound}"
    )


def _head(p: Profile) -> str:
    more = "" if p.weights_dtype == "float32" else f", fc weights as {p.weights_dtype}"
    threads = f"{p.threads} thread{'s' if p.threads > 1 else ''}"
    if p.busy:
        more += f"; a busy machine: {p.interrupted / p.whole:.0%} of a run is in no step's median"
    figures = [
        (f"{p.unstamped * 1e3:.3g} ms", f"a run; {p.whole * 1e3:.3g} ms while measuring"),
        (f"{p.direct_gflops:.3g} GFLOP/s", "operations as written, over the run"),
        (f"{p.limit / p.total:.0%}", f"of the limit: {p.limit * 1e3:.3g} ms if every step reached its own"),
        (f"{p.peak_flops / 1e9:.0f} GFLOP/s", f"this machine at best; memory {p.bandwidth / 1e9:.0f} GB/s"),
    ]
    tiles = "".join(f"<div><b>{value}</b><span>{text}</span></div>" for value, text in figures)
    return f"""<h1>{escape(p.name)}</h1>
<p>batch {p.batch}, {threads}, target {escape(p.target)}, medians of the quietest quarter of {p.runs} runs{more}</p>
<section class="figures">{tiles}</section>"""


def _legend(profile: Profile, only: list[Step]) -> str:
    used = {kind(s) for s in only}
    items = (f'<span><i class="{k}"></i>{text}</span>' for k, text in KINDS.items() if k in used)
    return f'<div class="legend">{"".join(items)}</div>'


def _roofline(profile: Profile) -> str:
    computing = [s for s in profile.steps if s.flops]
    if not computing:
        return ""
    points = [(s, kind(s), describe(s)) for s in computing]
    plot = roofline(points, profile.peak_flops, profile.bandwidth)
    return f"""<section>
<h2>Roofline</h2>
<p>Each step that multiplies, by operations per byte and by speed; its area is its share of the time. The line is what
this machine can do. A step above the slope had its operands in a cache. Winograd counts its own multiplications.</p>
{_legend(profile, computing)}
<div class="scroll">{plot}</div>
</section>"""


def _gaps(profile: Profile) -> str:
    """The convolutions that should be nearer their limits, and what else they do."""
    large = profile.large
    if not large.gaps:
        return ""
    rows = "\n".join(
        f"<tr><td>{escape(gap.node)} <small>{escape(gap.reason)}</small></td><td>{escape(gap.algorithm)}</td>"
        f"<td>{gap.megaflops:.0f}</td><td>{gap.seconds * 1e3:.{profile.digits}f}</td><td>{gap.of_limit:.0%}</td></tr>"
        for gap in large.gaps
    )
    heads = "".join(f"<th>{head}</th>" for head in ("convolution", "algorithm", "MFLOP", "ms", "of limit"))
    return f"""<section>
<h2>Below their limit</h2>
<p>{len(large.gaps)} of the {large.count} convolutions above {MEGAFLOPS} MFLOP run below {NEAR:.0%} of their limit. What
they do besides, in milliseconds if nothing else hid it: from each kernel's configuration, not measured, but for the
transforms that are steps of their own.</p>
<div class="scroll"><table>
<thead><tr>{heads}</tr></thead>
<tbody>
{rows}
</tbody></table></div>
</section>"""


def _steps(profile: Profile) -> str:
    longest = max(max(s.seconds, s.limit) for s in profile.steps)
    rows = "\n".join(_row(s, longest, profile.digits) for s in profile.steps)
    time = f"{profile.total * 1e3:.{profile.digits}f}"
    total = f"""<tr class="sum"><td>all steps</td><td class="bar"></td><td>{time}</td><td></td><td></td><td></td>
<td>{profile.limit / profile.total:.0%}</td><td></td></tr>"""
    heads = "".join(f"<th>{h}</th>" for h in ("ms", "share", "GFLOP/s", "MB", "of limit", "bound by"))
    return f"""<section>
<h2>Steps, as they run</h2>
<p>The full colour is the limit, the pale rest is what could be gained.</p>
{_legend(profile, list(profile.steps))}
<div class="scroll"><table>
<thead><tr><th>step</th><th class="bar">time</th>{heads}</tr></thead>
<tbody>
{rows}
{total}
</tbody></table></div>
</section>"""


def _row(step: Step, longest: float, digits: int) -> str:
    time, limit = (100 * x / longest for x in (step.seconds, min(step.limit, step.seconds)))
    colour = kind(step)
    bar = (
        '<svg viewBox="0 0 100 12" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="{colour} gap" width="{time:.2f}" height="12"/>'
        f'<rect class="{colour}" width="{limit:.2f}" height="12"/></svg>'
    )
    node, what, why, title = map(escape, (step.node, f"{step.op}, {step.kernel}", step.why, describe(step)))
    numbers = (
        f"{step.seconds * 1e3:.{digits}f}",
        f"{step.share:.1%}",
        f"{step.gflops:.1f}" if step.flops else "",
        f"{step.bytes / 1e6:.2f}",
        f"{step.of_limit:.0%}",
        step.bound,
    )
    cells = "".join(f"<td>{n}</td>" for n in numbers)
    return f"""<tr title="{title}"><td>{node} <small>{what}<br>{why}</small></td><td class="bar">{bar}</td>
{cells}</tr>"""
