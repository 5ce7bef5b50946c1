"""The functions of a module that compute nothing, as LLVM IR."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import cnncc
from cnncc.base.dim import most_of
from cnncc.ir import TensorType
from cnncc.module.cpu.extents import DECLARATIONS, Formulas, steps_of
from cnncc.module.cpu.header_sizes import DTYPES
from cnncc.module.cpu.variants import Layout, error_texts, string
from cnncc.module.names import parameters
from cnncc.ops.source import port_type
from cnncc.runtime.interface import ALIGN, Code


def queries_ir(layout: Layout, info: str) -> str:
    """The text of the functions that compute nothing: those that give or open the model, sizes, description and error
    texts."""
    return _Queries(layout, info).text()


@dataclass(frozen=True)
class _Queries:
    layout: Layout
    info: str

    def text(self) -> str:
        name, size, digest = self.layout.name, self.layout.size, self.layout.digest
        sizes = self.layout.program.sizes
        inputs = [[(n.name, port_type(n)) for n in program.graph.inputs] for program in sizes]
        outputs = [list(program.outputs.items()) for program in sizes]
        parts = [
            self._embedded() if digest is None else self._external(digest),
            f"define {size} @{name}_arena_bytes() {{\n  ret {size} {self.layout.arena_bytes}\n}}",
            self._ports("inputs", inputs),
            self._ports("outputs", outputs),
            self._text("info", self.info, ', section ".cnncc"'),
            self._text("version", cnncc.__version__),
            self._errors(),
            *([self._shape()] if self.layout.ranged else []),
        ]
        return "\n\n".join(parts) + "\n"

    def _embedded(self) -> str:
        name, size, weights = self.layout.name, self.layout.size, self.layout.weight_bytes
        where = (
            f"@{name}_weights = external hidden constant [{weights} x i8], align {ALIGN}"
            if weights
            else f"@{name}_weights = internal constant [{ALIGN} x i8] zeroinitializer, align {ALIGN}"
        )
        declared, call = "", ""
        if self.layout.prefaulted:
            declared = f"declare hidden void @cnncc_prefault(ptr, {size})\n"
            call = f"  call void @cnncc_prefault(ptr @{name}_weights, {size} {weights})\n"
        return f"""\
{declared}{where}
@model = internal constant {{ ptr, ptr, {size} }} {{ ptr @{name}_weights, ptr null, {size} 0 }}
define ptr @{name}_model_get() {{
{call}  ret ptr @model
}}"""

    def _external(self, digest: bytes) -> str:
        name, size, weights = self.layout.name, self.layout.size, self.layout.weight_bytes
        escaped = "".join(f"\\{b:02x}" for b in digest)
        return f"""\
@digest = internal constant [{len(digest)} x i8] c"{escaped}"
declare hidden i32 @cnncc_weights_open(ptr, ptr, {size}, ptr)
declare hidden i32 @cnncc_weights_take(ptr, ptr, {size}, {size}, ptr)
declare hidden void @cnncc_weights_close(ptr)
define i32 @{name}_open(ptr %model, ptr %path) {{
  %code = call i32 @cnncc_weights_open(ptr %model, ptr %path, {size} {weights}, ptr @digest)
  ret i32 %code
}}
define i32 @{name}_open_memory(ptr %model, ptr %data, {size} %bytes) {{
  %code = call i32 @cnncc_weights_take(ptr %model, ptr %data, {size} %bytes, {size} {weights}, ptr @digest)
  ret i32 %code
}}
define void @{name}_close(ptr %model) {{
  call void @cnncc_weights_close(ptr %model)
  ret void
}}"""

    def _text(self, function: str, text: str, suffix: str = "") -> str:
        name = f"{self.layout.name}_{function}"
        return f"{string(function, text, suffix)}\ndefine ptr @{name}() {{\n  ret ptr @{function}\n}}"

    def _ports(self, function: str, sizes: Sequence[Sequence[tuple[str, TensorType]]]) -> str:
        """`size_t NAME_inputs(const cnncc_port **ports)`: their number, and the table if that is wanted. Where there
        are several sizes of the inputs, the first parameter is the number of one, and the tables lie one after the
        other. The shapes of a range are the largest."""
        row = f"{{ ptr, ptr, i32, i32, {self.layout.size} }}"
        lines, rows, number = [], [], len(sizes[0])
        for i, (name, kind) in enumerate(port for ports in sizes for port in ports):
            shape = tuple(map(most_of, kind.shape))
            lines.append(string(f"{function}.{i}.name", name))
            numbers = ", ".join(f"i64 {n}" for n in shape)
            lines.append(f"@{function}.{i}.shape = internal constant [{len(shape)} x i64] [{numbers}]")
            counts = f"i32 {len(shape)}, i32 {DTYPES[kind.element]}, {self.layout.size} {prod(shape[1:])}"
            rows.append(f"{row} {{ ptr @{function}.{i}.name, ptr @{function}.{i}.shape, {counts} }}")
        lines.append(f"@{function} = internal constant [{len(rows)} x {row}] [{', '.join(rows)}]")
        several = self.layout.several
        return (
            "\n".join(lines)
            + f"""
define {self.layout.size} @{self.layout.name}_{function}({"i32 %size, " * several}ptr %ports) {{
  %first = mul i32 {"%size" if several else "0"}, {number}
  %table = getelementptr {row}, ptr @{function}, i32 %first
  %known = icmp ult i32 {"%size" if several else "0"}, {len(sizes)}
  br i1 %known, label %asked, label %unknown
asked:
  %unwanted = icmp eq ptr %ports, null
  br i1 %unwanted, label %done, label %fill
fill:
  store ptr %table, ptr %ports
  br label %done
done:
  ret {self.layout.size} {number}
unknown:
  ret {self.layout.size} 0
}}"""
        )

    def _shape(self) -> str:
        """`size_t NAME_shape(int32_t h, int32_t w, int32_t array, int64_t *dims)`."""
        layout, formulas = self.layout, Formulas()
        shapes = [
            [1, *(formulas.value(extent) for extent in kind.shape[1:])]
            for kind in parameters(layout.program.graph).values()
        ]
        cases = " ".join(f"i32 {i}, label %array{i}" for i in range(len(shapes)))
        chosen = ", ".join(f"i32 %chosen{i}" for i in range(len(layout.symbols)))
        lines = [
            *DECLARATIONS,
            f"define {layout.size} @{layout.name}_shape({chosen}, i32 %array, ptr %dims) {{",
            "entry:",
            *steps_of(layout.symbols),
            "  br i1 %in.range, label %sized, label %none",
            f"none:\n  ret {layout.size} 0",
            "sized:",
            *formulas.lines,
            "  %unwanted = icmp eq ptr %dims, null",
            f"  switch i32 %array, label %none [ {cases} ]",
        ]
        for i, shape in enumerate(shapes):
            lines += [f"array{i}:", f"  br i1 %unwanted, label %told{i}, label %fill{i}", f"fill{i}:"]
            for axis, number in enumerate(shape):
                lines += [
                    f"  %at{i}.{axis} = getelementptr i64, ptr %dims, i32 {axis}",
                    f"  store i64 {number}, ptr %at{i}.{axis}",
                ]
            lines += [f"  br label %told{i}", f"told{i}:", f"  ret {layout.size} {len(shape)}"]
        return "\n".join([*lines, "}"])

    def _errors(self) -> str:
        texts = [string(f"error{code:d}", text) for code, text in error_texts(self.layout.symbols).items()]
        cases = "\n".join(f"    i32 {code:d}, label %is{code:d}" for code in Code)
        blocks = [f"is{code:d}:\n  ret ptr @error{code:d}" for code in Code]
        if self.layout.checked:
            least = len(self.layout.variants) - 1
            texts.append("declare hidden ptr @cnncc_cpu_message(ptr)")
            blocks[Code.WRONG_PROCESSOR] = f"""\
is{Code.WRONG_PROCESSOR:d}:
  %message = call ptr @cnncc_cpu_message(ptr @required{least})
  ret ptr %message"""
        body = "\n".join(blocks)
        return (
            "\n".join(texts)
            + f"""
{string("unknown", "unknown error code")}
define ptr @{self.layout.name}_error(i32 %code) {{
  switch i32 %code, label %other [
{cases}
  ]
{body}
other:
  ret ptr @unknown
}}"""
        )
