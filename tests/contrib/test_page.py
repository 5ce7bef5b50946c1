"""The examples of docs/cluster.md that `make docs` leaves out, because their packages are large."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_docs import ROOT, blocks

PAGE = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
EXAMPLES = [b for b in blocks(PAGE) if b.language == "python" and not b.runs]
PACKAGES = ("ray", "dask", "pyspark", "apache_beam")


def test_every_package_has_an_example():
    assert [
        package
        for package in PACKAGES
        if sum(f"import {package}" in e.text or f"from {package}" in e.text for e in EXAMPLES) == 1
    ] == list(PACKAGES)


@pytest.mark.slow
@pytest.mark.parametrize("package", PACKAGES)
def test_an_example(package: str, tmp_path: Path) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    for name in ("models", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYSPARK_PYTHON": sys.executable}
    (example,) = (e.text for e in EXAMPLES if f"import {package}" in e.text or f"from {package}" in e.text)
    compile_it = ["-m", "cnncc", "compile", "models/lenet5.net", "--batch", "8", "-o", "lenet5.so"]
    for arguments in (compile_it, ["-c", example]):
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
