"""What the machine is, and which code its driver loads: PTX from the oldest version on, and machine code."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from gpu import driver as d
from gpu.context import Run

BUDGET = 15
PRODUCTS = {
    "multiprocessors": d.MULTIPROCESSORS,
    "l2_bytes": d.L2_BYTES,
    "threads_per_multiprocessor": d.THREADS,
    "shared_bytes_per_multiprocessor": d.SHARED_BYTES,
    "registers_per_multiprocessor": d.REGISTERS,
    "blocks_per_multiprocessor": d.BLOCKS,
}
"""Figures of a target file that the driver tells, too."""


def items(run: Run) -> list[str]:
    return ["libc", "machine", *run.pack.about["code"]]


def one(run: Run, item: str) -> dict[str, Any]:
    if item == "libc":
        return libc(*platform.libc_ver(), run.pack.about["glibc"])
    if item == "machine":
        return machine(run)
    needed = run.pack.about["code"][item]
    expected = run.driver.version >= needed
    try:
        run.driver.unload(run.load(item))
        said = ""
    except d.DriverError as error:
        said = str(error)
    return {"loads": not said, "expected": expected, "needs": needed, "said": said, "passed": expected == (not said)}


def libc(name: str, found: str, needed: str) -> dict[str, Any]:
    """Whether the C library is new enough for the packed modules. If not, no module can be opened."""
    fits = name == "glibc" and _numbers(found) >= _numbers(needed)
    here = f"{name} {found}".strip() or "another C library"
    why = f"the modules of this pack need glibc {needed} or later, and this machine has {here}"
    return {"passed": fits, "libc": here, "needs": needed, **({} if fits else {"first_failure": why})}


def _numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".") if number.isdecimal()]


def machine(run: Run) -> dict[str, Any]:
    """The device beside the target file, and versions."""
    device = run.driver
    told = {name: device.attribute(number) for name, number in PRODUCTS.items()}
    capability = 10 * device.attribute(d.MAJOR) + device.attribute(d.MINOR)
    return {
        "device": device.name,
        "compute_capability": capability,
        "clock_mhz": device.attribute(d.CLOCK_KHZ) // 1000,
        **told,
        "differs": {name: getattr(run.pack.gpu, name) for name in told if getattr(run.pack.gpu, name) != told[name]},
        "driver": device.version,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": _version("torch"),
        "passed": capability == run.pack.gpu.compute_capability,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
