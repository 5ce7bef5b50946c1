"""A module as a function of Spark columns."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from cnncc.base import extras
from cnncc.contrib.predictor import Predictor, ship

ROWS = 64
"""Rows that Spark hands over at once."""


def predict_udf(module: str | os.PathLike[str], files: bool = False, threads: int = 1, rows: int = ROWS) -> Any:
    """A function of columns, for `DataFrame.withColumn` and the like; `pyspark.ml.functions.predict_batch_udf` makes
    it.

    It takes one column for each input: flat arrays of numbers or, with `files`, paths or contents of image files. Its
    result is a flat array of float32, or, for a module with several outputs, a struct with one such array for each.
    `rows` is how many rows Spark hands over at once, and `threads` how many threads each call uses. A worker process
    opens the module once.

    Raises CnnccError if Spark is not installed, there is no module at the path, or `threads` is out of range.
    """
    extras.require(extras.SPARK)
    from pyspark.ml.functions import predict_batch_udf
    from pyspark.sql.types import ArrayType, FloatType, StructField, StructType

    predictor = ship(module, threads)
    info = predictor.info
    names = [port["name"] for port in info["outputs"]]
    numbers = ArrayType(FloatType())
    return predict_batch_udf(
        _maker(predictor, names),
        return_type=numbers if len(names) == 1 else StructType([StructField(name, numbers) for name in names]),
        batch_size=rows,
        input_tensor_shapes=None if files else [port["shape"][1:] for port in info["inputs"]],
    )


def _maker(predictor: Predictor, names: list[str]) -> Callable[[], Callable[..., Any]]:
    """What Spark calls once in each worker."""

    def make() -> Callable[..., Any]:
        def predict(*columns: np.ndarray) -> Any:
            flat = [result.reshape(len(result), -1) for result in predictor(*columns)]
            return flat[0] if len(flat) == 1 else dict(zip(names, flat, strict=True))

        return predict

    return make
