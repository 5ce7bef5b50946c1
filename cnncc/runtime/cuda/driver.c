/* Opens the driver's library at run time, as no library of CUDA is linked, and tells what its results mean. */
#define _GNU_SOURCE
#include "driver.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct cnncc_driver cu;

static pthread_mutex_t driver_lock = PTHREAD_MUTEX_INITIALIZER;
static char driver_path[4096];
static int driver_ready;

/* The process that uses the driver, and how often it does, in the lower half. It counts each use that may take a lock,
 * from before the lock until after it, and an open driver for good. So a child that finds 0 finds no lock taken by a
 * thread that it does not have. */
static _Atomic uint64_t uses;

/* What the first error said that lasts as long as the process. `lost` is set after the text. */
static pthread_mutex_t lost_lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_int lost;
static char lost_text[sizeof ((struct cnncc_error *)0)->text];

static _Thread_local struct cnncc_error last;

static const char *const meanings[] = {
    [CNNCC_OK] = "no error",
    [CNNCC_NULL_POINTER] = "a pointer is null",
    [CNNCC_MISALIGNED] = "device memory is not aligned: 16 bytes for an input or output, 256 for the arena",
    [CNNCC_BAD_IMAGES] = "not a number of images that this run takes",
    [CNNCC_NO_DRIVER] = "no CUDA driver",
    [CNNCC_NO_DEVICE] = "no such CUDA device",
    [CNNCC_DEVICE_TOO_OLD] = "the CUDA device is older than every architecture this module was compiled for",
    [CNNCC_OUT_OF_MEMORY] = "out of device memory",
    [CNNCC_LAUNCH_FAILED] = "a kernel could not be launched",
    [CNNCC_DEVICE_LOST] = "the CUDA device is lost to this process, which must be restarted",
    [CNNCC_NOT_DEVICE_MEMORY] = "a pointer is not to device memory",
    [CNNCC_DRIVER_ERROR] = "the CUDA driver reported an error",
    [CNNCC_DRIVER_TOO_OLD] = "the CUDA driver loads none of the module's code",
    [CNNCC_DEVICE_BUSY] = "the CUDA device is not free: another process has it in exclusive mode, or MPS takes no more",
    [CNNCC_FORKED] = "this process was forked from one that had used CUDA, which works in one of them only",
    [CNNCC_OTHER_DEVICE] = "a pointer is to memory of another CUDA device",
    [CNNCC_CAPTURING] = "a run with device pointers cannot wait while a stream is captured: use NAME_run_async",
};

const char *cnncc_cuda_error(int code) {
    if (code < 0 || code >= (int)(sizeof meanings / sizeof *meanings) || !meanings[code]) return "unknown error code";
    return code && code == last.code && *last.text ? last.text : meanings[code];
}

int cnncc_fail(int code, const char *format, const char *detail) {
    last.code = code;
    snprintf(last.text, sizeof last.text, format, meanings[code], detail);
    return code;
}

int cnncc_plain(int code) {
    last.code = code;
    last.text[0] = 0;
    return code;
}

/* Errors after which the driver does nothing more for this process. */
static int is_sticky(result r) {
    return r == INVALID_CONTEXT || r == UNCORRECTABLE || r == CONTAINED || (r >= 700 && r < 720) ||
           r == TENSOR_MEMORY_LEAK || r == MPS_CLIENT_ENDED;
}

/* Another process has the device, or the server through which processes share it (MPS) takes no more of them now. */
static int is_busy(result r) {
    return r == DEVICE_UNAVAILABLE || r == MPS_NOT_REACHED || r == MPS_NOT_READY || r == MPS_CLIENTS || r == MPS_CONNECTIONS;
}

static void note_lost(void) {
    pthread_mutex_lock(&lost_lock);
    if (!lost) memcpy(lost_text, last.text, sizeof lost_text);
    lost = 1;
    pthread_mutex_unlock(&lost_lock);
}

int cnncc_check(result r, const char *function) {
    if (!r) return CNNCC_OK;
    const char *name = NULL, *text = NULL;
    cu.cuGetErrorName(r, &name);
    cu.cuGetErrorString(r, &text);
    char detail[384];
    snprintf(detail, sizeof detail, "%s: %s (%s)", function, name ? name : "unknown", text ? text : "no text");
    int code = is_sticky(r)       ? CNNCC_DEVICE_LOST
             : r == OUT_OF_MEMORY ? CNNCC_OUT_OF_MEMORY
             : r == NO_DEVICE     ? CNNCC_NO_DEVICE
             : is_busy(r)         ? CNNCC_DEVICE_BUSY
             : r == 98            ? CNNCC_LAUNCH_FAILED /* the device has no code of the kernel */
                                  : CNNCC_DRIVER_ERROR;
    cnncc_fail(code, "%s: %s", detail);
    if (code == CNNCC_DEVICE_LOST) note_lost();
    return code;
}

struct cnncc_error cnncc_last_error(void) { return last; }

void cnncc_restore_error(struct cnncc_error error) { last = error; }

static int is_child(void) {
    uint64_t now = uses;
    return now && (pid_t)(now >> 32) != getpid();
}

int cnncc_begin_use(void) {
    uint64_t me = (uint64_t)getpid() << 32, now = uses;
    do {
        if (now && now >> 32 != me >> 32) return 0;
    } while (!atomic_compare_exchange_weak(&uses, &now, (now ? now : me) + 1));
    return 1;
}

void cnncc_end_use(void) {
    uint64_t now = uses;
    while (!atomic_compare_exchange_weak(&uses, &now, (uint32_t)now > 1 ? now - 1 : 0)) {
    }
}

int cnncc_check_process(void) {
    if (is_child()) return cnncc_plain(CNNCC_FORKED);
    if (!lost) return CNNCC_OK;
    last.code = CNNCC_DEVICE_LOST;
    memcpy(last.text, lost_text, sizeof last.text);
    return CNNCC_DEVICE_LOST;
}

void cnncc_cuda_driver(const char *path) {
    if (!cnncc_begin_use()) return;
    pthread_mutex_lock(&driver_lock);
    snprintf(driver_path, sizeof driver_path, "%s", path);
    pthread_mutex_unlock(&driver_lock);
    cnncc_end_use();
}

static int find_functions(void *library) {
#define FIND(name, parameters)                                                                                         \
    if (!(*(void **)&cu.name = dlsym(library, #name)))                                                                 \
        return cnncc_fail(CNNCC_NO_DRIVER, "%s: the driver is too old, it lacks %s", #name);
    DRIVER_FUNCTIONS(FIND)
    *(void **)&cu.load_source = dlsym(library, "cnncc_emulator_load");
    *(void **)&cu.launch_with = dlsym(library, "cuLaunchKernelEx");
    return CNNCC_OK;
}

static int open_driver(void) {
    const char *named = getenv("CNNCC_CUDA_DRIVER");
    const char *path = *driver_path ? driver_path : named && *named ? named : "libcuda.so.1";
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) return cnncc_fail(CNNCC_NO_DRIVER, "%s: %s", dlerror());
    int code = find_functions(library);
    if (code) {
        dlclose(library);
        return code;
    }
    result r = cu.cuInit(0);
    if (r == NOT_INITIALIZED) return cnncc_plain(CNNCC_FORKED); /* what it says in a child, if the parent has called it */
    TRY(cnncc_check(r, "cuInit"));
    return CALL(cuDriverGetVersion, &cu.version);
}

int cnncc_need_driver(void) {
    pthread_mutex_lock(&driver_lock);
    int code = driver_ready ? CNNCC_OK : open_driver();
    if (!code && !driver_ready) cnncc_begin_use(); /* which does not end */
    driver_ready |= !code;
    pthread_mutex_unlock(&driver_lock);
    return code;
}
