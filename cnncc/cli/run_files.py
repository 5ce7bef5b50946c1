"""Files of `cnncc run`: which of them make up a run, arrays from them, and results into one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from cnncc.runtime.model import Model


def group(files: Sequence[str], model: Model) -> list[list[Sequence[str]]]:
    """The files of each run: an image is one file for each input, a run as many images as the batch, or one image of
    arrays that hold the whole batch."""
    from cnncc import images
    from cnncc.errors import CnnccError

    inputs, batch = len(model.inputs), model.inputs[0].shape[0]
    if len(files) % inputs:
        hint = "give one file for each input of each image"
        raise CnnccError(f"the network takes {inputs} inputs, got {len(files)}", hint=hint)
    runs: list[list[Sequence[str]]] = []
    room = 0
    for start in range(0, len(files), inputs):
        image = files[start : start + inputs]
        counts = {images.count(f, port.shape[1:], batch) for f, port in zip(image, model.inputs, strict=True)}
        if len(counts) > 1 or (room and counts != {1}):
            raise CnnccError(f"{image[0]}: arrays of a whole batch fill a run, with nothing else")
        if not room:
            runs.append([])
            room = batch
        runs[-1].append(image)
        room -= counts.pop()
    if room:
        hint = f"give {batch} files, or one array of {batch} images; the batch is fixed when a network is compiled"
        raise CnnccError(f"the network takes {batch} images a run, got {batch - room}", hint=hint)
    return runs


def images_of(images: list[Sequence[str]], count: int) -> list[Sequence[str]]:
    """Names of the inputs of each of `count` images; those of a whole batch in one file are numbered."""
    if len(images) == count:
        return images
    return [[f"{file}[{i}]" for file in images[0]] for i in range(count)]


def load(files: Sequence[str], port: dict[str, Any]) -> np.ndarray:
    """One batch for one input. A network with a mean or std normalises by itself and takes pixels of 0 to 255."""
    import numpy as np

    from cnncc import images

    as_they_are: tuple[Sequence[float], Sequence[float]] = ((0.0,), (1.0,))
    mean, std = as_they_are if port.get("mean") or port.get("std") else ((), ())
    # A run of several files has one image in each, so only a file alone may hold the batch.
    batch, *dims = port["shape"]
    return np.concatenate([images.load(file, dims, mean, std, batch if len(files) == 1 else 1) for file in files])


def check_saved(file: str, runs: int, outputs: int) -> None:
    """CnnccError unless `save` can write what so many runs give into one file of that name."""
    from cnncc.errors import CnnccError

    if runs > 1:
        hint = f"run the inputs one by one, or all at once with --batch {runs}"
        raise CnnccError(f"-o takes the result of one run, these inputs make {runs}", hint=hint)
    if outputs > 1 and not _is_archive(file):
        hint = f"-o {Path(file).with_suffix('.npz')} writes all of them by name"
        raise CnnccError(f"the network has {outputs} outputs, {file} would hold one array", hint=hint)


def _is_archive(file: str | Path) -> bool:
    return Path(file).suffix.lower() == ".npz"


def save(out: Path, arrays: dict[str, np.ndarray]) -> None:
    """One array as .npy, or all by name as .npz. CnnccError if the file cannot be written."""
    import zipfile

    import numpy as np

    from cnncc.errors import CnnccError, reason
    from cnncc.files import replacing

    try:
        with replacing(out) as scratch:
            if not _is_archive(out):
                with scratch.open("wb") as file:
                    np.save(file, next(iter(arrays.values())))
                return
            # Not np.savez: an output may have the name of one of its parameters.
            with zipfile.ZipFile(scratch, "w") as archive:
                for name, array in arrays.items():
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                        np.lib.format.write_array(member, array, allow_pickle=False)
    except OSError as error:
        raise CnnccError(f"cannot write {out}: {reason(error)}") from error
