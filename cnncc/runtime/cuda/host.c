/* Runs a network on an NVIDIA GPU through the driver API. The driver's library is opened at run time; no library of
 * CUDA is linked.
 *
 * The first run on a device opens the device: it makes a context and loads kernels and weights. Each run uses a slot:
 * device memory for the arena, inputs and outputs, a stream, and a graph. It takes an idle slot or makes one, so that
 * any number of threads may run the same model. The second run of a slot captures its launches into a graph. If
 * anything fails, the slot is freed.
 */
#define _GNU_SOURCE
#include "host.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the driver ---- */

typedef int result;
typedef uint64_t address;

enum { OUT_OF_MEMORY = 2, NO_DEVICE = 100, DEVICE_UNAVAILABLE = 46 };
enum { MAJOR = 75, MINOR = 76, MEMORY_TYPE = 2, MEMORY_TYPE_DEVICE = 2, NON_BLOCKING = 1, CAPTURE_THREAD = 1 };

#define DRIVER_FUNCTIONS(F)                                                                                            \
    F(cuInit, (unsigned))                                                                                              \
    F(cuGetErrorName, (result, const char **))                                                                         \
    F(cuGetErrorString, (result, const char **))                                                                       \
    F(cuDeviceGetCount, (int *))                                                                                       \
    F(cuDeviceGet, (int *, int))                                                                                       \
    F(cuDeviceGetName, (char *, int, int))                                                                             \
    F(cuDeviceGetAttribute, (int *, int, int))                                                                         \
    F(cuDevicePrimaryCtxRetain, (void **, int))                                                                        \
    F(cuDevicePrimaryCtxRelease_v2, (int))                                                                             \
    F(cuCtxPushCurrent_v2, (void *))                                                                                   \
    F(cuCtxPopCurrent_v2, (void **))                                                                                   \
    F(cuModuleLoadData, (void **, const void *))                                                                       \
    F(cuModuleUnload, (void *))                                                                                        \
    F(cuModuleGetFunction, (void **, void *, const char *))                                                            \
    F(cuMemAlloc_v2, (address *, size_t))                                                                              \
    F(cuMemFree_v2, (address))                                                                                         \
    F(cuMemcpyHtoD_v2, (address, const void *, size_t))                                                                \
    F(cuMemcpyDtoH_v2, (void *, address, size_t))                                                                      \
    F(cuMemcpyHtoDAsync_v2, (address, const void *, size_t, void *))                                                   \
    F(cuMemcpyDtoHAsync_v2, (void *, address, size_t, void *))                                                         \
    F(cuMemcpyDtoDAsync_v2, (address, address, size_t, void *))                                                        \
    F(cuPointerGetAttribute, (void *, int, address))                                                                   \
    F(cuStreamCreate, (void **, unsigned))                                                                             \
    F(cuStreamDestroy_v2, (void *))                                                                                    \
    F(cuStreamSynchronize, (void *))                                                                                   \
    F(cuStreamBeginCapture_v2, (void *, int))                                                                          \
    F(cuStreamEndCapture, (void *, void **))                                                                           \
    F(cuGraphInstantiateWithFlags, (void **, void *, unsigned long long))                                              \
    F(cuGraphLaunch, (void *, void *))                                                                                 \
    F(cuGraphExecDestroy, (void *))                                                                                    \
    F(cuGraphDestroy, (void *))                                                                                        \
    F(cuLaunchKernel, (void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *, void **,  \
                       void **))

#define MEMBER(name, parameters) result(*name) parameters;
static struct {
    DRIVER_FUNCTIONS(MEMBER)
    /* The emulated driver compiles the source of the kernels instead of loading machine code. A real driver has no such
     * function. */
    result (*load_source)(void **, const char *);
} cu;

static pthread_mutex_t driver_lock = PTHREAD_MUTEX_INITIALIZER;
static char driver_path[4096];
static int driver_ready;

static _Thread_local int last_code;
static _Thread_local char last_text[512];

static const char *const meanings[] = {
    [CNNCC_OK] = "no error",
    [CNNCC_NULL_POINTER] = "a pointer is null",
    [CNNCC_MISALIGNED] = "device memory is not aligned: 16 bytes for an input or output, 256 for the arena",
    [CNNCC_BAD_IMAGES] = "not a number of images that this run takes",
    [CNNCC_NO_DRIVER] = "no CUDA driver",
    [CNNCC_NO_DEVICE] = "no such CUDA device",
    [CNNCC_DEVICE_TOO_OLD] = "the CUDA device is older than every architecture this module was compiled for",
    [CNNCC_OUT_OF_MEMORY] = "out of device memory",
    [CNNCC_LAUNCH_FAILED] = "a kernel failed",
    [CNNCC_DEVICE_LOST] = "the CUDA device was lost",
    [CNNCC_NOT_DEVICE_MEMORY] = "a pointer is not to device memory",
    [CNNCC_DRIVER_ERROR] = "the CUDA driver reported an error",
};

const char *cnncc_cuda_error(int code) {
    if (code < 0 || code >= (int)(sizeof meanings / sizeof *meanings) || !meanings[code]) return "unknown error code";
    return code && code == last_code && *last_text ? last_text : meanings[code];
}

static int fail(int code, const char *format, const char *detail) {
    last_code = code;
    snprintf(last_text, sizeof last_text, format, meanings[code], detail);
    return code;
}

static int plain(int code) {
    last_code = code;
    last_text[0] = 0;
    return code;
}

/* The error code for a result of the driver. It also notes the function that returned the result. */
static int check(result r, const char *function) {
    if (!r) return CNNCC_OK;
    const char *name = NULL, *text = NULL;
    cu.cuGetErrorName(r, &name);
    cu.cuGetErrorString(r, &text);
    char detail[384];
    snprintf(detail, sizeof detail, "%s: %s (%s)", function, name ? name : "unknown", text ? text : "no text");
    int code = r == OUT_OF_MEMORY ? CNNCC_OUT_OF_MEMORY
             : r == NO_DEVICE     ? CNNCC_NO_DEVICE
             : r == DEVICE_UNAVAILABLE || r == 214 || r == 226 ? CNNCC_DEVICE_LOST /* also uncorrectable memory errors */
             : (r >= 700 && r < 720) || r == 1 || r == 98      ? CNNCC_LAUNCH_FAILED
                                                               : CNNCC_DRIVER_ERROR;
    return fail(code, "%s: %s", detail);
}

#define TRY(call)                                                                                                      \
    do {                                                                                                               \
        int code_ = (call);                                                                                            \
        if (code_) return code_;                                                                                       \
    } while (0)
#define CALL(function, ...) check(cu.function(__VA_ARGS__), #function)

void cnncc_cuda_driver(const char *path) {
    pthread_mutex_lock(&driver_lock);
    snprintf(driver_path, sizeof driver_path, "%s", path);
    pthread_mutex_unlock(&driver_lock);
}

static int find_functions(void *library) {
#define FIND(name, parameters)                                                                                         \
    if (!(*(void **)&cu.name = dlsym(library, #name)))                                                                 \
        return fail(CNNCC_NO_DRIVER, "%s: the driver is too old, it lacks %s", #name);
    DRIVER_FUNCTIONS(FIND)
    *(void **)&cu.load_source = dlsym(library, "cnncc_emulator_load");
    return CNNCC_OK;
}

static int open_driver(void) {
    const char *named = getenv("CNNCC_CUDA_DRIVER");
    const char *path = *driver_path ? driver_path : named && *named ? named : "libcuda.so.1";
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) return fail(CNNCC_NO_DRIVER, "%s: %s", dlerror());
    int code = find_functions(library);
    if (code) dlclose(library);
    return code ? code : CALL(cuInit, 0);
}

/* Opens the driver once for the process. If this fails, a later run tries again. */
static int need_driver(void) {
    pthread_mutex_lock(&driver_lock);
    int code = driver_ready ? CNNCC_OK : open_driver();
    driver_ready |= !code;
    pthread_mutex_unlock(&driver_lock);
    return code;
}

/* ---- a device ---- */

/* Machine code of the device's generation that is not newer than the device, else PTX that is not newer; NULL if there is
 * neither. */
static const struct cnncc_image *choose_image(const struct cnncc_network *network, int arch) {
    const struct cnncc_image *best = NULL;
    for (unsigned i = 0; i < network->image_count; i++) {
        const struct cnncc_image *image = &network->images[i];
        int fits = image->arch <= arch && (image->is_ptx || image->arch / 10 == arch / 10);
        int better = !best || image->is_ptx < best->is_ptx || (image->is_ptx == best->is_ptx && image->arch > best->arch);
        if (fits && better) best = image;
    }
    return best;
}

static int load_kernels(struct cnncc_device *d, int device) {
    const struct cnncc_network *network = d->network;
    int major = 0, minor = 0;
    TRY(CALL(cuDeviceGetAttribute, &major, MAJOR, device));
    TRY(CALL(cuDeviceGetAttribute, &minor, MINOR, device));
    const struct cnncc_image *image = choose_image(network, 10 * major + minor);
    if (!image) {
        char name[128] = "", detail[256];
        TRY(CALL(cuDeviceGetName, name, sizeof name, device));
        snprintf(detail, sizeof detail, "%s has compute capability %d.%d", name, major, minor);
        return fail(CNNCC_DEVICE_TOO_OLD, "%s: %s", detail);
    }
    if (cu.load_source)
        TRY(check(cu.load_source(&d->module, network->source), "cuModuleLoadData"));
    else
        TRY(CALL(cuModuleLoadData, &d->module, image->data));
    d->functions = calloc(network->kernel_count + 1, sizeof *d->functions);
    if (!d->functions) return fail(CNNCC_OUT_OF_MEMORY, "%s: %s", "of the host");
    for (unsigned i = 0; i < network->kernel_count; i++)
        TRY(CALL(cuModuleGetFunction, &d->functions[i], d->module, network->kernels[i].name));
    return CNNCC_OK;
}

static int upload_weights(struct cnncc_device *d) {
    if (!d->network->weight_bytes) return CNNCC_OK;
    TRY(CALL(cuMemAlloc_v2, &d->weights, d->network->weight_bytes));
    return CALL(cuMemcpyHtoD_v2, d->weights, d->network->weights, d->network->weight_bytes);
}

static int open_context(struct cnncc_device *d) {
    int count = 0, device = 0;
    TRY(need_driver());
    TRY(CALL(cuDeviceGetCount, &count));
    if (d->index >= count) {
        char detail[64];
        snprintf(detail, sizeof detail, "number %d, of %d", d->index, count);
        return fail(CNNCC_NO_DEVICE, "%s: %s", detail);
    }
    TRY(CALL(cuDeviceGet, &device, d->index));
    TRY(CALL(cuDevicePrimaryCtxRetain, &d->context, device));
    TRY(CALL(cuCtxPushCurrent_v2, d->context));
    int code = load_kernels(d, device);
    if (!code) code = upload_weights(d);
    void *popped;
    cu.cuCtxPopCurrent_v2(&popped);
    return code;
}

struct cnncc_slot {
    struct cnncc_slot *next;
    address memory; /* arena, then inputs and outputs */
    void *stream, *graph;
    int runs;
};

static void free_slot(struct cnncc_slot *slot) {
    if (slot->graph) cu.cuGraphExecDestroy(slot->graph);
    if (slot->stream) cu.cuStreamDestroy_v2(slot->stream);
    if (slot->memory) cu.cuMemFree_v2(slot->memory);
    free(slot);
}

/* Frees what `open_context` and the runs made. It ignores the driver's results, because there may be an error
 * already. */
static void close_device(struct cnncc_device *d) {
    void *popped;
    int device;
    if (!d->context) return;
    cu.cuCtxPushCurrent_v2(d->context);
    for (struct cnncc_slot *slot = d->idle, *next; slot; slot = next) {
        next = slot->next;
        free_slot(slot);
    }
    if (d->weights) cu.cuMemFree_v2(d->weights);
    if (d->module) cu.cuModuleUnload(d->module);
    cu.cuCtxPopCurrent_v2(&popped);
    if (!cu.cuDeviceGet(&device, d->index)) cu.cuDevicePrimaryCtxRelease_v2(device);
    free(d->functions);
    d->context = d->module = NULL;
    d->functions = NULL;
    d->weights = 0;
    d->idle = NULL;
    d->open = 0;
}

static int need_device(struct cnncc_device *d) {
    int code = CNNCC_OK;
    pthread_mutex_lock(&d->lock);
    if (!d->open) {
        code = open_context(d);
        if (code)
            close_device(d);
        else
            d->open = 1;
    }
    pthread_mutex_unlock(&d->lock);
    return code;
}

void cnncc_cuda_release(struct cnncc_device *d) {
    pthread_mutex_lock(&d->lock);
    close_device(d);
    pthread_mutex_unlock(&d->lock);
}

/* ---- a run ---- */

static uint64_t rounded(uint64_t bytes) { return (bytes + 255) / 256 * 256; }

static int make_slot(struct cnncc_device *d, struct cnncc_slot **made) {
    const struct cnncc_network *network = d->network;
    struct cnncc_slot *slot = calloc(1, sizeof *slot);
    if (!slot) return fail(CNNCC_OUT_OF_MEMORY, "%s: %s", "of the host");
    uint64_t bytes = rounded(network->arena_bytes);
    for (unsigned i = 0; i < network->inputs + network->outputs; i++) bytes += rounded(network->port_bytes[i]);
    int code = CALL(cuMemAlloc_v2, &slot->memory, bytes + 256);
    if (!code) code = CALL(cuStreamCreate, &slot->stream, NON_BLOCKING);
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

/* Launches all kernels of the network, in order. `bases` are those of `struct cnncc_argument`. */
static int launch_all(struct cnncc_device *d, const address *bases, void *stream) {
    const struct cnncc_network *network = d->network;
    for (unsigned i = 0; i < network->step_count; i++) {
        const struct cnncc_step *step = &network->steps[i];
        const struct cnncc_kernel *kernel = &network->kernels[step->kernel];
        address values[CNNCC_MOST_ARGUMENTS];
        void *pointers[CNNCC_MOST_ARGUMENTS];
        for (unsigned a = 0; a < step->count; a++) {
            const struct cnncc_argument *argument = &network->arguments[step->first + a];
            values[a] = bases[argument->base] + argument->offset;
            pointers[a] = &values[a];
        }
        const unsigned *grid = kernel->grid;
        TRY(CALL(cuLaunchKernel, d->functions[step->kernel], grid[0], grid[1], grid[2], kernel->threads, 1, 1, 0, stream,
                 pointers, NULL));
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

/* Launches the kernels of a run in a slot: one by one in the first run, later as a graph. With an arena of the caller they
 * are launched one by one, because each run may have another arena. */
static int launch(struct cnncc_device *d, struct cnncc_slot *slot, const address *bases, int own_arena) {
    if (!own_arena || !d->network->step_count) return launch_all(d, bases, slot->stream);
    if (slot->runs == 1 && !slot->graph) TRY(capture(d, slot, bases));
    slot->runs = 1;
    return slot->graph ? CALL(cuGraphLaunch, slot->graph, slot->stream) : launch_all(d, bases, slot->stream);
}

static int is_device_memory(const void *pointer) {
    unsigned type = 0;
    return !cu.cuPointerGetAttribute(&type, MEMORY_TYPE, (address)(uintptr_t)pointer) && type == MEMORY_TYPE_DEVICE;
}

static int copy_in(address to, const void *from, size_t bytes, void *stream) {
    if (is_device_memory(from)) return CALL(cuMemcpyDtoDAsync_v2, to, (address)(uintptr_t)from, bytes, stream);
    return CALL(cuMemcpyHtoDAsync_v2, to, from, bytes, stream);
}

static int copy_out(void *to, address from, size_t bytes, void *stream) {
    if (is_device_memory(to)) return CALL(cuMemcpyDtoDAsync_v2, (address)(uintptr_t)to, from, bytes, stream);
    return CALL(cuMemcpyDtoHAsync_v2, to, from, bytes, stream);
}

/* The kernels compute all images of the batch. If there are fewer, what is computed of the others goes nowhere. */
static int run_in(struct cnncc_device *d, struct cnncc_slot *slot, int32_t images, void *const *ports, void *arena) {
    const struct cnncc_network *network = d->network;
    const uint64_t *bytes = network->port_bytes, batch = (uint64_t)network->batch;
    unsigned count = network->inputs + network->outputs;
    int own = !arena || !is_device_memory(arena);
    address bases[2 + CNNCC_MOST_PORTS] = {own ? slot->memory : (address)(uintptr_t)arena, d->weights};
    if (bases[0] % 256) return plain(CNNCC_MISALIGNED);
    address at = slot->memory + rounded(network->arena_bytes);
    for (unsigned i = 0; i < count; i++) {
        bases[2 + i] = at;
        at += rounded(network->port_bytes[i]);
    }
    for (unsigned i = 0; i < network->inputs; i++)
        TRY(copy_in(bases[2 + i], ports[i], bytes[i] / batch * images, slot->stream));
    TRY(launch(d, slot, bases, own));
    for (unsigned i = network->inputs; i < count; i++)
        TRY(copy_out(ports[i], bases[2 + i], bytes[i] / batch * images, slot->stream));
    return CALL(cuStreamSynchronize, slot->stream);
}

static int has_null(const struct cnncc_device *d, void *const *ports) {
    if (!d) return 1;
    for (unsigned i = 0; i < d->network->inputs + d->network->outputs; i++)
        if (!ports[i]) return 1;
    return 0;
}

int cnncc_cuda_run(struct cnncc_device *d, int32_t images, void *const *ports, void *arena) {
    struct cnncc_slot *slot = NULL;
    void *popped;
    if (has_null(d, ports)) return plain(CNNCC_NULL_POINTER);
    if (images < 1 || images > d->network->batch) return plain(CNNCC_BAD_IMAGES);
    TRY(need_device(d));
    TRY(CALL(cuCtxPushCurrent_v2, d->context));
    int code = take_slot(d, &slot);
    if (!code) code = run_in(d, slot, images, ports, arena);
    if (slot && code) {
        cu.cuStreamSynchronize(slot->stream); /* queued kernels may still use the caller's memory */
        free_slot(slot);
    } else if (slot) {
        give_slot(d, slot);
    }
    cu.cuCtxPopCurrent_v2(&popped);
    return code;
}

static int check_device_pointers(struct cnncc_device *d, void *const *ports, void *arena) {
    if (d->network->arena_bytes && !is_device_memory(arena)) return plain(CNNCC_NOT_DEVICE_MEMORY);
    if ((uintptr_t)arena % 256) return plain(CNNCC_MISALIGNED);
    for (unsigned i = 0; i < d->network->inputs + d->network->outputs; i++) {
        if (!is_device_memory(ports[i])) return plain(CNNCC_NOT_DEVICE_MEMORY);
        if ((uintptr_t)ports[i] % 16) return plain(CNNCC_MISALIGNED);
    }
    return CNNCC_OK;
}

int cnncc_cuda_enqueue(struct cnncc_device *d, int32_t images, void *const *ports, void *arena, void *stream) {
    void *popped;
    if (has_null(d, ports)) return plain(CNNCC_NULL_POINTER);
    if (images != d->network->batch) return plain(CNNCC_BAD_IMAGES);
    TRY(need_device(d));
    TRY(CALL(cuCtxPushCurrent_v2, d->context));
    int code = check_device_pointers(d, ports, arena);
    if (!code) {
        address bases[2 + CNNCC_MOST_PORTS] = {(address)(uintptr_t)arena, d->weights};
        for (unsigned i = 0; i < d->network->inputs + d->network->outputs; i++)
            bases[2 + i] = (address)(uintptr_t)ports[i];
        code = launch_all(d, bases, stream);
    }
    cu.cuCtxPopCurrent_v2(&popped);
    return code;
}

int cnncc_cuda_peek(struct cnncc_device *d, void *to, uint64_t offset, uint64_t bytes) {
    void *popped;
    if (!d || !d->open || !d->idle) return plain(CNNCC_NULL_POINTER);
    TRY(CALL(cuCtxPushCurrent_v2, d->context));
    int code = CALL(cuMemcpyDtoH_v2, to, d->idle->memory + offset, bytes);
    cu.cuCtxPopCurrent_v2(&popped);
    return code;
}
