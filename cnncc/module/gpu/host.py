"""The host's part of a GPU module: a C file that describes the network to `runtime/cuda/host.c`, and its header."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import accumulate
from math import prod

import cnncc
from cnncc.base.elements import FLOAT32
from cnncc.base.errors import CnnccError
from cnncc.machines.gpus import ALIGN
from cnncc.module.cpu.header import counts, shared_declarations
from cnncc.module.cpu.header_sizes import DTYPES, described
from cnncc.module.gpu.images import Image
from cnncc.module.gpu.program import CudaProgram, kernel_of
from cnncc.module.guards import guarded
from cnncc.module.names import c_name, parameters
from cnncc.runtime.cuda.interface import CUDA_TEXTS, MOST_ARGUMENTS, MOST_DEVICES, MOST_PORTS


def host_c(program: CudaProgram, images: Sequence[Image]) -> str:
    """The tables of the network and the functions around them, as C. CnnccError for more than the tables hold."""
    name = c_name(program.graph.name)
    _check_limits(program)
    inputs, outputs = len(program.graph.inputs), len(program.graph.outputs)
    ports = [f"p{i}" for i in range(inputs + outputs)]
    pointers = [f"{'const ' * (i < inputs)}float *{p}" for i, p in enumerate(ports)]
    both = ", ".join(["const void *model", "int32_t images", *pointers, "void *arena"])
    array = ", ".join(f"(void *){p}" for p in ports)
    return f"""\
#include "host.h"
{_tables(program, images, name)}
static struct cnncc_device devices[CNNCC_MOST_DEVICES] = {{{_devices()}}};
const void *{name}_model_on(int device) {{
    return device < 0 || device >= CNNCC_MOST_DEVICES ? NULL : &devices[device];
}}
const void *{name}_model_get(void) {{ return &devices[0]; }}
int {name}_open(const void *model) {{ return cnncc_cuda_open((struct cnncc_device *)model); }}
int {name}_run({both}) {{
    void *ports[] = {{{array}}};
    return cnncc_cuda_run((struct cnncc_device *)model, images, ports, arena);
}}
int {name}_run_with({both}, size_t arena_bytes, const void *threads) {{
    void *ports[] = {{{array}}};
    return (void)arena_bytes, (void)threads, cnncc_cuda_run((struct cnncc_device *)model, images, ports, arena);
}}
int {name}_run_async({both}, void *stream) {{
    void *ports[] = {{{array}}};
    return cnncc_cuda_enqueue((struct cnncc_device *)model, images, ports, arena, stream);
}}
void {name}_release(const void *model) {{ cnncc_cuda_release((struct cnncc_device *)model); }}
size_t {name}_arena_bytes(void) {{ return 0; }}
size_t {name}_arena_bytes_for(int32_t images) {{ return (void)images, 0; }}
size_t {name}_device_arena_bytes(void) {{ return {program.arena_bytes}; }}
{_ports("inputs", program.input_shapes, name)}
{_ports("outputs", program.output_shapes, name)}
const char *{name}_version(void) {{ return "{cnncc.__version__}"; }}
const char *{name}_info(void) {{ return info; }}
const char *{name}_state(const void *model) {{ return cnncc_cuda_state((struct cnncc_device *)model); }}
const char *{name}_error(int code) {{ return cnncc_cuda_error(code); }}
void {name}_driver(const char *path) {{ cnncc_cuda_driver(path); }}
int {name}_peek(const void *model, void *to, size_t offset, size_t bytes) {{
    return cnncc_cuda_peek((struct cnncc_device *)model, to, offset, bytes);
}}
"""


def _ports(function: str, ports: Sequence[tuple[str, tuple[int, ...]]], name: str) -> str:
    """`size_t NAME_inputs(const cnncc_port **ports)`: their number, and the table if that is wanted."""
    shapes = [f"(const int64_t[]){{{', '.join(map(str, shape))}}}" for _, shape in ports]
    rows = [
        f"{{{json.dumps(port)}, {dims}, {len(shape)}, {DTYPES[FLOAT32]}, {prod(shape[1:])}}}"
        for (port, shape), dims in zip(ports, shapes, strict=True)
    ]
    return f"""\
static const struct cnncc_port {function}[] = {_array(rows)};
size_t {name}_{function}(const struct cnncc_port **ports) {{
    if (ports) *ports = {function};
    return {len(ports)};
}}"""


def _devices() -> str:
    entries = (
        f"[{i}] = {{.network = &network, .index = {i}, .lock = PTHREAD_MUTEX_INITIALIZER}}" for i in range(MOST_DEVICES)
    )
    return ",\n    ".join(entries)


def _check_limits(program: CudaProgram) -> None:
    ports = len(program.ports)
    if ports > MOST_PORTS:
        raise CnnccError(f"{ports} inputs and outputs; a GPU module takes {MOST_PORTS}")
    for call in program.calls:
        if len(call.operands) >= MOST_ARGUMENTS:
            node = program.graph[call.node]
            what = f"{node.op} of {len(call.operands)} values; a GPU kernel takes {MOST_ARGUMENTS - 1}"
            raise CnnccError(what, node.span, node.stack, "write it as several ops")


def _tables(program: CudaProgram, images: Sequence[Image], name: str) -> str:
    kernels = {kernel: i for i, kernel in enumerate(program.kernels)}
    calls = [(kernels[kernel_of(c)], program.arguments(c)) for c in program.calls]
    starts = [0, *accumulate(len(arguments) for _, arguments in calls)]
    steps = [f"{{{k}, {at}, {len(args)}}}" for (k, args), at in zip(calls, starts, strict=False)]
    arguments = [f"{{{a.base}, {a.offset}u}}" for _, args in calls for a in args]
    functions = [f'{{"{k.symbol}", {{{", ".join(map(str, k.grid))}}}, {k.threads}}}' for k in program.kernels]
    pictures = [f"{{{im.number}, {int(im.is_ptx)}, {im.driver}, image{i}}}" for i, im in enumerate(images)]
    blobs = [f"extern const char image{i}[] HIDDEN;" for i in range(len(images))]
    weights = program.weight_bytes
    return f"""\
#define HIDDEN __attribute__((visibility("hidden")))
{chr(10).join(blobs)}
extern const char info[] HIDDEN, source[] HIDDEN;
{"extern const char weights[] HIDDEN;" if weights else ""}
static const struct cnncc_image images[] = {_array(pictures)};
static const struct cnncc_kernel kernels[] = {_array(functions)};
static const struct cnncc_step steps[] = {_array(steps)};
static const struct cnncc_argument arguments[] = {_array(arguments)};
static const uint64_t port_bytes[] = {_array([str(size) for _, size in program.ports])};
static const struct cnncc_network network = {{
    .name = "{name}", .source = source, .images = images, .kernels = kernels, .steps = steps, .arguments = arguments,
    .weights = {"weights" if weights else "NULL"}, .port_bytes = port_bytes, .weight_bytes = {weights}u,
    .arena_bytes = {program.arena_bytes}u, .counter_offset = {program.counter_offset}u,
    .counter_bytes = {program.counter_bytes}u, .image_count = {len(images)}, .kernel_count = {len(functions)},
    .step_count = {len(steps)}, .inputs = {len(program.graph.inputs)}, .outputs = {len(program.graph.outputs)},
    .batch = {program.options.batch},
}};"""


def _array(entries: list[str]) -> str:
    return "{" + ",\n    ".join(entries or ["0"]) + "}"


def blobs_assembly(images: Sequence[Image], weight_bytes: int, room: str = "") -> str:
    """What the module carries, as read-only data from files: the assembler copies it, no compiler ever sees it. With
    `room`, the weights are zeroed memory that can be written, which the symbol of that name gives to callers."""
    parts = [(f"image{i}", f"image{i}.bin", ".rodata", True) for i in range(len(images))]
    parts += [("source", "source.cu", ".rodata", True), ("info", "info.json", '.cnncc,"a"', True)]
    parts += [("weights", "weights.bin", ".rodata", False)] if weight_bytes and not room else []
    rest = _room(room, weight_bytes) if room else ""
    return "".join(map(_blob, *zip(*parts, strict=True))) + rest + '.section .note.GNU-stack,"",%progbits\n'


def _blob(symbol: str, file: str, section: str, text: bool) -> str:
    end = ".byte 0\n" if text else ""
    return f"""\
.section {section}
.globl {symbol}
.hidden {symbol}
.balign 64
{symbol}:
.incbin "{file}"
{end}"""


def _room(symbol: str, size: int) -> str:
    return f"""\
.section .bss
.globl weights, {symbol}
.hidden weights
.balign 64
weights:
{symbol}:
.zero {max(size, 1)}
"""


def host_header(program: CudaProgram) -> str:
    """The text of `NAME.h`: sizes, the functions, and a comment for each that says what a caller must know."""
    name = c_name(program.graph.name)
    upper = name.upper()
    arrays = parameters(program.graph)
    inputs = len(program.graph.inputs)
    pointers = [f"{'const ' * (i < inputs)}float *{array}" for i, array in enumerate(arrays)]
    both = ",\n    ".join([f"const {name}_model *model", "int32_t images", *pointers, "void *arena"])
    shapes = "\n".join(f" *   {array}: {described(kind)}" for array, kind in arrays.items())
    codes = "\n".join(f" *   {code:2d}  {text}" for code, text in CUDA_TEXTS.items())
    plan = program.plan
    text = f"""\
/* {program.graph.name}, compiled by cnncc {cnncc.__version__} for {program.target.name}. Generated; do not edit. */
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

{shared_declarations()}

/* The most images of a run. */
#define {upper}_MAX_IMAGES {program.options.batch}

/* No memory of the host is needed: `arena` may be null, or what a caller for processors allocates by these sizes. */
#define {upper}_ARENA_BYTES_FOR(images) ((size_t)0 * (images))
#define {upper}_ARENA_BYTES 0
#define {upper}_ARENA_ALIGN 64
/* Device memory: activations {plan.bytes} (least possible {plan.bound}), workspace {program.workspace_bytes}. */
#define {upper}_DEVICE_ARENA_BYTES {program.arena_bytes}
#define {upper}_DEVICE_ARENA_ALIGN {ALIGN}
#define {upper}_MAX_THREADS 1
#define {upper}_VERSION "{cnncc.__version__}"
{counts(upper, [arrays])}

typedef struct {name}_model {name}_model;

/* The network on the first device, or on one of several; null for a number beyond {MOST_DEVICES - 1}. Nothing is opened
 * before the first run. Any number of threads may run a model: each run has device memory of its own. */
const {name}_model *{name}_model_get(void);
const {name}_model *{name}_model_on(int device);

/* Opens the device: makes a context, loads kernels and weights. The first run does it otherwise, and takes that much
 * longer. Returns as a run does. */
int {name}_open(const {name}_model *model);

/* Runs the network on 1 to {upper}_MAX_IMAGES images and waits for the results; fewer images take as long as the most.
 * Float32 arrays in NCHW order, each in host memory or in memory of the model's device:
{shapes}
 * If any of them is in device memory, it waits first for all work that the device has, on every stream. That fails, and
 * spoils the capture, while a stream of the device is being captured: then use {name}_run_async.
 * `arena` may be device memory of {upper}_DEVICE_ARENA_BYTES; anything else, also null, stands for memory of the
 * model's own, which later runs use again. Returns:
{codes}
 */
int {name}_run(
    {both});

/* The same; of the interface for processors: size and threads are not looked at. */
int {name}_run_with(
    {both},
    size_t arena_bytes, const cnncc_threads *threads);

/* The same on the caller's CUstream, without waiting. It can be captured into a graph too, in any mode of capture.
 * It takes {upper}_MAX_IMAGES images, and no other number of them. All pointers are to
 * memory of the model's device, inputs and outputs aligned to 16 bytes, and stay in use until the stream has come
 * past the run. */
int {name}_run_async(
    {both}, void *stream);

/* Frees the model's memory and kernels on its device. No run may be under way, also none that {name}_run_async has
 * queued; a later one opens the device again. A graph that a run was captured into must not be launched any more. */
void {name}_release(const {name}_model *model);

/* Same as the macros, for callers that load the module at run time. */
size_t {name}_arena_bytes(void);
size_t {name}_arena_bytes_for(int32_t images);
size_t {name}_device_arena_bytes(void);

/* Takes the driver library at this path instead of libcuda.so.1, or of what CNNCC_CUDA_DRIVER says. Before any run. */
void {name}_driver(const char *path);

/* The inputs and outputs in the order of the run function: their number, and, if `ports` is not null, the table of
 * them. */
size_t {name}_inputs(const cnncc_port **ports);
size_t {name}_outputs(const cnncc_port **ports);

/* The version of cnncc that made the module. */
const char *{name}_version(void);

/* What the module is, as JSON: shapes, target, versions, hashes. */
const char *{name}_info(void);

/* What the model has on its device, as JSON: whether it is open, the driver's version of CUDA, the code that was
 * loaded, and whether runs use a graph. It lasts until this thread asks again. */
const char *{name}_state(const {name}_model *model);

/* The meaning of a return code; with details for the last one that this thread got. */
const char *{name}_error(int code);

/* Copies a part of the arena that the last run used to the host; for debuggers. */
int {name}_peek(const {name}_model *model, void *to, size_t offset, size_t bytes);

#ifdef __cplusplus
}}
#endif
"""
    return guarded(text, name, "H")
