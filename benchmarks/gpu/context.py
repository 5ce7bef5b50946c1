"""What a phase has to work with."""

from __future__ import annotations

import ctypes
import importlib.util
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from cnncc.runtime.cuda.driver import CudaModel
from gpu.driver import Driver, Stream
from gpu.jobs import Job
from gpu.packed import Pack, Weights, model


class Skipped(Exception):
    """What an item needs is not on this machine."""


@dataclass(frozen=True)
class Run:
    """A pack on a machine."""

    pack: Pack
    weights: Weights
    emulated: bool
    until: float
    """The time, as `time.time` tells it, when the phase has to be over."""

    @cached_property
    def driver(self) -> Driver:
        return Driver()

    @cached_property
    def stream(self) -> Stream:
        return Stream(self.driver)

    def rounds(self, count: int) -> int:
        """How often something is measured: `count` times, or once where times mean nothing."""
        return 1 if self.emulated else count

    def job(self, key: str) -> Job:
        """The program of that name."""
        plan = self.pack.plan
        return next(job for job in (*plan.jobs, *plan.rivals) if job.key == key)

    def values(self, job: Job) -> np.ndarray:
        """The weights of a program, once they are drawn."""
        return self.weights.wait(job, self.until)

    def model(self, job: Job) -> CudaModel:
        """The model of a program. Its device memory is free again after `release`."""
        return model(self.pack, job, self.values(job))

    def load(self, name: str) -> ctypes.c_void_p:
        """The kernels of `code/NAME`."""
        folder = self.pack.root / "code"
        source = folder / f"{name.split('-')[0]}.cu"
        image = next(folder / f"{name}{end}" for end in (".cubin", ".ptx") if (folder / f"{name}{end}").exists())
        return self.driver.load(image.read_bytes() + b"\0", source.read_text())


def need_torch(run: Run) -> None:
    """Skipped unless PyTorch can use the device."""
    if run.emulated:
        raise Skipped("PyTorch has no emulated driver")
    if why := _no_torch():
        raise Skipped(why)


@cache
def _no_torch() -> str:
    """Why PyTorch is of no use here; empty if it is. It is tried once: to fail may take it as long as to work."""
    if importlib.util.find_spec("torch") is None:
        return "PyTorch is not installed"
    try:
        import torch

        if not torch.cuda.is_available():
            return f"PyTorch {torch.__version__} finds no CUDA device that it can use"
        torch.zeros(1, device="cuda").add(1).cpu()  # it may have no code for the device
    except Exception as error:  # whatever a broken one raises
        return f"PyTorch cannot be used: {type(error).__name__}: {error}"
    return ""
