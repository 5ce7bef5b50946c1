"""The C header that goes with a module."""

from __future__ import annotations

from cnncc.codegen.glue import ERRORS, c_name
from cnncc.codegen.program import ALIGN, Program
from cnncc.ir import TensorType


def header(program: Program) -> str:
    """The text of `NAME.h`: sizes, the functions, and a comment for each that says what a caller must know."""
    name = c_name(program.graph.name)
    upper = name.upper()
    inputs = [(f"const float *{c_name(n.name)}", n.type) for n in program.graph.inputs]
    kinds = [program.graph[o].type for o in program.graph.outputs]
    outputs = [(f"float *{_output_name(program, i)}", kind) for i, kind in enumerate(kinds)]
    parameters = ",\n    ".join([f"const {name}_model *model", *(p for p, _ in [*inputs, *outputs]), "void *arena"])
    shapes = "\n".join(f" *   {p.split('*')[1]}: {_describe(kind)}" for p, kind in [*inputs, *outputs])
    codes = "\n".join(f" *   {code}  {text}" for code, text in ERRORS.items())
    plan = program.plan
    scratch = f"scratch {program.scratch_bytes} x {program.threads} threads"
    sizes = f"activations {plan.bytes} (least possible {plan.bound}), {scratch}"
    return f"""\
/* {program.graph.name}, compiled by cnncc for {program.target.name}. Generated; do not edit. */
#ifndef CNNCC_{upper}_H
#define CNNCC_{upper}_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

/* Bytes and alignment of the arena. Of the bytes: {sizes}. */
#define {upper}_ARENA_BYTES {program.arena_bytes}
#define {upper}_ARENA_ALIGN {ALIGN}
#define {upper}_MAX_THREADS {program.threads}
{_counts(upper, [*inputs, *outputs])}

typedef struct {name}_model {name}_model;

/* The network with its weights: constant, shared by any number of threads. */
const {name}_model *{name}_model_get(void);

/* Runs the network. Float32 arrays in NCHW order:
{shapes}
 * The arena is scratch memory for one run at a time; nothing else is written, allocated or locked, so threads with
 * arenas of their own may run the same model. Returns:
{codes}
 */
int {name}_run(
    {parameters});

/* Threads of later runs, 1 to {upper}_MAX_THREADS; returns the number now in force. */
int {name}_set_threads(int threads);

/* Same as {upper}_ARENA_BYTES, for callers that load the module at run time. */
size_t {name}_arena_bytes(void);

/* What the module is, as JSON: shapes, target, versions, hashes. */
const char *{name}_info(void);

/* The meaning of a return code. */
const char *{name}_error(int code);

#ifdef __cplusplus
}}
#endif

#endif
"""


def _output_name(program: Program, i: int) -> str:
    return "output" if len(program.graph.outputs) == 1 else f"output{i}"


def _describe(kind: TensorType) -> str:
    return " x ".join(map(str, kind.shape))


def _counts(upper: str, parameters: list[tuple[str, TensorType]]) -> str:
    """Float counts, so that a caller can size its arrays."""
    lines = []
    for parameter, kind in parameters:
        lines.append(f"#define {upper}_{parameter.split('*')[1].upper()}_FLOATS {kind.nbytes // 4}")
    return "\n".join(lines)
