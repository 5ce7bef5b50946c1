"""What runs take on the device: launched one by one, from a graph, and each kernel beside its prediction."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from gpu.context import Run
from gpu.driver import DriverError
from gpu.jobs import Job
from gpu.launches import Launches, Loaded
from gpu.packed import PackError, port_arrays

BUDGET = 75
ALIGN = 256


def items(run: Run) -> list[str]:
    return [job.key for job in run.pack.plan.times]


def one(run: Run, item: str) -> dict[str, Any]:
    job = run.job(item)
    predicted = run.pack.entry(job)["predicted"]
    work, free = enqueued(run, job)
    plain = run.stream.seconds(work, run.rounds(20))
    graph = run.stream.captured(work)
    replayed = run.stream.seconds(lambda: run.stream.replay(graph), run.rounds(50))
    run.stream.drop(graph)
    free()
    return {
        "launches": len(predicted["steps"]),
        "predicted_ms": 1e3 * predicted["seconds"]["on_device"],
        "plain_ms": 1e3 * plain,
        "graph_ms": 1e3 * replayed,
        **kernels(run, job, predicted["steps"]),
    }


def enqueued(run: Run, job: Job) -> tuple[Callable[[], None], Callable[[], None]]:
    """What puts a run of the module on the stream, with device memory only; and what frees that."""
    model = run.model(job)
    library, symbol = ctypes.CDLL(str(run.pack.file(job, "so"))), model.info["symbol"]
    model.open()
    names = ("model_get", "device_arena_bytes", "run_async")
    get, size, start = (library[f"{symbol}_{name}"] for name in names)
    get.restype, size.restype = ctypes.c_void_p, ctypes.c_size_t
    inputs, shapes = port_arrays(run.pack, job)
    outputs = [run.driver.allocate(4 * _count(shape)) for shape in shapes.values()]
    memory = [*(run.driver.upload(array) for array in inputs), *outputs, run.driver.allocate(size() + ALIGN)]
    arena = -(-memory[-1] // ALIGN) * ALIGN
    pointers = [ctypes.c_void_p(address) for address in (*memory[:-1], arena)]
    device = ctypes.c_void_p(get())

    def work() -> None:
        if code := start(device, job.batch, *pointers, run.stream.handle):
            raise DriverError(f"run_async: {code}")

    def free() -> None:
        for address in memory:
            run.driver.free(address)
        model.release()

    return work, free


def kernels(run: Run, job: Job, steps: list[dict[str, Any]]) -> dict[str, Any]:
    """Each launch; if they cannot be timed, why. The times of whole runs stand all the same."""
    try:
        loaded = Loaded.of(run.driver, run.pack, job, run.weights, run.until)
        try:
            measured = Launches(loaded, *run.pack.code(job)).seconds(run.stream, run.rounds(15))
        finally:
            loaded.free()
    except (DriverError, PackError, OSError) as error:
        return {"kernels_error": f"{type(error).__name__}: {error}", "kernels": []}
    rows = [
        {
            "node": step["node"],
            "kernel": step["kernel"],
            "bound": step["bound"],
            "predicted_us": 1e6 * step["seconds"],
            "measured_us": 1e6 * seconds,
        }
        for step, seconds in zip(steps, measured, strict=True)
    ]
    return {"kernels_ms": 1e3 * sum(measured), "kernels": rows}


def _count(shape: tuple[int, ...]) -> int:
    found = 1
    for size in shape:
        found *= size
    return found
