"""`cnncc memory`: the report, its picture and page, and what it refuses."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from cnncc.cli import main

SVG = "{http://www.w3.org/2000/svg}"


def run(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    code = main(["memory", *map(str, args)])
    return (code, *capsys.readouterr())


def test_the_report(capsys: pytest.CaptureFixture[str]) -> None:
    code, text, _ = run(capsys, "resnet50", "--target", "x86-64-v3")
    assert code == 0
    assert "no plan needs less than 4.98 MiB: gap 0.0 %" in text
    assert "peak         conv3.0.a.2.bn (conv), 4.98 MiB of activations alive:" in text
    assert "conv2.0.a.2.bn, held for conv3.0.1" in text
    assert "proven to need the least of all orders" in text
    assert "to lower it  --threads 1" in text


def test_kernels_beyond_their_share_are_explained(capsys: pytest.CaptureFixture[str]) -> None:
    code, text, _ = run(capsys, "cifar_resnet20", "--target", "x86-64-v3")
    assert code == 0
    assert "beyond 15 %" in text
    assert "more layers, in --json" in text
    assert "--max-error 0: an arena of" in text


def test_json_adds_up(capsys: pytest.CaptureFixture[str]) -> None:
    code, text, _ = run(capsys, "densenet121", "--batch", 2, "--threads", 3, "--target", "x86-64-v4", "--json")
    facts = json.loads(text)
    assert code == 0
    assert (facts["batch"], facts["threads"]) == (2, 3)
    assert facts["total"] == facts["activations"] + facts["added"]
    assert facts["bound"] == max(s["activations"] for s in facts["steps"]) <= facts["activations"]
    assert max(b["offset"] + b["bytes"] for b in facts["blocks"]) == facts["total"]
    assert sum(h["bytes"] for h in facts["held"]) == facts["bound"]
    assert facts["of_batch"] == facts["total"] + facts["further"]
    assert facts["activations"] <= facts["further"] <= facts["total"]


def test_picture_and_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture, page = tmp_path / "a.svg", tmp_path / "a.html"
    code, text, _ = run(capsys, "googlenet", "--svg", picture, "--html", page)
    assert code == 0
    assert f"written      {picture}" in text
    root = ET.fromstring(picture.read_text())
    blocks = [r for r in root.iter(f"{SVG}rect") if r.get("class", "").startswith("block")]
    assert len(blocks) > 20
    assert all(b.find(f"{SVG}title").text for b in blocks)
    html = page.read_text()
    assert html.count('class="block') == 2 * len(blocks)  # for a screen and for a phone
    assert "prefers-color-scheme: dark" in html
    assert "src=" not in html
    assert "What would lower it" in html


def test_what_it_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, error = run(capsys, "lenet5", "--svg", tmp_path / "no" / "a.svg")
    assert code == 2
    assert "does not exist" in error
    code, _, error = run(capsys, "lenet5", "--svg", tmp_path / "a", "--html", tmp_path / "a")
    assert code == 2
    assert "that is the html file" in error
