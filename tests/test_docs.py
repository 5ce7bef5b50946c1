"""The examples of the pages at the top and in docs/ work: shell and Python blocks run, texts parse, make targets exist.

The blocks of a page run in order in one empty directory with `models` and `examples` in it. A block whose fence says
more than its language (`not-run`) is left out; of those only the make targets are looked at. Those that change the
compiler run in `test_contributing.py`.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pages import FENCE, PAGES, ROOT, blocks, commands, run

from cnncc import lang

LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
FRAGMENT_HEAD = "net fragment\ninput 3x224x224\n"


def page_id(page: Path) -> str:
    return page.stem


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """An empty directory with the repository's models and examples, and the command `cnncc` of this tree in `bin`."""
    for name in ("models", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    commands(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", [p for p in PAGES if any(b.runs for b in blocks(p.read_text()))], ids=page_id)
def test_examples_run(page, workplace):
    for block in blocks(page.read_text()):
        if block.runs:
            done = run(block, workplace, ROOT)
            assert done.returncode == 0, f"{block.text}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_network_texts_parse(page):
    for block in blocks(page.read_text()):
        if block.language == "net":
            whole = block.text if block.text.startswith("net ") else FRAGMENT_HEAD + block.text
            assert lang.read(whole).nodes


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_make_targets_and_links_exist(page):
    text = page.read_text()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)) <= targets
    local = [link for link in LINK.findall(FENCE.sub("", text)) if "://" not in link]
    assert [link for link in local if not (page.parent / link).exists()] == []


def test_a_block_that_fails_is_noticed(workplace):
    sh, python, left_out = blocks("```sh\nfalse\ntrue\n```\n```python\n1/0\n```\n```sh not-run\nfalse\n```\n")
    assert run(sh, workplace, ROOT).returncode == 1
    assert "ZeroDivisionError" in run(python, workplace, ROOT).stderr
    assert (sh.runs, left_out.runs) == (True, False)
