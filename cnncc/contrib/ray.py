"""A module over a Ray Data dataset."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cnncc.base import extras
from cnncc.contrib.predictor import Predictor, ship

if TYPE_CHECKING:
    import numpy as np
    from ray.data import Dataset

    Batch = dict[str, np.ndarray]

ROWS = 64
"""Rows of a task: enough that handing them over costs little, few enough that many workers have some."""


def predict(
    dataset: Dataset,
    module: str | os.PathLike[str],
    columns: str | Sequence[str] = "image",
    threads: int = 1,
    rows: int = ROWS,
    **options: Any,
) -> Dataset:
    """The dataset with one column more for each output of the module, under the output's name.

    - `columns`: the columns of the inputs, in order. Each holds arrays, paths or bytes of image files; see `Predictor`.
    - `threads`: threads of each call, and the processors that a task asks Ray for.
    - `rows`: rows of a task. A worker process opens the module once.
    - `options`: further arguments of `Dataset.map_batches`.

    Raises CnnccError if Ray is not installed, there is no module at the path, or `threads` is out of range.
    """
    extras.require(extras.RAY)
    arguments = {"predictor": ship(module, threads), "columns": (columns,) if isinstance(columns, str) else columns}
    given = {"batch_size": rows, "batch_format": "numpy", "num_cpus": threads, "udf_modifying_row_count": False}
    return dataset.map_batches(_with_results, fn_kwargs=arguments, **{**given, **options})


def _with_results(batch: Batch, predictor: Predictor, columns: Sequence[str]) -> Batch:
    results = predictor(*(batch[name] for name in columns))
    return batch | dict(zip((port.name for port in predictor.model.outputs), results, strict=True))
