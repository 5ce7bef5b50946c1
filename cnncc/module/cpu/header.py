"""The C header of a module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

import cnncc
from cnncc.ir import TensorType
from cnncc.module.cpu.header_sizes import DTYPES, SizeWords, count_macro, described, dtype, sizes_of_range
from cnncc.module.cpu.program import CpuProgram
from cnncc.module.cpu.variants import Layout
from cnncc.module.guards import guarded
from cnncc.module.names import parameters
from cnncc.runtime.interface import ALIGN, FORMAT, TEXTS, Code


def header(layout: Layout) -> str:
    """The text of `NAME.h`: sizes, the functions, and a comment for each that says what a caller must know."""
    program, name = layout.program, layout.name
    upper = name.upper()
    words = sizes_of_range(layout) if layout.ranged else _sizes_of(layout, upper)
    arrays = parameters(program.graph)
    inputs = len(program.graph.inputs)
    pointers = [f"{'const ' * (i < inputs)}{kind.element.c} *{a}" for i, (a, kind) in enumerate(arrays.items())]
    of_each = [parameters(p.graph) for p in program.sizes]
    shapes = "\n".join(
        f" *   {array}: {' or '.join(dict.fromkeys(words.described(each[array]) for each in of_each))}"
        for array in arrays
    )
    of_run = [*(f"int32_t {size}" for size in words.chosen), "int32_t images"]
    size = "int32_t size, " * layout.several
    both = ",\n    ".join([f"const {name}_model *model", *of_run, *pointers, "void *arena"])
    targets = ", ".join(v.program.target.name for v in layout.variants)
    whole = f"""\
/* {program.graph.name}, compiled by cnncc {cnncc.__version__} for {targets}. Generated; do not edit. */
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

{shared_declarations()}

/* The most images of a run. */
#define {upper}_MAX_IMAGES {layout.batch}
{words.macros}
{words.arena}
#define {upper}_ARENA_BYTES {layout.arena_bytes}
#define {upper}_ARENA_ALIGN {ALIGN}
#define {upper}_MAX_THREADS {program.threads}
#define {upper}_VERSION "{cnncc.__version__}"
{words.counts}

/* The network with its weights: constant, shared by any number of threads. Its members are for the module alone. */
typedef struct {name}_model {{
    const void *weights;
    void *mapping;
    size_t mapped;
}} {name}_model;

{_external(layout) if layout.digest else _embedded(name)}

/* Runs the network on n = `images` images, 1 to {upper}_MAX_IMAGES, which lie one after the other in each array. Arrays
 * in NCHW order, of float32 where nothing else is said:
{shapes}
 * None of them may overlap another one or the arena. The arena is scratch memory for one run at a time, what it holds
 * before does not matter; nothing else is written, allocated, locked or printed, so threads with arenas of their own
 * may run the same model. An image gets the same result to the bit, whatever other images there are. Returns a code of
 * enum cnncc_code.
 */
int {name}_run(
    {both});

/* The same, with the size of the arena checked and threads as the caller says; null for the module's own pool and
 * {upper}_MAX_THREADS threads. The result is the same to the bit, however many threads there are. */
int {name}_run_with(
    {both},
    size_t arena_bytes, const cnncc_threads *threads);

{words.functions}
size_t {name}_inputs({size}const cnncc_port **ports);
size_t {name}_outputs({size}const cnncc_port **ports);

/* The compiler's version; and what the module is, as JSON: shapes, target, flags, versions, hashes. */
const char *{name}_version(void);
const char *{name}_info(void);

/* The meaning of a return code, in one line. */
const char *{name}_error(int code);

#ifdef __cplusplus
}}
#endif
"""
    return guarded(whole, name, "H")


def _sizes_of(layout: Layout, upper: str) -> SizeWords:
    """What is said of sizes, where a caller chooses one of several or none."""
    name, size = layout.name, "int32_t size, " * layout.several
    largest = max((p for v in layout.variants for p in v.program.sizes), key=lambda p: p.arena.total_bytes)
    return SizeWords(
        chosen=["size"] * layout.several,
        macros=_numbers(layout, upper),
        described=described,
        arena=f"""\
/* Bytes and alignment of the arena: of a run of so many images, and the most that any run needs.
 * Of one image: {_sizes(largest)}. */
{_arena_macro(layout, upper)}""",
        counts=counts(upper, [parameters(p.graph) for p in layout.program.sizes]),
        functions=f"""\
/* The same as the macros, for callers that load the module at run time; 0 for a number of images that no run takes. */
size_t {name}_arena_bytes(void);
size_t {name}_arena_bytes_for({size}int32_t images);

/* How many inputs and outputs there are, and, unless `ports` is null, the table that describes them. */""",
    )


def shared_declarations() -> str:
    """What the headers of all modules have in common, so that code can handle several of them alike."""
    codes = "\n".join(f"    CNNCC_{code.name} = {code:d}, /* {TEXTS[code]} */" for code in Code)
    dtypes = "\n".join(f"    {dtype(element)} = {number}," for element, number in DTYPES.items())
    return f"""\
#ifndef CNNCC_INTERFACE
#define CNNCC_INTERFACE {FORMAT}

enum cnncc_code {{
{codes}
}};

/* Who computes. `count` is the number of threads, 0 for as many as the module can use; more are not used.
 * With `parallel_for` null they come from the module's own pool, which starts its threads at the first run that wants
 * them, at most one per processor. Else the run calls parallel_for(pool, count, body, context) once; that calls
 * body(context, id) once for each id of 0 to count - 1, on any threads, at the same time or one after another, and
 * returns when all calls have. It may leave ids out, if it cannot get so many threads, but not all of them. */
typedef struct cnncc_threads {{
    int32_t count;
    void (*parallel_for)(void *pool, int32_t count, void (*body)(void *context, int32_t id), void *context);
    void *pool;
}} cnncc_threads;

/* Types of numbers. Those of 16 bits are handed over as their bits, uint16_t. */
enum cnncc_dtype {{
{dtypes}
}};

/* An input or output: NCHW, the most images first; `count` numbers of one image, of a type of enum cnncc_dtype. */
typedef struct cnncc_port {{
    const char *name;
    const int64_t *shape;
    int32_t rank;
    int32_t dtype;
    size_t count;
}} cnncc_port;

#elif CNNCC_INTERFACE != {FORMAT}
#error "modules of different versions of cnncc: compile them with the same one"
#endif"""


def _embedded(name: str) -> str:
    return f"""\
/* The model, its weights linked in. The first call brings large weights into memory (6 ms for 100 MB in
 * the cache of the system), so that the first run need not wait for them. */
const {name}_model *{name}_model_get(void);"""


def _external(layout: Layout) -> str:
    name = layout.name
    return f"""\
/* Opens a model with the weights that were written beside the module: maps the file read-only and checks its hash. The
 * file may be replaced later, but not written to. Returns a code of enum cnncc_code. */
int {name}_open({name}_model *model, const char *path);

/* The same with the bytes of that file in memory, aligned to {ALIGN} bytes; they must stay while the model is used. */
int {name}_open_memory({name}_model *model, const void *data, size_t bytes);

/* Gives back what {name}_open took; no run may be under way. */
void {name}_close({name}_model *model);"""


def counts(upper: str, sizes: Sequence[Mapping[str, TensorType]]) -> str:
    """Numbers of an image and type of each array, so that a caller can size its own; of several sizes of the inputs,
    by the number of the size."""
    lines, argument = [], "(size)" if len(sizes) > 1 else ""
    for array, kind in sizes[0].items():
        count = _by_size([prod(arrays[array].shape[1:]) for arrays in sizes])
        lines += [
            f"#define {count_macro(upper, array, kind)}{argument} {count}",
            f"#define {upper}_{array.upper()}_DTYPE {dtype(kind.element)}",
        ]
    return "\n".join(lines)


def _by_size(numbers: Sequence[int]) -> str:
    """A number for each size of the inputs, as an expression of C that is constant if `size` is."""
    first, *others = numbers
    if len(set(numbers)) == 1:
        return str(first)
    return f"({''.join(f'(size) == {i} ? {n} : ' for i, n in enumerate(others, start=1))}{first})"


def _numbers(layout: Layout, upper: str) -> str:
    """The macros by which a caller names a size of the inputs, where there are several."""
    if not layout.several:
        return ""
    lines = [f"#define {upper}_SIZE_{size_name(p).upper()} {i}" for i, p in enumerate(layout.program.sizes)]
    head = f"\n/* The sizes of the inputs, which a run is told by their numbers. */\n#define {upper}_SIZES {len(lines)}"
    return "\n".join([head, *lines, ""])


def size_name(program: CpuProgram) -> str:
    """What tells a size of the inputs from others, as a part of a name: `3x224x224`."""
    return "_".join("x".join(map(str, node.type.shape[1:])) for node in program.source.inputs)


def _arena_macro(layout: Layout, upper: str) -> str:
    first, further = (_by_size([getattr(s, name) for s in layout.sizes]) for name in ("first", "further"))
    arguments = "size, images" if layout.several else "images"
    return f"#define {upper}_ARENA_BYTES_FOR({arguments}) ({first} + (size_t)((images) - 1) * {further})"


def _sizes(program: CpuProgram) -> str:
    """What the arena of a program holds, of one image."""
    plan, threads = program.plan, program.threads
    least = f"least possible {plan.bound}, gap {plan.gap:.1%}"
    added = program.arena_bytes_for(1) - plan.bytes
    return f"activations {plan.bytes} ({least}); kernels and {threads} threads add {added}"
