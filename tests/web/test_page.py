"""The page of examples/web in a headless Chromium: a digit drawn with the mouse, pictures, and what is no picture."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image
from web.node import needs_linker

from examples import chromium
from examples.chromium import Page

ROOT = Path(__file__).resolve().parent.parent.parent
STROKES = {
    "7": [(0.3, 0.25), (0.7, 0.25), (0.6, 0.5), (0.45, 0.8)],
    "1": [(0.52, 0.2), (0.48, 0.8)],
    "2": [(0.35, 0.32), (0.45, 0.2), (0.6, 0.22), (0.65, 0.38), (0.5, 0.6), (0.33, 0.78), (0.5, 0.78), (0.7, 0.77)],
}
SHOWN = "document.getElementById('digit').value"
pytestmark = [needs_linker, pytest.mark.skipif(chromium.find() is None, reason="no chromium: apt-get install chromium")]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("site")
    chromium.build_site(folder, [sys.executable, "-m", "cnncc"], ROOT)
    (folder / "broken.png").write_bytes(b"no picture")
    Image.new("L", (40, 40), 255).save(folder / "blank.png")
    with chromium.serve(folder) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    program = chromium.find()
    assert program is not None
    with chromium.browse(program) as page:
        yield page


@pytest.fixture
def page(browser, site) -> Page:
    browser.errors.clear()
    browser.open(f"{site}/index.html")
    browser.wait_for("document.body.classList.contains('ready')")
    return browser


def frames(page: Page) -> None:
    """Until what was asked for is shown."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def draw(page: Page, stroke: list[tuple[float, float]]) -> None:
    """A stroke through points given as shares of the pad."""
    script = "(({ left, top, width, height }) => [left, top, width, height])(canvas.getBoundingClientRect())"
    left, top, width, height = page.evaluate(script)
    points = []
    for (x, y), (to_x, to_y) in pairwise(stroke):
        points += [(x + (to_x - x) * i / 6, y + (to_y - y) * i / 6) for i in range(6)]
    page.drag([(left + width * x, top + height * y) for x, y in [*points, stroke[-1]]])
    frames(page)


@pytest.mark.parametrize("digit", STROKES)
def test_a_drawn_digit_is_read(page, digit):
    draw(page, STROKES[digit])
    assert page.evaluate(SHOWN) == digit
    bars = page.evaluate("[...document.querySelectorAll('#bars data')].map((e) => Number(e.value))")
    assert sum(bars) == pytest.approx(1, abs=1e-5)
    assert max(range(10), key=bars.__getitem__) == int(digit)
    assert page.errors == []


def test_clear_starts_again(page):
    draw(page, STROKES["1"])
    page.evaluate("document.getElementById('clear').click()")
    assert page.evaluate(SHOWN) == "?"
    draw(page, STROKES["7"])
    assert page.evaluate(SHOWN) == "7"


def test_a_line_that_is_no_digit_is_not_sure_of_one(page):
    draw(page, [(0.1, 0.5), (0.9, 0.5)])
    bars = page.evaluate("[...document.querySelectorAll('#bars data')].map((e) => Number(e.value))")
    sure = max(bars) >= 0.6
    assert page.evaluate(SHOWN) == (str(bars.index(max(bars))) if sure else "?")
    assert ("not sure, maybe" in page.evaluate("document.getElementById('share').textContent")) == (not sure)


def test_the_samples_are_read(page):
    found = []
    for i in range(10):
        page.evaluate(f"document.querySelectorAll('#samples button')[{i}].click()")
        page.wait_for(f"document.querySelectorAll('#bars li')[{i}].classList.contains('best')")
        found.append(page.evaluate(SHOWN))
    assert found == list("0123456789")
    assert page.errors == []


def test_a_picture_named_in_the_address_is_read(browser, site):
    browser.open(f"{site}/index.html?image=digits/5_b.png")
    browser.wait_for("document.querySelector('.best')")
    assert browser.evaluate(SHOWN) == "5"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("blank.png", "not sure: nothing that looks like a digit"),
        ("broken.png", "this is not a picture that the browser can read"),
        ("missing.png", "cannot read missing.png: File not found"),
    ],
)
def test_what_is_no_picture_is_said(browser, site, url, message):
    browser.open(f"{site}/index.html?image={url}")
    browser.wait_for(f"document.getElementById('share').textContent === {json.dumps(message)}")
    assert browser.evaluate(SHOWN) == "?"


def test_altered_weights_are_said(browser, site, tmp_path):
    """In a browser the hash is checked as in Node: pages from this machine may use `crypto.subtle`."""
    script = """import("./lenet5/lenet5.js").then(({ load }) => load("../digits")).catch((error) => error.message)"""
    browser.open(f"{site}/index.html")
    assert "404" in browser.evaluate(script)
