"""What the device does at best: bytes copied, operations of each kind, time of a graph's node, latency of a load."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpu import driver as d
from gpu.context import Run, need_torch

BUDGET = 30
OWN = ("copy", "graph_node", "fma", "mma_float16", "mma_tf32", "l2", "latency")
MATMULS = ("matmul_float32", "matmul_tf32", "matmul_float16")
"""Through PyTorch, which takes NVIDIA's library."""
NODES = 200
PER_ROUND = {
    "fma": ("micro_fma", 2 * 64 * 32),
    "mma_float16": ("micro_mma", 2 * 16 * 2048),
    "mma_tf32": ("micro_tf32", 2 * 16 * 1024),
}
"""The kernel, and operations of a warp in a round."""
L2_BYTES = 16 << 20
CHAIN = 1 << 20
"""Numbers that the chase goes through: 4 MiB, more than an L1 and less than an L2."""


def items(run: Run) -> list[str]:
    return [*OWN, *MATMULS]


def one(run: Run, item: str) -> dict[str, Any]:
    if item in MATMULS:
        return matmul(run, item.removeprefix("matmul_"))
    if item in PER_ROUND:
        return operations(run, *PER_ROUND[item])
    return {"copy": copy, "graph_node": graph_node, "l2": l2, "latency": latency}[item](run)


def copy(run: Run) -> dict[str, Any]:
    """Bytes read and bytes written, both counted."""
    size = (1 << 16) if run.emulated else (2 << 30)
    source, target = run.driver.allocate(size), run.driver.allocate(size)
    seconds = run.stream.seconds(lambda: run.driver.copy(target, source, size, run.stream), run.rounds(20))
    run.driver.free(source)
    run.driver.free(target)
    return {"gbytes_per_second": 2 * size / seconds / 1e9}


def graph_node(run: Run) -> dict[str, Any]:
    """A kernel that does nothing, after another: the gap between two, and the least a kernel takes."""
    function = run.driver.function(run.load("micro"), "micro_empty")
    out = run.driver.allocate(4)

    def nodes() -> None:
        for _ in range(NODES):
            run.stream.launch(function, (1, 1, 1), 32, [out])

    plain = run.stream.seconds(nodes, run.rounds(10)) / NODES
    graph = run.stream.captured(nodes)
    return {
        "microseconds": 1e6 * run.stream.seconds(lambda: run.stream.replay(graph), run.rounds(50)) / NODES,
        "launched_microseconds": 1e6 * plain,
    }


def operations(run: Run, kernel: str, per_warp: int) -> dict[str, Any]:
    """Operations a second of all multiprocessors, and multiply-adds of one in a cycle of the clock that the driver
    tells."""
    function = run.driver.function(run.load("micro"), kernel)
    rounds, blocks = (1, 1) if run.emulated else (20_000, 4 * run.driver.attribute(d.MULTIPROCESSORS))
    out = run.driver.allocate(4 * 256 * blocks)
    count = run.driver.upload(np.array([rounds], np.int32))
    work = run.stream.seconds(lambda: run.stream.launch(function, (blocks, 1, 1), 256, [out, count]), run.rounds(5), 1)
    flops = blocks * 8 * rounds * per_warp / work
    cycles = run.driver.attribute(d.MULTIPROCESSORS) * run.driver.attribute(d.CLOCK_KHZ) * 1e3
    return {"tflops": flops / 1e12, "fma_per_cycle": flops / 2 / cycles}


def l2(run: Run) -> dict[str, Any]:
    """Bytes a second that all multiprocessors read from the L2."""
    function = run.driver.function(run.load("micro"), "micro_read")
    rounds, blocks = (1, 1) if run.emulated else (400, 8 * run.driver.attribute(d.MULTIPROCESSORS))
    data = run.driver.upload(np.zeros(L2_BYTES, np.uint8))
    out = run.driver.allocate(4 * 256 * blocks)
    count = run.driver.upload(np.array([rounds, 256 * blocks], np.int32))
    arguments = [data, out, count]
    work = run.stream.seconds(lambda: run.stream.launch(function, (blocks, 1, 1), 256, arguments), run.rounds(10))
    return {"gbytes_per_second": blocks * 256 * rounds * 4 * 16 / work / 1e9}


def latency(run: Run) -> dict[str, Any]:
    """From a load of the L2 to its use."""
    function = run.driver.function(run.load("micro"), "micro_chase")
    rounds = 4 if run.emulated else 20_000
    # Jumps of an odd number of lines: each line is met once before any is met again.
    places = (np.arange(CHAIN, dtype=np.int64) + 32 * 4099) % CHAIN
    arguments = [
        run.driver.upload(places.astype(np.int32)),
        run.driver.allocate(4),
        run.driver.upload(np.array([rounds], np.int32)),
    ]
    work = run.stream.seconds(lambda: run.stream.launch(function, (1, 1, 1), 32, arguments), run.rounds(5))
    return {"nanoseconds": 1e9 * work / rounds, "cycles": work / rounds * 1e3 * run.driver.attribute(d.CLOCK_KHZ)}


def matmul(run: Run, dtype: str, size: int = 8192) -> dict[str, Any]:
    need_torch(run)
    import torch

    torch.backends.cuda.matmul.allow_tf32 = dtype == "tf32"
    kind = torch.float16 if dtype == "float16" else torch.float32
    a, b = (torch.randn(size, size, device="cuda", dtype=kind) for _ in range(2))
    for _ in range(3):
        a @ b
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    for _ in range(5):
        a @ b
    last.record()
    torch.cuda.synchronize()
    return {"tflops": 2 * size**3 / (first.elapsed_time(last) / 5e3) / 1e12}
