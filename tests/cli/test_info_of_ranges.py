"""What `cnncc info` says of a module for a range of sizes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from module.c_programs import write
from module.ranged_networks import build, network

from cnncc.cli import main


def test_ranges_and_the_size_that_figures_are_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(write(build(network()), tmp_path, "so")["so"])
    assert main(["info", path]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "input image 1..3 x 3 x h x w float32 output scores 1..3 x 8 x (h + 1)//2 x w//2 float32" in told
    assert "size h in 2..64: 2, 3, ..., 64 size w in 4..96 step 4: 4, 8, ..., 96" in told
    assert "MACs 115,200 for 3 images at h = 11, w = 20" in told
    assert "576.19 KiB of the largest size for 3 images" in told
    assert "aligned to 64 bytes 22.69 KiB for 3 images at h = 11, w = 20" in told
    assert main(["profile", path, "--runs", "1"]) == 0
    assert "small: " in (told := capsys.readouterr().out)
    assert "threads 2, h = 11, w = 20" in told
    assert main(["profile", path, "--runs", "1", "--shape", "3x8x8", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["size"] == {"h": 8, "w": 8}
    assert main(["info", path, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["outputs"][0]["shape"] == [
        3,
        8,
        ["//", ["+", "h", 1], 2],
        ["//", "w", 2],
    ]
