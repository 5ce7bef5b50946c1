/* A CUDA driver in software. It has the functions that host.c calls, and events; the C++ compiler compiles the kernels
 * for this machine.
 *
 * With it, tests show that the host code of a module uses the driver as it should, and that the kernels compute the
 * right values. It shows nothing about time. Device memory lies between guard pages and can be accessed only during
 * kernels and copies. Where a real driver may do one thing or another, this one does what breaks a careless caller:
 *   - Work on a stream waits until somebody waits for that stream, or for the device after the stream is gone. The streams
 *     of a context go in an order that nobody would expect, and only blocking streams wait for the legacy stream.
 *   - Freeing memory waits for nothing. What comes to it later spoils the device.
 *   - An asynchronous copy from page-locked memory reads it late. The end of a copy from pageable memory arrives late,
 *     also that of the copy which is called synchronous.
 *   - A kernel that may overlap with the one before, and does not wait for it, runs before it.
 *   - A failed kernel spoils its device for the process: each later call returns the same error.
 *   - While a stream is being captured, calls that the mode of the capture forbids fail, and end the capture.
 *   - Machine code and PTX must be of a version that the driver knows, and for the device.
 *   - After a fork the child has no driver.
 * The environment says what kind of device and driver it is, and which call fails:
 *   CNNCC_EMULATOR_DEVICES=N        number of devices (1)
 *   CNNCC_EMULATOR_CAPABILITY=CC    their compute capability times ten (100)
 *   CNNCC_EMULATOR_DRIVER=VERSION   the version of CUDA that the driver is of: 12080 for 12.8, which is the default
 *   CNNCC_EMULATOR_MEMORY=BYTES     device memory (8 GiB)
 *   CNNCC_EMULATOR_ORDER=N          order of the threads of a block: 0 forwards, 1 backwards, 2 and 3 scattered
 *   CNNCC_EMULATOR_FAIL=NAME:N:CODE the Nth call of a function returns that code, and does nothing
 *   CNNCC_EMULATOR_SLOW=NAME:MS     each call of a function begins so much later
 */
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <dlfcn.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

typedef int result;
typedef uint64_t address;

enum : result {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NOT_INITIALIZED = 3,
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
    INVALID_IMAGE = 200,
    INVALID_CONTEXT = 201,
    NO_BINARY = 209,
    UNSUPPORTED_PTX = 222,
    INVALID_HANDLE = 400,
    NOT_FOUND = 500,
    ILLEGAL_ADDRESS = 700,
    LAUNCH_FAILED = 719,
    CAPTURE_UNSUPPORTED = 900,
    CAPTURE_INVALIDATED = 901,
    CAPTURE_IMPLICIT = 906,
    CAPTURE_WRONG_THREAD = 908,
};
enum { CAPTURE_GLOBAL, CAPTURE_THREAD, CAPTURE_RELAXED };
enum { MOST_DEVICES = 64, LATE_BYTES = 65536 };

namespace {

struct device_launch { /* as in device.h */
    unsigned grid[3], threads;
    int order;
    unsigned every;
    char *message;
    size_t message_bytes;
};
struct launch_attribute { /* as the driver has them */
    int id, unused, on;
    char room[60];
};
struct launch_config {
    unsigned grid[3], threads[3], shared_bytes;
    void *stream;
    const launch_attribute *attributes;
    unsigned attribute_count;
};
typedef int (*kernel_function)(const device_launch *, void **);

struct kernel {
    kernel_function run;
    std::string name;
    unsigned parameters;
    int device;
    bool waits; /* for the kernels before it, where it may overlap with them */
};
struct module {
    void *library;
    int device;
    std::vector<kernel *> kernels;
};
typedef std::function<result()> work; /* what a stream does, later */
struct graph {
    std::vector<work> nodes;
};
struct stream {
    int device = 0;
    bool blocking = true; /* waits for the legacy stream, and the legacy stream for it */
    std::deque<work> queue;
    bool capturing = false, invalidated = false;
    int mode = 0; /* of the capture */
    std::thread::id owner;
    graph *captured = nullptr;
};
struct event {
    bool recorded = false; /* whether a stream has come to it */
    std::chrono::steady_clock::time_point at;
};
struct allocation {
    char *map;
    size_t map_bytes, bytes;
    int device;
};

std::recursive_mutex lock;
std::map<address, allocation> memory;
std::map<char *, size_t> page_locked;
std::set<void *> modules, graphs, executables, events;
std::vector<stream *> streams; /* in the order in which they were made */
std::vector<stream *> orphans; /* destroyed, but they still have work */
stream legacy[MOST_DEVICES];
std::map<std::string, int> calls;
std::map<int, size_t> used;
std::map<int, int> retained;
result spoilt[MOST_DEVICES]; /* the error that every call returns since a kernel failed on the device */
pid_t initialized;           /* the process that did it; a child of that process has no driver */
thread_local std::vector<int> contexts; /* devices whose context is current, the last one on top */
thread_local int thread_mode = CAPTURE_GLOBAL;
int context_marks[MOST_DEVICES];
char last_message[512] = "no error";

long setting(const char *name, long otherwise) {
    const char *value = getenv(name);
    return value && *value ? atol(value) : otherwise;
}

int current() { return contexts.empty() ? 0 : contexts.back(); }

/* 214 and 226 are memory that fails, 721 a kernel that left memory taken, 810 a client that MPS has ended. */
bool is_sticky(result code) {
    return code == INVALID_CONTEXT || code == 214 || code == 226 || (code >= 700 && code < 720) || code == 721 || code == 810;
}

/* Lets the time pass that a call of this function is to begin later. */
void delay(const char *function) {
    const char *wish = getenv("CNNCC_EMULATOR_SLOW");
    char name[64];
    int milliseconds;
    if (wish && sscanf(wish, "%63[^:]:%d", name, &milliseconds) == 2 && !strcmp(name, function))
        std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
}

/* The code that this call returns instead of doing something; 0 for none. */
result injected(const char *function) {
    int count = ++calls[function];
    const char *wish = getenv("CNNCC_EMULATOR_FAIL");
    char name[64];
    int nth, code;
    if (!wish || sscanf(wish, "%63[^:]:%d:%d", name, &nth, &code) != 3) return SUCCESS;
    if (strcmp(name, function) || count != nth) return SUCCESS;
    if (is_sticky(code)) spoilt[current()] = code;
    return code;
}

#define ENTER                                                                                                          \
    delay(__func__);                                                                                                   \
    std::lock_guard<std::recursive_mutex> guard(lock);                                                                 \
    if (result code_ = injected(__func__)) return code_;                                                               \
    if (initialized != getpid()) return NOT_INITIALIZED
#define NEED(condition, code)                                                                                          \
    do {                                                                                                               \
        if (!(condition)) return code;                                                                                 \
    } while (0)
#define TRY(call)                                                                                                      \
    do {                                                                                                               \
        if (result code_ = (call)) return code_;                                                                       \
    } while (0)
/* Enters a function that works on the current device. */
#define ENTER_DEVICE                                                                                                   \
    ENTER;                                                                                                             \
    NEED(!contexts.empty(), INVALID_CONTEXT);                                                                          \
    TRY(spoilt[current()])

const size_t PAGE = 4096;

/* Device memory can be accessed from this call to that of `hide`. */
void reveal() {
    for (auto &entry : memory) mprotect(entry.second.map + PAGE, entry.second.map_bytes - 2 * PAGE, PROT_READ | PROT_WRITE);
}

void hide() {
    for (auto &entry : memory) mprotect(entry.second.map + PAGE, entry.second.map_bytes - 2 * PAGE, PROT_NONE);
}

/* The allocation in which `bytes` bytes from an address on lie; NULL if there is none. */
const allocation *inside(address at, size_t bytes) {
    auto after = memory.upper_bound(at);
    if (after == memory.begin()) return nullptr;
    auto entry = std::prev(after);
    return at + bytes <= entry->first + entry->second.bytes ? &entry->second : nullptr;
}

bool is_page_locked(const void *at, size_t bytes) {
    auto after = page_locked.upper_bound((char *)at);
    if (after == page_locked.begin()) return false;
    auto entry = std::prev(after);
    return (const char *)at + bytes <= entry->first + entry->second;
}

void copy_now(void *to, const void *from, size_t bytes) {
    reveal();
    memcpy(to, from, bytes);
    hide();
}

enum place { PAGEABLE, PAGE_LOCKED, ON_DEVICE };

place place_of(const void *at, size_t bytes) {
    return inside((address)at, bytes) ? ON_DEVICE : is_page_locked(at, bytes) ? PAGE_LOCKED : PAGEABLE;
}

/* What a stream does when it comes to a copy. Both sides must still be what they were when the copy was queued. */
result copy_late(void *to, place at, const void *from, place source, size_t bytes) {
    if (place_of(to, bytes) != at || place_of(from, bytes) != source) {
        snprintf(last_message, sizeof last_message, "a copy came to memory that had been freed");
        return ILLEGAL_ADDRESS;
    }
    copy_now(to, from, bytes);
    return SUCCESS;
}

work copying(void *to, const void *from, size_t bytes) {
    place at = place_of(to, bytes), source = place_of(from, bytes);
    return [=] { return copy_late(to, at, from, source, bytes); };
}

/* What a stream does when it comes to a launch. */
result launch_now(int device, kernel *what, device_launch how, const std::vector<address> &arguments) {
    static char message[512];
    how.order = (int)setting("CNNCC_EMULATOR_ORDER", 0);
    how.message = message;
    how.message_bytes = sizeof message;
    std::vector<void *> pointers;
    for (const address &argument : arguments) {
        const allocation *found = inside(argument, 1);
        if (!found || found->device != device) {
            const char *name = what->name.c_str();
            snprintf(last_message, sizeof last_message, "%s: a pointer is not to memory of device %d", name, device);
            return ILLEGAL_ADDRESS;
        }
        pointers.push_back((void *)&argument);
    }
    reveal();
    int code = what->run(&how, pointers.data());
    hide();
    if (code) snprintf(last_message, sizeof last_message, "%s: %.400s", what->name.c_str(), message);
    return code ? LAUNCH_FAILED : SUCCESS;
}

/* ---- streams ---- */

/* Does all work of a stream. The first error spoils the device. */
result finish(stream *s) {
    while (!s->queue.empty() && !spoilt[s->device]) {
        work next = s->queue.front();
        s->queue.pop_front();
        spoilt[s->device] = next();
    }
    if (spoilt[s->device]) s->queue.clear();
    return spoilt[s->device];
}

/* Takes the streams that are gone off their list: those of a device, all or the blocking ones alone. */
std::vector<stream *> take_orphans(int device, bool all) {
    std::vector<stream *> taken, rest;
    for (stream *s : orphans) (s->device == device && (all || s->blocking) ? taken : rest).push_back(s);
    orphans = rest;
    return taken;
}

void finish_orphans(int device, bool all) {
    for (stream *s : take_orphans(device, all)) {
        finish(s);
        delete s;
    }
}

/* Does all work of a device: the newest stream first, then those that are gone, the legacy stream last. */
result finish_all(int device) {
    for (auto s = streams.rbegin(); s != streams.rend(); ++s)
        if ((*s)->device == device) finish(*s);
    finish_orphans(device, true);
    return finish(&legacy[device]);
}

/* The stream of a handle, NULL if there is none. The handle NULL is the legacy stream of the current device. */
stream *stream_of(void *handle) {
    if (!handle) return &legacy[current()];
    for (stream *s : streams)
        if (s == handle && s->device == current()) return s;
    return nullptr;
}

/* Puts work on a stream, or into the graph that it is captured into. */
result enqueue(stream *s, work what) {
    if (s->capturing) {
        NEED(!s->invalidated, CAPTURE_INVALIDATED);
        s->captured->nodes.push_back(std::move(what));
        return SUCCESS;
    }
    if (s == &legacy[s->device]) {
        for (stream *other : streams)
            if (other->device == s->device && other->blocking) {
                if (other->capturing) {
                    other->invalidated = true;
                    return CAPTURE_IMPLICIT;
                }
                finish(other);
            }
        finish_orphans(s->device, false);
    } else if (s->blocking) {
        finish(&legacy[s->device]);
    }
    s->queue.push_back(std::move(what));
    return SUCCESS;
}

/* An error, where a capture forbids calls that could disturb it. Then the capture is lost too. */
result refuse_in_capture() {
    if (thread_mode == CAPTURE_RELAXED) return SUCCESS;
    result code = SUCCESS;
    for (stream *s : streams) {
        bool own = s->owner == std::this_thread::get_id();
        bool global = s->mode == CAPTURE_GLOBAL && thread_mode == CAPTURE_GLOBAL;
        bool forbids = own ? s->mode != CAPTURE_RELAXED : global;
        if (!s->capturing || !forbids) continue;
        s->invalidated = true;
        code = CAPTURE_UNSUPPORTED;
    }
    return code;
}

/* A copy to the device that has read its source when this returns, and whose end lands when the stream comes to it. */
work landing(address to, const void *from, size_t bytes) {
    size_t last = bytes < LATE_BYTES ? bytes : (size_t)LATE_BYTES, first = bytes - last;
    std::vector<char> rest((const char *)from + first, (const char *)from + bytes);
    copy_now((void *)to, from, first);
    return [=] { return copy_late((void *)(to + first), ON_DEVICE, rest.data(), PAGEABLE, last); };
}

/* A launch as work for a stream. */
result launch_of(kernel *k, device_launch how, bool is_flat, void **parameters, work *made) {
    const unsigned *grid = how.grid;
    NEED(k->device == current(), INVALID_HANDLE);
    NEED(grid[0] && grid[1] && grid[2] && grid[1] < 65536 && grid[2] < 65536, INVALID_VALUE);
    NEED(how.threads && how.threads <= 1024 && is_flat, INVALID_VALUE);
    std::vector<address> arguments;
    for (unsigned i = 0; i < k->parameters; i++) arguments.push_back(*(address *)parameters[i]);
    int device = current();
    kernel what = *k; /* the function may be gone when the stream comes to it */
    *made = [=]() mutable { return launch_now(device, &what, how, arguments); };
    return SUCCESS;
}

/* Puts the last work before the one that was to be done before it. */
template <class L> void overtake(L &list) {
    if (list.size() > 1) std::swap(list[list.size() - 1], list[list.size() - 2]);
}

/* ---- which code a driver takes ---- */

/* The first version of CUDA that reads a version of PTX, as the driver gives its own: 12080 for 12.8. */
int driver_of_ptx(int major, int minor) {
    static const struct {
        int ptx, driver;
    } releases[] = {{63, 10000}, {64, 10010}, {65, 10020}, {70, 11000}, {71, 11010}, {72, 11020}, {73, 11030},
        {74, 11040}, {75, 11050}, {76, 11060}, {77, 11070}, {78, 11080}, {80, 12000}, {81, 12010}, {82, 12020},
        {83, 12030}, {84, 12040}, {85, 12050}, {86, 12070}, {87, 12080}, {88, 12090}};
    for (auto &release : releases)
        if (release.ptx == 10 * major + minor) return release.driver;
    return major >= 9 ? 13000 + 10 * minor : 10000;
}

/* Systems on a chip, whose machine code other devices do not run, nor they that of others. */
bool is_tegra(int arch) { return arch == 72 || arch == 87 || arch == 88 || arch == 101 || arch == 110; }

/* The architecture that an image is for, 80 for sm_80 and for PTX of compute_80; 0 if it does not say. */
int architecture_of(const char *image) {
    int arch = 0;
    if (!memcmp(image, "\177ELF", 4)) {
        unsigned flags;
        memcpy(&flags, image + 48, sizeof flags);
        return (int)(image[8] >= 8 ? flags >> 8 & 0xff : flags & 0xff); /* the version of the ABI */
    }
    const char *target = strstr(image, ".target sm_");
    return target && sscanf(target, ".target sm_%d", &arch) == 1 ? arch : 0;
}

/* Whether the driver loads this image: machine code (ELF) or PTX (text). */
result takes_image(const char *image) {
    int device = (int)setting("CNNCC_EMULATOR_CAPABILITY", 100), driver = (int)setting("CNNCC_EMULATOR_DRIVER", 12080);
    int arch = architecture_of(image);
    if (!memcmp(image, "\177ELF", 4)) {
        NEED(image[8] < 8 || driver >= (arch < 100 ? 13000 : 12080), INVALID_IMAGE);
        bool same_generation = arch / 10 == device / 10 && arch < device && !is_tegra(arch) && !is_tegra(device);
        return arch == device || same_generation ? SUCCESS : NO_BINARY;
    }
    const char *version = strstr(image, ".version ");
    int major, minor;
    NEED(version && sscanf(version, ".version %d.%d", &major, &minor) == 2, INVALID_IMAGE);
    NEED(arch, INVALID_IMAGE);
    NEED(driver >= driver_of_ptx(major, minor), UNSUPPORTED_PTX);
    return arch <= device ? SUCCESS : NO_BINARY;
}

/* ---- kernels: compiled by the C++ compiler, and kept under a hash of everything they are made of ---- */

struct kernel_head {
    std::string name, bound;
    unsigned parameters;
    bool barriers, follows;
};

/* The kernels of a source, each `__global__ void __launch_bounds__(N) NAME(float* ...) { ... }`. */
std::vector<kernel_head> find_kernels(const std::string &source) {
    const std::string mark = "__global__ void __launch_bounds__(";
    std::vector<kernel_head> found;
    for (size_t at = source.find(mark); at != std::string::npos;) {
        size_t bound = at + mark.size(), close = source.find(") ", bound), open = source.find('(', close + 2);
        size_t end = source.find(')', open), next = source.find(mark, end);
        std::string parameters = source.substr(open, end - open), text = source.substr(end, next - end);
        unsigned count = 1;
        for (char c : parameters) count += c == ',';
        found.push_back({source.substr(close + 2, open - close - 2), source.substr(bound, close - bound), count,
                         text.find("__syncthreads") != std::string::npos,
                         text.find("cnncc_follow()") != std::string::npos});
        at = next;
    }
    return found;
}

std::string translated(const std::string &source) {
    std::string text = "#include \"" CNNCC_DEVICE_HEADER "\"\n" + source;
    for (const kernel_head &k : find_kernels(source))
        text += "CNNCC_KERNEL(" + k.name + ", " + k.bound + ", " + (k.barriers ? "true" : "false") + ")\n";
    return text;
}

std::string hashed(const std::string &text) {
    uint64_t a = 1469598103934665603ull, b = 88172645463325252ull;
    for (unsigned char c : text) {
        a = (a ^ c) * 1099511628211ull;
        b = (b ^ (c + (b << 6) + (b >> 2))) * 0x9e3779b97f4a7c15ull;
    }
    char digits[40];
    snprintf(digits, sizeof digits, "%016llx%016llx", (unsigned long long)a, (unsigned long long)b);
    return digits;
}

bool write_file(const std::string &path, const std::string &text) {
    FILE *file = fopen(path.c_str(), "w");
    if (!file) return false;
    bool whole = fwrite(text.data(), 1, text.size(), file) == text.size();
    return !fclose(file) && whole;
}

bool compile(const std::string &in, const std::string &out) {
    const char *chosen = getenv("CXX"), *compiler = chosen && *chosen ? chosen : CNNCC_COMPILER;
    std::vector<const char *> words = {compiler, "-std=c++17", "-O2", "-ftree-vectorize", "-march=native", "-w", "-fPIC",
        "-shared", "-fno-strict-aliasing", "-ffp-contract=fast", "-U_FORTIFY_SOURCE", "-o", out.c_str(), in.c_str(), nullptr};
    pid_t child;
    int status = 1;
    if (posix_spawnp(&child, compiler, nullptr, nullptr, (char **)words.data(), environ)) return false;
    while (waitpid(child, &status, 0) < 0) {
    }
    return status == 0;
}

/* A library with the kernels of a source; NULL if it cannot be made. */
void *library_of(const std::string &source) {
    std::string text = translated(source), folder = CNNCC_EMULATOR_FOLDER;
    std::string stem = folder + "/kernels-" + hashed(text + CNNCC_DEVICE_DIGEST), built = stem + ".so";
    if (access(built.c_str(), R_OK)) {
        std::string mine = stem + "." + std::to_string(getpid());
        bool made = write_file(mine + ".cpp", text) && compile(mine + ".cpp", mine + ".so");
        made = made && !rename((mine + ".so").c_str(), built.c_str());
        unlink((mine + ".cpp").c_str());
        if (!made) return nullptr;
    }
    return dlopen(built.c_str(), RTLD_NOW | RTLD_LOCAL);
}

} // namespace

extern "C" {

/* Loads kernels, in the place of cuModuleLoadData. That loads an image; this one looks whether a driver would, and
 * then compiles the source that the image was made of. */
result cnncc_emulator_load(void **made, const void *image, const char *source) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    if (result code = injected("cuModuleLoadData")) return code;
    NEED(initialized == getpid(), NOT_INITIALIZED);
    NEED(!contexts.empty(), INVALID_CONTEXT);
    TRY(spoilt[current()]);
    TRY(refuse_in_capture());
    TRY(takes_image((const char *)image));
    void *library = library_of(source);
    NEED(library, INVALID_IMAGE);
    module *m = new module{library, current(), {}};
    for (const kernel_head &head : find_kernels(source)) {
        void *run = dlsym(library, ("cnncc_run_" + head.name).c_str());
        bool waits = head.follows && architecture_of((const char *)image) >= 90; /* older ones have no instruction */
        if (run) m->kernels.push_back(new kernel{(kernel_function)run, head.name, head.parameters, current(), waits});
    }
    modules.insert(m);
    *made = m;
    return SUCCESS;
}

/* How many contexts, modules, streams, events, graphs and allocations have not been freed. For tests. */
int cnncc_emulator_live(void) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    size_t count = modules.size() + streams.size() + graphs.size() + executables.size() + events.size();
    for (auto &entry : retained) count += (size_t)entry.second;
    return (int)(count + memory.size() + page_locked.size());
}

/* How often a function was called. For tests. */
int cnncc_emulator_calls(const char *function) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    auto found = calls.find(function);
    return found == calls.end() ? 0 : found->second;
}

/* Sets all counts of calls to zero. For tests. */
void cnncc_emulator_reset(void) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    calls.clear();
}

/* Puts the devices into the state that a new process finds: no error, nothing under way. For tests. */
void cnncc_emulator_restart(void) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    calls.clear();
    memset(spoilt, 0, sizeof spoilt);
    for (stream &s : legacy) s.queue.clear();
    for (stream *s : streams) {
        s->queue.clear();
        if (s->capturing) delete s->captured;
        s->capturing = false;
    }
    for (stream *s : orphans) delete s;
    orphans.clear();
    contexts.clear();
}

result cuInit(unsigned flags) {
    delay(__func__);
    std::lock_guard<std::recursive_mutex> guard(lock);
    if (result code = injected(__func__)) return code;
    NEED(!flags, INVALID_VALUE);
    NEED(!initialized || initialized == getpid(), NOT_INITIALIZED);
    NEED(setting("CNNCC_EMULATOR_DEVICES", 1) > 0, NO_DEVICE);
    initialized = getpid();
    for (int i = 0; i < MOST_DEVICES; i++) legacy[i].device = i;
    return SUCCESS;
}

result cuGetErrorName(result code, const char **name) {
    static const std::map<result, const char *> names = {
        {INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE"},     {OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY"},
        {NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED"}, {NO_DEVICE, "CUDA_ERROR_NO_DEVICE"},
        {INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE"},   {INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE"},
        {INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT"}, {NOT_FOUND, "CUDA_ERROR_NOT_FOUND"},
        {NO_BINARY, "CUDA_ERROR_NO_BINARY_FOR_GPU"},     {UNSUPPORTED_PTX, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION"},
        {CAPTURE_UNSUPPORTED, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"},
        {CAPTURE_INVALIDATED, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"},
        {INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE"},   {ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS"},
        {LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED"},     {46, "CUDA_ERROR_DEVICE_UNAVAILABLE"},
        {CAPTURE_IMPLICIT, "CUDA_ERROR_STREAM_CAPTURE_IMPLICIT"},
        {805, "CUDA_ERROR_MPS_CONNECTION_FAILED"},       {807, "CUDA_ERROR_MPS_SERVER_NOT_READY"},
        {808, "CUDA_ERROR_MPS_MAX_CLIENTS_REACHED"},     {809, "CUDA_ERROR_MPS_MAX_CONNECTIONS_REACHED"},
    };
    auto found = names.find(code);
    *name = found == names.end() ? "CUDA_ERROR_UNKNOWN" : found->second;
    return SUCCESS;
}

result cuGetErrorString(result code, const char **text) {
    *text = code == LAUNCH_FAILED || code == ILLEGAL_ADDRESS ? last_message : "emulated";
    return SUCCESS;
}

result cuDriverGetVersion(int *version) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    if (result code = injected(__func__)) return code;
    *version = (int)setting("CNNCC_EMULATOR_DRIVER", 12080);
    return SUCCESS;
}

result cuDeviceGetCount(int *count) {
    ENTER;
    *count = (int)setting("CNNCC_EMULATOR_DEVICES", 1);
    return SUCCESS;
}

result cuDeviceGet(int *device, int index) {
    ENTER;
    NEED(index >= 0 && index < setting("CNNCC_EMULATOR_DEVICES", 1), INVALID_DEVICE);
    *device = index;
    return SUCCESS;
}

result cuDeviceGetName(char *name, int size, int device) {
    ENTER;
    snprintf(name, (size_t)size, "emulated device %d", device);
    return SUCCESS;
}

result cuDeviceGetAttribute(int *value, int attribute, int device) {
    ENTER;
    (void)device;
    long capability = setting("CNNCC_EMULATOR_CAPABILITY", 100);
    const std::map<int, long> values = {
        {75, capability / 10}, {76, capability % 10},
        /* Of a device that looks like an H200: kHz, multiprocessors, bytes of L2; threads, shared bytes, registers and
           blocks of a multiprocessor. */
        {13, 1980000}, {16, 132}, {38, 62914560}, {39, 2048}, {81, 233472}, {82, 65536}, {106, 32},
    };
    auto found = values.find(attribute);
    NEED(found != values.end(), INVALID_VALUE);
    *value = (int)found->second;
    return SUCCESS;
}

/* Making the context and taking it down disturb captures, also those of other devices. */
result cuDevicePrimaryCtxRetain(void **context, int device) {
    ENTER;
    NEED(device >= 0 && device < MOST_DEVICES, INVALID_DEVICE);
    TRY(spoilt[device]);
    if (!retained[device]) TRY(refuse_in_capture());
    retained[device]++;
    *context = &context_marks[device];
    return SUCCESS;
}

result cuDevicePrimaryCtxRelease_v2(int device) {
    ENTER;
    NEED(retained[device] > 0, INVALID_CONTEXT);
    if (retained[device] == 1) TRY(refuse_in_capture());
    if (--retained[device]) return SUCCESS;
    for (stream *s : take_orphans(device, true)) delete s; /* what the context had to do is gone with it */
    legacy[device].queue.clear();
    return SUCCESS;
}

result cuCtxPushCurrent_v2(void *context) {
    ENTER;
    int device = (int)((int *)context - context_marks);
    NEED(context && retained[device], INVALID_CONTEXT);
    TRY(spoilt[device]);
    contexts.push_back(device);
    return SUCCESS;
}

result cuCtxPopCurrent_v2(void **context) {
    ENTER;
    NEED(!contexts.empty(), INVALID_CONTEXT);
    *context = &context_marks[contexts.back()];
    contexts.pop_back();
    return SUCCESS;
}

/* It waits for all work of the device, and so it disturbs a capture in any mode. */
result cuCtxSynchronize(void) {
    ENTER_DEVICE;
    result code = SUCCESS;
    for (stream *s : streams)
        if (s->capturing && s->device == current()) {
            s->invalidated = true;
            code = CAPTURE_UNSUPPORTED;
        }
    return code ? code : finish_all(current());
}

result cuThreadExchangeStreamCaptureMode(int *mode) {
    ENTER;
    NEED(*mode >= CAPTURE_GLOBAL && *mode <= CAPTURE_RELAXED, INVALID_VALUE);
    std::swap(*mode, thread_mode);
    return SUCCESS;
}

/* Machine code cannot run here. */
result cuModuleLoadData(void **, const void *) {
    ENTER;
    return INVALID_IMAGE;
}

result cuModuleUnload(void *m) {
    ENTER_DEVICE;
    TRY(refuse_in_capture());
    NEED(modules.count(m), INVALID_HANDLE);
    finish_all(((module *)m)->device);
    modules.erase(m);
    for (kernel *k : ((module *)m)->kernels) delete k;
    delete (module *)m;
    return SUCCESS;
}

result cuModuleGetFunction(void **function, void *m, const char *name) {
    ENTER_DEVICE;
    NEED(modules.count(m), INVALID_HANDLE);
    for (kernel *k : ((module *)m)->kernels)
        if (k->name == name) {
            *function = k;
            return SUCCESS;
        }
    return NOT_FOUND;
}

result cuMemAlloc_v2(address *made, size_t bytes) {
    ENTER_DEVICE;
    TRY(refuse_in_capture());
    NEED(bytes, INVALID_VALUE);
    NEED(used[current()] + bytes <= (size_t)setting("CNNCC_EMULATOR_MEMORY", 8l << 30), OUT_OF_MEMORY);
    /* It ends where the guard page begins, or as near as its alignment allows. */
    size_t body = (bytes + PAGE - 1) / PAGE * PAGE, map_bytes = body + 2 * PAGE;
    char *map = (char *)mmap(nullptr, map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    NEED(map != MAP_FAILED, OUT_OF_MEMORY);
    mprotect(map + PAGE, body, PROT_READ | PROT_WRITE);
    memset(map + PAGE, 0xff, body);
    *made = (address)(map + PAGE + (body - bytes) / 256 * 256);
    memory[*made] = {map, map_bytes, bytes, current()};
    used[current()] += bytes;
    hide();
    return SUCCESS;
}

result cuMemFree_v2(address at) {
    ENTER_DEVICE;
    TRY(refuse_in_capture());
    auto found = memory.find(at);
    NEED(found != memory.end(), INVALID_VALUE);
    munmap(found->second.map, found->second.map_bytes);
    used[found->second.device] -= found->second.bytes;
    memory.erase(found);
    return SUCCESS;
}

result cuMemAllocHost_v2(void **made, size_t bytes) {
    ENTER_DEVICE;
    TRY(refuse_in_capture());
    NEED(bytes, INVALID_VALUE);
    NEED(*made = malloc(bytes), OUT_OF_MEMORY);
    memset(*made, 0xff, bytes);
    page_locked[(char *)*made] = bytes;
    return SUCCESS;
}

result cuMemFreeHost(void *at) {
    ENTER_DEVICE;
    TRY(refuse_in_capture());
    NEED(page_locked.count((char *)at), INVALID_VALUE);
    page_locked.erase((char *)at);
    free(at);
    return SUCCESS;
}

/* On the legacy stream. It has read the source when it returns, but its end may still be under way. */
result cuMemcpyHtoD_v2(address to, const void *from, size_t bytes) {
    ENTER_DEVICE;
    TRY(refuse_in_capture());
    NEED(inside(to, bytes), INVALID_VALUE);
    calls["pageable copies"] += !is_page_locked(from, bytes);
    return enqueue(&legacy[current()], landing(to, from, bytes));
}

result cuMemcpyDtoH_v2(void *to, address from, size_t bytes) {
    ENTER_DEVICE;
    TRY(refuse_in_capture());
    NEED(inside(from, bytes), INVALID_VALUE);
    calls["pageable copies"] += !is_page_locked(to, bytes);
    TRY(enqueue(&legacy[current()], copying(to, (const void *)from, bytes)));
    return finish(&legacy[current()]);
}

result cuMemcpyHtoDAsync_v2(address to, const void *from, size_t bytes, void *handle) {
    ENTER_DEVICE;
    stream *s = stream_of(handle);
    NEED(s, INVALID_HANDLE);
    NEED(inside(to, bytes), INVALID_VALUE);
    if (is_page_locked(from, bytes) || s->capturing) return enqueue(s, copying((void *)to, from, bytes));
    calls["pageable copies"]++;
    TRY(finish(s)); /* what it overwrites at once must not be in use any more */
    return enqueue(s, landing(to, from, bytes));
}

result cuMemcpyDtoHAsync_v2(void *to, address from, size_t bytes, void *handle) {
    ENTER_DEVICE;
    stream *s = stream_of(handle);
    NEED(s, INVALID_HANDLE);
    NEED(inside(from, bytes), INVALID_VALUE);
    TRY(enqueue(s, copying(to, (const void *)from, bytes)));
    if (is_page_locked(to, bytes) || s->capturing) return SUCCESS;
    calls["pageable copies"]++;
    return finish(s); /* into pageable memory it is synchronous */
}

result cuMemcpyDtoDAsync_v2(address to, address from, size_t bytes, void *handle) {
    ENTER_DEVICE;
    stream *s = stream_of(handle);
    NEED(s, INVALID_HANDLE);
    NEED(inside(from, bytes) && inside(to, bytes), INVALID_VALUE);
    return enqueue(s, copying((void *)to, (const void *)from, bytes));
}

result cuMemsetD8Async(address to, unsigned char value, size_t bytes, void *handle) {
    ENTER_DEVICE;
    stream *s = stream_of(handle);
    NEED(s, INVALID_HANDLE);
    NEED(inside(to, bytes), INVALID_VALUE);
    return enqueue(s, [=] {
        NEED(inside(to, bytes), (result)ILLEGAL_ADDRESS);
        reveal();
        memset((void *)to, value, bytes);
        hide();
        return (result)SUCCESS;
    });
}

/* The kind of memory, 1 the host's and 2 a device's, and which device's it is. Other memory it does not know. */
result cuPointerGetAttribute(void *value, int attribute, address at) {
    ENTER_DEVICE;
    const allocation *found = inside(at, 1);
    bool locked = is_page_locked((const void *)at, 1);
    NEED((attribute == 2 || attribute == 9) && (found || locked), INVALID_VALUE);
    if (attribute == 2)
        *(unsigned *)value = found ? 2 : 1;
    else
        *(int *)value = found ? found->device : current();
    return SUCCESS;
}

result cuStreamCreate(void **made, unsigned flags) {
    ENTER_DEVICE;
    stream *s = new stream;
    s->device = current();
    s->blocking = !(flags & 1);
    streams.push_back(s);
    *made = s;
    return SUCCESS;
}

result cuStreamDestroy_v2(void *handle) {
    ENTER_DEVICE;
    stream *s = stream_of(handle);
    NEED(handle && s, INVALID_HANDLE);
    streams.erase(std::find(streams.begin(), streams.end(), s));
    orphans.push_back(s); /* its work is done later */
    return SUCCESS;
}

result cuStreamSynchronize(void *handle) {
    ENTER_DEVICE;
    stream *s = stream_of(handle);
    NEED(s, INVALID_HANDLE);
    if (s->capturing) {
        s->invalidated = true;
        return CAPTURE_UNSUPPORTED;
    }
    TRY(refuse_in_capture());
    return finish(s);
}

result cuEventCreate(void **made, unsigned) {
    ENTER_DEVICE;
    TRY(refuse_in_capture());
    events.insert(*made = new event);
    return SUCCESS;
}

/* The graph of a capture records an event only if it is asked to (flag 1, external); else the event joins streams. */
result cuEventRecordWithFlags(void *handle, void *on, unsigned flags) {
    ENTER_DEVICE;
    stream *s = stream_of(on);
    NEED(events.count(handle) && s, INVALID_HANDLE);
    NEED(flags <= 1 && !(s->capturing && !flags), INVALID_VALUE);
    event *e = (event *)handle;
    e->recorded = false;
    return enqueue(s, [=] {
        e->at = std::chrono::steady_clock::now();
        e->recorded = true;
        return SUCCESS;
    });
}

/* Milliseconds between two events that streams have come to. */
result cuEventElapsedTime(float *milliseconds, void *from, void *to) {
    ENTER_DEVICE;
    NEED(events.count(from) && events.count(to), INVALID_HANDLE);
    event *first = (event *)from, *last = (event *)to;
    NEED(first->recorded && last->recorded, INVALID_HANDLE);
    *milliseconds = std::chrono::duration<float, std::milli>(last->at - first->at).count();
    return SUCCESS;
}

/* No stream may come to it any more. */
result cuEventDestroy_v2(void *handle) {
    ENTER_DEVICE;
    NEED(events.erase(handle), INVALID_HANDLE);
    delete (event *)handle;
    return SUCCESS;
}

result cuStreamBeginCapture_v2(void *handle, int mode) {
    ENTER_DEVICE;
    stream *s = stream_of(handle);
    NEED(handle && s && !s->capturing, INVALID_HANDLE);
    s->capturing = true;
    s->invalidated = false;
    s->mode = mode;
    s->owner = std::this_thread::get_id();
    s->captured = new graph;
    return SUCCESS;
}

result cuStreamEndCapture(void *handle, void **made) {
    delay(__func__);
    std::lock_guard<std::recursive_mutex> guard(lock);
    stream *s = stream_of(handle);
    NEED(handle && s && s->capturing, INVALID_HANDLE);
    NEED(s->mode == CAPTURE_RELAXED || s->owner == std::this_thread::get_id(), CAPTURE_WRONG_THREAD);
    s->capturing = false;
    result code = injected(__func__);
    if (!code && spoilt[s->device]) code = spoilt[s->device];
    if (!code && s->invalidated) code = CAPTURE_INVALIDATED;
    if (code) { /* the capture ends although the call fails */
        delete s->captured;
        return code;
    }
    *made = s->captured;
    graphs.insert(*made);
    return SUCCESS;
}

result cuGraphInstantiateWithFlags(void **made, void *g, unsigned long long) {
    ENTER_DEVICE;
    NEED(graphs.count(g), INVALID_HANDLE);
    *made = new graph(*(graph *)g);
    executables.insert(*made);
    return SUCCESS;
}

result cuGraphLaunch(void *g, void *handle) {
    ENTER_DEVICE;
    stream *s = stream_of(handle);
    NEED(executables.count(g) && s, INVALID_HANDLE);
    for (const work &node : ((graph *)g)->nodes) TRY(enqueue(s, node));
    return SUCCESS;
}

result cuGraphExecDestroy(void *g) {
    ENTER;
    NEED(executables.erase(g), INVALID_HANDLE);
    delete (graph *)g;
    return SUCCESS;
}

result cuGraphDestroy(void *g) {
    ENTER;
    NEED(graphs.erase(g), INVALID_HANDLE);
    delete (graph *)g;
    return SUCCESS;
}

result cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                      unsigned, void *handle, void **parameters, void **) {
    ENTER_DEVICE;
    stream *s = stream_of(handle);
    NEED(s, INVALID_HANDLE);
    work what;
    TRY(launch_of((kernel *)function, {{gx, gy, gz}, bx, 0, 1, nullptr, 0}, by == 1 && bz == 1, parameters, &what));
    return enqueue(s, what);
}

/* With attribute 6 (programmatic stream serialization) the kernel may start while the one before runs. One that does not
 * wait for it has its turn before it. */
result cuLaunchKernelEx(const launch_config *config, void *function, void **parameters, void **) {
    ENTER_DEVICE;
    stream *s = stream_of(config->stream);
    NEED(s, INVALID_HANDLE);
    bool may_overlap = false;
    for (unsigned i = 0; i < config->attribute_count; i++) {
        NEED(config->attributes[i].id == 6, INVALID_VALUE);
        may_overlap |= config->attributes[i].on != 0;
    }
    NEED(!s->capturing || setting("CNNCC_EMULATOR_DRIVER", 12080) >= 12030, CAPTURE_UNSUPPORTED);
    const unsigned *grid = config->grid, *threads = config->threads;
    device_launch how = {{grid[0], grid[1], grid[2]}, threads[0], 0, 1, nullptr, 0};
    work what;
    TRY(launch_of((kernel *)function, how, threads[1] == 1 && threads[2] == 1, parameters, &what));
    TRY(enqueue(s, what));
    if (!may_overlap || ((kernel *)function)->waits) return SUCCESS;
    if (s->capturing)
        overtake(s->captured->nodes);
    else
        overtake(s->queue);
    return SUCCESS;
}
}
