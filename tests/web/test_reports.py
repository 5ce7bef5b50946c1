"""The pages of `profile` and `memory` in a headless Chromium: on a screen, and on a phone 390 pixels wide."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cnncc import cli
from examples import chromium
from examples.chromium import Page

pytestmark = pytest.mark.skipif(chromium.find() is None, reason="no chromium: apt-get install chromium")
WIDTHS = (390, 1100)
NET = "net reports\ninput 3x64x64\n" + "".join(
    f"stage{i}: conv 3x3 {16 * i} relu; conv 1x1 {16 * i} relu; maxpool 2x2 /2\n" for i in range(1, 5)
)
CUT = """[...document.querySelectorAll("body *")].filter((e) => {
  const box = e.getBoundingClientRect();
  return box.width && !e.closest("title") && (box.right > innerWidth + 0.5 || box.left < -0.5);
}).map((e) => e.outerHTML.slice(0, 80))"""
"""Everything that reaches beyond the window."""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    (folder / "reports.net").write_text(NET)
    net = str(folder / "reports.net")
    assert cli.main(["profile", net, "--runs", "2", "--json", "--html", str(folder / "profile.html")]) == 0
    assert cli.main(["memory", net, "--json", "--html", str(folder / "memory.html")]) == 0
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    program = chromium.find()
    assert program is not None
    with chromium.browse(program) as page:
        yield page


def show(browser: Page, file: Path, width: int) -> None:
    settings = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.call("Emulation.setDeviceMetricsOverride", **settings)
    browser.errors.clear()
    browser.open(file.as_uri())


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["profile", "memory"])
def test_nothing_is_cut(browser: Page, pages: Path, name: str, width: int) -> None:
    show(browser, pages / f"{name}.html", width)
    assert browser.evaluate("innerWidth") == width
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate(CUT) == []
    sizes = browser.evaluate(
        """[...document.querySelectorAll("svg text")].map((t) => t.getBoundingClientRect().height)"""
    )
    assert all(size > 9 for size in sizes if size)
    assert browser.errors == []


def test_a_dot_finds_its_row_whatever_was_filtered(browser: Page, pages: Path) -> None:
    show(browser, pages / "profile.html", 1100)
    browser.evaluate("""(() => {
        const box = document.querySelector(".steps input");
        box.value = "no such step";
        box.dispatchEvent(new Event("input"));
    })()""")
    assert browser.evaluate("[...document.querySelectorAll('.steps tbody tr')].every((row) => row.hidden)")
    link = browser.evaluate("""(() => {
        const link = document.querySelector(".wide svg a");
        link.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true }));
        return link.getAttribute("href");
    })()""")
    browser.wait_for(f"location.hash === '{link}' && !document.querySelector('{link}').hidden")
    browser.wait_for(f"""(() => {{
        const box = document.querySelector('{link}').getBoundingClientRect();
        return box.top >= 0 && box.bottom <= innerHeight;
    }})()""")
    assert browser.errors == []


SORTED = """[...document.querySelectorAll(".steps tbody tr")].map((row) => Number(row.cells[2].dataset.key))"""


def test_tables_are_sorted_and_filtered(browser: Page, pages: Path) -> None:
    show(browser, pages / "profile.html", 1100)
    before = browser.evaluate(SORTED)
    press = "document.querySelector('.steps th:nth-child(3) button').click()"
    browser.evaluate(press)
    assert browser.evaluate(SORTED) == sorted(before, reverse=True)
    assert browser.evaluate("document.querySelector('.steps th:nth-child(3)').ariaSort") == "descending"
    browser.evaluate(press)
    assert browser.evaluate(SORTED) == sorted(before)
    browser.evaluate("""(() => {
        const order = document.querySelector(".steps select");
        order.value = "-1";
        order.dispatchEvent(new Event("change"));
    })()""")
    assert browser.evaluate(SORTED) == before
    browser.evaluate("""(() => {
        const box = document.querySelector(".steps input");
        box.value = "STAGE2 conv";
        box.dispatchEvent(new Event("input"));
    })()""")
    script = "[...document.querySelectorAll('.steps tbody tr')].filter((r) => !r.hidden).map((r) => r.textContent)"
    shown = browser.evaluate(script)
    assert shown
    assert all("stage2" in text and "conv" in text for text in shown)


def test_one_unit_and_round_ticks(browser: Page, pages: Path) -> None:
    show(browser, pages / "memory.html", 1100)
    script = (
        """[...document.querySelectorAll(".wide svg text")].map((t) => t.textContent).filter((t) => /iB$/.test(t))"""
    )
    ticks = browser.evaluate(script)
    assert 2 <= len(ticks) <= 6
    assert len({tick.split()[1] for tick in ticks}) == 1
    assert all(len(tick.split()[0].replace(".", "").strip("0")) <= 2 for tick in ticks)
