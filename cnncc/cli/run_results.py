"""What `cnncc run` makes of results: the best classes, for people, as JSON, as a table in CSV, or the arrays."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cnncc.base.elements import ELEMENTS, decode
from cnncc.base.errors import CnnccError
from cnncc.cli import command, screen

if TYPE_CHECKING:
    import numpy as np

    from cnncc.runtime.model import Model, Port

SUFFIXES = (".npy", ".npz", ".csv", ".json")

Labels = list[str] | None
Result = dict[str, Any]
Accuracy = Callable[[], dict[str, Any]] | None
"""Makes plain data of how often a network is right."""


class Sink(Protocol):
    """Where results go, image by image."""

    def add(self, result: Result, arrays: Sequence[np.ndarray]) -> None: ...

    def close(self) -> None:
        """After the last image; not if something failed."""


def read_labels(file: str | None) -> Labels:
    """Class names, one a line or a JSON list."""
    if file is None:
        return None
    try:
        text = Path(file).read_text(encoding="utf-8")
        names = json.loads(text) if file.endswith(".json") else text.splitlines()
    except ValueError as error:
        raise CnnccError(f"{file}: not a list of class names: {error}") from error
    if not isinstance(names, list):
        raise CnnccError(f"{file}: expected a JSON list of class names, got {type(names).__name__}")
    return [str(name) for name in names]


def check_labels(labels: Labels, model: Model) -> None:
    """CnnccError unless there is a name for each class."""
    for port in model.outputs:
        if labels is not None and is_scores(port) and port.shape[1] != len(labels):
            raise CnnccError(f"--labels names {len(labels)} classes, the network has {port.shape[1]}")


def is_scores(port: Port) -> bool:
    """Whether an output is a number for each class, not a map."""
    return all(side == 1 for side in port.shape[2:])


def describe(port: Port, array: np.ndarray, labels: Labels, top: int) -> Result:
    """One image's output: the best classes of scores; range and mean of anything else."""
    about: Result = {"name": port.name, "shape": list(array.shape)}
    given, array = array, decode(array, ELEMENTS[port.dtype])
    if not is_scores(port):
        return {**about, "min": float(array.min()), "max": float(array.max()), "mean": float(array.mean())}
    scores = array.reshape(-1)
    best = best_of(port, given, top)
    rows = [{"index": i, "label": labels[i] if labels else f"class {i}", "value": float(scores[i])} for i in best]
    return {**about, "top": rows}


def best_of(port: Port, array: np.ndarray, count: int) -> list[int]:
    """The classes of the largest scores, as one image's output has them, the best first."""
    scores = decode(array, ELEMENTS[port.dtype]).reshape(-1).astype(float)
    return [int(i) for i in (-scores).argsort(kind="stable")[:count]]


class Printed:
    """For people, as they come."""

    def add(self, result: Result, arrays: Sequence[np.ndarray]) -> None:
        print(f"{' '.join(result['inputs'])}  ({result['milliseconds']:.2f} ms)")
        for output in result["outputs"]:
            figures = ", ".join(f"{key} {output[key]:.6g}" for key in ("min", "max", "mean") if key in output)
            shape = "x".join(map(str, output["shape"]))
            print(f"  {screen.port_name(output['name'])}  {shape}{f': {figures}' if figures else ''}")
            for row in output.get("top", ()):
                print(f"    {row['value']:10.6f}  {row['label']}")

    def close(self) -> None:
        return


@dataclass
class Json:
    """One document, to a file or to standard output."""

    path: Path | None
    accuracy: Accuracy = None
    """How often the results are right, where that is known: it then stands beside them."""
    results: list[Result] = field(default_factory=list)

    def add(self, result: Result, arrays: Sequence[np.ndarray]) -> None:
        self.results.append(result)

    def close(self) -> None:
        from cnncc.base.files import write_whole

        told = self.results if self.accuracy is None else {"results": self.results, "accuracy": self.accuracy()}
        if self.path is None:
            command.print_json(told)
        else:
            write_whole(self.path, json.dumps(told, indent=2) + "\n")


class Csv:
    """A row for each class that is listed: file, output (where there are several), rank, index, label, value."""

    def __init__(self, path: Path, model: Model) -> None:
        maps = [str(port) for port in model.outputs if not is_scores(port)]
        if maps:
            hint = f"-o {path.with_suffix('.npz')} writes arrays, -o {path.with_suffix('.json')} their range"
            raise CnnccError(f"{path}: a table holds scores of classes, not {', '.join(maps)}", hint=hint)
        self.path = path
        self.several = len(model.outputs) > 1
        files = ["file"] if len(model.inputs) == 1 else [port.name for port in model.inputs]
        self.text = io.StringIO(newline="")
        self.writer = csv.writer(self.text, lineterminator="\n")
        self.writer.writerow([*files, *(["output"] * self.several), "rank", "index", "label", "value"])

    def add(self, result: Result, arrays: Sequence[np.ndarray]) -> None:
        for output in result["outputs"]:
            head = [*result["inputs"], *([output["name"]] * self.several)]
            for rank, row in enumerate(output["top"], start=1):
                self.writer.writerow([*head, rank, row["index"], row["label"], f"{row['value']:.9g}"])

    def close(self) -> None:
        from cnncc.base.files import write_whole

        write_whole(self.path, self.text.getvalue())


class Arrays:
    """The outputs of all images: the only one as `.npy`, all of them by name as `.npz`."""

    def __init__(self, path: Path, model: Model) -> None:
        self.archive = path.suffix.lower() == ".npz"
        if len(model.outputs) > 1 and not self.archive:
            hint = f"-o {path.with_suffix('.npz')} writes all of them by name"
            raise CnnccError(f"the network has {len(model.outputs)} outputs, {path} would hold one array", hint=hint)
        self.path = path
        self.columns: dict[str, list[np.ndarray]] = {port.name: [] for port in model.outputs}

    def add(self, result: Result, arrays: Sequence[np.ndarray]) -> None:
        for (name, column), array in zip(self.columns.items(), arrays, strict=True):
            if column and array.shape != column[0].shape:
                found, first = ("x".join(map(str, shape)) for shape in (array.shape, column[0].shape))
                what = f"{' '.join(result['inputs'])}: output {name} is {found}, and that of the images before {first}"
                hint = "one array holds results of one size: run each size into a file of its own"
                raise CnnccError(what, hint=hint)
            column.append(array)

    def close(self) -> None:
        import numpy as np

        from cnncc.base.files import replacing

        whole = {name: np.stack(column) for name, column in self.columns.items()}
        with replacing(self.path) as scratch, scratch.open("wb") as file:
            if not self.archive:
                (only,) = whole.values()
                np.save(file, only)
                return
            # Not np.savez: an output may have the name of one of its parameters.
            with zipfile.ZipFile(file, "w") as archive:
                for name, array in whole.items():
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                        np.lib.format.write_array(member, array, allow_pickle=False)


def check_suffix(file: str) -> None:
    """CnnccError unless the end of the name says what to write."""
    if Path(file).suffix.lower() not in SUFFIXES:
        raise CnnccError(f"-o {file}: the end of the name says what is written", hint=f"one of {', '.join(SUFFIXES)}")


def sink_for(file: str, model: Model, accuracy: Accuracy = None) -> Sink:
    """What writes a file of that name. CnnccError for results that it cannot hold."""
    path = Path(file)
    suffix = path.suffix.lower()
    if suffix == ".json":
        return Json(path, accuracy)
    return Csv(path, model) if suffix == ".csv" else Arrays(path, model)
