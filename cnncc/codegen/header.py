"""The C header that goes with a module."""

from __future__ import annotations

from cnncc.codegen.glue import ERRORS, c_name
from cnncc.codegen.program import ALIGN, Program
from cnncc.ir import TensorType

_KEYWORDS = """alignas alignof and and_eq asm auto bitand bitor bool break case catch char class compl const constexpr
const_cast continue decltype default delete do double dynamic_cast else enum explicit export extern false float for
friend goto if inline int long mutable namespace new noexcept not not_eq nullptr operator or or_eq private protected
public register reinterpret_cast restrict return short signed sizeof static static_assert static_cast struct switch
template this thread_local throw true try typedef typeid typename union unsigned using virtual void volatile wchar_t
while xor xor_eq"""
"""Of C and C++."""


def header(program: Program) -> str:
    """The text of `NAME.h`: sizes, the functions, and a comment for each that says what a caller must know."""
    name = c_name(program.graph.name)
    upper = name.upper()
    arrays = _arrays(program)
    pointers = [f"{'const ' * (i < len(program.graph.inputs))}float *{array}" for i, array in enumerate(arrays)]
    parameters = ",\n    ".join([f"const {name}_model *model", *pointers, "void *arena"])
    shapes = "\n".join(f" *   {array}: {' x '.join(map(str, kind.shape))}" for array, kind in arrays.items())
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
{_counts(upper, arrays)}

typedef struct {name}_model {name}_model;

/* The network with its weights: constant, shared by any number of threads. */
const {name}_model *{name}_model_get(void);

/* Runs the network. Float32 arrays in NCHW order:
{shapes}
 * None of them may overlap another one or the arena. The arena is scratch memory for one run at a time; nothing else is
 * written, allocated or locked, so threads with arenas of their own may run the same model. Returns:
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


def _arrays(program: Program) -> dict[str, TensorType]:
    """Inputs and outputs as parameters of C: a network may call them what it likes, C has words of its own."""
    graph = program.graph
    outputs = ["output"] if len(graph.outputs) == 1 else [f"output{i}" for i in range(len(graph.outputs))]
    taken = {"model", "arena", *outputs, *_KEYWORDS.split()}
    arrays = {}
    for node in graph.inputs:
        name = c_name(node.name)
        while name.lower() in taken:  # the macros are in capitals
            name += "_"
        taken.add(name.lower())
        arrays[name] = node.type
    return arrays | {name: graph[laid].type for name, laid in zip(outputs, graph.outputs, strict=True)}


def _counts(upper: str, arrays: dict[str, TensorType]) -> str:
    """Float counts, so that a caller can size its arrays."""
    return "\n".join(f"#define {upper}_{array.upper()}_FLOATS {kind.nbytes // 4}" for array, kind in arrays.items())
