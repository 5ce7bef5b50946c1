"""What the tests of every cluster share: a module for batches of four, eleven pictures, and what must come out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from written import write_shared

import cnncc
from cnncc import api, lang, weights
from cnncc.options import Options
from cnncc.pictures import images

COUNT, BATCH = 11, 4
"""No multiple: the last batch is ragged wherever the pictures are cut apart."""
NET = "net tiny\ninput 3x8x8 resize 9 bicubic bgr mean (100, 110, 120) std (50)\nconv 3x3 4 relu\ngap\n"
ONE = NET + "fc 3\nscores: softmax\n"
TWO = NET + "save s\nfc 3\nscores: softmax\noutput\nfrom s\nmap: conv 1x1 2\noutput\n"


@dataclass(frozen=True)
class Job:
    """Work for a cluster, and its result."""

    module: Path
    paths: list[str]
    arrays: np.ndarray
    """float32, as the network takes them."""
    scores: np.ndarray

    def contents(self) -> list[bytes]:
        return [Path(path).read_bytes() for path in self.paths]


def make_job(folder: Path, text: str = ONE) -> Job:
    """A module and pictures of several sizes in a folder; the results are those of the pictures one by one."""
    build = api.build(weights.bind(lang.parse(text)), Options(batch=BATCH, threads=2))
    module, _ = write_shared(build, folder / "tiny.so")
    rng = np.random.default_rng(0)
    paths = []
    for i in range(COUNT):
        path = folder / f"{i:02}.png"
        Image.fromarray(rng.integers(0, 256, (9 + i, 12, 3), dtype=np.uint8)).save(path)
        paths.append(str(path))
    model = cnncc.load(module)
    arrays = np.concatenate([images.prepare(path, model.info["inputs"][0]) for path in paths])
    results = [model.run_many(array[np.newaxis]) for array in arrays]
    return Job(module, paths, arrays, np.concatenate([r[0] if isinstance(r, tuple) else r for r in results]))
