/* Runs a network on an NVIDIA GPU through the driver API.
 *
 * The first run on a device opens the device: it makes a context and loads kernels and weights. Each run uses a slot:
 * device memory for the arena, inputs and outputs, a stream, and a graph. It takes an idle slot or makes one, so that
 * any number of threads may run the same model. The second run of a slot captures its launches into a graph. If
 * anything fails, the slot is freed.
 *
 * Some errors of the driver last as long as the process (`is_sticky` in driver.c). After one of them every run fails
 * with the same words, and does not call the driver. The same holds for a child of a process that used the driver.
 *
 * Another part of the program may be capturing a stream at any time. Therefore all work here is done in the capture
 * mode RELAXED of this thread, in which the driver lets other captures be, and nothing uses the legacy stream.
 */
#include "driver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- a device ---- */

/* Makes the calls of this thread harmless to captures, and leaves the former mode in `*mode`. */
static int relax(int *mode) {
    *mode = CAPTURE_RELAXED;
    return CALL(cuThreadExchangeStreamCaptureMode, mode);
}

static void restore(int mode) { cu.cuThreadExchangeStreamCaptureMode(&mode); }

static void pop(void) {
    void *popped;
    cu.cuCtxPopCurrent_v2(&popped);
}

static int enter(void *context, int *mode) {
    TRY(relax(mode));
    int code = CALL(cuCtxPushCurrent_v2, context);
    if (code) restore(*mode);
    return code;
}

static void leave(int mode) {
    pop();
    restore(mode);
}

/* Systems on a chip (Xavier, Orin, Thor). NVIDIA's rule that a device runs machine code of an earlier one of its
 * generation does not hold between them, nor between them and other devices. */
static int is_tegra(int arch) { return arch == 72 || arch == 87 || arch == 88 || arch == 101 || arch == 110; }

static int fits(const struct cnncc_image *image, int arch) {
    if (image->arch == arch) return 1;
    if (image->arch > arch) return 0;
    return image->is_ptx || (image->arch / 10 == arch / 10 && !is_tegra(image->arch) && !is_tegra(arch));
}

/* Whether an image is to be tried before another: machine code first, then the nearest to the device. */
static int is_better(const struct cnncc_image *image, const struct cnncc_image *other) {
    return image->is_ptx != other->is_ptx ? other->is_ptx : image->arch > other->arch;
}

/* The best image for a device among those that have not been tried; NULL if there is none. */
static const struct cnncc_image *choose_image(const struct cnncc_network *network, int arch, uint64_t tried) {
    const struct cnncc_image *best = NULL;
    for (unsigned i = 0; i < network->image_count; i++) {
        const struct cnncc_image *image = &network->images[i];
        if (!(tried >> i & 1) && fits(image, arch) && (!best || is_better(image, best))) best = image;
    }
    return best;
}

/* Whether the result of loading says that the driver cannot use this image, whatever the state of the machine. */
static int is_of_the_image(result r) {
    return r == INVALID_IMAGE || r == NO_BINARY || r == INVALID_PTX || r == UNSUPPORTED_PTX || r == NO_PTX_COMPILER ||
           r == PTX_COMPILER_OFF;
}

/* The first driver that makes graphs of launches which may overlap, and the first architecture whose kernels wait for the
 * kernels before them. */
enum { OVERLAP_DRIVER = 12030, OVERLAP_ARCH = 90 };

static int no_image_for(int device, int arch) {
    char name[128] = "", detail[256];
    TRY(CALL(cuDeviceGetName, name, sizeof name, device));
    snprintf(detail, sizeof detail, "%s has compute capability %d.%d", name, arch / 10, arch % 10);
    return cnncc_fail(CNNCC_DEVICE_TOO_OLD, "%s: %s", detail);
}

/* Loads the best image that the driver takes. Drivers have refused images with many codes, so that another image is tried
 * after any but those which it would give again. */
static int load_image(struct cnncc_device *d, int device, int arch) {
    const struct cnncc_network *network = d->network;
    const struct cnncc_image *image;
    struct cnncc_error other = {0}; /* the last one that is not of the image */
    char refused[256] = "";
    size_t length = 0;
    for (uint64_t tried = 0; (image = choose_image(network, arch, tried)); tried |= 1ull << (image - network->images)) {
        result r = cu.load_source ? cu.load_source(&d->module, image->data, network->source)
                                  : cu.cuModuleLoadData(&d->module, image->data);
        if (!r) {
            d->image = image;
            d->overlaps = cu.launch_with && cu.version >= OVERLAP_DRIVER && image->arch >= OVERLAP_ARCH;
            return CNNCC_OK;
        }
        int code = cnncc_check(r, "cuModuleLoadData");
        if (code == CNNCC_DEVICE_LOST || code == CNNCC_OUT_OF_MEMORY) return code;
        if (!is_of_the_image(r)) other = cnncc_last_error();
        const char *name = NULL;
        cu.cuGetErrorName(r, &name);
        if (length < sizeof refused)
            length += (size_t)snprintf(refused + length, sizeof refused - length, "; %s_%d needs CUDA %d.%d, %s",
                                       image->is_ptx ? "compute" : "sm", image->arch, image->driver / 1000,
                                       image->driver % 1000 / 10, name ? name : "refused");
    }
    if (!*refused) return no_image_for(device, arch);
    if (other.code) {
        cnncc_restore_error(other);
        return other.code;
    }
    char detail[384];
    snprintf(detail, sizeof detail, "it is of CUDA %d.%d%s", cu.version / 1000, cu.version % 1000 / 10, refused);
    return cnncc_fail(CNNCC_DRIVER_TOO_OLD, "%s: %s", detail);
}

static int load_kernels(struct cnncc_device *d, int device) {
    const struct cnncc_network *network = d->network;
    int major = 0, minor = 0;
    if (!network->kernel_count) return CNNCC_OK; /* then there is no code either */
    TRY(CALL(cuDeviceGetAttribute, &major, MAJOR, device));
    TRY(CALL(cuDeviceGetAttribute, &minor, MINOR, device));
    TRY(load_image(d, device, 10 * major + minor));
    d->functions = calloc(network->kernel_count, sizeof *d->functions);
    if (!d->functions) return cnncc_fail(CNNCC_OUT_OF_MEMORY, "%s: %s", "of the host");
    for (unsigned i = 0; i < network->kernel_count; i++)
        TRY(CALL(cuModuleGetFunction, &d->functions[i], d->module, network->kernels[i].name));
    return CNNCC_OK;
}

/* Runs may be on any stream, and none of them waits for the one of this copy: it must have landed before. */
static int upload_weights(struct cnncc_device *d) {
    const struct cnncc_network *network = d->network;
    void *stream = NULL;
    if (!network->weight_bytes) return CNNCC_OK;
    TRY(CALL(cuMemAlloc_v2, &d->weights, network->weight_bytes));
    TRY(CALL(cuStreamCreate, &stream, NON_BLOCKING));
    int code = CALL(cuMemcpyHtoDAsync_v2, d->weights, network->weights, network->weight_bytes, stream);
    if (!code) code = CALL(cuStreamSynchronize, stream);
    if (code) cu.cuStreamSynchronize(stream); /* the copy must not come to memory that is free by then */
    cu.cuStreamDestroy_v2(stream);
    return code;
}

/* Makes the context and what is in it. */
static int fill_context(struct cnncc_device *d, int device) {
    TRY(CALL(cuDevicePrimaryCtxRetain, &d->context, device));
    TRY(CALL(cuCtxPushCurrent_v2, d->context));
    int code = load_kernels(d, device);
    if (!code) code = upload_weights(d);
    pop();
    return code;
}

static int open_context(struct cnncc_device *d) {
    int count = 0, device = 0, mode;
    TRY(cnncc_need_driver());
    TRY(CALL(cuDeviceGetCount, &count));
    if (d->index >= count) {
        char detail[64];
        snprintf(detail, sizeof detail, "number %d, of %d", d->index, count);
        return cnncc_fail(CNNCC_NO_DEVICE, "%s: %s", detail);
    }
    TRY(CALL(cuDeviceGet, &device, d->index));
    TRY(relax(&mode)); /* making a context disturbs captures, also those of other devices */
    int code = fill_context(d, device);
    restore(mode);
    return code;
}

struct cnncc_slot {
    struct cnncc_slot *next;
    address memory; /* arena, then inputs and outputs */
    char *staging;  /* page-locked memory of the host, for inputs and outputs that are not; NULL before it is needed */
    void *stream, *graph;
    int runs;
};

static void free_slot(struct cnncc_slot *slot) {
    if (slot->graph) cu.cuGraphExecDestroy(slot->graph);
    if (slot->stream) cu.cuStreamDestroy_v2(slot->stream);
    if (slot->memory) cu.cuMemFree_v2(slot->memory);
    if (slot->staging) cu.cuMemFreeHost(slot->staging);
    free(slot);
}

/* Frees what `open_context` and the runs made. It ignores the driver's results, because there may be an error
 * already. */
static void close_device(struct cnncc_device *d) {
    int device, mode;
    if (!d->context) return;
    int relaxed = !relax(&mode), pushed = !cu.cuCtxPushCurrent_v2(d->context);
    for (struct cnncc_slot *slot = d->idle, *next; slot; slot = next) {
        next = slot->next;
        free_slot(slot);
    }
    if (d->weights) cu.cuMemFree_v2(d->weights);
    if (d->module) cu.cuModuleUnload(d->module);
    if (pushed) pop();
    if (!cu.cuDeviceGet(&device, d->index)) cu.cuDevicePrimaryCtxRelease_v2(device);
    if (relaxed) restore(mode);
    free(d->functions);
    d->context = d->module = NULL;
    d->functions = NULL;
    d->image = NULL;
    d->weights = 0;
    d->idle = NULL;
    d->open = 0;
    d->no_graph[0] = d->no_staging[0] = 0;
}

static int need_device(struct cnncc_device *d) {
    TRY(cnncc_check_process());
    if (!cnncc_begin_use()) return cnncc_plain(CNNCC_FORKED);
    pthread_mutex_lock(&d->lock);
    int code = CNNCC_OK;
    if (!d->open) {
        code = open_context(d);
        if (code) {
            struct cnncc_error error = cnncc_last_error();
            close_device(d);
            cnncc_restore_error(error); /* of this one, not of the closing */
        } else {
            d->open = 1;
        }
    }
    pthread_mutex_unlock(&d->lock);
    cnncc_end_use();
    return code;
}

int cnncc_cuda_open(struct cnncc_device *d) { return d ? need_device(d) : cnncc_plain(CNNCC_NULL_POINTER); }

void cnncc_cuda_release(struct cnncc_device *d) {
    if (!cnncc_begin_use()) return; /* what there is belongs to the parent */
    pthread_mutex_lock(&d->lock);
    close_device(d);
    pthread_mutex_unlock(&d->lock);
    cnncc_end_use();
}

/* Copies a text into a JSON string, without the characters that JSON would have to escape. */
static void quote(char *to, size_t size, const char *from) {
    size_t i = 0;
    for (; from[i] && i + 1 < size; i++) {
        int special = from[i] == '"' || from[i] == '\\' || (unsigned char)from[i] < 32;
        to[i] = special ? '\'' : from[i];
    }
    to[i] = 0;
}

static void write_state(const struct cnncc_device *d, char *text, size_t size) {
    char graph[sizeof d->no_graph], staging[sizeof d->no_staging], code[32] = "none";
    if (d->image) snprintf(code, sizeof code, "%s_%d", d->image->is_ptx ? "compute" : "sm", d->image->arch);
    quote(graph, sizeof graph, d->no_graph);
    quote(staging, sizeof staging, d->no_staging);
    snprintf(text, size,
             "{\"open\": true, \"number\": %d, \"driver\": \"%d.%d\", \"code\": \"%s\", \"overlap\": %s, "
             "\"graph\": \"%s%s\", \"copies\": \"%s%s\"}",
             d->index, cu.version / 1000, cu.version % 1000 / 10, code, d->overlaps ? "true" : "false",
             *graph ? "none: " : "from the second run on", graph, *staging ? "pageable: " : "page-locked", staging);
}

const char *cnncc_cuda_state(struct cnncc_device *d) {
    static _Thread_local char text[2048];
    struct cnncc_error before = cnncc_last_error(), now;
    int usable = !cnncc_check_process();
    now = cnncc_last_error();
    cnncc_restore_error(before); /* asking is no error */
    snprintf(text, sizeof text, "{\"open\": false}");
    if (!usable) {
        char why[sizeof now.text];
        quote(why, sizeof why, *now.text ? now.text : cnncc_cuda_error(now.code));
        snprintf(text, sizeof text, "{\"open\": false, \"lost\": \"%s\"}", why);
    } else if (d && cnncc_begin_use()) {
        pthread_mutex_lock(&d->lock);
        if (d->open) write_state(d, text, sizeof text);
        pthread_mutex_unlock(&d->lock);
        cnncc_end_use();
    }
    return text;
}

/* ---- a run ---- */

static uint64_t rounded(uint64_t bytes) { return (bytes + 255) / 256 * 256; }

/* Once is enough for an arena that nobody else uses, because kernels leave the counters at zero. */
static int clear_counters(struct cnncc_device *d, address arena, void *stream) {
    const struct cnncc_network *network = d->network;
    if (!network->counter_bytes) return CNNCC_OK;
    return CALL(cuMemsetD8Async, arena + network->counter_offset, 0, network->counter_bytes, stream);
}

static int make_slot(struct cnncc_device *d, struct cnncc_slot **made) {
    const struct cnncc_network *network = d->network;
    struct cnncc_slot *slot = calloc(1, sizeof *slot);
    if (!slot) return cnncc_fail(CNNCC_OUT_OF_MEMORY, "%s: %s", "of the host");
    uint64_t bytes = rounded(network->arena_bytes);
    for (unsigned i = 0; i < network->inputs + network->outputs; i++) bytes += rounded(network->port_bytes[i]);
    int code = CALL(cuMemAlloc_v2, &slot->memory, bytes + 256);
    if (!code) code = CALL(cuStreamCreate, &slot->stream, NON_BLOCKING);
    if (!code) code = clear_counters(d, slot->memory, slot->stream);
    if (code) {
        free_slot(slot);
        return code;
    }
    *made = slot;
    return CNNCC_OK;
}

static int take_slot(struct cnncc_device *d, struct cnncc_slot **taken) {
    pthread_mutex_lock(&d->lock);
    struct cnncc_slot *slot = d->idle;
    if (slot) d->idle = slot->next;
    pthread_mutex_unlock(&d->lock);
    if (!slot) return make_slot(d, taken);
    *taken = slot;
    return CNNCC_OK;
}

static void give_slot(struct cnncc_device *d, struct cnncc_slot *slot) {
    pthread_mutex_lock(&d->lock);
    slot->next = d->idle;
    d->idle = slot;
    pthread_mutex_unlock(&d->lock);
}

/* Launches a kernel. If it may overlap with the one before in its stream, the kernel itself waits for that one before it
 * touches memory (`cnncc_follow` in its source). All kernels of the network do, so none is started before the last but one
 * is done. */
static int launch_one(struct cnncc_device *d, unsigned number, void **arguments, void *stream, int may_overlap) {
    const struct cnncc_kernel *kernel = &d->network->kernels[number];
    const unsigned *grid = kernel->grid;
    if (!may_overlap)
        return CALL(cuLaunchKernel, d->functions[number], grid[0], grid[1], grid[2], kernel->threads, 1, 1, 0, stream,
                    arguments, NULL);
    struct launch_attribute attribute = {.id = MAY_OVERLAP, .value.on = 1};
    struct launch_config config = {{grid[0], grid[1], grid[2]}, {kernel->threads, 1, 1}, 0, stream, &attribute, 1};
    return cnncc_check(cu.launch_with(&config, d->functions[number], arguments, NULL), "cuLaunchKernelEx");
}

/* Launches all kernels of the network, in order. `bases` are those of `struct cnncc_argument`. The first kernel waits for
 * everything before it as usual: copies, and kernels that are not ours. */
static int launch_all(struct cnncc_device *d, const address *bases, void *stream) {
    const struct cnncc_network *network = d->network;
    for (unsigned i = 0; i < network->step_count; i++) {
        const struct cnncc_step *step = &network->steps[i];
        address values[CNNCC_MOST_ARGUMENTS];
        void *pointers[CNNCC_MOST_ARGUMENTS];
        for (unsigned a = 0; a < step->count; a++) {
            const struct cnncc_argument *argument = &network->arguments[step->first + a];
            values[a] = bases[argument->base] + argument->offset;
            pointers[a] = &values[a];
        }
        TRY(launch_one(d, step->kernel, pointers, stream, d->overlaps && i));
    }
    return CNNCC_OK;
}

static int capture(struct cnncc_device *d, struct cnncc_slot *slot, const address *bases) {
    void *graph = NULL;
    TRY(CALL(cuStreamBeginCapture_v2, slot->stream, CAPTURE_THREAD));
    int code = launch_all(d, bases, slot->stream);
    int ended = CALL(cuStreamEndCapture, slot->stream, &graph);
    if (!code) code = ended;
    if (!code) code = CALL(cuGraphInstantiateWithFlags, &slot->graph, graph, 0);
    if (graph) cu.cuGraphDestroy(graph);
    return code;
}

/* Notes that runs have no graph, and why. */
static void note_no_graph(struct cnncc_device *d) {
    pthread_mutex_lock(&d->lock);
    snprintf(d->no_graph, sizeof d->no_graph, "%s", cnncc_last_error().text);
    pthread_mutex_unlock(&d->lock);
}

static int has_graph(struct cnncc_device *d) {
    pthread_mutex_lock(&d->lock);
    int has = !d->no_graph[0];
    pthread_mutex_unlock(&d->lock);
    return has;
}

/* Launches the graph of a slot, which is made if there is none yet. */
static int launch_graph(struct cnncc_device *d, struct cnncc_slot *slot, const address *bases) {
    if (!slot->graph) TRY(capture(d, slot, bases));
    return CALL(cuGraphLaunch, slot->graph, slot->stream);
}

/* Launches the kernels of a run in a slot: one by one in the first run, later as a graph. With an arena of the caller
 * they are launched one by one, because each run may have another arena; also, in all slots, once the driver could not
 * make a graph or launch one. */
static int launch(struct cnncc_device *d, struct cnncc_slot *slot, const address *bases, int own_arena) {
    if (!own_arena || !d->network->step_count) return launch_all(d, bases, slot->stream);
    int is_first = !slot->runs;
    slot->runs = 1;
    if (!is_first && has_graph(d)) {
        int code = launch_graph(d, slot, bases);
        if (!code || code == CNNCC_DEVICE_LOST) return code;
        note_no_graph(d);
    }
    if (slot->graph) cu.cuGraphExecDestroy(slot->graph);
    slot->graph = NULL;
    return launch_all(d, bases, slot->stream);
}

enum place { PAGEABLE, PAGE_LOCKED, ON_DEVICE };

/* Where memory is. An error if it is on another device than the model: a kernel could not access it. */
static int find_place(const struct cnncc_device *d, const void *pointer, enum place *found) {
    unsigned type = 0;
    int device = 0;
    *found = PAGEABLE;
    result r = cu.cuPointerGetAttribute(&type, MEMORY_TYPE, (address)(uintptr_t)pointer);
    if (r == INVALID_VALUE) return CNNCC_OK; /* memory that the driver does not know */
    TRY(cnncc_check(r, "cuPointerGetAttribute"));
    *found = PAGE_LOCKED;
    if (type != MEMORY_TYPE_DEVICE) return CNNCC_OK;
    *found = ON_DEVICE;
    TRY(CALL(cuPointerGetAttribute, &device, DEVICE_ORDINAL, (address)(uintptr_t)pointer));
    if (device == d->index) return CNNCC_OK;
    char detail[64];
    snprintf(detail, sizeof detail, "number %d, the model is on number %d", device, d->index);
    return cnncc_fail(CNNCC_OTHER_DEVICE, "%s: %s", detail);
}

/* A run and what it works on. */
struct run {
    struct cnncc_device *device;
    struct cnncc_slot *slot;
    int32_t images;
    void *const *ports;
    enum place places[CNNCC_MOST_PORTS];
    uint64_t offsets[CNNCC_MOST_PORTS]; /* of each input and output, in the slot's memory for them and in its staging */
    uint64_t port_bytes;                /* of all inputs and outputs */
};

static uint64_t used_bytes(const struct run *run, unsigned port) {
    const struct cnncc_network *network = run->device->network;
    return network->port_bytes[port] / (uint64_t)network->batch * (uint64_t)run->images;
}

/* Whether a port's bytes go through the slot's page-locked memory. */
static int is_staged(const struct run *run, unsigned port) {
    return run->places[port] == PAGEABLE && run->slot->staging;
}

static address device_port(const struct run *run, unsigned port) {
    return run->slot->memory + rounded(run->device->network->arena_bytes) + run->offsets[port];
}

/* The copy reads page-locked memory when its turn comes: the slot's, which nobody else writes, or the caller's, which
 * must stay as it is until the run returns. Without such memory it reads the caller's array before this returns, and
 * the stream's next work waits until it has landed. */
static int copy_in(const struct run *run, unsigned port) {
    address to = device_port(run, port);
    const void *from = run->ports[port];
    uint64_t bytes = used_bytes(run, port);
    if (run->places[port] == ON_DEVICE)
        return CALL(cuMemcpyDtoDAsync_v2, to, (address)(uintptr_t)from, bytes, run->slot->stream);
    if (is_staged(run, port)) from = memcpy(run->slot->staging + run->offsets[port], from, bytes);
    return CALL(cuMemcpyHtoDAsync_v2, to, from, bytes, run->slot->stream);
}

static int copy_out(const struct run *run, unsigned port) {
    address from = device_port(run, port);
    void *to = is_staged(run, port) ? run->slot->staging + run->offsets[port] : run->ports[port];
    uint64_t bytes = used_bytes(run, port);
    if (run->places[port] == ON_DEVICE)
        return CALL(cuMemcpyDtoDAsync_v2, (address)(uintptr_t)to, from, bytes, run->slot->stream);
    return CALL(cuMemcpyDtoHAsync_v2, to, from, bytes, run->slot->stream);
}

/* The slot's stream waits for no other one. What the caller has queued that writes the inputs, or still reads the
 * outputs or the arena, must be done before. */
static int wait_for_caller(void) {
    result r = cu.cuCtxSynchronize();
    return r == CAPTURE_UNSUPPORTED ? cnncc_plain(CNNCC_CAPTURING) : cnncc_check(r, "cuCtxSynchronize");
}

/* Page-locked memory for all inputs and outputs. If there is none to be had, which need not be the device's fault, copies
 * are slower but work; the next run of the slot tries again. */
static int need_staging(struct run *run) {
    struct cnncc_device *d = run->device;
    const char *name = "";
    result r = cu.cuMemAllocHost_v2((void **)&run->slot->staging, run->port_bytes);
    if (r) {
        if (cnncc_check(r, "cuMemAllocHost_v2") == CNNCC_DEVICE_LOST) return CNNCC_DEVICE_LOST;
        cu.cuGetErrorName(r, &name);
        run->slot->staging = NULL;
    }
    pthread_mutex_lock(&d->lock);
    snprintf(d->no_staging, sizeof d->no_staging, "%s%s", r ? "cuMemAllocHost: " : "", name);
    pthread_mutex_unlock(&d->lock);
    return CNNCC_OK;
}

/* Finds out where the pointers of a run are, and prepares what that needs. Says whether the arena is the slot's. */
static int prepare(struct run *run, void *arena, int *own_arena) {
    const struct cnncc_network *network = run->device->network;
    enum place of_arena = PAGEABLE;
    int on_device = 0, pageable = 0;
    for (unsigned i = 0; i < network->inputs + network->outputs; i++) {
        TRY(find_place(run->device, run->ports[i], &run->places[i]));
        on_device |= run->places[i] == ON_DEVICE;
        pageable |= run->places[i] == PAGEABLE;
        run->offsets[i] = run->port_bytes;
        run->port_bytes += rounded(network->port_bytes[i]);
    }
    if (arena) TRY(find_place(run->device, arena, &of_arena));
    *own_arena = of_arena != ON_DEVICE;
    if (!*own_arena && (uintptr_t)arena % 256) return cnncc_plain(CNNCC_MISALIGNED);
    if (on_device || !*own_arena) TRY(wait_for_caller());
    return pageable && !run->slot->staging ? need_staging(run) : CNNCC_OK;
}

/* The kernels compute all images of the batch. If there are fewer, what is computed of the others goes nowhere. */
static int run_in(struct cnncc_device *d, struct cnncc_slot *slot, int32_t images, void *const *ports, void *arena) {
    const struct cnncc_network *network = d->network;
    unsigned count = network->inputs + network->outputs;
    struct run run = {.device = d, .slot = slot, .images = images, .ports = ports};
    int own_arena = 1;
    TRY(prepare(&run, arena, &own_arena));
    address bases[2 + CNNCC_MOST_PORTS] = {own_arena ? slot->memory : (address)(uintptr_t)arena, d->weights};
    for (unsigned i = 0; i < count; i++) bases[2 + i] = device_port(&run, i);
    for (unsigned i = 0; i < network->inputs; i++) TRY(copy_in(&run, i));
    if (!own_arena) TRY(clear_counters(d, bases[0], slot->stream));
    TRY(launch(d, slot, bases, own_arena));
    for (unsigned i = network->inputs; i < count; i++) TRY(copy_out(&run, i));
    TRY(CALL(cuStreamSynchronize, slot->stream));
    for (unsigned i = network->inputs; i < count; i++)
        if (is_staged(&run, i)) memcpy(ports[i], slot->staging + run.offsets[i], used_bytes(&run, i));
    return CNNCC_OK;
}

static int has_null(const struct cnncc_device *d, void *const *ports) {
    if (!d) return 1;
    for (unsigned i = 0; i < d->network->inputs + d->network->outputs; i++)
        if (!ports[i]) return 1;
    return 0;
}

int cnncc_cuda_run(struct cnncc_device *d, int32_t images, void *const *ports, void *arena) {
    struct cnncc_slot *slot = NULL;
    int mode;
    if (has_null(d, ports)) return cnncc_plain(CNNCC_NULL_POINTER);
    if (images < 1 || images > d->network->batch) return cnncc_plain(CNNCC_BAD_IMAGES);
    TRY(need_device(d));
    TRY(enter(d->context, &mode));
    int code = take_slot(d, &slot);
    if (!code) code = run_in(d, slot, images, ports, arena);
    if (slot && code) {
        cu.cuStreamSynchronize(slot->stream); /* queued kernels may still use the caller's memory */
        free_slot(slot);
    } else if (slot) {
        give_slot(d, slot);
    }
    leave(mode);
    return code;
}

static int check_device_pointer(struct cnncc_device *d, const void *pointer, uintptr_t align) {
    enum place place;
    TRY(find_place(d, pointer, &place));
    if (place != ON_DEVICE) return cnncc_plain(CNNCC_NOT_DEVICE_MEMORY);
    return (uintptr_t)pointer % align ? cnncc_plain(CNNCC_MISALIGNED) : CNNCC_OK;
}

static int check_device_pointers(struct cnncc_device *d, void *const *ports, void *arena) {
    if (d->network->arena_bytes) TRY(check_device_pointer(d, arena, 256));
    for (unsigned i = 0; i < d->network->inputs + d->network->outputs; i++) TRY(check_device_pointer(d, ports[i], 16));
    return CNNCC_OK;
}

int cnncc_cuda_enqueue(struct cnncc_device *d, int32_t images, void *const *ports, void *arena, void *stream) {
    int mode;
    if (has_null(d, ports)) return cnncc_plain(CNNCC_NULL_POINTER);
    if (images != d->network->batch) return cnncc_plain(CNNCC_BAD_IMAGES);
    TRY(need_device(d));
    TRY(enter(d->context, &mode));
    int code = check_device_pointers(d, ports, arena);
    if (!code) {
        address bases[2 + CNNCC_MOST_PORTS] = {(address)(uintptr_t)arena, d->weights};
        for (unsigned i = 0; i < d->network->inputs + d->network->outputs; i++)
            bases[2 + i] = (address)(uintptr_t)ports[i];
        code = clear_counters(d, bases[0], stream);
        if (!code) code = launch_all(d, bases, stream);
    }
    leave(mode);
    return code;
}

int cnncc_cuda_peek(struct cnncc_device *d, void *to, uint64_t offset, uint64_t bytes) {
    int mode;
    if (!d || !d->open || !d->idle) return cnncc_plain(CNNCC_NULL_POINTER);
    TRY(cnncc_check_process());
    TRY(enter(d->context, &mode));
    int code = CALL(cuMemcpyDtoHAsync_v2, to, d->idle->memory + offset, bytes, d->idle->stream);
    if (!code) code = CALL(cuStreamSynchronize, d->idle->stream);
    leave(mode);
    return code;
}
