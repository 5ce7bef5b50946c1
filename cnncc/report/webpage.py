"""What the pages share that commands write: one file each, light and dark, nothing loaded from elsewhere, and readable
on a phone, where the rows of a table become cards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

STYLE = """
:root { color-scheme: light dark; --page: #f7f7f5; --card: #ffffff; --ink: #1c1c1a; --soft: #62625c; --line: #e2e2dc;
  --mark: #fff3c4; }
@media (prefers-color-scheme: dark) { :root { --page: #151514; --card: #1f1f1d; --ink: #ecece6; --soft: #a3a39a;
  --line: #35352f; --mark: #4a4122; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.45 system-ui, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 26px; margin: 0; overflow-wrap: anywhere; } h2 { font-size: 17px; margin: 0 0 4px; }
p { margin: 0 0 12px; color: var(--soft); max-width: 75ch; overflow-wrap: anywhere; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 20px; margin-top: 20px; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: 16px; }
.figures b { display: block; font-size: 22px; font-weight: 600; } .figures span { color: var(--soft); font-size: 13px; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; font-size: 13px; color: var(--soft); margin-bottom: 8px; }
.legend i { display: inline-block; width: 10px; height: 10px; border-radius: 50%; margin-right: 6px; }
svg { display: block; width: 100%; height: auto; } svg text { fill: var(--soft); font: 12px system-ui, sans-serif; }
.narrow { display: none; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { font-weight: 500; font-size: 13px; color: var(--soft); text-align: right; padding: 6px 0 6px 14px;
  white-space: nowrap; }
th button { all: unset; cursor: pointer; } th button:focus-visible { outline: 2px solid; }
th[aria-sort=ascending] button::after { content: " ▲"; } th[aria-sort=descending] button::after { content: " ▼"; }
td { border-top: 1px solid var(--line); padding: 6px 0 6px 14px; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; white-space: normal; overflow-wrap: anywhere; }
td small { display: block; color: var(--soft); font-size: 12px; line-height: 1.35; }
tr:target td { background: var(--mark); } tr.sum td { font-weight: 600; }
.tools { display: flex; gap: 8px; margin: 8px 0; } .tools input { flex: 1; min-width: 0; }
.tools input, .tools select { font: inherit; color: inherit; background: var(--page); border: 1px solid var(--line);
  border-radius: 6px; padding: 4px 8px; max-width: 60%; }
@media (max-width: 640px) {
  main { padding: 16px 10px 48px; } section { padding: 14px 12px; } .wide { display: none; } .narrow { display: block; }
  table, tbody, tfoot { display: block; } thead { display: none; }
  tr { display: flex; flex-wrap: wrap; gap: 0 14px; border-top: 1px solid var(--line); padding: 8px 0; }
  tr[hidden] { display: none; }
  td { border: 0; padding: 0; text-align: left; white-space: normal; overflow-wrap: anywhere; }
  td:first-child { width: 100%; }
  td:not(:first-child):not(:empty)::before { content: attr(data-head) " "; color: var(--soft); font-size: 12px; }
}
"""


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its text, what is shown smaller below it, and the number that it is sorted by, if it has
    one."""

    text: str
    number: float | None = None
    small: Sequence[str] = ()
    html: str = ""
    """In place of the text."""

    def write(self, head: str) -> str:
        """The cell as HTML, in a column of that head."""
        key = "" if self.number is None else f' data-key="{self.number:.9g}"'
        small = f" <small>{'<br>'.join(map(escape, self.small))}</small>" if self.small else ""
        return f'<td data-head="{escape(head)}"{key}>{self.html or escape(self.text)}{small}</td>'


@dataclass(frozen=True)
class TableRow:
    """A row of a table, with the name that links lead to, and what shows when the pointer rests on it."""

    cells: Sequence[Cell]
    anchor: str = ""
    title: str = ""

    def write(self, heads: Sequence[str]) -> str:
        """The row as HTML."""
        names = f' id="{escape(self.anchor)}"' if self.anchor else ""
        names += f' title="{escape(self.title)}"' if self.title else ""
        return f"<tr{names}>{''.join(c.write(h) for c, h in zip(self.cells, heads, strict=True))}</tr>"


def table(what: str, heads: Sequence[str], rows: Sequence[TableRow], total: TableRow | None = None) -> str:
    """A table that a person can sort and filter; `what` it lists is told to who hears the page. The first cell of a row
    is its name; columns whose cells have numbers are sorted by these, largest first."""
    numbered = [any(row.cells[i].number is not None for row in rows) for i in range(len(heads))]
    marks = (" data-number" if n else "" for n in numbered)
    head = "".join(f"<th{mark}>{escape(text)}</th>" for text, mark in zip(heads, marks, strict=True))
    body = "\n".join(row.write(heads) for row in rows)
    foot = "" if total is None else f"\n<tfoot>{total.write(heads).replace('<tr', '<tr class=sum', 1)}</tfoot>"
    return f"""<table class="sortable" data-what="{escape(what)}">
<thead><tr>{head}</tr></thead>
<tbody>
{body}
</tbody>{foot}
</table>"""


def figures(tiles: Sequence[tuple[str, str]]) -> str:
    """The figures at the top of a page, each with what it is."""
    shown = "".join(f"<div><b>{escape(value)}</b><span>{escape(text)}</span></div>" for value, text in tiles)
    return f'<section class="figures">{shown}</section>'


def legend(colours: Sequence[tuple[str, str]]) -> str:
    """What colours mean: CSS classes and texts."""
    return f'<div class="legend">{"".join(f"<span><i class={c!r}></i>{escape(t)}</span>" for c, t in colours)}</div>'


def pictures(wide: str, narrow: str) -> str:
    """A picture that is drawn twice, for a screen and for a phone."""
    return f'<div class="wide">{wide}</div>\n<div class="narrow">{narrow}</div>'


def webpage(title: str, style: str, body: str) -> str:
    """A whole page; `style` comes after the shared one."""
    script = Path(__file__).with_suffix(".js").read_text("utf-8")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{STYLE}{style}</style>
</head>
<body><main>
{body}
</main>
<script>{script}</script>
</body>
</html>
"""
