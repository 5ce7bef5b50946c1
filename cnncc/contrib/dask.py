"""A module over a Dask array of images, or a Dask bag of files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from cnncc.base import extras
from cnncc.base.errors import CnnccError
from cnncc.contrib.predictor import Predictor, kind_of, ship

if TYPE_CHECKING:
    from dask.array import Array
    from dask.bag import Bag


def predict(collection: Array | Bag, module: str | os.PathLike[str], threads: int = 1) -> Any:
    """The results of a module for all images of a collection, in order. They are computed when Dask asks for them; each
    chunk or partition is a task.

    A Dask array of shape (n, ...) gives a float32 array of shape (n, ...). A bag of arrays, paths or bytes of image
    files gives a bag of arrays. `threads` is how many threads each call uses.

    Raises CnnccError if Dask is not installed, if there is no module at the path, if the module has several inputs or
    outputs, or if the collection is neither an array nor a bag.
    """
    extras.require(extras.DASK)
    from dask.array import Array
    from dask.bag import Bag

    predictor = ship(module, threads)
    info = predictor.info
    if len(info["inputs"]) != 1 or len(info["outputs"]) != 1:
        raise CnnccError(f"{module}: Dask's collections are for modules of one input and one output")
    if isinstance(collection, Bag):
        return collection.map_partitions(_of_partition, predictor)
    if not isinstance(collection, Array):
        raise CnnccError(f"expected an array or a bag of Dask, got {type(collection).__name__}")
    return _of_array(collection, predictor, info["outputs"][0])


def _of_array(array: Array, predictor: Predictor, port: dict[str, Any]) -> Array:
    dims, kind = port["shape"][1:], kind_of(port)
    whole = array.rechunk({axis: -1 for axis in range(1, array.ndim)})  # an image is never torn
    return whole.map_blocks(
        _of_block,
        predictor,
        dtype=kind,
        chunks=(whole.chunks[0], *((side,) for side in dims)),
        drop_axis=list(range(1, whole.ndim)),
        new_axis=list(range(1, 1 + len(dims))),
        meta=np.empty((0,) * (1 + len(dims)), kind),
    )


def _of_block(block: np.ndarray, predictor: Predictor) -> np.ndarray:
    return predictor(block)[0]


def _of_partition(images: Iterable[Any], predictor: Predictor) -> list[np.ndarray]:
    return list(predictor(list(images))[0])
