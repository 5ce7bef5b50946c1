"""The models of `tests/data/cases`: situations that people reported in public, each with inputs and right outputs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent / "data" / "cases"


@dataclass(frozen=True)
class Case:
    """A small ONNX model; what it is about is in `meta`, whose keys `tests/data/README.md` describes."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def model(self) -> Path:
        return self.folder / "model.onnx"

    @cached_property
    def meta(self) -> dict[str, Any]:
        return json.loads((self.folder / "meta.json").read_text())

    @property
    def tolerance(self) -> float:
        """Largest difference, as a share of the largest finite expected value."""
        return self.meta["tol"]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of inputs that the model leaves open."""
        return {name: tuple(map(int, sizes.split(","))) for name, sizes in (self.meta["shapes"] or {}).items()}

    @property
    def inputs(self) -> dict[str, np.ndarray]:
        """Arrays by input name, in the order of the model."""
        with np.load(self.folder / "input.npz") as arrays:
            return {name: arrays[name] for name in self.meta["ins"]}

    @property
    def expected(self) -> dict[str, np.ndarray]:
        """The right arrays by output name, in the order of the model."""
        with np.load(self.folder / "expected.npz") as arrays:
            return {name: arrays[f"o{i}"] for i, name in enumerate(self.meta["outs"])}


CASES = {folder.name: Case(folder) for folder in sorted(FOLDER.iterdir()) if folder.is_dir()}
"""Every case by its name."""
