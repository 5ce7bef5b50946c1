"""The functions of a module that callers see, as LLVM IR: they check what they are given, pick the code for the
processor, and say what the module is.

A module has one or more variants of its steps, each for a target, in one file; the first whose features the processor
has is taken. The choice is made once and kept; threads that make it at the same time come to the same one.
"""

from __future__ import annotations

from dataclasses import dataclass

from cnncc.module.cpu.extents import steps_of
from cnncc.module.cpu.variants import Layout, Variant, string
from cnncc.module.names import parameters
from cnncc.runtime.interface import ALIGN, Code


def run_ir(layout: Layout, standalone: bool) -> str:
    """The text of `NAME_run`, `NAME_run_with` and `NAME_arena_bytes_for`, which the header explains. A standalone
    module has a thread pool and checks the processor; one linked into this process gets a pool from its caller."""
    return _Entry(layout, standalone).text()


@dataclass(frozen=True)
class _Entry:
    layout: Layout
    standalone: bool

    @property
    def checked(self) -> bool:
        return self.standalone and self.layout.checked

    @property
    def pooled(self) -> bool:
        return self.standalone and self.layout.pooled

    def text(self) -> str:
        arrays = [f"ptr %a{i}" for i in range(len(parameters(self.layout.program.graph)))]
        pointers = ", ".join(["ptr"] * (len(arrays) + 2))
        parts = [
            *(
                f"declare hidden i32 @{symbol}({pointers}, i32, i32, ptr, ptr{', ptr' * self.layout.ranged})"
                for v in self.layout.variants
                for symbol in v.symbols
            ),
            *(f"declare hidden i64 @{v.symbol}_arena(ptr, i32)" for v in self.layout.variants if self.layout.ranged),
            *(["declare hidden void @cnncc_pool_launch(ptr, i32, ptr, ptr)"] if self.pooled else []),
            *([self._pick()] if self.checked else []),
            self._arena_bytes_for(),
            self._run_with(arrays),
            self._run(arrays),
        ]
        return "\n\n".join(parts) + "\n"

    def _run(self, arrays: list[str]) -> str:
        """Nobody says how long the arena is: it is taken to be long enough."""
        given = ", ".join(["ptr %model", *self._of_run, *arrays, "ptr %arena"])
        return f"""\
define i32 @{self.layout.name}_run({given}) {{
  %code = call i32 @{self.layout.name}_run_with({given}, {self.layout.size} -1, ptr null)
  ret i32 %code
}}"""

    @property
    def _of_run(self) -> list[str]:
        """What a caller says of a run besides arrays: the size, where there are several, and the number of images."""
        chosen = [f"i32 %chosen{i}" for i in range(len(self.layout.symbols))]
        return [*chosen, *["i32 %size"] * self.layout.several, "i32 %images"]

    def _arena_bytes_for(self) -> str:
        """0 for a size or a number of images that no run takes."""
        if self.layout.ranged:
            return self._arena_bytes_of_range()
        layout, size, sizes = self.layout, self.layout.size, self.layout.sizes
        wide = "%others" if size == "i32" else "%wide"
        first, further, several = str(sizes[0].first), str(sizes[0].further), []
        if layout.several:
            first, further = "%first", "%further"
            cases = " ".join(f"i32 {i}, label %size{i}" for i in range(len(sizes)))
            several = [
                f"  switch i32 %size, label %unknown [ {cases} ]",
                *(f"size{i}:\n  br label %found" for i in range(len(sizes))),
                "unknown:",
                f"  ret {size} 0",
                "found:",
                *(
                    f"  %{name} = phi {size} {', '.join(f'[ {number}, %size{i} ]' for i, number in enumerate(numbers))}"
                    for name, numbers in (("first", [s.first for s in sizes]), ("further", [s.further for s in sizes]))
                ),
            ]
        return "\n".join(
            [
                f"define {size} @{layout.name}_arena_bytes_for({', '.join(self._of_run)}) {{",
                "entry:",
                *several,
                "  %others = sub i32 %images, 1",
                f"  %known = icmp ult i32 %others, {layout.batch}",
                *([] if size == "i32" else [f"  %wide = zext i32 %others to {size}"]),
                f"  %more = mul {size} {wide}, {further}",
                f"  %all = add {size} %more, {first}",
                f"  %bytes = select i1 %known, {size} %all, {size} 0",
                f"  ret {size} %bytes",
                "}",
            ]
        )

    def _arena_bytes_of_range(self) -> str:
        """The most that a variant needs."""
        layout = self.layout
        cut = [] if layout.size == "i64" else [f"  %cut = trunc i64 %most to {layout.size}"]
        lines = [
            f"  %bytes{i} = call i64 @{v.symbol}_arena(ptr %steps, i32 %images)" for i, v in enumerate(layout.variants)
        ]
        most = "%bytes0"
        for i in range(1, len(layout.variants)):
            lines.append(f"  %most{i} = call i64 @llvm.umax.i64(i64 {most}, i64 %bytes{i})")
            most = f"%most{i}"
        return "\n".join(
            [
                "declare i64 @llvm.umax.i64(i64, i64)",
                f"define {layout.size} @{layout.name}_arena_bytes_for({', '.join(self._of_run)}) {{",
                "entry:",
                *steps_of(layout.symbols),
                "  %others = sub i32 %images, 1",
                f"  %known = icmp ult i32 %others, {layout.batch}",
                "  %fits = and i1 %known, %in.range",
                "  br i1 %fits, label %told, label %unknown",
                "unknown:",
                f"  ret {layout.size} 0",
                "told:",
                *lines,
                f"  %most = add i64 {most}, 0",
                *cut,
                f"  ret {layout.size} {'%cut' if cut else '%most'}",
                "}",
            ]
        )

    def _run_with(self, arrays: list[str]) -> str:
        size = self.layout.size
        given = ", ".join(["ptr %model", *self._of_run, *arrays, "ptr %arena", f"{size} %arena_bytes", "ptr %threads"])
        pointers = ["%model", *(a.removeprefix("ptr ") for a in arrays), "%arena"]
        pool = "@cnncc_pool_launch" if self.pooled else "null"
        most = self.layout.program.threads
        lines = [
            f"define i32 @{self.layout.name}_run_with({given}) {{",
            "entry:",
            "  %null.0 = icmp eq ptr %model, null",
            *(
                line
                for i, pointer in enumerate(pointers[1:], start=1)
                for line in (f"  %is{i} = icmp eq ptr {pointer}, null", f"  %null.{i} = or i1 %null.{i - 1}, %is{i}")
            ),
            *_refuse(f"%null.{len(pointers) - 1}", Code.NULL_POINTER, "aligned"),
            "  %address = ptrtoint ptr %arena to i64",
            f"  %low = and i64 %address, {ALIGN - 1}",
            "  %crooked = icmp ne i64 %low, 0",
            *_refuse("%crooked", Code.MISALIGNED, "measured"),
            *self._known_size(),
            f"  %needed = call {size} @{self.layout.name}_arena_bytes_for({', '.join(self._of_run)})",
            f"  %unknown = icmp eq {size} %needed, 0",
            *_refuse("%unknown", Code.BAD_IMAGES, "sized"),
            f"  %small = icmp ult {size} %arena_bytes, %needed",
            *_refuse("%small", Code.ARENA_TOO_SMALL, "opened"),
            "  %weights = load ptr, ptr %model",
            "  %closed = icmp eq ptr %weights, null",
            *_refuse("%closed", Code.NOT_OPEN, "picked"),
            *self._picked(),
            "  %default = icmp eq ptr %threads, null",
            "  br i1 %default, label %count, label %given",
            "given:",
            "  %wanted.given = load i32, ptr %threads",
            f"  %for.at = getelementptr {_THREADS}, ptr %threads, i32 0, i32 1",
            "  %for.given = load ptr, ptr %for.at",
            f"  %pool.at = getelementptr {_THREADS}, ptr %threads, i32 0, i32 2",
            "  %pool.given = load ptr, ptr %pool.at",
            "  br label %count",
            "count:",
            "  %wanted = phi i32 [ 0, %checked ], [ %wanted.given, %given ]",
            "  %for.asked = phi ptr [ null, %checked ], [ %for.given, %given ]",
            "  %pool = phi ptr [ null, %checked ], [ %pool.given, %given ]",
            "  %negative = icmp slt i32 %wanted, 0",
            *_refuse("%negative", Code.BAD_THREADS, "go"),
            "  %unsaid = icmp eq i32 %wanted, 0",
            f"  %above = icmp sgt i32 %wanted, {most}",
            "  %all = or i1 %unsaid, %above",
            f"  %number = select i1 %all, i32 {most}, i32 %wanted",
            "  %own = icmp eq ptr %for.asked, null",
            f"  %for = select i1 %own, ptr {pool}, ptr %for.asked",
            *self._call(
                ", ".join([*arrays, "ptr %arena"]),
                f"i32 %images, i32 %number, ptr %for, ptr %pool{', ptr %steps' * self.layout.ranged}",
            ),
            "}",
        ]
        return "\n".join(lines)

    def _known_size(self) -> list[str]:
        if self.layout.ranged:
            outside = "  %outside = xor i1 %in.range, true"
            return [*steps_of(self.layout.symbols), outside, *_refuse("%outside", Code.BAD_SIZE, "counted")]
        if not self.layout.several:
            return []
        strange = f"  %strange = icmp uge i32 %size, {len(self.layout.sizes)}"
        return [strange, *_refuse("%strange", Code.BAD_SIZE, "counted")]

    def _picked(self) -> list[str]:
        if not self.checked:
            return ["  br label %checked", "checked:"]
        return [
            "  %variant = call i32 @pick()",
            "  %lacking = icmp slt i32 %variant, 0",
            *_refuse("%lacking", Code.WRONG_PROCESSOR, "checked"),
        ]

    def _call(self, before: str, after: str) -> list[str]:
        """The steps of the variant picked."""
        lines = []
        if len(self.layout.variants) > 1:
            cases = " ".join(f"i32 {i + 1}, label %variant{i}" for i in range(len(self.layout.variants)))
            lines = [f"  switch i32 %variant, label %variant0 [ {cases} ]"]
        for i, variant in enumerate(self.layout.variants):
            lines += [
                *([f"variant{i}:"] if len(self.layout.variants) > 1 else []),
                f"  %weights{i} = getelementptr i8, ptr %weights, i64 {variant.weights_offset}",
                *self._call_of_size(i, variant, f"{before}, ptr %weights{i}, {after}"),
            ]
        return lines

    def _call_of_size(self, i: int, variant: Variant, arguments: str) -> list[str]:
        lines, several = [], self.layout.several
        if several:
            cases = " ".join(f"i32 {s}, label %size{i}.{s}" for s in range(1, len(variant.symbols)))
            lines = [f"  switch i32 %size, label %size{i}.0 [ {cases} ]"]
        for s, symbol in enumerate(variant.symbols):
            code = f"%code{i}.{s}"
            lines += [
                *([f"size{i}.{s}:"] if several else []),
                f"  {code} = call i32 @{symbol}({arguments})",
                f"  ret i32 {code}",
            ]
        return lines

    def _pick(self) -> str:
        """The variant for this processor, counted from 1, or -1."""
        required = [v.program.target.requires for v in self.layout.variants]
        asked = [
            f"""\
  %lacks{i} = call i32 @cnncc_cpu_lacks(ptr @required{i})
  %fits{i} = icmp eq i32 %lacks{i}, 0"""
            for i in range(len(required))
        ]
        best = [
            f"  %best{i} = select i1 %fits{i}, i32 {i + 1}, i32 {f'%best{i + 1}' if i + 1 < len(required) else -1}"
            for i in reversed(range(len(required)))
        ]
        return "\n".join(
            [
                "declare hidden i32 @cnncc_cpu_lacks(ptr)",
                *(string(f"required{i}", ",".join(names)) for i, names in enumerate(required)),
                "@picked = internal global i32 0, align 4",
                "define internal i32 @pick() noinline {",
                "entry:",
                "  %known = load atomic i32, ptr @picked monotonic, align 4",
                "  %fresh = icmp eq i32 %known, 0",
                "  br i1 %fresh, label %look, label %done",
                "look:",
                *asked,
                *best,
                "  store atomic i32 %best0, ptr @picked monotonic, align 4",
                "  br label %done",
                "done:",
                "  %variant = phi i32 [ %known, %entry ], [ %best0, %look ]",
                "  ret i32 %variant",
                "}",
            ]
        )


_THREADS = "{ i32, ptr, ptr }"


def _refuse(condition: str, code: Code, otherwise: str) -> list[str]:
    """Returns an error code if a condition holds, else goes on in a block of that name."""
    block = f"refuse{code:d}"
    return [
        f"  br i1 {condition}, label %{block}, label %{otherwise}",
        f"{block}:",
        f"  ret i32 {code:d}",
        f"{otherwise}:",
    ]
