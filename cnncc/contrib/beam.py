"""A module as a model handler of Apache Beam's RunInference."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from cnncc.base import extras
from cnncc.base.errors import CnnccError
from cnncc.contrib.predictor import Predictor, ship

extras.require(extras.BEAM)
from apache_beam.ml.inference.base import ModelHandler, PredictionResult  # noqa: E402

ROWS = 64
"""Examples that Beam hands over at once, at most."""


class CnnccModelHandler(ModelHandler):  # type: ignore[misc]
    """A model handler for `RunInference`: `collection | RunInference(CnnccModelHandler("net.so"))`.

    Elements are arrays, paths or bytes of image files. Each gives a `PredictionResult` whose `inference` is a float32
    array, or, for a module with several outputs, a dictionary of arrays by their names. `rows` is the largest number of
    elements that Beam hands over at once, and `threads` how many threads each call uses. A worker process opens the
    module once.

    Raises CnnccError if there is no module at the path, the module has several inputs, or `threads` is out of range.
    Importing `cnncc.contrib.beam` raises it if Beam is not installed.
    """

    def __init__(self, module: str | os.PathLike[str], threads: int = 1, rows: int = ROWS) -> None:
        super().__init__(max_batch_size=rows)
        self._predictor = ship(module, threads)
        self._names = [port["name"] for port in self._predictor.info["outputs"]]
        if len(self._predictor.info["inputs"]) != 1:
            raise CnnccError(f"{module}: RunInference is for modules of one input")

    def load_model(self) -> Predictor:
        """Opens the module, so that one that is missing is found before the first element."""
        self._predictor.model  # noqa: B018
        return self._predictor

    def run_inference(
        self, batch: Sequence[Any], model: Predictor, inference_args: Mapping[str, Any] | None = None
    ) -> list[PredictionResult]:
        """One result for each element."""
        if inference_args:
            raise CnnccError(f"a compiled module takes no inference arguments, got {', '.join(inference_args)}")
        rows = zip(*model(batch), strict=True)
        single = len(self._names) == 1
        made = (row[0] if single else dict(zip(self._names, row, strict=True)) for row in rows)
        return [PredictionResult(example, result) for example, result in zip(batch, made, strict=True)]
