"""PyTorch on the same networks: channels last, cuDNN choosing by trying; eager, in a CUDA graph, and compiled."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from gpu.context import Run, Skipped, need_torch
from gpu.jobs import Job

if TYPE_CHECKING:
    import torch

BUDGET = 110
_MADE: dict[str, Any] = {}
"""The networks of this process on the host: drawing the weights takes seconds."""
KINDS = ("float32", "tf32", "float16")
COMPILED = ("resnet50_v1_5",)
"""Compiling takes half a minute: only these, and only while there is time for it."""
COMPILE_SECONDS = 40
ALLOWED = {"float32": 1e-4, "tf32": 2e-2, "float16": 2e-2}
"""How far its result may be from the reference's before the times are of something else."""


def items(run: Run) -> list[str]:
    """Eager and graphs of all first, then what is compiled."""
    rivals = [(job, kind) for job in run.pack.plan.rivals for kind in KINDS]
    compiled = [(job, kind) for job, kind in rivals if job.net in COMPILED and kind != "float32"]
    return [f"{job.key} {kind}" for job, kind in rivals] + [f"{job.key} {kind} compiled" for job, kind in compiled]


def one(run: Run, item: str) -> dict[str, Any]:
    need_torch(run)
    import torch

    key, kind, *compiled = item.split()
    job = run.job(key)
    tf32 = kind == "tf32"
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
    net, image, error = prepared(run, job, torch.float16 if kind == "float16" else torch.float32)
    row: dict[str, Any] = {"error": error, "passed": error <= ALLOWED[kind], "torch": torch.__version__}
    with torch.inference_mode():
        if compiled:
            if run.until - time.time() < COMPILE_SECONDS:
                raise Skipped("too little time to compile")
            fast = torch.compile(net, mode="max-autotune-no-cudagraphs" if job.batch > 8 else "reduce-overhead")
            return {**row, "compile_ms": 1e3 * seconds(lambda: fast(image), 20)}
        eager = seconds(lambda: net(image), 20)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            net(image)
        return {**row, "eager_ms": 1e3 * eager, "graph_ms": 1e3 * seconds(graph.replay, 50)}


def prepared(run: Run, job: Job, kind: torch.dtype) -> tuple[torch.nn.Module, torch.Tensor, float]:
    """The network, its images, and the error of the result, as a share of the reference's largest value."""
    import torch

    from gpu.torch_net import TorchNet

    if job.net not in _MADE:
        _MADE[job.net] = TorchNet(run.pack.graph(job.net)).eval()
    net = copy.deepcopy(_MADE[job.net]).cuda().to(kind).to(memory_format=torch.channels_last)
    (image,) = run.pack.inputs(Job(job.net, job.dtype, 1)).values()
    images = torch.from_numpy(np.repeat(image, job.batch, 0)).cuda().to(kind).to(memory_format=torch.channels_last)
    (expected,) = run.pack.expected(job.net)
    with torch.inference_mode():
        got = net(images)[:1].float().cpu().numpy().reshape(expected.shape)
    return net, images, float(np.abs(got - expected).max() / np.abs(expected).max())


def seconds(work: Callable[[], Any], count: int) -> float:
    """The median time of `count` times that the device does `work`."""
    import torch

    for _ in range(5):
        work()
    pairs = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(count)]
    for first, last in pairs:
        first.record()
        work()
        last.record()
    torch.cuda.synchronize()
    return float(np.median([first.elapsed_time(last) for first, last in pairs])) / 1e3
