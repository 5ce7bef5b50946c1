"""The recipes of CONTRIBUTING.md, followed word for word in a copy of the repository."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pages import ROOT, Block, blocks, commands, run

PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PARTS = ("cnncc", "docs", "grammars", "models", "targets", "tests")
SECTIONS = {title: blocks(text) for title, text in re.findall(r"^## (.*)\n((?:(?!## ).*\n)*)", PAGE, re.MULTILINE)}
RECIPES = {title: found for title, found in SECTIONS.items() if any(block.file for block in found)}
"""Heading -> the blocks below it."""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the repository."""
    for part in PARTS:
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    commands(tmp_path)
    return tmp_path


def follow(block: Block, tree: Path) -> None:
    """Does what a block says. AssertionError if that fails."""
    if block.language == "diff":
        path = tree / block.file
        path.write_text(changed(path.read_text(encoding="utf-8"), block.text), encoding="utf-8")
    elif block.file:
        assert not (tree / block.file).exists(), f"{block.file} is there already"
        (tree / block.file).write_text(block.text, encoding="utf-8")
    elif "tree" in block.info.split():
        done = run(block, tree, tree)
        assert done.returncode == 0, f"{block.text}\n{done.stdout}\n{done.stderr}"


def changed(text: str, diff: str) -> str:
    """A text after a change: lines with `-` go, those with `+` come, `@@` is between places."""
    for part in diff.split("@@\n"):
        lines = part.splitlines(keepends=True)
        old, new = ("".join(line[1:] for line in lines if line[0] != sign) for sign in "+-")
        assert text.count(old) == 1, f"not exactly once in the file:\n{old}"
        text = text.replace(old, new)
    return text


@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe_works(title: str, tree: Path) -> None:
    for block in RECIPES[title]:
        follow(block, tree)
    files = [block.file for block in RECIPES[title] if block.file.endswith(".py")]
    for check in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *check, *files], cwd=tree, capture_output=True, text=True, check=False
        )
        assert not files or done.returncode == 0, done.stdout + done.stderr


def test_there_is_a_recipe_of_each_kind() -> None:
    assert list(RECIPES) == ["An op", "A pass", "A target", "An algorithm", "A frontend"]


def test_a_wrong_step_is_noticed(tmp_path: Path) -> None:
    commands(tmp_path)
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    fails, twice, gone = blocks(
        "```sh tree\nfalse\n```\n```toml file=a.txt\none\n```\n```diff file=a.txt\n-three\n+four\n```\n"
    )
    for block, why in ((fails, "false"), (twice, "there already"), (gone, "not exactly once")):
        with pytest.raises(AssertionError, match=why):
            follow(block, tmp_path)
    assert changed("one\ntwo\nthree\n", " one\n+1\n@@\n-three\n+3\n") == "one\n1\ntwo\n3\n"


def test_files_are_named_before_they_are_shown() -> None:
    """A reader does not see what stands behind the fence."""
    shown = list(re.finditer(r"^```\w+ file=(\S+)$", PAGE, re.MULTILINE))
    assert shown
    for match in shown:
        paragraph = PAGE[: match.start()].rstrip().rsplit("\n\n", 1)[-1]
        assert f"`{match[1]}`" in paragraph, match[1]


def test_how_long_the_examples_are() -> None:
    said = re.findall(r"^\| .* \| (\d+) \| (\d+) \|$", PAGE, re.MULTILINE)
    pool = [block.text for block in RECIPES["An op"] if block.file.startswith("cnncc/")]
    celu = (ROOT / "tests" / "added" / "celu.py").read_text(encoding="utf-8")
    lengths = [(1, celu.count("\n")), (len(pool), sum(text.count("\n") for text in pool))]
    assert said == [(str(files), str(lines)) for files, lines in lengths]
