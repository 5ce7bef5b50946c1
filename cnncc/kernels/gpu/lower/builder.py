"""Statement builder for GPU kernels: the CPU's, with blocks, threads, shared memory and barriers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.tirx import (
    AllocBuffer,
    AttrStmt,
    BufferLoad,
    BufferStore,
    Evaluate,
    For,
    ForKind,
    IntImm,
    IterVar,
    PrimFunc,
    SeqStmt,
    Var,
)

from cnncc.base.elements import BFLOAT16, BYTES, FLOAT16, FLOAT32, HALVES, INT32, UINT8, Element
from cnncc.kernels.gpu.spec import View
from cnncc.kernels.shared.builder import Buffer, Expr, KernelBuilder, element, i32, sequence, splat, vector_type

ROLLED = "rolled"
"""Begins the names of variables of loops that are not to be unrolled."""

_ONE_DIMENSIONAL = ("blockIdx.x", "blockIdx.y", "blockIdx.z", "threadIdx.x")


@dataclass(frozen=True)
class Conversion:
    """Functions of the source's preamble for a type of 16 bits: what makes a word of two float32, the first one in the
    low bits, and what makes float32 of the lower and of the upper number of a word."""

    pair: str
    low: str
    high: str


CONVERSIONS: Mapping[Element, Conversion] = {
    FLOAT16: Conversion("cnncc_halves", "cnncc_low_half", "cnncc_high_half"),
    BFLOAT16: Conversion("cnncc_bfloats", "cnncc_low_bfloat", "cnncc_high_bfloat"),
}


class Array(Buffer):
    """A buffer whose vectors are aligned: an index counts numbers where `lanes` is 1, and whole vectors otherwise. TVM
    makes one access of a vector only if it sees the factor.

    Numbers of less than 32 bits are loaded and stored as float32, which has all of them: halves, which lie in memory as
    integers of 16 bits, and bytes. Vectors of them are for `load_vector` and `store_vector`. int32 is taken for float32
    of the same bits, to be moved and not to be computed with; a kernel that computes asks for it with `typed`."""

    def load(self, index: Expr, lanes: int = 1) -> Expr:
        loaded = self.raw(index, lanes)
        if self.kind in BYTES:
            return tirx.Cast(vector_type("float32", lanes), loaded)
        if self.kind not in HALVES:
            return loaded
        assert lanes == 1, "load_vector loads vectors of halves"
        return tirx.call_pure_extern("float32", CONVERSIONS[self.kind].low, tirx.Cast("uint32", loaded))

    def raw(self, index: Expr, lanes: int = 1) -> Expr:
        """Numbers as they are stored."""
        return BufferLoad(self._buffer, [element(index * lanes, lanes)])

    def store(self, index: Expr, value: Expr, lanes: int = 1) -> None:
        if self.kind in HALVES:
            assert lanes == 1, "store_vector stores vectors of halves"
            word = tirx.call_pure_extern("uint32", CONVERSIONS[self.kind].pair, value, splat(0.0, 1))
            value = tirx.Cast("uint16", word)
        elif self.kind in BYTES:
            value = tirx.Cast(self.kind.tir, tirx.Cast("int32", value))
        self.put(index, value, lanes)

    def put(self, index: Expr, stored: Expr, lanes: int = 1) -> None:
        """Stores numbers that are of the stored type."""
        self._kernel.emit(BufferStore(self._buffer, stored, [element(index * lanes, lanes)]))

    def words(self, index: Expr, lanes: int) -> Expr:
        """A vector of halves or bytes as it is stored, in words."""
        return tirx.reinterpret(vector_type("uint32", lanes // per_word(self.kind)), self.raw(index, lanes))

    def put_words(self, index: Expr, words: Expr, lanes: int) -> None:
        """Stores a vector of halves or bytes that is in words."""
        self.put(index, tirx.reinterpret(vector_type(stored_type(self.kind), lanes), words), lanes)

    @property
    def start(self) -> Expr:
        """The address of the array, for a function of the preamble that takes an index too."""
        return self._buffer.data

    def address(self, index: Expr) -> Expr:
        """Of an element, for a function of the preamble."""
        return tirx.address_of(BufferLoad(self._buffer, [element(index, 1)]))


def stored_type(kind: Element) -> str:
    """TVM's type of numbers in memory."""
    if kind in HALVES:
        return "uint16"
    return FLOAT32.tir if kind == INT32 else kind.tir


def moved_number(value: float, kind: Element) -> Expr:
    """A number as kernels move it: float32, or int32 of which float32 has the bits."""
    return tirx.call_pure_extern("float32", "__int_as_float", i32(int(value))) if kind == INT32 else splat(value, 1)


def per_word(kind: Element) -> int:
    """Numbers in 32 bits."""
    return FLOAT32.itemsize // kind.itemsize


class CudaBuilder(KernelBuilder):
    """Builds one `__global__` function whose parameters are the operands and the result. Threads are counted in x."""

    def __init__(self, grid: tuple[int, int, int], threads: int) -> None:
        super().__init__()
        self.threads = threads
        self._extents = (*grid, threads)
        self._indices = [Var(tag.replace("Idx.", "_"), "int32") for tag in _ONE_DIMENSIONAL]
        self.call("cnncc_follow")

    def block(self, axis: int) -> Expr:
        """The block's index along an axis; a constant where there is only one."""
        return self._indices[axis] if self._extents[axis] > 1 else 0

    @property
    def thread(self) -> Expr:
        """The thread's index in its block."""
        return self._indices[3]

    def operand(self, name: str, count: int, kind: Element = FLOAT32) -> Array:
        return Array(self, self.declare(name, count, stored_type(kind)), kind)

    def images(self, name: str, view: View, batch: int) -> Array:
        """The operand of a value of so many images."""
        return self.operand(name, batch * view.numbers, view.element)

    def typed(self, name: str, count: int, dtype: str) -> Array:
        """A pointer parameter like `operand`, to one of TVM's types."""
        return Array(self, self.declare(name, count, dtype))

    def shared(self, count: int, dtype: str = "float32") -> Array:
        """An array that the threads of a block share, of one of TVM's types. Call before any loop."""
        buffer = tirx.decl_buffer((count,), dtype, self._name("shared"), scope="shared", data_alignment=16)
        self.emit(AllocBuffer(buffer))
        return Array(self, buffer)

    def local(self, count: int, dtype: str = "float32") -> Array:
        """An array of a thread, in registers once the loops over it are unrolled."""
        buffer = tirx.decl_buffer((count,), dtype, self._name("r"), scope="local", data_alignment=16)
        self.emit(AllocBuffer(buffer))
        return Array(self, buffer)

    def call(self, function: str, *arguments: Expr) -> None:
        """A function of the source's preamble, for its effect."""
        self.emit(Evaluate(tirx.call_extern("void", function, *arguments)))

    def barrier(self) -> None:
        """All threads of the block meet, and see each other's writes."""
        self.emit(Evaluate(tirx.call_intrin("int32", "tirx.tvm_storage_sync", "shared")))

    def last_block(self, counter: Expr, blocks: int) -> Expr:
        """Whether this block is the last of so many that come here with the address of the same counter, which is zero
        again then. Its threads see what the others stored, if there was a barrier behind it."""
        before = self.local(1, "uint32")
        before.store(0, tirx.const(0, "uint32"))
        last = tirx.const(blocks - 1, "uint32")
        with self.when(self.thread < 1):
            self.call("__threadfence")
            before.store(0, tirx.call_extern("uint32", "atomicInc", counter, last))
            self.call("__threadfence")
        mine = tirx.Cast("int32", before.load(0) >= last)
        return tirx.call_extern("int32", "__syncthreads_or", mine) > 0

    @contextmanager
    def unrolled(self, extent: int, stem: str = "u") -> Iterator[Expr]:
        """A loop that the CUDA compiler unrolls."""
        if extent == 1:
            yield 0
            return
        variable = Var(self._name(stem), "int32")
        with self._block() as body:
            yield variable
        self.emit(For(variable, i32(0), i32(extent), ForKind.UNROLLED, sequence(body)))

    @contextmanager
    def rolled(self, extent: int) -> Iterator[Expr]:
        """A loop that the CUDA compiler leaves one: unrolled, it would have all its loads under way at a time, and take
        registers for them. The source says so at the loop's variable."""
        with self.loop(extent, ROLLED) as variable:
            yield variable

    @contextmanager
    def unless_certain(self, *conditions: Expr) -> Iterator[None]:
        """What is emitted inside happens if all conditions hold; None stands for one that always does."""
        real = [c for c in conditions if c is not None]
        if not real:
            yield
            return
        with self.when(tirx.all(*real) if len(real) > 1 else real[0]):
            yield

    @contextmanager
    def each(self, total: int) -> Iterator[Expr]:
        """One thread for each of `total` things, over all blocks in x."""
        index = self.let(self.block(0) * self.threads + self.thread)
        blocks = self._extents[0]
        with self.unless_certain(index < total if blocks * self.threads > total else None):
            yield index

    def fold(
        self, shared: Buffer, rows: int, combine: Callable[[Expr, Expr], Expr], share: int = 0, columns: int = 1
    ) -> None:
        """Combines the values of all threads, `shared[row * threads + thread]`, into those of thread 0: a tree, so in
        the same order every time. With `share`, those of each `share` threads in a row, into those of the first of
        them; with `columns`, those of every `columns`-th thread, into those of the first `columns`. All are powers of
        two."""
        self.barrier()
        half = (share or self.threads) // 2
        place = self.let(tirx.truncmod(self.thread, i32(share))) if share else self.thread
        while half >= columns:
            with self.when(place < half), self.unrolled(rows) as row:
                at = self.let(row * self.threads + self.thread)
                mine, other = self.let(shared.load(at)), self.let(shared.load(at + half))
                shared.store(at, combine(mine, other))
            self.barrier()
            half //= 2

    def finish(self, symbol: str) -> PrimFunc:
        """The kernel as a PrimFunc that TVM's CUDA code generator takes."""
        body: Any = SeqStmt([*self._decls, *self._blocks[0]])
        for tag, index, extent in reversed(list(zip(_ONE_DIMENSIONAL, self._indices, self._extents, strict=True))):
            axis = IterVar(None, index, IterVar.ThreadIndex, tag)
            body = AttrStmt(axis, "thread_extent", IntImm("int32", extent), body)
        return PrimFunc(self._params, body, ret_type=None).with_attr("global_symbol", symbol)


def divmod_(k: CudaBuilder, value: Expr, divisor: int) -> tuple[Expr, Expr]:
    """Quotient and remainder of a number that is not negative."""
    if divisor == 1:
        return value, 0
    if isinstance(value, int):
        return divmod(value, divisor)
    return k.let(tirx.truncdiv(value, i32(divisor))), k.let(tirx.truncmod(value, i32(divisor)))


def image_of(k: CudaBuilder, index: Expr, batch: int, per_image: int) -> tuple[Expr, Expr]:
    """Which image of the batch a thing belongs to, and which thing of that image it is."""
    return (0, index) if batch == 1 else divmod_(k, index, per_image)


@contextmanager
def rounds(k: CudaBuilder, total: Expr, mine: Expr, step: int, start: Expr = 0) -> Iterator[Expr]:
    """A loop of a thread over its share of the things from `start` to `total`: every `step`-th one, the first of them
    at `mine`."""
    known = isinstance(total, int) and isinstance(start, int)
    count = -(-(total - start) // step) if known else k.let(tirx.truncdiv(total - start + (step - 1), i32(step)))
    with k.loop(count, "round") as turn:
        index = k.let(start + turn * step + mine)
        with k.unless_certain(None if known and count * step == total - start else index < total):
            yield index


WIDEST = 4
"""Numbers of 32 bits in the widest load."""


def load_vector(k: CudaBuilder, source: Array, at: Expr, lanes: int) -> Array:
    """The vector of `lanes` numbers at an index that counts such vectors, as a local array of float32."""
    values = k.local(lanes)
    load_into(k, values, 0, source, at, lanes)
    return values


def load_into(k: CudaBuilder, values: Array, place: Expr, source: Array, at: Expr, lanes: int) -> None:
    """The same into the local array of float32, as its vector number `place`."""
    if source.kind in HALVES and lanes > 1:
        words, conversion = k.local(lanes // 2, "uint32"), CONVERSIONS[source.kind]
        words.store(0, source.words(at, lanes), lanes // 2)
        for lane in range(lanes):
            function = conversion.high if lane % 2 else conversion.low
            values.store(place * lanes + lane, tirx.call_pure_extern("float32", function, words.load(lane // 2)))
        return
    if source.kind in BYTES and lanes > 1:
        for lane, byte in enumerate(load_bytes(k, source, at, lanes)):
            values.store(place * lanes + lane, tirx.Cast("float32", byte))
        return
    width = min(lanes, WIDEST)
    for part in range(lanes // width):
        parts = lanes // width
        values.store(place * parts + part, source.load(at * parts + part, width), width)


def load_bytes(k: CudaBuilder, source: Array, at: Expr, lanes: int) -> list[Expr]:
    """The vector of `lanes` bytes at an index that counts such vectors, as int32."""
    if lanes < per_word(source.kind):
        return [k.let(tirx.Cast("int32", source.raw(at * lanes + lane))) for lane in range(lanes)]
    count = lanes // per_word(source.kind)
    words = k.local(count, "uint32")
    words.store(0, source.words(at, lanes), count)
    return [byte_of(words.load(lane // 4), lane % 4, source.kind) for lane in range(lanes)]


def byte_of(word: Expr, place: int, kind: Element) -> Expr:
    """One of the four bytes of a word, as int32."""
    if kind == UINT8:
        shifted = tirx.shift_right(word, tirx.const(8 * place, "uint32")) if place else word
        return tirx.Cast("int32", tirx.bitwise_and(shifted, tirx.const(255, "uint32")))
    left = tirx.Cast("int32", tirx.shift_left(word, tirx.const(24 - 8 * place, "uint32")) if place < 3 else word)
    return tirx.shift_right(left, i32(24))


def word_of(values: Sequence[Expr]) -> Expr:
    """Four int32 that are bytes, of either sign, as a word."""
    word: Expr = None
    for place, value in enumerate(values):
        byte = tirx.bitwise_and(tirx.Cast("uint32", value), tirx.const(255, "uint32"))
        shifted = tirx.shift_left(byte, tirx.const(8 * place, "uint32")) if place else byte
        word = shifted if word is None else tirx.bitwise_or(word, shifted)
    return word


def store_bytes(k: CudaBuilder, result: Array, at: Expr, values: Sequence[Expr]) -> None:
    """A vector of int32 that are bytes, at an index that counts such vectors."""
    lanes = len(values)
    if lanes < per_word(result.kind):
        for lane, value in enumerate(values):
            result.put(at * lanes + lane, tirx.Cast(result.kind.tir, value))
        return
    words = k.local(lanes // 4, "uint32")
    for i in range(lanes // 4):
        words.store(i, word_of(values[4 * i : 4 * i + 4]))
    result.put_words(at, words.load(0, lanes // 4), lanes)


def store_vector(k: CudaBuilder, result: Array, at: Expr, values: Sequence[Expr]) -> None:
    """A vector of float32 numbers, at an index that counts such vectors."""
    lanes = len(values)
    if lanes == 1:
        result.store(at, values[0])
    elif result.kind in BYTES:
        store_bytes(k, result, at, [tirx.Cast("int32", value) for value in values])
    elif result.kind in HALVES:
        words, pair = k.local(lanes // 2, "uint32"), CONVERSIONS[result.kind].pair
        for i in range(lanes // 2):
            words.store(i, tirx.call_pure_extern("uint32", pair, values[2 * i], values[2 * i + 1]))
        result.put_words(at, words.load(0, lanes // 2), lanes)
    else:
        out, width = k.local(lanes), min(lanes, WIDEST)
        for i, value in enumerate(values):
            out.store(i, value)
        for part in range(lanes // width):
            result.store(at * (lanes // width) + part, out.load(part, width), width)


def exact_images(k: CudaBuilder, name: str, view: View, batch: int) -> Array:
    """The operand of a value of so many images whose integers are computed with as such, by `exact_vector` and
    `store_exact`."""
    if view.element != INT32:
        return k.images(name, view, batch)
    return Array(k, k.declare(name, batch * view.numbers, INT32.tir), INT32)


def exact_vector(k: CudaBuilder, source: Array, at: Expr, lanes: int) -> list[Expr]:
    """The vector of `lanes` numbers at an index that counts such vectors: int32 of integers, else float32."""
    if source.kind in BYTES:
        return load_bytes(k, source, at, lanes)
    if source.kind != INT32:
        loaded = load_vector(k, source, at, lanes)
        return [loaded.load(lane) for lane in range(lanes)]
    words = k.local(lanes, INT32.tir)
    words.put(0, source.raw(at, lanes), lanes)
    return [words.load(lane) for lane in range(lanes)]


def store_exact(k: CudaBuilder, result: Array, at: Expr, values: Sequence[Expr]) -> None:
    """A vector of numbers, int32 of integers and else float32, at an index that counts such vectors."""
    if result.kind in BYTES:
        store_bytes(k, result, at, values)
    elif result.kind == INT32:
        out, lanes = k.local(len(values), INT32.tir), len(values)
        for lane, value in enumerate(values):
            out.put(lane, value)
        result.put(at, out.raw(0, lanes), lanes)
    else:
        store_vector(k, result, at, values)
