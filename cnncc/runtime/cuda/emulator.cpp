/* A CUDA driver in software. It has the functions that host.c calls; the C++ compiler compiles the kernels for this
 * machine.
 *
 * With it, tests show that the host code of a module uses the driver as it should, and that the kernels compute the
 * right values. It shows nothing about time. Device memory lies between guard pages and can be accessed only during
 * kernels and copies. The environment says what kind of device it is, and which call fails:
 *   CNNCC_EMULATOR_DEVICES=N        number of devices (1)
 *   CNNCC_EMULATOR_CAPABILITY=CC    their compute capability times ten (100)
 *   CNNCC_EMULATOR_MEMORY=BYTES     device memory (8 GiB)
 *   CNNCC_EMULATOR_ORDER=N          order of the threads of a block: 0 forwards, 1 backwards, 2 and 3 scattered
 *   CNNCC_EMULATOR_FAIL=NAME:N:CODE the Nth call of a function returns that code, and does nothing
 */
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <string>
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
    NOT_FOUND = 500,
    INVALID_HANDLE = 400,
    ILLEGAL_ADDRESS = 700,
    LAUNCH_FAILED = 719,
    CAPTURE_INVALIDATED = 901,
};

namespace {

struct device_launch { /* as in device.h */
    unsigned grid[3], threads;
    int order;
    unsigned every;
    char *message;
    size_t message_bytes;
};
typedef int (*kernel_function)(const device_launch *, void **);

struct kernel {
    kernel_function run;
    std::string name;
    unsigned parameters;
};
struct module {
    void *library;
    std::vector<kernel *> kernels;
};
struct recorded {
    kernel *what;
    device_launch how;
    std::vector<address> arguments;
};
struct graph {
    std::vector<recorded> launches;
};
struct stream {
    bool capturing = false;
    graph *captured = nullptr;
};
struct allocation {
    char *map;
    size_t map_bytes, bytes;
};

std::recursive_mutex lock;
std::map<address, allocation> memory;
std::set<void *> modules, streams, graphs, executables;
std::map<std::string, int> calls;
size_t used;
int retained, initialized;
thread_local std::vector<void *> contexts;
int context_marks[64];
char last_message[512] = "no error";

long setting(const char *name, long otherwise) {
    const char *value = getenv(name);
    return value && *value ? atol(value) : otherwise;
}

/* The code that this call returns instead of doing something; 0 for none. */
result injected(const char *function) {
    int count = ++calls[function];
    const char *wish = getenv("CNNCC_EMULATOR_FAIL");
    char name[64];
    int nth, code;
    if (!wish || sscanf(wish, "%63[^:]:%d:%d", name, &nth, &code) != 3) return SUCCESS;
    return !strcmp(name, function) && count == nth ? code : SUCCESS;
}

#define ENTER                                                                                                          \
    std::lock_guard<std::recursive_mutex> guard(lock);                                                                 \
    if (result code_ = injected(__func__)) return code_;                                                               \
    if (!initialized) return NOT_INITIALIZED
#define NEED(condition, code)                                                                                          \
    do {                                                                                                               \
        if (!(condition)) return code;                                                                                 \
    } while (0)

const size_t PAGE = 4096;

/* Device memory can be accessed from this call to that of `hide`. */
void reveal() {
    for (auto &entry : memory) mprotect(entry.second.map + PAGE, entry.second.map_bytes - 2 * PAGE, PROT_READ | PROT_WRITE);
}

void hide() {
    for (auto &entry : memory) mprotect(entry.second.map + PAGE, entry.second.map_bytes - 2 * PAGE, PROT_NONE);
}

/* Whether `bytes` bytes from an address on lie in one allocation. */
bool inside(address at, size_t bytes) {
    auto after = memory.upper_bound(at);
    if (after == memory.begin()) return false;
    auto entry = std::prev(after);
    return at + bytes <= entry->first + entry->second.bytes;
}

result copy(void *to, const void *from, size_t bytes) {
    reveal();
    memcpy(to, from, bytes);
    hide();
    return SUCCESS;
}

result launch_now(kernel *what, device_launch how, const std::vector<address> &arguments) {
    static char message[512];
    how.order = (int)setting("CNNCC_EMULATOR_ORDER", 0);
    how.message = message;
    how.message_bytes = sizeof message;
    std::vector<void *> pointers;
    for (const address &argument : arguments) pointers.push_back((void *)&argument);
    reveal();
    int code = what->run(&how, pointers.data());
    hide();
    if (code) snprintf(last_message, sizeof last_message, "%s: %.400s", what->name.c_str(), message);
    return code ? LAUNCH_FAILED : SUCCESS;
}

/* ---- kernels: compiled by the C++ compiler, and kept under a hash of everything they are made of ---- */

struct kernel_head {
    std::string name, bound;
    unsigned parameters;
    bool barriers;
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
                         text.find("__syncthreads") != std::string::npos});
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

/* Loads kernels from their source, in the place of cuModuleLoadData, which loads machine code. */
result cnncc_emulator_load(void **made, const char *source) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    if (result code = injected("cuModuleLoadData")) return code;
    NEED(!contexts.empty(), INVALID_CONTEXT);
    void *library = library_of(source);
    NEED(library, INVALID_IMAGE);
    module *m = new module{library, {}};
    for (const kernel_head &head : find_kernels(source)) {
        void *run = dlsym(library, ("cnncc_run_" + head.name).c_str());
        if (run) m->kernels.push_back(new kernel{(kernel_function)run, head.name, head.parameters});
    }
    modules.insert(m);
    *made = m;
    return SUCCESS;
}

/* How many contexts, modules, streams, graphs and allocations have not been freed. For tests. */
int cnncc_emulator_live(void) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    return retained + (int)(modules.size() + streams.size() + graphs.size() + executables.size() + memory.size());
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

result cuInit(unsigned flags) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    if (result code = injected(__func__)) return code;
    NEED(!flags, INVALID_VALUE);
    NEED(setting("CNNCC_EMULATOR_DEVICES", 1) > 0, NO_DEVICE);
    initialized = 1;
    return SUCCESS;
}

result cuGetErrorName(result code, const char **name) {
    static const std::map<result, const char *> names = {
        {INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE"},     {OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY"},
        {NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED"}, {NO_DEVICE, "CUDA_ERROR_NO_DEVICE"},
        {INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE"},   {INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE"},
        {INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT"}, {NOT_FOUND, "CUDA_ERROR_NOT_FOUND"},
        {INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE"},   {ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS"},
        {LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED"},     {46, "CUDA_ERROR_DEVICE_UNAVAILABLE"},
    };
    auto found = names.find(code);
    *name = found == names.end() ? "CUDA_ERROR_UNKNOWN" : found->second;
    return SUCCESS;
}

result cuGetErrorString(result code, const char **text) {
    *text = code == LAUNCH_FAILED ? last_message : "emulated";
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
    NEED(attribute == 75 || attribute == 76, INVALID_VALUE);
    *value = (int)(attribute == 75 ? capability / 10 : capability % 10);
    return SUCCESS;
}

result cuDevicePrimaryCtxRetain(void **context, int device) {
    ENTER;
    NEED(device >= 0 && device < 64, INVALID_DEVICE);
    retained++;
    *context = &context_marks[device];
    return SUCCESS;
}

result cuDevicePrimaryCtxRelease_v2(int device) {
    ENTER;
    (void)device;
    NEED(retained > 0, INVALID_CONTEXT);
    retained--;
    return SUCCESS;
}

result cuCtxPushCurrent_v2(void *context) {
    ENTER;
    NEED(context && retained, INVALID_CONTEXT);
    contexts.push_back(context);
    return SUCCESS;
}

result cuCtxPopCurrent_v2(void **context) {
    ENTER;
    NEED(!contexts.empty(), INVALID_CONTEXT);
    *context = contexts.back();
    contexts.pop_back();
    return SUCCESS;
}

/* Machine code cannot run here. */
result cuModuleLoadData(void **, const void *) {
    ENTER;
    return INVALID_IMAGE;
}

result cuModuleUnload(void *m) {
    ENTER;
    NEED(modules.erase(m), INVALID_HANDLE);
    for (kernel *k : ((module *)m)->kernels) delete k;
    delete (module *)m;
    return SUCCESS;
}

result cuModuleGetFunction(void **function, void *m, const char *name) {
    ENTER;
    NEED(modules.count(m), INVALID_HANDLE);
    for (kernel *k : ((module *)m)->kernels)
        if (k->name == name) {
            *function = k;
            return SUCCESS;
        }
    return NOT_FOUND;
}

result cuMemAlloc_v2(address *made, size_t bytes) {
    ENTER;
    NEED(!contexts.empty(), INVALID_CONTEXT);
    NEED(bytes, INVALID_VALUE);
    NEED(used + bytes <= (size_t)setting("CNNCC_EMULATOR_MEMORY", 8l << 30), OUT_OF_MEMORY);
    /* It ends where the guard page begins, or as near as its alignment allows. */
    size_t body = (bytes + PAGE - 1) / PAGE * PAGE, map_bytes = body + 2 * PAGE;
    char *map = (char *)mmap(nullptr, map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    NEED(map != MAP_FAILED, OUT_OF_MEMORY);
    mprotect(map + PAGE, body, PROT_READ | PROT_WRITE);
    memset(map + PAGE, 0xff, body);
    *made = (address)(map + PAGE + (body - bytes) / 256 * 256);
    memory[*made] = {map, map_bytes, bytes};
    used += bytes;
    hide();
    return SUCCESS;
}

result cuMemFree_v2(address at) {
    ENTER;
    auto found = memory.find(at);
    NEED(found != memory.end(), INVALID_VALUE);
    munmap(found->second.map, found->second.map_bytes);
    used -= found->second.bytes;
    memory.erase(found);
    return SUCCESS;
}

result cuMemcpyHtoD_v2(address to, const void *from, size_t bytes) {
    ENTER;
    NEED(inside(to, bytes), INVALID_VALUE);
    return copy((void *)to, from, bytes);
}

result cuMemcpyDtoH_v2(void *to, address from, size_t bytes) {
    ENTER;
    NEED(inside(from, bytes), INVALID_VALUE);
    return copy(to, (const void *)from, bytes);
}

result cuMemcpyHtoDAsync_v2(address to, const void *from, size_t bytes, void *s) {
    ENTER;
    NEED(streams.count(s), INVALID_HANDLE);
    NEED(inside(to, bytes), INVALID_VALUE);
    return copy((void *)to, from, bytes);
}

result cuMemcpyDtoHAsync_v2(void *to, address from, size_t bytes, void *s) {
    ENTER;
    NEED(streams.count(s), INVALID_HANDLE);
    NEED(inside(from, bytes), INVALID_VALUE);
    return copy(to, (const void *)from, bytes);
}

result cuMemcpyDtoDAsync_v2(address to, address from, size_t bytes, void *s) {
    ENTER;
    NEED(streams.count(s), INVALID_HANDLE);
    NEED(inside(from, bytes) && inside(to, bytes), INVALID_VALUE);
    return copy((void *)to, (const void *)from, bytes);
}

result cuPointerGetAttribute(void *value, int attribute, address at) {
    ENTER;
    NEED(attribute == 2 && inside(at, 1), INVALID_VALUE);
    *(unsigned *)value = 2;
    return SUCCESS;
}

result cuStreamCreate(void **made, unsigned) {
    ENTER;
    NEED(!contexts.empty(), INVALID_CONTEXT);
    *made = new stream;
    streams.insert(*made);
    return SUCCESS;
}

result cuStreamDestroy_v2(void *s) {
    ENTER;
    NEED(streams.erase(s), INVALID_HANDLE);
    delete (stream *)s;
    return SUCCESS;
}

result cuStreamSynchronize(void *s) {
    ENTER;
    NEED(streams.count(s), INVALID_HANDLE);
    return SUCCESS;
}

result cuStreamBeginCapture_v2(void *s, int) {
    ENTER;
    NEED(streams.count(s) && !((stream *)s)->capturing, INVALID_HANDLE);
    ((stream *)s)->capturing = true;
    ((stream *)s)->captured = new graph;
    return SUCCESS;
}

result cuStreamEndCapture(void *s, void **made) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    NEED(streams.count(s) && ((stream *)s)->capturing, INVALID_HANDLE);
    stream *captured = (stream *)s;
    captured->capturing = false;
    if (result code = injected(__func__)) { /* the capture ends although the call fails */
        delete captured->captured;
        return code;
    }
    *made = captured->captured;
    graphs.insert(*made);
    return SUCCESS;
}

result cuGraphInstantiateWithFlags(void **made, void *g, unsigned long long) {
    ENTER;
    NEED(graphs.count(g), INVALID_HANDLE);
    *made = new graph(*(graph *)g);
    executables.insert(*made);
    return SUCCESS;
}

result cuGraphLaunch(void *g, void *s) {
    ENTER;
    NEED(executables.count(g) && streams.count(s), INVALID_HANDLE);
    for (const recorded &r : ((graph *)g)->launches)
        if (result code = launch_now(r.what, r.how, r.arguments)) return code;
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
                      unsigned, void *s, void **parameters, void **) {
    ENTER;
    NEED(!contexts.empty(), INVALID_CONTEXT);
    NEED(!s || streams.count(s), INVALID_HANDLE);
    NEED(gx && gy && gz && gy < 65536 && gz < 65536 && bx && bx <= 1024 && by == 1 && bz == 1, INVALID_VALUE);
    kernel *k = (kernel *)function;
    std::vector<address> arguments;
    for (unsigned i = 0; i < k->parameters; i++) {
        arguments.push_back(*(address *)parameters[i]);
        NEED(inside(arguments.back(), 1), ILLEGAL_ADDRESS);
    }
    device_launch how = {{gx, gy, gz}, bx, 0, 1, nullptr, 0};
    if (s && ((stream *)s)->capturing) {
        ((stream *)s)->captured->launches.push_back({k, how, arguments});
        return SUCCESS;
    }
    return launch_now(k, how, arguments);
}
}
