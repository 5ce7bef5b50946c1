"""The same bits for every number of threads, place in a batch and run; the same bytes for every compilation."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from module.c_programs import build

import cnncc
from cnncc.base import resources

ROOT = Path(cnncc.__file__).resolve().parent.parent
BODY = "conv 7x7 24 /2 bn relu; conv 3x3 48 relu; add { conv 3x3 48 bn | }; relu; dwconv 3x3 relu; gap; fc 50; softmax"
NET = f"net bits\ninput 3x33x29\n{BODY}\n"


def digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def results(text: str, image: np.ndarray, batches: tuple[int, ...], threads: tuple[int, ...], runs: int) -> set[str]:
    """Hashes of an image's result over thread counts, places in batches of several sizes, and runs."""
    rng, found = np.random.default_rng(7), set()
    for batch in batches:
        model = build(text, threads=max(threads), batch=batch).model()
        for count in threads:
            model.set_threads(count)
            for place in range(batch):
                images = rng.standard_normal((batch, *image.shape)).astype(np.float32)
                images[place] = image
                found |= {digest(model(images)[place]) for _ in range(runs)}
    return found


def test_one_result_for_threads_places_and_runs():
    image = np.random.default_rng(0).standard_normal((3, 33, 29)).astype(np.float32)
    assert len(results(NET, image, (1, 3, 4), (1, 2, 3), 4)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["googlenet", "mobilenet_v1", "resnet50", "densenet121"])
def test_one_result_on_the_zoo(name):
    text = (resources.directory("models") / f"{name}.net").read_text()
    image = np.random.default_rng(0).standard_normal((3, 224, 224)).astype(np.float32)
    assert len(results(text, image, (1, 2), (1, 2, 4), 2)) == 1


EVERY_KIND = "so,a,o,h,hpp,ll,asm"


def compiled(folder: Path, seed: str, cache: Path, *options: str, kinds: str = EVERY_KIND) -> dict[str, str]:
    """Hashes of the files that a process of its own writes in a folder, with a cache of its own."""
    folder.mkdir(parents=True)
    (folder / "bits.net").write_text(NET)
    asked = ["--emit", kinds, *options]
    command = [sys.executable, "-m", "cnncc", "compile", "bits.net", "-o", "bits.so", "--threads", "2", *asked]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed, "CNNCC_CACHE": str(cache)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


def test_one_module_for_processes_folders_and_caches(tmp_path):
    first = compiled(tmp_path / "a", "1", tmp_path / "cache 1")
    assert set(first) == {f"bits.{e}" for e in ("net", "so", "a", "o", "h", "hpp", "ll", "s")}
    assert compiled(tmp_path / "deeper" / "b", "2", tmp_path / "cache 2") == first
    again = compiled(tmp_path / "c", "3", tmp_path / "cache 1", kinds="so,a,o,h,hpp")  # no listing comes from there
    assert again.items() <= first.items(), "from the cache"
    assert "bits.so" in again
    other = compiled(tmp_path / "d", "1", tmp_path / "cache 1", "--max-error", "0", kinds="so")
    assert other["bits.so"] != first["bits.so"]


def test_one_module_with_weights_beside_it(tmp_path):
    hashes = [compiled(tmp_path / n, n, tmp_path / "cache", "--weights-external", kinds="so,o") for n in ("1", "2")]
    assert hashes[0] == hashes[1]
    assert "bits.weights" in hashes[0]
