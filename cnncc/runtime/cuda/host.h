/* The host code of a module for NVIDIA GPUs: the tables that a generated file has, and the functions that it calls. */
#ifndef CNNCC_CUDA_HOST_H
#define CNNCC_CUDA_HOST_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

/* Kernels compiled for one architecture; `arch` is 80 for sm_80. PTX serves every later one. `driver` is the version of
   CUDA that a driver must be of, 12080 for 12.8. */
struct cnncc_image {
    int arch, is_ptx, driver;
    const void *data;
};

struct cnncc_kernel {
    const char *name;
    unsigned grid[3], threads;
};

/* A pointer argument: bytes from the start of the arena (base 0), the weights (1), or an input or output (2 and up). */
struct cnncc_argument {
    unsigned base;
    uint64_t offset;
};

/* A launch of a kernel, with `count` arguments, of which the first one has index `first`. */
struct cnncc_step {
    unsigned kernel, first, count;
};

struct cnncc_network {
    const char *name, *source; /* the CUDA C of all kernels, which only the emulated driver reads */
    const struct cnncc_image *images;
    const struct cnncc_kernel *kernels;
    const struct cnncc_step *steps;
    const struct cnncc_argument *arguments;
    const void *weights;
    const uint64_t *port_bytes; /* sizes of the inputs, then of the outputs, of all images */
    uint64_t weight_bytes, arena_bytes;
    uint64_t counter_offset, counter_bytes; /* of the arena: what kernels find zero and leave zero */
    unsigned image_count, kernel_count, step_count, inputs, outputs;
    int32_t batch; /* images that the kernels compute */
};

enum {
    CNNCC_OK,
    CNNCC_NULL_POINTER,
    CNNCC_MISALIGNED,
    CNNCC_BAD_IMAGES = 13,
    CNNCC_NO_DRIVER = 32,
    CNNCC_NO_DEVICE,
    CNNCC_DEVICE_TOO_OLD,
    CNNCC_OUT_OF_MEMORY,
    CNNCC_LAUNCH_FAILED,
    CNNCC_DEVICE_LOST,
    CNNCC_NOT_DEVICE_MEMORY,
    CNNCC_DRIVER_ERROR,
    CNNCC_DRIVER_TOO_OLD,
    CNNCC_DEVICE_BUSY,
    CNNCC_FORKED,
    CNNCC_OTHER_DEVICE,
    CNNCC_CAPTURING,
};

enum { CNNCC_MOST_ARGUMENTS = 32, CNNCC_MOST_PORTS = 32, CNNCC_MOST_DEVICES = 16 };

struct cnncc_port { /* as in a module's header */
    const char *name;
    const int64_t *shape;
    int32_t rank;
    int32_t dtype;
    size_t count;
};

struct cnncc_slot; /* what a run uses, and no other run at the same time: device memory, a stream, a graph */

/* The network on one device. */
struct cnncc_device {
    const struct cnncc_network *network;
    int index, open;
    int overlaps; /* whether a kernel's blocks may take their places before the kernel before is done */
    pthread_mutex_t lock;
    void *context, *module, **functions;
    uint64_t weights;
    struct cnncc_slot *idle;
    const struct cnncc_image *image; /* the one that was loaded */
    char no_graph[512];              /* why runs have no graph; empty if they have */
    char no_staging[128];            /* why arrays of the host were copied without page-locked memory; empty if they were not */
};

/* Opens the device, if it is not open yet, as the first run does. */
int cnncc_cuda_open(struct cnncc_device *);
/* Runs the network on up to `batch` images and waits for the results. `ports` are the inputs and then the outputs, in
   host or device memory. If `arena` is not a pointer to device memory, the model uses an arena of its own. If any pointer
   is to device memory, it waits first for all work of the device's primary context. */
int cnncc_cuda_run(struct cnncc_device *, int32_t images, void *const *ports, void *arena);
/* The same on the caller's stream, without waiting, of exactly `batch` images. All pointers must be to device memory. */
int cnncc_cuda_enqueue(struct cnncc_device *, int32_t images, void *const *ports, void *arena, void *stream);
/* Frees everything on the device. There must be no run at the same time, nor one queued. A later run opens the device
   again. */
void cnncc_cuda_release(struct cnncc_device *);
/* Copies bytes of the arena that the last run used, for tests. */
int cnncc_cuda_peek(struct cnncc_device *, void *to, uint64_t offset, uint64_t bytes);
/* What the model has on its device, as JSON; the text lasts until the thread asks again. */
const char *cnncc_cuda_state(struct cnncc_device *);
/* Makes runs use this driver library instead of libcuda.so.1. Call it before the first run. */
void cnncc_cuda_driver(const char *path);
/* The meaning of a code, with details if it is the last error of this thread. */
const char *cnncc_cuda_error(int code);

#endif
