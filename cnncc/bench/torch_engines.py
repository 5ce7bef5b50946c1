"""What people who come from PyTorch have: PyTorch itself, its compiler, and ExecuTorch with the kernels of XNNPACK.

They get the program that `torch.export.save` wrote, if it lies beside the ONNX model as `MODEL.pt2`. Else the ONNX
model is converted to PyTorch.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

from cnncc.bench.engine import Engine
from cnncc.bench.job import Job


def torch(job: Job) -> Engine:
    """PyTorch as it is, images with their channels innermost: the order its convolutions want on a CPU."""
    return _in_torch(job, _channels_last(_module(job)), "eager")


def torch_compile(job: Job) -> Engine:
    """PyTorch's compiler, which may fold weights since they do not change any more."""
    import torch

    frozen = torch.compile(_channels_last(_module(job)), options={"freezing": True})
    return _in_torch(job, frozen, "torch.compile")


def _in_torch(job: Job, module: Any, how: str) -> Engine:
    import torch

    torch.set_num_threads(job.threads)
    last = torch.channels_last

    def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        tensors = [torch.from_numpy(array) for array in arrays]
        with torch.inference_mode():
            found = module(*[t.contiguous(memory_format=last) if t.ndim == 4 else t for t in tensors])
            return [t.contiguous().numpy() for t in _flat(found)]

    with torch.no_grad():
        run([array.copy() for array in job.inputs(0)])
    return Engine(f"PyTorch {torch.__version__} {how}", run)


def executorch(job: Job) -> Engine:
    """ExecuTorch, whatever XNNPACK takes on its kernels."""
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower
    from executorch.extension.pybindings import portable_lib
    from executorch.runtime import Runtime

    portable_lib._unsafe_reset_threadpool(job.threads)
    examples = tuple(torch.from_numpy(array) for array in job.inputs(0))
    exported = torch.export.export(_module(job), examples)
    buffer = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()]).to_executorch().buffer
    program = Runtime.get().load_program(buffer)
    # The method reads the other two, and does not keep them.
    kept = (buffer, program, program.load_method("forward"))

    def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        *_, method = kept
        found = method.execute([torch.from_numpy(array) for array in arrays])
        return [t.contiguous().numpy().copy() for t in _flat(found)]

    return Engine(f"ExecuTorch {version('executorch')}, XNNPACK", run)


def _module(job: Job) -> Any:
    """The network as a module of PyTorch for inference."""
    import torch

    if job.program.exists():
        return torch.export.load(job.program).module()
    import onnx
    from onnx2torch import convert

    return convert(onnx.load(job.onnx)).eval()


def _channels_last(module: Any) -> Any:
    import torch

    return module.to(memory_format=torch.channels_last)


def _flat(found: Any) -> list[Any]:
    return list(found) if isinstance(found, list | tuple) else [found]
