"""The examples of docs/torch.md, which `make docs` leaves out: they need PyTorch."""

from __future__ import annotations

from pathlib import Path

import pytest
from pages import ROOT, Block, blocks, commands, run

PAGE = (ROOT / "docs" / "torch.md").read_text(encoding="utf-8")
EXAMPLES = [block for block in blocks(PAGE) if block.language in ("python", "sh")]


def test_no_example_runs_without_torch() -> None:
    assert all(not block.runs for block in EXAMPLES)


@pytest.mark.slow
@pytest.mark.parametrize("block", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example(block: Block, tmp_path: Path) -> None:
    pytest.importorskip("torchvision")
    commands(tmp_path)
    done = run(block, tmp_path, ROOT)
    assert done.returncode == 0, done.stderr
    if "bessel" in block.text:
        (told,) = (b.text for b in blocks(PAGE) if b.language == "text")
        assert told.strip() in done.stderr
