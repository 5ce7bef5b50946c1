"""The arena as a picture: steps from left to right, addresses from bottom to top, a rectangle for what is in use."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from cnncc.report.memory.facts import MemoryBlock, MemoryReport
from cnncc.report.memory.hints import Unit

WIDE, NARROW = (1000, 480), (360, 420)
"""Width and height, for a screen and for a phone."""
LEFT, RIGHT, TOP, BOTTOM = 76, 16, 24, 44
LETTER = 6.6
"""Width of one, in pixels."""

KINDS = {
    "activation": "activations",
    "workspace": "workspace, which the calls of one layer hand on",
    "scratch": "scratch of the threads",
    "counters": "counters",
}
"""CSS class of a block's colour -> what the legend says."""

COLOURS = """
:root { --activation: #2a6fcb; --workspace: #d9601a; --scratch: #b98600; --counters: #8250c8; --edge: #ffffff;
  --text: #1c1c1a; --rule: #c9c9c2; }
@media (prefers-color-scheme: dark) { :root { --activation: #6aa5f2; --workspace: #f08c4f; --scratch: #dcae35;
  --counters: #b391ec; --edge: #1f1f1d; --text: #ecece6; --rule: #4a4a43; } }
.block { stroke: var(--edge); stroke-width: .7; fill-opacity: .72; } .block:hover { fill-opacity: 1; }
.rule { stroke: var(--rule); } .bound { stroke: var(--text); stroke-dasharray: 5 4; } .peak { fill: var(--text);
  fill-opacity: .1; } svg .label { font-size: 11px; fill: var(--edge); pointer-events: none; }
"""
COLOURS += "".join(f".{k} {{ fill: var(--{k}); background: var(--{k}); }}\n" for k in KINDS)

_TEXT = "svg { background: var(--edge); } svg text { fill: var(--text); font: 12px system-ui, sans-serif; }"


def svg(facts: MemoryReport) -> str:
    """The picture as a file of its own."""
    head = '<svg xmlns="http://www.w3.org/2000/svg"'
    return plot(facts).replace("<svg", head, 1).replace("\n", f"\n<style>{COLOURS}{_TEXT}</style>\n", 1)


def plot(facts: MemoryReport, size: tuple[int, int] = WIDE) -> str:
    """The picture as part of a page that has `COLOURS` in its style."""
    scale = _Scale(facts, *size)
    label = f"Memory of {facts.name}: address over step"
    parts = [*_axes(facts, scale), *(_block(b, facts, scale) for b in facts.blocks), *_names(facts, scale)]
    box = f'viewBox="0 0 {scale.width} {scale.height}" width="{scale.width}" height="{scale.height}"'
    head = f'<svg {box} role="img" aria-label="{escape(label)}">'
    return "\n".join([head, *parts, _bound(facts, scale), "</svg>"]) + "\n"


class _Scale:
    """Pixels of steps and of addresses."""

    def __init__(self, facts: MemoryReport, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.steps = len(facts.steps)
        self.total = max(1, facts.total)

    def x(self, step: int) -> float:
        return LEFT + step / self.steps * (self.width - LEFT - RIGHT)

    def y(self, address: float) -> float:
        return self.height - BOTTOM - address / self.total * (self.height - TOP - BOTTOM)

    def box(self, block: MemoryBlock) -> tuple[float, float, float, float]:
        """Left, top, width, height."""
        left, top = self.x(block.first), self.y(block.offset + block.bytes)
        return left, top, self.x(block.last + 1) - left, self.y(block.offset) - top


def _axes(facts: MemoryReport, scale: _Scale) -> Iterator[str]:
    bottom, right = scale.height - BOTTOM, scale.width - RIGHT
    unit = Unit.of(facts.total)
    for address in unit.ticks(scale.total):
        y = scale.y(address)
        yield f'<line class="rule" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{unit.tick(address)}</text>'
    left, width = scale.x(facts.peak), scale.x(1) - LEFT
    yield f'<rect class="peak" x="{left:.2f}" y="{TOP}" width="{width:.2f}" height="{bottom - TOP}"/>'
    side = "end" if left > scale.width / 2 else "start"
    room = (left - 4 if side == "end" else scale.width - left) / LETTER
    peak = _fitting(f"most activations: {facts.steps[facts.peak].node}", room)
    yield f'<text x="{left:.1f}" y="{TOP - 8}" text-anchor="{side}">{peak}</text>'
    half = (right - LEFT) / 2 / LETTER
    yield f'<text x="{LEFT}" y="{bottom + 18}">{_fitting(facts.steps[0].node, half)}</text>'
    yield f'<text x="{right}" y="{bottom + 18}" text-anchor="end">{_fitting(facts.steps[-1].node, half)}</text>'
    yield f'<text x="{(LEFT + right) / 2}" y="{bottom + 34}" text-anchor="middle">{len(facts.steps)} steps</text>'


def _fitting(text: str, letters: float) -> str:
    """The text, or its end where it is longer than so many letters, for SVG."""
    short = text if len(text) <= letters else f"…{text[len(text) - max(1, int(letters) - 1) :]}"
    return escape(short)


def _block(block: MemoryBlock, facts: MemoryReport, scale: _Scale) -> str:
    left, top, width, height = scale.box(block)
    shape = f'x="{left:.2f}" y="{top:.2f}" width="{width:.2f}" height="{height:.2f}"'
    return f'<rect class="block {block.kind}" {shape}><title>{escape(describe(block, facts))}</title></rect>'


def describe(block: MemoryBlock, facts: MemoryReport) -> str:
    """Everything about a block, for the title that shows when the pointer rests on it."""
    nodes = [facts.steps[i].node for i in sorted({block.first, block.last})]
    end = block.offset + block.bytes
    return f"{block.name}: {block.kind}\n{block.bytes:,} bytes at {block.offset:,} to {end:,}\n{' to '.join(nodes)}"


def _names(facts: MemoryReport, scale: _Scale) -> Iterator[str]:
    """The names of blocks that are large enough for them."""
    for block in facts.blocks:
        left, top, width, height = scale.box(block)
        if height > 13 and width > LETTER * len(block.name) + 6:
            middle = top + height / 2 + 4
            yield f'<text class="label" x="{left + 4:.1f}" y="{middle:.1f}">{escape(block.name)}</text>'


def _bound(facts: MemoryReport, scale: _Scale) -> str:
    y, right = scale.y(facts.bound), scale.width - RIGHT
    title = f"the least possible for activations: {facts.bound:,} bytes"
    return f'<line class="bound" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"><title>{title}</title></line>'
