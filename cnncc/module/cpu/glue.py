"""The steps of a module as LLVM IR: the calls of its kernels, and how threads share them.

Each thread goes through all steps. A step is cut into chunks, and each thread has a share of them: a run of
neighbouring chunks. So a thread reads its own part of the weights, and finds in its cache the part of the image that it
wrote in the step before.

In a step, a thread first takes chunks from its own share, by an atomic counter, then chunks from the shares of others,
and then waits until all chunks are finished. No thread waits for one that holds no chunk. If a thread wakes late or
loses its core, the others finish without it; it goes through the steps later and finds no chunk left. One thread alone
can complete a run.

A run has as many images as the caller says. Each has a part of the arena; what a run has once, scratch and counters,
lies in and above the part of the last one. So the code has two pointers: to the first part and to the last.

Counters, and all that kernels write, lie in the arena, so a run writes only to memory that the caller gave to it.
`cnncc.module.cpu.entry` has the functions that callers see.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cnncc.base.dim import Extent, symbols_of
from cnncc.kernels.shared.operands import NodeValue, Operand, PackedWeight, RawInput, Workspace
from cnncc.kernels.shared.spec import Call, Kernel
from cnncc.module.cpu.extents import DECLARATIONS, Formulas, Table
from cnncc.module.cpu.program import CpuProgram
from cnncc.module.cpu.rooms import COUNTER_BYTES
from cnncc.ops.source import port_type
from cnncc.plan.homes import InArena, InConstant, InInput, InOutput
from cnncc.runtime.interface import ALIGN, Code

WANTED_CHUNKS = 32
"""Into how many chunks a step is cut. They are small, so that a thread that loses its core keeps the others waiting for
little."""

_SPINS_BEFORE_YIELD = 10000
_STRETCH = 16
"""Steps in one function. The time that LLVM takes for a function grows with the square of its length."""


def steps_ir(program: CpuProgram, symbol: str) -> str:
    """The text of a module with one hidden function `symbol`, which runs the network once:

        i32 symbol(inputs..., outputs..., arena, weights, i32 images, i32 threads, ptr parallel_for, ptr pool)

    It does not check its arguments. `images` and `threads` are at least 1 and at most the program's; `parallel_for` may
    be null for one thread. Returns OK, or UNFINISHED if no thread came. A program for a range of sizes is told the size
    by one argument more, `ptr steps`: for each symbol an int32, the steps above its least. It has a second function,
    `i64 symbol_arena(ptr steps, i32 images)`, for the bytes of arena that a run needs.
    """
    return _Steps(program, symbol).text()


@dataclass
class _Steps:
    program: CpuProgram
    symbol: str

    def __post_init__(self) -> None:
        graph = self.program.graph
        self.inputs = [n.name for n in graph.inputs]
        self.outputs = list(graph.outputs)
        self.ranged = bool(self.program.symbols)
        self.pointers = len(self.inputs) + len(self.outputs) + 3 + 2 * self.ranged
        """Inputs, outputs; the numbers that depend on the size, and the size; the arena, the part of its last image,
        weights."""
        self.table = Table()
        self.arena, self.last, self.weights = (f"%p{self.pointers - i}" for i in (3, 2, 1))
        self.context = f"{{ [{self.pointers} x ptr], i32, i32, i32 }}"
        """The type of what the threads of a run share: pointers, number of images, number of threads, whether any
        thread came."""
        self.images = "%images" if self.program.batch > 1 else "1"

    def text(self) -> str:
        parts = [
            f'target triple = "{self.program.target.triple}"',
            *self._waiting(),
            "declare void @llvm.memset.p0.i32(ptr, i8, i32, i1)",
            *(self._declare(k.symbol, arity) for k, arity in self._arities().items()),
            self._meet(),
            *(["declare i64 @llvm.readcyclecounter()"] if self.program.options.stamps else []),
            *([] if self.ranged else self._strides()),
            *(self._stretch(first) for first in self._stretches()),
            self._body(),
            self._run(),
            *([*DECLARATIONS, self.table.function(), self._arena()] if self.ranged else []),
        ]
        return "\n\n".join(parts) + "\n"

    def _arities(self) -> dict[Kernel, int]:
        return {
            c.kernel: len(c.operands) + 1 + 2 * c.whole_batch + bool(symbols_of(c.kernel.config))
            for c in self.program.calls
        }

    def _waiting(self) -> list[str]:
        """Declarations of the functions that a waiting thread calls."""
        target = self.program.target
        pause = re.sub(r"(i[0-9]+) [0-9]+", r"\1", target.pause)  # types without values
        return [f"declare void @{pause}"] * bool(pause) + ["declare i32 @sched_yield()"] * target.threads

    @staticmethod
    def _declare(symbol: str, pointers: int) -> str:
        return f"declare void @{symbol}({', '.join(['ptr'] * (pointers + 1))}, i32, i32)"

    def _meet(self) -> str:
        """A function that adds a thread's finished chunks to the count of a step, and waits until the count is
        complete.

        With stamps, the thread that completes the count stores the time. The caller's thread cannot do it: it may have
        no core at that moment."""
        target = self.program.target
        pause = f"  call void @{target.pause}\n" if target.pause else ""
        give_way = "  %ignored = call i32 @sched_yield()\n" if target.threads else ""
        stamp, clock, note, noted = "", "", "  br label %wait", ""
        if self.program.options.stamps:
            stamp, clock, noted = ", ptr %stamp", "  %clock = call i64 @llvm.readcyclecounter()\n", " [ 0, %note ],"
            note = """\
  %sum = add i32 %before, %mine
  %last = icmp eq i32 %sum, %all
  br i1 %last, label %note, label %wait
note:
  store i64 %clock, ptr %stamp, align 8
  br label %wait"""
        return f"""\
define internal void @meet(ptr %finished, i32 %mine, i32 %all{stamp}) noinline {{
entry:
  %any = icmp ne i32 %mine, 0
  br i1 %any, label %add, label %wait
add:
{clock}  %before = atomicrmw add ptr %finished, i32 %mine release, align 4
{note}
wait:
  %spins = phi i32 [ 0, %entry ], [ 0, %add ],{noted} [ %more, %again ]
  %now = load atomic i32, ptr %finished acquire, align 4
  %complete = icmp eq i32 %now, %all
  br i1 %complete, label %done, label %pause
pause:
  %patient = icmp slt i32 %spins, {_SPINS_BEFORE_YIELD}
  br i1 %patient, label %spin, label %yield
spin:
{pause}  br label %again
yield:
{give_way}  br label %again
again:
  %more = add i32 %spins, 1
  br label %wait
done:
  ret void
}}"""

    def _strides(self) -> list[str]:
        """For each call of a whole batch, how far the images of its values lie apart."""
        tables = []
        for i, numbers in self._stride_rows().items():
            row = ", ".join(f"i32 {n}" for n in numbers)
            tables.append(f"@strides{i} = internal constant [{len(numbers)} x i32] [{row}], align 4")
        return tables

    def _stride_rows(self) -> dict[int, list[Extent]]:
        """For each call of a whole batch, by its number."""
        return {
            i: [self._stride(o) for o in (*call.operands, call.result) if isinstance(o, NodeValue)]
            for i, call in enumerate(self.program.calls)
            if call.whole_batch
        }

    def _stride(self, value: NodeValue) -> Extent:
        """Numbers from one image of a value to the next."""
        stride = self.program.plan.placements[value.name].image_stride
        return stride // self.program.graph[value.name].type.element.itemsize

    def _meet_call(self, i: int) -> list[str]:
        """The end of step i. Its stamp lies after the stamp of the run's start and those of the steps before."""
        arguments = f"ptr %finished{i}, i32 %kept{i}, i32 %total{i}"
        if not self.program.options.stamps:
            return [f"  call void @meet({arguments})"]
        at = self.table.known(self.program.memory.bytes + 8 * (i + 1))
        return [
            f"  %stamp{i} = getelementptr i8, ptr {self.last}, i64 {at}",
            f"  call void @meet({arguments}, ptr %stamp{i})",
        ]

    def _stretches(self) -> range:
        """The first step of each function that runs some steps."""
        return range(0, len(self.program.calls), _STRETCH)

    def _stretch(self, first: int) -> str:
        """A function in which a thread runs some steps that follow each other."""
        lines = [
            f"define internal void @stretch{first}(ptr %context, i32 %id, i32 %threads) noinline {{",
            "entry:",
        ]
        for i in range(self.pointers):
            lines.append(f"  %from{i} = getelementptr ptr, ptr %context, i32 {i}")
            lines.append(f"  %p{i} = load ptr, ptr %from{i}")
        calls = self.program.calls[first : first + _STRETCH]
        steps = [line for i, call in enumerate(calls, start=first) for line in self._step(i, call)]
        if self.ranged:
            lines += [f"  %table = getelementptr i8, ptr %p{self.pointers - 5}, i64 0", *self.table.loads()]
        lines += [
            f"  %images.at = getelementptr {self.context}, ptr %context, i32 0, i32 1",
            "  %images = load i32, ptr %images.at",
            # A step is cut into chunks of images first; if these are few, each is cut further.
            f"  %spread = add i32 {self.images}, {WANTED_CHUNKS - 1}",
            f"  %wanted = udiv i32 %spread, {self.images}",
            "  %id64 = sext i32 %id to i64",
            "  %round = sub i32 %threads, 1",
            f"  br label %step{first}",
        ]
        return "\n".join([*lines, *steps, f"step{first + len(calls)}:", "  ret void", "}"])

    def _body(self) -> str:
        """The function in which a thread runs all steps.

        The context holds the pointers, the number of threads, and whether any thread came. A thread whose id is not
        below the number of threads returns at once, because it has no scratch."""
        lines = [
            "define internal void @body(ptr %context, i32 %id) {",
            "entry:",
            f"  %threads.at = getelementptr {self.context}, ptr %context, i32 0, i32 2",
            "  %threads = load i32, ptr %threads.at",
            "  %expected = icmp ult i32 %id, %threads",
            "  br i1 %expected, label %come, label %leave",
            "leave:",
            "  ret void",
            "come:",
            *(f"  call void @stretch{first}(ptr %context, i32 %id, i32 %threads)" for first in self._stretches()),
            f"  %came = getelementptr {self.context}, ptr %context, i32 0, i32 3",
            "  store atomic i32 1, ptr %came release, align 4",
            "  ret void",
            "}",
        ]
        return "\n".join(lines)

    def _step(self, i: int, call: Call) -> list[str]:
        """One step: a kernel call, cut into chunks that the threads share. The calls for all images of a batch are one
        step."""
        units = self.table.known(call.kernel.units, 32)
        memory = self.program.memory
        finished = self.table.known(memory.counters + self.program.threads * memory.counter_row + COUNTER_BYTES * i)
        images = self.images if self.program.images(call) > 1 else "1"
        image, part = f"udiv i32 %t{i}, %parts{i}", f"urem i32 %t{i}, %parts{i}"
        if self.program.images_innermost(call):
            part, image = f"udiv i32 %t{i}, {images}", f"urem i32 %t{i}, {images}"
        lines = [
            f"step{i}:",
            *self._chunks(i, call.kernel.units, images),
            *self._scratch(i),
            f"  %finished{i} = getelementptr i8, ptr {self.last}, i64 {finished}",
            f"  br label %share{i}",
            f"share{i}:",
            f"  %tried{i} = phi i32 [ 0, %step{i} ], [ %passed{i}, %empty{i} ]",
            f"  %done{i} = phi i32 [ 0, %step{i} ], [ %kept{i}, %empty{i} ]",
            *self._share(i),
            # Read the counter before changing it: if the share is used up, a change would only take the cache line from
            # the other threads.
            f"  %seen{i} = load atomic i32, ptr %next{i} monotonic, align 4",
            f"  %ahead.{i} = add i32 %first{i}, %seen{i}",
            f"  %open{i} = icmp slt i32 %ahead.{i}, %end{i}",
            f"  br i1 %open{i}, label %take{i}, label %empty{i}",
            f"take{i}:",
            f"  %mine{i} = phi i32 [ %done{i}, %share{i} ], [ %again{i}, %work{i} ]",
            f"  %taken{i} = atomicrmw add ptr %next{i}, i32 1 monotonic, align 4",
            f"  %t{i} = add i32 %first{i}, %taken{i}",
            f"  %more{i} = icmp slt i32 %t{i}, %end{i}",
            f"  br i1 %more{i}, label %work{i}, label %empty{i}",
            f"empty{i}:",
            f"  %kept{i} = phi i32 [ %done{i}, %share{i} ], [ %mine{i}, %take{i} ]",
            f"  %passed{i} = add i32 %tried{i}, 1",
            f"  %left{i} = icmp slt i32 %passed{i}, %threads",
            f"  br i1 %left{i}, label %share{i}, label %meet{i}",
            f"work{i}:",
            f"  %image{i} = {image}",
            f"  %wide{i} = sext i32 %image{i} to i64",
            f"  %part{i} = {part}",
            f"  %lo{i} = mul i32 %part{i}, %chunk{i}",
            f"  %full{i} = add i32 %lo{i}, %chunk{i}",
            f"  %over{i} = icmp sgt i32 %full{i}, {units}",
            f"  %hi{i} = select i1 %over{i}, i32 {units}, i32 %full{i}",
        ]
        arguments = []
        for j, operand in enumerate((*call.operands, call.result)):
            base, offset, stride = self._address(i, operand)
            offset = self.table.known(offset)
            pointer = f"%a{i}.{j}"
            if (isinstance(stride, int) and stride == 0) or images == "1":
                lines.append(f"  {pointer} = getelementptr i8, ptr {base}, i64 {offset}")
            else:
                lines += [
                    f"  %m{i}.{j} = mul i64 %wide{i}, {self.table.known(stride)}",
                    f"  %s{i}.{j} = add i64 %m{i}.{j}, {offset}",
                    f"  {pointer} = getelementptr i8, ptr {base}, i64 %s{i}.{j}",
                ]
            arguments.append(f"ptr {pointer}")
        if call.whole_batch:
            arguments[-1:-1] = ["ptr %images.at", f"ptr {self._strides_at(i)}"]
            if self.ranged:
                at = self.table.row(self._stride_rows()[i])
                lines.append(f"  %strides{i} = getelementptr i8, ptr %table, i64 {at}")
        if symbols_of(call.kernel.config):
            arguments.append(f"ptr %p{self.pointers - 4}")
        arguments += [f"ptr %scratch{i}", f"i32 %lo{i}", f"i32 %hi{i}"]
        return [
            *lines,
            f"  call void @{call.kernel.symbol}({', '.join(arguments)})",
            f"  %again{i} = add i32 %mine{i}, 1",
            f"  br label %take{i}",
            f"meet{i}:",
            *self._meet_call(i),
            f"  br label %step{i + 1}",
        ]

    def _strides_at(self, i: int) -> str:
        return f"%strides{i}" if self.ranged else f"@strides{i}"

    def _chunks(self, i: int, count: Extent, images: str) -> list[str]:
        """How the units of step i are cut: units of a chunk, chunks of an image (parts), chunks in total. Of a call
        that is made once, the numbers are known to LLVM."""
        units, less = self.table.known(count, 32), self.table.known(count - 1, 32)
        wanted = "%wanted" if images != "1" else f"{WANTED_CHUNKS}"
        return [
            f"  %few{i} = icmp ult i32 {wanted}, {units}",
            f"  %cuts{i} = select i1 %few{i}, i32 {wanted}, i32 {units}",
            f"  %filled{i} = add i32 %cuts{i}, {less}",
            f"  %chunk{i} = udiv i32 %filled{i}, %cuts{i}",
            f"  %rounded{i} = add i32 %chunk{i}, {less}",
            f"  %parts{i} = udiv i32 %rounded{i}, %chunk{i}",
            f"  %total{i} = mul i32 %parts{i}, {images}",
        ]

    def _share(self, i: int) -> list[str]:
        """Finds the share of a thread: its chunks [first, end), and the counter of chunks that were taken from it.

        The thread's own share comes first, then those of the threads after it. The share of thread k begins at chunk
        total * k / threads, rounded up."""
        memory = self.program.memory
        return [
            f"  %after{i} = add i32 %id, %tried{i}",
            f"  %whose{i} = urem i32 %after{i}, %threads",
            f"  %scaled{i} = mul i32 %whose{i}, %total{i}",
            f"  %raised{i} = add i32 %scaled{i}, %round",
            f"  %first{i} = udiv i32 %raised{i}, %threads",
            f"  %beyond{i} = add i32 %raised{i}, %total{i}",
            f"  %end{i} = udiv i32 %beyond{i}, %threads",
            f"  %whose64.{i} = zext i32 %whose{i} to i64",
            f"  %row{i} = mul i64 %whose64.{i}, {memory.counter_row}",
            f"  %counter{i} = add i64 %row{i}, {self.table.known(memory.counters + COUNTER_BYTES * i)}",
            f"  %next{i} = getelementptr i8, ptr {self.last}, i64 %counter{i}",
        ]

    def _scratch(self, i: int) -> list[str]:
        """Finds the thread's scratch for step i."""
        memory = self.program.memory.calls[i]
        return [
            f"  %own{i} = mul i64 %id64, {self.table.known(memory.stride)}",
            f"  %ahead{i} = add i64 %own{i}, {self.table.known(memory.scratch)}",
            f"  %scratch{i} = getelementptr i8, ptr {self.last}, i64 %ahead{i}",
        ]

    def _address(self, i: int, operand: Operand) -> tuple[str, Extent, Extent]:
        """The base pointer of an operand, its byte offset from there, and the bytes from one image to the next."""
        match operand:
            case PackedWeight(name, start):
                return self.weights, self.program.weight_offsets[name] + start, 0
            case Workspace(_, start):
                memory = self.program.memory
                return self.arena, memory.calls[i].workspace + start, memory.pitch
            case RawInput(name):
                kind = port_type(self.program.graph[name])
                return f"%p{self.inputs.index(name)}", 0, kind.nbytes // kind.shape[0]
            case NodeValue(name, start):
                return self._value_address(name, start)

    def _value_address(self, name: str, start: int) -> tuple[str, Extent, Extent]:
        """The same of a node's value from byte `start` of it on."""
        placement = self.program.plan.placements[name]
        offset = placement.offset + placement.inner + start
        match placement.home:
            case InConstant(node):
                return self.weights, self.program.weight_offsets[f"{node}.value"] + offset, 0
            case InArena():
                return self.arena, offset, placement.image_stride
            case InInput(index):
                return f"%p{index}", offset, placement.image_stride
            case InOutput(index):
                return f"%p{len(self.inputs) + index}", offset, placement.image_stride

    def _run(self) -> str:
        arguments = [f"%in{i}" for i in range(len(self.inputs))] + [f"%out{i}" for i in range(len(self.outputs))]
        given = [*arguments, "%arena", "%weights"]
        memory, known = self.program.memory, self.table.known
        counters = memory.bytes - memory.counters
        more = ["%table", "%steps"] if self.ranged else []
        start = [
            f"define hidden i32 @{self.symbol}({', '.join(f'ptr {a}' for a in given)}, i32 %images, "
            f"i32 %threads, ptr %parallel_for, ptr %pool{', ptr %steps' if self.ranged else ''}) {{",
            "entry:",
            f"  %context = alloca {self.context}, align 16",
        ]
        lines = [
            "  %wide = zext i32 %images to i64",
            "  %others = sub i64 %wide, 1",
            f"  %before = mul i64 %others, {known(memory.pitch)}",
            "  %last = getelementptr i8, ptr %arena, i64 %before",
        ]
        for i, value in enumerate([*arguments, *more, "%arena", "%last", "%weights"]):
            lines.append(f"  %field{i} = getelementptr ptr, ptr %context, i32 {i}")
            lines.append(f"  store ptr {value}, ptr %field{i}")
        lines += [
            f"  %images.at = getelementptr {self.context}, ptr %context, i32 0, i32 1",
            "  store i32 %images, ptr %images.at",
            f"  %threads.at = getelementptr {self.context}, ptr %context, i32 0, i32 2",
            "  store i32 %threads, ptr %threads.at",
            f"  %came = getelementptr {self.context}, ptr %context, i32 0, i32 3",
            "  store i32 0, ptr %came",
            f"  %counters = getelementptr i8, ptr %last, i64 {known(memory.counters)}",
            f"  call void @llvm.memset.p0.i32(ptr align {ALIGN} %counters, i8 0, i32 {counters}, i1 false)",
            *self._stamp_start(),
            "  %unpooled = icmp eq ptr %parallel_for, null",
            "  %single = icmp eq i32 %threads, 1",
            "  %alone = or i1 %unpooled, %single",
            "  br i1 %alone, label %one, label %many",
            f"one:\n  call void @body(ptr %context, i32 0)\n  ret i32 {Code.OK:d}",
            "many:",
            "  call void %parallel_for(ptr %pool, i32 %threads, ptr @body, ptr %context)",
            "  %anybody = load atomic i32, ptr %came acquire, align 4",
            "  %missed = icmp eq i32 %anybody, 0",
            f"  %code = select i1 %missed, i32 {Code.UNFINISHED:d}, i32 {Code.OK:d}",
            "  ret i32 %code",
            "}",
        ]
        return "\n".join([*start, *(self._measured() if self.ranged else []), *lines])

    def _measured(self) -> list[str]:
        """The table of numbers that depend on the size."""
        loads = self.table.loads()
        return [
            f"  %table = alloca i8, i64 {self.table.nbytes}, align 16",
            "  call void @measure(ptr %table, ptr %steps)",
            *loads,
        ]

    def _arena(self) -> str:
        """The bytes of a run of some images of a size."""
        formulas, memory = Formulas(), self.program.memory
        pitch, first = formulas.value(memory.pitch), formulas.value(memory.bytes + self.program.stamp_bytes)
        return "\n".join(
            [
                f"define hidden i64 @{self.symbol}_arena(ptr %steps, i32 %images) {{",
                *formulas.lines,
                "  %others = sub i32 %images, 1",
                "  %wide = zext i32 %others to i64",
                f"  %more = mul i64 %wide, {pitch}",
                f"  %bytes = add i64 %more, {first}",
                "  ret i64 %bytes",
                "}",
            ]
        )

    def _stamp_start(self) -> list[str]:
        if not self.program.options.stamps:
            return []
        return [
            f"  %stamps = getelementptr i8, ptr %last, i64 {self.table.known(self.program.memory.bytes)}",
            "  %now = call i64 @llvm.readcyclecounter()",
            "  store i64 %now, ptr %stamps, align 8",
        ]
