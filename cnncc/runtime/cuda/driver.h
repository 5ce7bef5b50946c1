/* The functions of the CUDA driver that the host code calls, and how their results become error codes. Nothing of it is
 * seen outside a module. */
#ifndef CNNCC_CUDA_DRIVER_H
#define CNNCC_CUDA_DRIVER_H

#include "host.h"

typedef int result;
typedef uint64_t address;

enum {
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NOT_INITIALIZED = 3,
    DEVICE_UNAVAILABLE = 46,
    NO_DEVICE = 100,
    INVALID_IMAGE = 200,
    INVALID_CONTEXT = 201,
    NO_BINARY = 209,
    UNCORRECTABLE = 214,
    INVALID_PTX = 218,
    NO_PTX_COMPILER = 221,
    UNSUPPORTED_PTX = 222,
    PTX_COMPILER_OFF = 223,
    CONTAINED = 226,
    TENSOR_MEMORY_LEAK = 721,
    MPS_NOT_REACHED = 805,
    MPS_NOT_READY = 807,
    MPS_CLIENTS = 808,
    MPS_CONNECTIONS = 809,
    MPS_CLIENT_ENDED = 810,
    CAPTURE_UNSUPPORTED = 900,
};
enum { MAJOR = 75, MINOR = 76 }; /* attributes of a device */
enum { MEMORY_TYPE = 2, MEMORY_TYPE_DEVICE = 2, DEVICE_ORDINAL = 9 }; /* attributes of a pointer */
enum { NON_BLOCKING = 1, CAPTURE_THREAD = 1, CAPTURE_RELAXED = 2 };

/* As the driver has them: CUlaunchAttribute and CUlaunchConfig. */
struct launch_attribute {
    int id, unused;
    union {
        int on;
        char room[64];
    } value;
};
struct launch_config {
    unsigned grid[3], threads[3], shared_bytes;
    void *stream;
    const struct launch_attribute *attributes;
    unsigned attribute_count;
};
enum { MAY_OVERLAP = 6 }; /* CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION */

#define DRIVER_FUNCTIONS(F)                                                                                            \
    F(cuInit, (unsigned))                                                                                              \
    F(cuGetErrorName, (result, const char **))                                                                         \
    F(cuGetErrorString, (result, const char **))                                                                       \
    F(cuDriverGetVersion, (int *))                                                                                     \
    F(cuDeviceGetCount, (int *))                                                                                       \
    F(cuDeviceGet, (int *, int))                                                                                       \
    F(cuDeviceGetName, (char *, int, int))                                                                             \
    F(cuDeviceGetAttribute, (int *, int, int))                                                                         \
    F(cuDevicePrimaryCtxRetain, (void **, int))                                                                        \
    F(cuDevicePrimaryCtxRelease_v2, (int))                                                                             \
    F(cuCtxPushCurrent_v2, (void *))                                                                                   \
    F(cuCtxPopCurrent_v2, (void **))                                                                                   \
    F(cuCtxSynchronize, (void))                                                                                        \
    F(cuThreadExchangeStreamCaptureMode, (int *))                                                                      \
    F(cuModuleLoadData, (void **, const void *))                                                                       \
    F(cuModuleUnload, (void *))                                                                                        \
    F(cuModuleGetFunction, (void **, void *, const char *))                                                            \
    F(cuMemAlloc_v2, (address *, size_t))                                                                              \
    F(cuMemFree_v2, (address))                                                                                         \
    F(cuMemAllocHost_v2, (void **, size_t))                                                                            \
    F(cuMemFreeHost, (void *))                                                                                         \
    F(cuMemcpyHtoDAsync_v2, (address, const void *, size_t, void *))                                                   \
    F(cuMemcpyDtoHAsync_v2, (void *, address, size_t, void *))                                                         \
    F(cuMemcpyDtoDAsync_v2, (address, address, size_t, void *))                                                        \
    F(cuMemsetD8Async, (address, unsigned char, size_t, void *))                                                       \
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

#define CNNCC_MEMBER(name, parameters) result(*name) parameters;
extern struct cnncc_driver {
    DRIVER_FUNCTIONS(CNNCC_MEMBER)
    /* The emulated driver compiles the source of the kernels where it would load an image. A real driver has no such
     * function. */
    result (*load_source)(void **, const void *image, const char *source);
    result (*launch_with)(const struct launch_config *, void *function, void **arguments, void **); /* NULL before 11.8 */
    int version; /* of CUDA: 12080 for 12.8 */
} cu;

/* Opens the driver once for the process. If this fails, a later run tries again. */
int cnncc_need_driver(void);
/* Comes before a lock that may be taken while the driver is not open yet. Returns 0 in a child of a process that opened
 * the driver, or was about to: the driver does nothing for it, and locks may be taken for ever. */
int cnncc_begin_use(void);
/* Comes after the lock is given back. */
void cnncc_end_use(void);
/* An error if this process cannot use the driver any more: after an error that lasts, or because it is such a child. */
int cnncc_check_process(void);

/* Notes an error of this thread and returns its code. `format` takes the meaning of the code, then `detail`. */
int cnncc_fail(int code, const char *format, const char *detail);
/* The same without details. */
int cnncc_plain(int code);
/* The error code for a result of the driver. It also notes the function that returned the result, and an error that lasts
 * as long as the process. */
int cnncc_check(result, const char *function);

/* The last error of this thread: to be put back after calls whose own errors do not matter. */
struct cnncc_error {
    int code;
    char text[512];
};
struct cnncc_error cnncc_last_error(void);
void cnncc_restore_error(struct cnncc_error);

#define TRY(call)                                                                                                      \
    do {                                                                                                               \
        int code_ = (call);                                                                                            \
        if (code_) return code_;                                                                                       \
    } while (0)
#define CALL(function, ...) cnncc_check(cu.function(__VA_ARGS__), #function)

#endif
