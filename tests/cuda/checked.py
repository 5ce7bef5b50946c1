"""Single kernels on the CPU, with every access checked, against the reference; see `checked.h`."""

from __future__ import annotations

import ctypes
import hashlib
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from cnncc.base.elements import HALVES, Element, decode, drawn, encode
from cnncc.ir import Node
from cnncc.kernels.gpu.spec import GpuKernel
from cnncc.kernels.shared.operands import BlockCounters, Operand, PackedWeight, RawInput, Workspace
from cnncc.kernels.shared.spec import Call
from cnncc.module.gpu.program import CudaProgram, kernel_of
from cnncc.module.gpu.source import cuda_source
from cnncc.module.layout import from_stored, to_stored
from cnncc.ops import reference, traits
from cnncc.ops.source import port_type
from cnncc.ops.traits import Kind
from cnncc.runtime.cuda import driver
from cnncc.weights import half

ORDERS = (0, 1, 2, 3)
"""Blocks and threads as counted, from the last, scattered, and scattered with the threads in another order after each
barrier."""
EVERY_ORDER = 4096
"""Threads of a launch up to which `flow` runs it in all of them; larger ones in one."""

_HERE = Path(__file__).resolve().parent
_DEVICE = Path(driver.__file__).parent / "device.h"


class Launch(ctypes.Structure):
    """As in device.h."""

    _fields_ = (
        ("grid", ctypes.c_uint * 3),
        ("threads", ctypes.c_uint),
        ("order", ctypes.c_int),
        ("every", ctypes.c_uint),
        ("message", ctypes.c_char_p),
        ("message_bytes", ctypes.c_size_t),
    )


class Global(ctypes.Structure):
    """As in checked.h."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("past", ctypes.c_void_p),
        ("allowed", ctypes.c_void_p),
        ("count", ctypes.c_long),
    )


@dataclass
class Memory:
    """A value or weight in memory of its own; `allowed` marks what belongs to it."""

    data: np.ndarray
    allowed: np.ndarray

    def watched(self) -> tuple[Global, np.ndarray]:
        past = np.zeros(self.data.size * 24, np.uint8)
        return Global(self.data.ctypes.data, past.ctypes.data, self.allowed.ctypes.data, self.data.size), past


class Mistake(Exception):
    """What the checks found."""


def rewritten(source: str) -> str:
    """The source with arrays that watch their users."""
    text = re.sub(r"__shared__ alignas\(16\) (\w+) (\w+)\[(\d+)\];", r"static checked::shared<\1, \3> \2;", source)
    text = re.sub(r"(float|uint|ushort|int|uchar|signed char)\* (\w+_ptr)(?=[,)])", r"checked::global<\1> \2", text)
    return re.sub(r"\*\(((?:float|uint|ushort|int)\d?)\*\)\(", r"checked::vector<\1>(", text)


def _entries(source: str) -> str:
    heads = re.findall(r"__launch_bounds__\((\d+)\) (\w+)\(", source)
    bodies = re.split(r"__global__", source)[1:]
    meets = re.compile(r"__syncthreads|cnncc_mma|cnncc_fragments")  # threads of a warp meet too
    flags = ["true" if meets.search(body) else "false" for body in bodies]
    return "".join(f"CNNCC_KERNEL({name}, {bound}, {flag})\n" for (bound, name), flag in zip(heads, flags, strict=True))


def library(source: str, folder: Path) -> ctypes.CDLL:
    """The kernels of a source, rewritten and compiled."""
    text = f'#include "{_DEVICE}"\n#include "{_HERE / "checked.h"}"\n{rewritten(source)}{_entries(source)}'
    stem = folder / hashlib.sha256(text.encode()).hexdigest()[:24]
    if not stem.with_suffix(".so").exists():
        stem.with_suffix(".cpp").write_text(text)
        flags = ["-std=c++17", "-O1", "-w", "-fPIC", "-shared", "-fno-strict-aliasing", "-U_FORTIFY_SOURCE"]
        command = ["c++", *flags, "-o", str(stem.with_suffix(".so")), str(stem.with_suffix(".cpp"))]
        subprocess.run(command, check=True, capture_output=True)
    return ctypes.CDLL(str(stem.with_suffix(".so")))


@cache
def kernel_source(*kernels: GpuKernel) -> str:
    """One source of several kernels."""
    return cuda_source(kernels, "sm_80")


def _unwritten(size: int, element: Element, fill: int = 0x55) -> np.ndarray:
    """Numbers that nobody wrote: NaN, or of integers those of the same bytes."""
    if element.whole:
        return np.full(element.bytes(size), fill, np.uint8).view(element.dtype)
    return encode(np.full(size, np.nan, np.float32), element)


def _value_memory(program: CudaProgram, name: str, array: np.ndarray) -> Memory:
    """A value's images as far apart as the plan has them; what lies between belongs to others. Halves are rounded."""
    kind = program.graph[name].type
    numbers = array.astype(kind.element.dtype) if kind.element.whole else encode(array.astype(np.float32), kind.element)
    stored = to_stored(numbers, kind).reshape(array.shape[0], -1)
    stride = program.plan.placements[name].image_stride // kind.element.itemsize if array.shape[0] > 1 else 0
    size = (array.shape[0] - 1) * stride + stored.shape[1]
    data, allowed = _unwritten(size, kind.element), np.zeros(size, np.uint8)
    for i, image in enumerate(stored):
        data[i * stride : i * stride + image.size] = image
        allowed[i * stride : i * stride + image.size] = 1
    return Memory(data, allowed)


def run_call(lib: ctypes.CDLL, call: Call, memories: list[Memory], order: int, every: int = 1) -> None:
    """One launch; Mistake for what the checks find."""
    kernel = kernel_of(call)
    message = ctypes.create_string_buffer(512)
    how = Launch((ctypes.c_uint * 3)(*kernel.grid), kernel.threads, order, every, ctypes.addressof(message), 512)
    watched = [m.watched() for m in memories]
    pointers = (ctypes.c_void_p * len(watched))(*(ctypes.addressof(w) for w, _ in watched))
    if lib[f"cnncc_run_{kernel.symbol}"](ctypes.byref(how), pointers):
        raise Mistake(f"{kernel.name}: {message.value.decode()}")
    for operand, memory in zip(call.operands, memories, strict=False):
        if isinstance(operand, BlockCounters) and memory.data.any():
            raise Mistake(f"{kernel.name}: counters that are not zero after the launch: {memory.data}")


def flow(
    program: CudaProgram, raw: Mapping[str, np.ndarray], folder: Path
) -> Iterator[tuple[Node, tuple[np.ndarray, ...], np.ndarray]]:
    """Every node that something computes, with what it reads and what its launches give: the same in every order of
    their threads. It reads what the launches before it gave. `raw` are the caller's arrays."""
    lib = library(kernel_source(*program.kernels), folder)
    values: dict[str, np.ndarray] = {}
    for node in program.graph.nodes:
        read = (_numbers(node, raw[node.name]),) if node.is_input else tuple(values[name] for name in node.inputs)
        with np.errstate(all="ignore"):
            values[node.name] = reference.evaluate(program.graph, node, read, np.dtype(np.float32))
        if node.name in program.selections:
            run = NodeRun(program, node, arrays=read, raw=raw)
            small = all(c.kernel.units * kernel_of(c).threads <= EVERY_ORDER for c in run.calls)
            first, *others = (run.run(lib, order) for order in (ORDERS if small else ORDERS[2:3]))
            for other in others:
                np.testing.assert_array_equal(other, first, err_msg=node.name)
            if traits(node).kind is Kind.CONCAT:  # arms that others write in place are not its own
                whole = node.type.element.whole
                missing = first != run.run(lib, ORDERS[0], fill=0xAA) if whole else np.isnan(first)
                first = np.where(missing, values[node.name], first)
            values[node.name] = first
            yield node, read, first


def _numbers(node: Node, array: np.ndarray) -> np.ndarray:
    """What the caller passes, halves as the numbers that they stand for."""
    element = port_type(node).element
    return decode(array, element) if element in HALVES else array


class NodeRun:
    """The launches of one node on random inputs, or on given ones, and what they must give."""

    def __init__(
        self,
        program: CudaProgram,
        node: Node,
        seed: int = 0,
        arrays: tuple[np.ndarray, ...] | None = None,
        raw: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self.program, self.node, self.raw = program, node, raw or {}
        rng = np.random.default_rng(seed)
        types = {name: program.graph[name].type for name in node.inputs} or {node.name: node.type}
        found = {name: drawn(rng, t.shape, t.element) for name, t in types.items()}
        values = {name: a if types[name].element.whole else decode(a, types[name].element) for name, a in found.items()}
        self.arrays = list(arrays) if arrays is not None else [values[name] for name in node.inputs or values]
        graph = half.rounded(program.graph, program.options.weights_dtype)
        with np.errstate(all="ignore"):
            self.expected = reference.evaluate(graph, graph[node.name], tuple(self.arrays), np.dtype(np.float64))

    @property
    def calls(self) -> tuple[Call, ...]:
        return self.program.selections[self.node.name].calls

    def source(self) -> str:
        return kernel_source(*dict.fromkeys(kernel_of(c) for c in self.calls))

    def run(self, lib: ctypes.CDLL, order: int = 0, every: int = 1, fill: int = 0x55) -> np.ndarray:
        """The result; elements that no launch wrote are NaN, or of integers have the bytes `fill`."""
        element = self.node.type.element
        nothing = np.zeros(self.node.type.shape, np.float32)
        memories = {
            name: _value_memory(self.program, name, a) for name, a in zip(self.node.inputs, self.arrays, strict=False)
        }
        memories |= {f"raw {name}": self._flat(array) for name, array in self.raw.items()}
        memories.setdefault(f"raw {self.node.name}", self._flat(self.arrays[0]))
        result = _value_memory(self.program, self.node.name, nothing)
        result.data[:] = _unwritten(1, element, fill)
        placements = self.program.plan.placements
        own = placements[self.node.name]
        for name in self.node.inputs if own.in_place and every == 1 else ():
            if (placements[name].home, placements[name].offset) == (own.home, own.offset):
                result = memories[name]
        for packed in self.program.selections[self.node.name].weights:
            memories[f"weight {packed.name}"] = self._flat(packed.compute())
        for call in self.calls:
            floats = self.program.workspace_at_once(call) // 4
            if floats and "workspace" not in memories:
                memories["workspace"] = self._flat(np.full(floats, np.nan, np.float32))
            memories["counters"] = self._counters(max(1, kernel_of(call).counters))
            places = [self._memory(memories, result, o) for o in (*call.operands, call.result)]
            run_call(lib, call, places, order, every)
        return self._read(result)

    def _memory(self, memories: dict[str, Memory], result: Memory, operand: Operand) -> Memory:
        match operand:
            case BlockCounters():
                return memories["counters"]
            case Workspace(_, offset):
                whole = memories["workspace"]
                return Memory(whole.data[offset // 4 :], whole.allowed[offset // 4 :])
            case PackedWeight(name):
                return memories[f"weight {name}"]
            case RawInput(name):
                return memories[f"raw {name}"]
        return result if operand.name == self.node.name else memories[operand.name]

    @staticmethod
    def _counters(count: int) -> Memory:
        return Memory(np.zeros(count, np.uint32), np.ones(count, np.uint8))

    @staticmethod
    def _flat(array: np.ndarray) -> Memory:
        data = np.ascontiguousarray(array.astype(np.float32) if array.dtype == np.float64 else array).reshape(-1)
        return Memory(data, np.ones(data.size, np.uint8))

    def _read(self, memory: Memory) -> np.ndarray:
        kind = self.node.type
        batch, size = kind.shape[0], kind.element.itemsize
        numbers = kind.nbytes // size // batch
        stride = self.program.plan.placements[self.node.name].image_stride // size
        images = [memory.data[i * stride : i * stride + numbers] for i in range(batch)]
        whole = from_stored(np.concatenate(images), kind)
        return whole if kind.element.whole else decode(whole, kind.element)

    def error(self, got: np.ndarray, sampled: bool = False) -> float:
        """Largest difference as a share of the largest value; NaN if an element is missing."""
        wanted = self.expected
        if sampled:
            written = ~np.isnan(got)
            assert written.any()
            got, wanted = got[written], wanted[written]
        return float(np.abs(got - wanted).max() / max(np.abs(self.expected).max(), 1e-30))
