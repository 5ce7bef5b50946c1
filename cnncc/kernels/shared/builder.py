"""Statement builder for kernels: straight-line vector code and loops over `tirx`, lowered to plain C functions.

A kernel is `void name(const float *operand..., float *result, float *scratch, int32_t lo, int32_t hi)`: it computes the
units [lo, hi) of its work and touches nothing but its operands, its result and the scratch of its thread. One whose
configuration has numbers that depend on the sizes of a call (`cnncc.base.dim`) has `const int32_t *sizes` before the
scratch: of each symbol of the network, the steps above its least. Such numbers are computed once, at the start.
All buffers are flat and hold numbers of one element type, float32 unless another is given; indices count these.
Integers are loaded and stored as they are. Numbers of 16 bits are float32 in a kernel: loads and stores convert them.

LLVM takes it that accesses through buffers of different types never meet. So memory that one kernel writes must not be
read by it through a buffer of another type.
"""

from __future__ import annotations

import functools
import math
import operator
import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any

from tvm import tirx
from tvm.ir import PointerType, PrimType, StringImm
from tvm.ir.expr import TensorLoad
from tvm.tirx import (
    AllocBuffer,
    AttrStmt,
    Bind,
    Broadcast,
    BufferLoad,
    BufferStore,
    DeclBuffer,
    FloatImm,
    For,
    ForKind,
    IfThenElse,
    IntImm,
    PrimFunc,
    Ramp,
    SeqStmt,
    Var,
)

from cnncc.base.dim import Atom, Dim, Largest, Quotient, Smallest, Symbol, least_of, lowering, most_of
from cnncc.base.elements import BFLOAT16, FLOAT16, FLOAT32, Element

SCRATCH_ALIGN = 64
"""Bytes, a cache line: where the parts of a thread's scratch begin."""

Expr = Any
"""A tirx expression or a Python int; the TVM boundary is untyped."""


_BUILDING: ContextVar[list[KernelBuilder] | None] = ContextVar("building", default=None)
"""The builders of a kernel for a range of sizes: its own, then those of parts that are only looked at."""


@contextmanager
def for_sizes() -> Iterator[None]:
    """Inside, kernels are built that get the sizes of a call."""
    builders: list[KernelBuilder] = []
    token = _BUILDING.set(builders)
    try:
        with lowering(lambda dim: builders[0].extent(dim)):
            yield
    finally:
        _BUILDING.reset(token)


def i32(value: Expr) -> Expr:
    return IntImm("int32", value) if isinstance(value, int) else value


class Buffer:
    """A flat buffer with vector access; `lanes=1` is a scalar."""

    def __init__(self, kernel: KernelBuilder, buffer: Any, kind: Element = FLOAT32) -> None:
        self._kernel = kernel
        self._buffer = buffer
        self.kind = kind

    def load(self, index: Expr, lanes: int = 1) -> Expr:
        """Elements: integers as they are, all others as float32."""
        stored = self.bits(index, lanes)
        if self.kind == FLOAT16:
            return tirx.Cast(vector_type("float32", lanes), stored)
        if self.kind == BFLOAT16:
            bits = tirx.Cast(vector_type("uint32", lanes), stored) << splat(tirx.const(16, "uint32"), lanes)
            return tirx.reinterpret(vector_type("float32", lanes), bits)
        return stored

    def bits(self, index: Expr, lanes: int = 1) -> Expr:
        """Elements as they are stored: of bfloat16, uint16."""
        return BufferLoad(self._buffer, [element(index, lanes)])

    def prefetch(self, index: Expr, *, write: bool = False, near: bool = False) -> None:
        """Asks for the cache line of an element, which may lie beyond the buffer's end, into the second cache or, if it
        is `near`, the first; with `write`, to store there: a store to a line of which another core has a copy, or
        nobody, would wait for it."""
        address = tirx.address_of(BufferLoad(self._buffer, [i32(index)]))
        access, keep, data = (IntImm("int32", n) for n in (int(write), 2 + near, 1))
        self._kernel.emit(tirx.Evaluate(tirx.call_llvm_intrin("void", "llvm.prefetch", address, access, keep, data)))

    def view(self, index: Expr, count: int) -> Buffer:
        """The elements from an index on as a buffer of their own, for what is nested here. Its address is computed
        once: LLVM makes constant distances from it part of an instruction, those from an index it may not."""
        return self._kernel.view(self._buffer, index, count, self.kind)

    def store(self, index: Expr, value: Expr, lanes: int = 1) -> None:
        """Stores elements: integers of the buffer's type, or float32, which 16 bits are rounded from."""
        if self.kind == FLOAT16:
            value = tirx.Cast(vector_type("float16", lanes), value)
        elif self.kind == BFLOAT16:
            value = self._kernel.narrow(value, lanes)
        self.put(index, value, lanes)

    def put(self, index: Expr, bits: Expr, lanes: int = 1) -> None:
        """Stores elements as `bits` gives them."""
        self._kernel.emit(BufferStore(self._buffer, bits, [element(index, lanes)]))


def element(index: Expr, lanes: int) -> Expr:
    """TVM's index of one number, or of a vector of them."""
    return i32(index) if lanes == 1 else Ramp(i32(index), IntImm("int32", 1), lanes)


def vector_type(scalar: str, lanes: int) -> str:
    """TVM's name of a vector type."""
    return scalar if lanes == 1 else f"{scalar}x{lanes}"


def bfloat16_bits(value: Expr, lanes: int) -> Expr:
    """float32 rounded to bfloat16, ties to even, as its bits; a NaN keeps its upper half, as a quiet one. Without a
    name for the bits, since they are read four times: `value` should be a name."""

    def bits(number: int) -> Expr:
        return splat(tirx.const(number, "uint32"), lanes)

    whole = tirx.reinterpret(vector_type("uint32", lanes), value)
    upper = whole >> bits(16)
    nearest = (whole + (bits(0x7FFF) + (upper & bits(1)))) >> bits(16)
    kept = tirx.Select(tirx.isnan(value), upper | bits(0x40), nearest)
    return tirx.Cast(vector_type("uint16", lanes), kept)


def constant(value: float) -> Expr:
    """A float32 constant. Infinities and NaN by their bits: TVM folds constants by rules for numbers, and the names
    that it has for them in CUDA are of a header."""
    if math.isfinite(value):
        return FloatImm("float32", value)
    bits = struct.unpack("<i", struct.pack("<f", value))[0]
    # A plain number has no address, by which TVM's CUDA reads it as another type; a conversion becomes a variable. It
    # starts at a float, which has these bits exactly: CUDA knows int64_t only with a header.
    return tirx.reinterpret("float32", tirx.Cast("int32", FloatImm("float32", float(bits))))


def splat(value: Expr, lanes: int) -> Expr:
    """A scalar (or a float constant) as a vector."""
    scalar = constant(float(value)) if isinstance(value, int | float) else value
    return scalar if lanes == 1 else Broadcast(scalar, lanes)


def filled(value: float, lanes: int, kind: Element) -> Expr:
    """One number of an element type as a vector of it; halves as float32, like all that is loaded."""
    return splat(tirx.const(int(value), kind.tir) if kind.whole else value, lanes)


def dtype_of(value: Expr) -> str:
    """TVM's name of the type of an expression: `float32`, or `float32x8` of a vector."""
    return str(value.ty.dtype if hasattr(value, "ty") else value.dtype)


def _is_read(value: Expr) -> bool:
    """Whether a value is an element of an array, or a vector whose lanes all are that element."""
    return isinstance(value.value if isinstance(value, Broadcast) else value, TensorLoad)


def sequence(statements: list[Any]) -> Any:
    """One statement after the other."""
    return statements[0] if len(statements) == 1 else SeqStmt(statements)


class KernelBuilder:
    """Builds one kernel. Use `operand`/`result`/`scratch`, then `with units()` for the outer loop, then `finish`."""

    def __init__(self) -> None:
        self._blocks: list[list[Any]] = [[]]
        self._count = 0
        self._params: list[Any] = []
        self._decls: list[Any] = []
        self._scratch = Var("scratch", PointerType(PrimType("float32"), "global"))
        self.scratch_bytes = 0
        self._lo, self._hi = Var("lo", "int32"), Var("hi", "int32")
        self._functions: dict[str, str] = {}
        self._bound: dict[Dim | Atom, Any] = {}
        self._sizes: Any = None
        builders = _BUILDING.get()
        if builders is not None:
            builders.append(self)
            pointer = Var("sizes_ptr", PointerType(PrimType("int32"), "global"))
            self._sizes = tirx.decl_buffer((1 << 16,), "int32", "sizes")
            self._decls.append(DeclBuffer(self._sizes, data=pointer))
            self._sizes_pointer = pointer
        self.rounding: Callable[[Expr, int], Expr] = lambda value, lanes: bfloat16_bits(self.let(value), lanes)
        """Makes the bits of bfloat16 of float32: without an instruction for it, unless the unit of a target has one."""

    def narrow(self, value: Expr, lanes: int) -> Expr:
        """float32 rounded to bfloat16, as its bits."""
        return self.rounding(value, lanes)

    def extent(self, dim: Dim) -> Expr:
        """A number that depends on the sizes of the call, as a name that is bound at the start of the kernel."""
        if dim not in self._bound:
            terms = []
            for product, factor in dim.terms.items():
                value: Expr = IntImm("int32", factor)
                for atom in product:
                    value = value * self._atom(atom)
                terms.append(value)
            self._bind(dim, functools.reduce(operator.add, terms))
        return self._bound[dim]

    def number(self, extent: Expr) -> Expr:
        """A number of a configuration as TVM's expression, to be compared with others in the kernel."""
        return self.extent(extent) if isinstance(extent, Dim) else i32(extent)

    def at_start(self, value: Expr) -> Expr:
        """Names a number that is computed once, at the start of the kernel, of others that are. It goes through memory,
        as other values do that many are made of; see `let`."""
        buffer = tirx.decl_buffer((1,), "int32", self._name("size"), scope="local", data_alignment=64)
        variable, place = Var(self._name("size"), "int32"), [IntImm("int32", 0)]
        self._decls += [
            AllocBuffer(buffer, {"disable_lower_builtin": IntImm("bool", 1)}),
            BufferStore(buffer, value, place),
            Bind(variable, BufferLoad(buffer, place)),
        ]
        return variable

    def _atom(self, atom: Atom) -> Expr:
        if atom in self._bound:
            return self._bound[atom]
        match atom:
            case Symbol(index=index):
                value = BufferLoad(self._sizes, [IntImm("int32", index)])
            case Quotient(over, under):
                # Of numbers that are not negative C's division gives the same, and is shorter.
                divide = tirx.truncdiv if least_of(over) >= 0 else tirx.floordiv
                value = divide(self.extent(over), IntImm("int32", under))
            case Largest(of):
                value = functools.reduce(tirx.max, map(self.number, of))
            case Smallest(of):
                value = functools.reduce(tirx.min, map(self.number, of))
        return self._bind(atom, value)

    def _bind(self, key: Dim | Atom, value: Expr) -> Expr:
        self._bound[key] = self.at_start(value)
        return self._bound[key]

    def call(self, dtype: str, name: str, text: str, *args: Expr) -> Expr:
        """A call of a function that LLVM IR defines: of a type that TVM does not have. It is to be `internal` and
        `alwaysinline`."""
        self._functions[name] = text
        return tirx.call_extern(dtype, name, *args)

    def emit(self, statement: Any) -> None:
        self._blocks[-1].append(statement)

    @property
    def statements(self) -> int:
        """How many statements the innermost open block has."""
        return len(self._blocks[-1])

    def _name(self, stem: str) -> str:
        self._count += 1
        return f"{stem}_{self._count}"

    def operand(self, name: str, count: int, kind: Element = FLOAT32) -> Buffer:
        """A pointer parameter, in the order of the calls; results are declared the same way, last."""
        return Buffer(self, self.declare(name, count, kind.tir), kind)

    def declare(self, name: str, count: int, dtype: str) -> Any:
        """TVM's buffer of a pointer parameter, of one of TVM's types."""
        pointer = Var(f"{name}_ptr", PointerType(PrimType(dtype), "global"))
        buffer = tirx.decl_buffer((most_of(count),), dtype, name)
        self._params.append(pointer)
        self._decls.append(DeclBuffer(buffer, data=pointer))
        return buffer

    def scratch(self, count: int, kind: Element = FLOAT32) -> Buffer:
        """A part of the thread's scratch for so many elements, 64-byte aligned in the arena. Call before any loop."""
        offset = self.scratch_bytes
        self.scratch_bytes += -(-kind.bytes(count) // SCRATCH_ALIGN) * SCRATCH_ALIGN
        buffer = tirx.decl_buffer((most_of(count),), kind.tir, self._name("scratch"))
        address = tirx.handle_add_byte_offset(self._scratch, offset)
        pointer = tirx.reinterpret(PointerType(PrimType(kind.tir), "global"), address)
        self._decls.append(DeclBuffer(buffer, data=pointer))
        return Buffer(self, buffer, kind)

    def view(self, buffer: Any, index: Expr, count: int, kind: Element) -> Buffer:
        """See `Buffer.view`."""
        pointer = Var(self._name("at"), PointerType(PrimType(str(buffer.dtype)), "global"))
        self.emit(Bind(pointer, tirx.address_of(BufferLoad(buffer, [i32(index)]))))
        part = tirx.decl_buffer((count,), str(buffer.dtype), self._name("view"))
        self.emit(DeclBuffer(part, data=pointer))
        return Buffer(self, part, kind)

    def registers(self, count: int, kind: Element = FLOAT32) -> Buffer:
        """A small local array, which LLVM promotes to registers if all indices are constants."""
        return Buffer(self, self._local(count, kind.tir, "acc"), kind)

    def _local(self, count: int, scalar: str, stem: str) -> Any:
        """TVM's buffer of a local array."""
        buffer = tirx.decl_buffer((count,), scalar, self._name(stem), scope="local", data_alignment=64)
        self.emit(AllocBuffer(buffer, {"disable_lower_builtin": IntImm("bool", 1)}))
        return buffer

    def let(self, value: Expr, stem: str = "t") -> Expr:
        """Names a value so that it is computed once.

        Where TVM simplifies it puts the definition of a name in the place of each use, so a chain of names, each used
        twice, doubles with every link. Only indices are to be simplified, and only they become such names. Other values
        go through memory, which TVM does not look into and LLVM makes a register again. So do indices where sizes are
        no numbers: then there is little to simplify, and TVM takes minutes to find that.
        """
        if isinstance(value, int | Dim):
            return value
        dtype = dtype_of(value)
        if (dtype != "int32" or self._sizes is not None) and not _is_read(value):
            return self._kept(value, dtype)
        variable = Var(self._name(stem), dtype)
        self.emit(Bind(variable, value))
        return variable

    def _kept(self, value: Expr, dtype: str) -> Expr:
        """A value stored in a local array of its own, to be read where it is used."""
        scalar, _, lanes = dtype.partition("x")
        buffer = self._local(int(lanes or 1), scalar, "kept")
        place = [element(0, int(lanes or 1))]
        self.emit(BufferStore(buffer, value, place))
        return BufferLoad(buffer, place)

    @contextmanager
    def _block(self) -> Iterator[list[Any]]:
        """Collects the statements emitted inside."""
        self._blocks.append([])
        yield self._blocks[-1]
        self._blocks.pop()

    @contextmanager
    def loop(self, extent: Expr, stem: str = "i", start: Expr = 0) -> Iterator[Expr]:
        """A serial loop around what is emitted inside; its variable counts from `start`.

        One of a single known step is no loop: its body stands alone, with `start` for the variable. Of one that is
        known to take no step nothing remains.
        """
        if isinstance(extent, int) and isinstance(start, int) and extent == 1:
            yield start
        elif isinstance(extent, int) and isinstance(start, int) and extent <= 0:
            names = self._count
            with self._block():
                yield start
            self._count = names
        else:
            variable = Var(self._name(stem), "int32")
            with self._block() as body:
                yield variable
            self.emit(For(variable, i32(start), i32(extent), ForKind.SERIAL, sequence(body)))

    @contextmanager
    def when(self, condition: Expr) -> Iterator[None]:
        """What is emitted inside happens only if the condition holds."""
        with self._block() as body:
            yield
        self.emit(IfThenElse(condition, sequence(body), None))

    @contextmanager
    def otherwise(self) -> Iterator[None]:
        """What is emitted inside happens if the condition of the `when` just before does not hold."""
        before = self._blocks[-1].pop()
        assert isinstance(before, IfThenElse), "`otherwise` follows a `when`"
        assert before.else_case is None, "a `when` has one `otherwise`"
        with self._block() as body:
            yield
        self.emit(IfThenElse(before.condition, before.then_case, sequence(body)))

    def units(self) -> AbstractContextManager[Expr]:
        """The outermost loop, over the caller's range of units."""
        return self.loop(self._hi - self._lo, "unit", self._lo)

    def finish(self, symbol: str) -> PrimFunc:
        """The kernel as a PrimFunc without a packed ABI: pointers and two ints in, nothing out."""
        body: Any = SeqStmt([*self._decls, *self._blocks[0]])
        zero, one = IntImm("int32", 0), IntImm("int32", 1)
        if self._functions:
            text = "\n".join(self._functions.values())
            body = AttrStmt(zero, "pragma_import_llvm", StringImm(text), body)
        body = AttrStmt("default", "device_id", zero, body)
        body = AttrStmt("default", "device_type", one, body)
        sizes = [] if self._sizes is None else [self._sizes_pointer]
        func = PrimFunc([*self._params, *sizes, self._scratch, self._lo, self._hi], body, ret_type=None)
        return func.with_attr("global_symbol", symbol)
