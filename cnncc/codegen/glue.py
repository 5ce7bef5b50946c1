"""The module's own code, as LLVM IR: the run function, the steps, and how threads share a step.

Every thread walks all steps. In a step it takes chunks of work from an atomic counter until none is left, then waits
until all chunks are finished. Nobody waits for a thread that holds no chunk: one that has lost its core, or woke late,
catches up by itself. The counters, a cache line for each step, lie in the arena, so a run touches nothing it does not
own. The model handed to run is `{ const void *weights; launch function or null; int32_t threads; }`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cnncc.codegen.program import ALIGN, Program
from cnncc.kernels.spec import Call, Kernel, Operand

OK, NULL_POINTER, MISALIGNED = 0, 1, 2
ERRORS = {
    OK: "no error",
    NULL_POINTER: "a pointer is null",
    MISALIGNED: f"the arena is not aligned to {ALIGN} bytes",
}
INTERFACE = ("run", "model_get", "set_threads", "arena_bytes", "info", "error")
"""What a shared object exports, each as `NAME_...`."""
WANTED_CHUNKS = 32
"""Chunks a step is cut into, so that a thread that loses its core costs little."""

_SPINS_BEFORE_YIELD = 10000


def c_name(name: str) -> str:
    """A network's name as a C identifier (ASCII: C compilers and LLVM's text agree on nothing else)."""
    clean = re.sub(r"\W", "_", name, flags=re.ASCII)
    return clean if clean[:1].isalpha() or clean[:1] == "_" else f"net_{clean}"


def glue_ir(program: Program, info: str, standalone: bool) -> str:
    """The text of the glue module. A standalone one also holds the default model (weights and pool linked in), the
    information text in a section `.cnncc`, and the functions around them; without, only `NAME_run`."""
    return _Glue(program, info, standalone).text()


@dataclass
class _Glue:
    program: Program
    info: str
    standalone: bool

    def __post_init__(self) -> None:
        graph = self.program.graph
        self.name = c_name(graph.name)
        self.inputs = [n.name for n in graph.inputs]
        self.outputs = list(graph.outputs)
        self.pointers = len(self.inputs) + len(self.outputs) + 2
        """Inputs, outputs, arena, weights."""

    def text(self) -> str:
        parts = [
            f'target triple = "{self.program.target.triple}"',
            "declare i32 @sched_yield()",
            "declare void @llvm.x86.sse2.pause()",
            "declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)",
            *(self._declare(k.symbol, arity) for k, arity in self._arities().items()),
            self._meet(),
            *(["declare i64 @llvm.readcyclecounter()"] if self.program.stamps else []),
            self._body(),
            self._run(),
        ]
        if self.standalone:
            parts += [self._model(), self._queries()]
        return "\n\n".join(parts) + "\n"

    def _arities(self) -> dict[Kernel, int]:
        return {c.kernel: len(c.operands) + 1 for c in self.program.calls}

    @staticmethod
    def _declare(symbol: str, pointers: int) -> str:
        return f"declare void @{symbol}({', '.join(['ptr'] * (pointers + 1))}, i32, i32)"

    def _meet(self) -> str:
        """Adds a thread's finished chunks to a step's count and waits until that is complete. With stamps, the thread
        that completes it says when: the caller may be without a core just then."""
        stamp, clock, note, noted = "", "", "  br label %wait", ""
        if self.program.stamps:
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
  call void @llvm.x86.sse2.pause()
  br label %again
yield:
  %ignored = call i32 @sched_yield()
  br label %again
again:
  %more = add i32 %spins, 1
  br label %wait
done:
  ret void
}}"""

    def _meet_call(self, i: int, total: int) -> list[str]:
        """The end of a step; the slot of its stamp follows that of the run's start."""
        arguments = f"ptr %finished{i}, i32 %mine{i}, i32 {total}"
        if not self.program.stamps:
            return [f"  call void @meet({arguments})"]
        slot = self.program.stamps_offset + 8 * (i + 1)
        return [
            f"  %stamp{i} = getelementptr i8, ptr %p{self.pointers - 2}, i64 {slot}",
            f"  call void @meet({arguments}, ptr %stamp{i})",
        ]

    def _body(self) -> str:
        lines = [f"define internal void @{self.name}_body(ptr %context, i32 %id) {{", "entry:"]
        for i in range(self.pointers):
            lines.append(f"  %slot{i} = getelementptr i8, ptr %context, i64 {8 * i}")
            lines.append(f"  %p{i} = load ptr, ptr %slot{i}, align 8")
        lines += [
            "  %id64 = sext i32 %id to i64",
            f"  %own = mul i64 %id64, {self.program.scratch_bytes}",
            f"  %ahead = add i64 %own, {self.program.scratch_offset}",
            f"  %scratch = getelementptr i8, ptr %p{self.pointers - 2}, i64 %ahead",
            "  br label %step0",
        ]
        calls = self.program.calls
        for i, call in enumerate(calls):
            lines += self._step(i, call)
        lines += [f"step{len(calls)}:", "  ret void", "}"]
        return "\n".join(lines)

    def _step(self, i: int, call: Call) -> list[str]:
        """One kernel call shared out in chunks; `images` calls of the same kernel count as one step."""
        images = self.program.images(call)
        units = call.kernel.units
        chunk = -(-units // min(units, -(-WANTED_CHUNKS // images)))
        per_image = -(-units // chunk)
        total = images * per_image
        counter = self.program.counters_offset + ALIGN * i
        image, piece = f"sdiv i32 %t{i}, {per_image}", f"srem i32 %t{i}, {per_image}"
        if self.program.images_innermost(call):
            piece, image = f"sdiv i32 %t{i}, {images}", f"srem i32 %t{i}, {images}"
        lines = [
            f"step{i}:",
            f"  %next{i} = getelementptr i8, ptr %p{self.pointers - 2}, i64 {counter}",
            f"  br label %take{i}",
            f"take{i}:",
            f"  %mine{i} = phi i32 [ 0, %step{i} ], [ %again{i}, %work{i} ]",
            f"  %t{i} = atomicrmw add ptr %next{i}, i32 1 monotonic, align 4",
            f"  %more{i} = icmp slt i32 %t{i}, {total}",
            f"  br i1 %more{i}, label %work{i}, label %meet{i}",
            f"work{i}:",
            f"  %image{i} = {image}",
            f"  %wide{i} = sext i32 %image{i} to i64",
            f"  %piece{i} = {piece}",
            f"  %lo{i} = mul i32 %piece{i}, {chunk}",
            f"  %full{i} = add i32 %lo{i}, {chunk}",
            f"  %over{i} = icmp sgt i32 %full{i}, {units}",
            f"  %hi{i} = select i1 %over{i}, i32 {units}, i32 %full{i}",
        ]
        arguments = []
        for j, operand in enumerate((*call.operands, call.result)):
            base, offset, stride = self._address(call, operand)
            pointer = f"%a{i}.{j}"
            if stride == 0 or images == 1:
                lines.append(f"  {pointer} = getelementptr i8, ptr {base}, i64 {offset}")
            else:
                lines += [
                    f"  %m{i}.{j} = mul i64 %wide{i}, {stride}",
                    f"  %s{i}.{j} = add i64 %m{i}.{j}, {offset}",
                    f"  {pointer} = getelementptr i8, ptr {base}, i64 %s{i}.{j}",
                ]
            arguments.append(f"ptr {pointer}")
        arguments += ["ptr %scratch", f"i32 %lo{i}", f"i32 %hi{i}"]
        return [
            *lines,
            f"  call void @{call.kernel.symbol}({', '.join(arguments)})",
            f"  %again{i} = add i32 %mine{i}, 1",
            f"  br label %take{i}",
            f"meet{i}:",
            f"  %finished{i} = getelementptr i8, ptr %next{i}, i64 4",
            *self._meet_call(i, total),
            f"  br label %step{i + 1}",
        ]

    def _address(self, call: Call, operand: Operand) -> tuple[str, int, int]:
        """Base pointer, byte offset and bytes between images of an operand."""
        arena, weights = f"%p{self.pointers - 2}", f"%p{self.pointers - 1}"
        if operand.kind == "weight":
            return weights, self.program.weight_offsets[operand.name] + 4 * operand.offset, 0
        if operand.kind == "workspace":
            return arena, self.program.workspace_offset, 4 * call.workspace_floats
        if operand.kind == "raw":
            node = self.program.graph[operand.name]
            return f"%p{self.inputs.index(operand.name)}", 0, node.type.nbytes // node.type.shape[0]
        slot = self.program.plan.slots[operand.name]
        offset = slot.offset + slot.inner + 4 * operand.offset
        if slot.kind == "constant":
            return weights, self.program.weight_offsets[f"{slot.storage}.value"] + offset, 0
        base = {
            "arena": lambda: arena,
            "input": lambda: f"%p{int(slot.storage)}",
            "output": lambda: f"%p{len(self.inputs) + int(slot.storage)}",
        }[slot.kind]()
        return base, offset, slot.image_stride

    def _run(self) -> str:
        arguments = [f"%in{i}" for i in range(len(self.inputs))] + [f"%out{i}" for i in range(len(self.outputs))]
        arguments.append("%arena")
        lines = [
            f"define i32 @{self.name}_run(ptr %model, {', '.join(f'ptr {a}' for a in arguments)}) {{",
            "entry:",
            f"  %context = alloca [{8 * self.pointers} x i8], align 16",
            "  %null.0 = icmp eq ptr %model, null",
        ]
        for i, argument in enumerate(arguments):
            lines += [f"  %is{i} = icmp eq ptr {argument}, null", f"  %null.{i + 1} = or i1 %null.{i}, %is{i}"]
        lines += [
            f"  br i1 %null.{len(arguments)}, label %null, label %aligned",
            f"null:\n  ret i32 {NULL_POINTER}",
            "aligned:",
            "  %address = ptrtoint ptr %arena to i64",
            f"  %low = and i64 %address, {ALIGN - 1}",
            "  %off = icmp ne i64 %low, 0",
            "  br i1 %off, label %crooked, label %start",
            f"crooked:\n  ret i32 {MISALIGNED}",
            "start:",
            "  %weights = load ptr, ptr %model, align 8",
            "  %launch.at = getelementptr i8, ptr %model, i64 8",
            "  %launch = load ptr, ptr %launch.at, align 8",
            "  %threads.at = getelementptr i8, ptr %model, i64 16",
            "  %asked = load atomic i32, ptr %threads.at monotonic, align 4",
            f"  %above = icmp sgt i32 %asked, {self.program.threads}",
            f"  %threads = select i1 %above, i32 {self.program.threads}, i32 %asked",
        ]
        for i, value in enumerate([*arguments, "%weights"]):
            lines.append(f"  %field{i} = getelementptr i8, ptr %context, i64 {8 * i}")
            lines.append(f"  store ptr {value}, ptr %field{i}, align 8")
        counters = ALIGN * len(self.program.calls)
        lines += [
            f"  %counters = getelementptr i8, ptr %arena, i64 {self.program.counters_offset}",
            f"  call void @llvm.memset.p0.i64(ptr align {ALIGN} %counters, i8 0, i64 {counters}, i1 false)",
        ]
        if self.program.stamps:
            lines += [
                f"  %stamps = getelementptr i8, ptr %arena, i64 {self.program.stamps_offset}",
                "  %now = call i64 @llvm.readcyclecounter()",
                "  store i64 %now, ptr %stamps, align 8",
            ]
        return "\n".join(
            [
                *lines,
                "  %unpooled = icmp eq ptr %launch, null",
                "  %single = icmp sle i32 %threads, 1",
                "  %alone = or i1 %unpooled, %single",
                "  br i1 %alone, label %one, label %many",
                f"one:\n  call void @{self.name}_body(ptr %context, i32 0)\n  ret i32 {OK}",
                f"many:\n  call void %launch(ptr @{self.name}_body, ptr %context, i32 %threads)\n  ret i32 {OK}",
                "}",
            ]
        )

    def _model(self) -> str:
        weights = (
            f"@{self.name}_weights = external hidden constant [{self.program.weight_bytes} x i8], align {ALIGN}"
            if self.program.weight_bytes
            else f"@{self.name}_weights = internal constant [1 x i8] zeroinitializer"
        )
        threads = self.program.threads
        value = f"{{ ptr @{self.name}_weights, ptr @cnncc_pool_launch, i32 {threads} }}"
        return f"""\
{weights}
declare hidden void @cnncc_pool_launch(ptr, ptr, i32)
@model = internal global {{ ptr, ptr, i32 }} {value}, align 8
define ptr @{self.name}_model_get() {{
  ret ptr @model
}}
define i32 @{self.name}_set_threads(i32 %wanted) {{
  %small = icmp slt i32 %wanted, 1
  %least = select i1 %small, i32 1, i32 %wanted
  %large = icmp sgt i32 %least, {threads}
  %kept = select i1 %large, i32 {threads}, i32 %least
  %at = getelementptr i8, ptr @model, i64 16
  store atomic i32 %kept, ptr %at monotonic, align 4
  ret i32 %kept
}}"""

    def _queries(self) -> str:
        """Arena size, description and error texts."""
        texts, cases = [], []
        for code, message in ERRORS.items():
            texts.append(_string(f"error{code}", message))
            cases.append(f"    i32 {code}, label %is{code}")
        blocks = "\n".join(f"is{code}:\n  ret ptr @error{code}" for code in ERRORS)
        switch = "\n".join(cases)
        return f"""\
{_string("info", self.info, ', section ".cnncc"')}
{chr(10).join(texts)}
{_string("unknown", "unknown error code")}
define i64 @{self.name}_arena_bytes() {{
  ret i64 {self.program.arena_bytes}
}}
define ptr @{self.name}_info() {{
  ret ptr @info
}}
define ptr @{self.name}_error(i32 %code) {{
  switch i32 %code, label %other [
{switch}
  ]
{blocks}
other:
  ret ptr @unknown
}}"""


def _string(name: str, text: str, suffix: str = "") -> str:
    data = text.encode() + b"\0"
    escaped = "".join(chr(b) if 32 <= b < 127 and b not in b'"\\' else f"\\{b:02x}" for b in data)
    return f'@{name} = internal constant [{len(data)} x i8] c"{escaped}"{suffix}'
