/* The part of CUDA C that the kernels of cnncc use, for a CPU. It comes before the source of the kernels, and both are
 * compiled as C++.
 *
 * The threads of a block are fibers. Each fiber runs to its next barrier, and then the next fiber runs. A kernel
 * without barriers needs no fibers: its threads run one after the other. Blocks run one after the other, too, so a
 * launch is deterministic. The caller chooses the order of the threads and blocks; if a result depends on it, there is a
 * race.
 * Shared memory is filled with NaNs before each launch. If only some threads of a block reach a barrier, the launch
 * ends with a message.
 */
#include <csetjmp>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <sys/mman.h>
#include <ucontext.h>

struct float4 {
    float x, y, z, w;
} __attribute__((aligned(16)));
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
struct float2 {
    float x, y;
} __attribute__((aligned(8)));

static inline float2 make_float2(float x, float y) { return {x, y}; }
struct uint4 {
    unsigned x, y, z, w;
} __attribute__((aligned(16)));
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
struct uint2 {
    unsigned x, y;
} __attribute__((aligned(8)));
struct int4 {
    int x, y, z, w;
} __attribute__((aligned(16)));
static inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
struct int2 {
    int x, y;
} __attribute__((aligned(8)));
struct ushort4 {
    unsigned short x, y, z, w;
} __attribute__((aligned(8)));
struct ushort2 {
    unsigned short x, y;
} __attribute__((aligned(4)));

struct index3 {
    unsigned x, y, z;
};
static index3 blockIdx, threadIdx;

static inline int min(int a, int b) { return a < b ? a : b; }
static inline int max(int a, int b) { return a > b ? a : b; }
static inline float __int_as_float(int i) {
    float f;
    memcpy(&f, &i, sizeof f);
    return f;
}
static inline unsigned __float_as_uint(float f) {
    unsigned i;
    memcpy(&i, &f, sizeof i);
    return i;
}
/* What is rounded to float32 once, and never made one operation of two. The host's compiler does not. */
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
/* Cut off, or rounded to nearest with ties to even; what int32 does not have becomes its least or its largest number. */
static inline int __float2int_rz(float f) {
    if (f != f) return 0;
    return f >= 2147483648.0f ? 2147483647 : f < -2147483648.0f ? -2147483647 - 1 : (int)f;
}
static inline int __float2int_rn(float f) { return __float2int_rz(nearbyintf(f)); }
static inline int __float_as_int(float f) {
    int i;
    memcpy(&i, &f, sizeof i);
    return i;
}

/* All shared arrays of a source lie side by side; a source may have none. */
extern "C" char __start_cnncc_shared[] __attribute__((weak, visibility("hidden")));
extern "C" char __stop_cnncc_shared[] __attribute__((weak, visibility("hidden")));

namespace emulator {

struct launch {
    unsigned grid[3], threads;
    int order; /* of the blocks, and of the threads of each: 0 forwards, 1 backwards, 2 scattered, 3 scattered, the
                  threads in another way after each barrier */
    unsigned every; /* of the blocks with the same z every n-th runs, and the last one; 1 runs all blocks */
    char *message; /* room for `message_bytes`, for what went wrong */
    size_t message_bytes;
};

enum { STACK_BYTES = 64 << 10, MOST_THREADS = 1024 };
enum { WARP = -1 }; /* the barrier of a warp, which orders the exchange of registers, and not accesses to shared memory */

struct fiber {
    jmp_buf place;
    bool started, done;
    int barrier_line;
};

static fiber fibers[MOST_THREADS];
static char *stacks;
static jmp_buf scheduler, outside;
static ucontext_t scheduler_context, fiber_context;
static const launch *now;
static unsigned order[MOST_THREADS], rounds;
static unsigned long launches; /* so far, this one included */
static unsigned long epoch, block_epoch; /* the number of the present stretch between two barriers; it goes on from block to block */
static void (*body)(void *);
static void *body_arguments;

[[noreturn]] static inline void fail(const char *what) {
    snprintf(now->message, now->message_bytes, "%s; block (%u,%u,%u), thread %u", what, blockIdx.x, blockIdx.y, blockIdx.z,
             threadIdx.x);
    _longjmp(outside, 1);
}

static void arrange(unsigned threads) {
    unsigned salt = now->order == 3 ? rounds++ : 0;
    for (unsigned i = 0; i < threads; i++) {
        unsigned scattered = (unsigned)((i * 97ull + 13 + salt * 31) % threads);
        if (threads % 97 == 0) scattered = i;
        order[i] = now->order == 0 ? i : now->order == 1 ? threads - 1 - i : scattered;
    }
}

/* A fiber runs one thread of each block, block after block. Between blocks it waits here. */
static void fiber_main() {
    for (;;) {
        body(body_arguments);
        fibers[threadIdx.x].done = true;
        if (!_setjmp(fibers[threadIdx.x].place)) _longjmp(scheduler, 1);
    }
}

static void begin(unsigned thread) {
    getcontext(&fiber_context);
    fiber_context.uc_stack.ss_sp = stacks + (size_t)thread * STACK_BYTES;
    fiber_context.uc_stack.ss_size = STACK_BYTES;
    fiber_context.uc_link = nullptr;
    makecontext(&fiber_context, fiber_main, 0);
    fibers[thread].started = true;
    swapcontext(&scheduler_context, &fiber_context);
}

/* Runs one thread up to its next barrier or its end. */
static void resume(unsigned thread) {
    threadIdx.x = thread;
    if (_setjmp(scheduler)) return;
    if (fibers[thread].started)
        _longjmp(fibers[thread].place, 1);
    else
        begin(thread);
}

/* Not inlined: otherwise the compiler would assume that all local variables of the kernel are clobbered. */
__attribute__((noinline)) static void barrier(int line) {
    unsigned me = threadIdx.x;
    fibers[me].barrier_line = line;
    if (!_setjmp(fibers[me].place)) _longjmp(scheduler, 1);
    threadIdx.x = me;
}

/* A barrier after which each thread knows whether any of the block came with something that is true. There are two such
 * answers, because a thread may be at the next barrier before others have read the answer of this one. */
static int answers[2];
static unsigned long asked[2];

static int barrier_or(int mine, int line) {
    unsigned which = epoch & 1;
    if (asked[which] != epoch) answers[which] = 0;
    asked[which] = epoch;
    answers[which] |= mine;
    barrier(line);
    return answers[which] != 0;
}

/* Counts up to `last`, then from 0 again. Blocks run one after the other. */
static unsigned increase(unsigned *counter, unsigned last) {
    unsigned before = *counter;
    *counter = before >= last ? 0 : before + 1;
    return before;
}

/* What the threads of a warp hand to each other. There are two copies, so that a thread can write for the next product while
 * others still read those of the last one. */
struct operands {
    unsigned a[4], b[2];
};
static operands handed[2][MOST_THREADS];
static unsigned products[MOST_THREADS], loads[MOST_THREADS];
static int rows[2][MOST_THREADS]; /* that they name, of matrices in shared memory */

static float half_of(unsigned word, int which) {
    unsigned short bits = (unsigned short)(word >> (16 * which));
    _Float16 value;
    memcpy(&value, &bits, sizeof value);
    return (float)value;
}

static float bfloat_of(unsigned word, int which) {
    unsigned bits = word >> (16 * which) << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static float low_half(unsigned word) { return half_of(word, 0); }
static float high_half(unsigned word) { return half_of(word, 1); }
static float low_bfloat(unsigned word) { return bfloat_of(word, 0); }
static float high_bfloat(unsigned word) { return bfloat_of(word, 1); }

/* What a product reads of tf32: the lower bits mean nothing. */
static float tf32_of(unsigned word, int) {
    unsigned bits = word & 0xffffe000u;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* sums (16 x 8) += a (16 x 8 words) b (8 words x 8), as mma.sync.m16n8k16 and, with one number a word, m16n8k8, or with
 * four, m16n8k32, lay them out among the threads of a warp. `first_of` and `second_of` take the operands out of their
 * words. */
template <class T, T first_of(unsigned, int), T second_of(unsigned, int), unsigned per_word>
static void mma_of(T *sums, const unsigned *a, const unsigned *b) {
    unsigned me = threadIdx.x, first = me & ~31u, g = (me & 31) / 4, pair = me & 3;
    operands *all = handed[products[me]++ & 1];
    memcpy(all[me].a, a, sizeof all[me].a);
    memcpy(all[me].b, b, sizeof all[me].b);
    barrier(WARP);
    for (unsigned e = 0; e < 4; e++) {
        unsigned lower = e / 2, column = 2 * pair + e % 2;
        for (unsigned k = 0; k < 8 * per_word; k++) {
            unsigned word = k / per_word, which = k % per_word;
            const operands &left = all[first + g * 4 + word % 4], &right = all[first + column * 4 + word % 4];
            sums[e] += first_of(left.a[lower + 2 * (word / 4)], which) * second_of(right.b[word / 4], which);
        }
    }
}

template <float number(unsigned, int), unsigned per_word = 2> static void mma(float *sums, const unsigned *a, const unsigned *b) {
    mma_of<float, number, number, per_word>(sums, a, b);
}

/* Four products of bytes, the second ones with a sign: of a word, as dp4a, and of fragments, as mma.sync.m16n8k32. */
static int unsigned_of(unsigned word, int which) { return word >> (8 * which) & 255; }
static int signed_of(unsigned word, int which) { return (signed char)(word >> (8 * which)); }
template <int value(unsigned, int)> static int dot(unsigned values, unsigned weights, int sum) {
    for (int i = 0; i < 4; i++) sum += value(values, i) * signed_of(weights, i);
    return sum;
}

template <int value(unsigned, int)> static void mma_bytes(int *sums, const unsigned *a, const unsigned *b) {
    mma_of<int, value, signed_of, 4>(sums, a, b);
}

static unsigned halves(float low, float high) {
    _Float16 both[2] = {(_Float16)low, (_Float16)high};
    unsigned word;
    memcpy(&word, both, sizeof word);
    return word;
}

static unsigned short to_bfloat(float value) {
    unsigned bits;
    memcpy(&bits, &value, sizeof bits);
    if (value != value) return 0x7fff;
    return (unsigned short)((bits + 0x7fff + (bits >> 16 & 1)) >> 16); /* to nearest, ties to even */
}

/* To 11 bits, to nearest, ties away from zero. */
static unsigned to_tf32(float value) {
    unsigned bits;
    memcpy(&bits, &value, sizeof bits);
    return std::isfinite(value) ? (bits + 0x1000) & 0xffffe000u : bits;
}

static unsigned bfloats(float low, float high) { return to_bfloat(low) | (unsigned)to_bfloat(high) << 16; }

/* Copies into shared memory that a kernel waits for; here they are done at once. */
template <class T> static void copy(unsigned *to, int word, const T *from, int number) { memcpy(to + word, from + number, 16); }
template <class T> static void copy_or_fill(unsigned *to, int word, const T *from, int number, bool inside, const T *around) {
    memcpy(to + word, inside ? from + number : around, 16);
}
template <class T> static void copy_or_clear(unsigned *to, int word, const T *from, int number, int size) {
    if (size)
        copy(to, word, from, number);
    else
        memset(to + word, 0, 16);
}

/* Four matrices of 8 x 8 halves, as ldmatrix gives them to the threads of a warp. Thread i names row i % 8 of matrix
 * i / 8, by its first word. */
template <class A> static void fragments(unsigned *r, A &array, int word) {
    unsigned me = threadIdx.x, first = me & ~31u, g = (me & 31) / 4;
    int *all = rows[loads[me]++ & 1];
    if (word % 4) fail("misaligned row of a matrix");
    all[me] = word;
    barrier(WARP);
    for (unsigned matrix = 0; matrix < 4; matrix++) r[matrix] = array[all[first + 8 * matrix + g] + (me & 3)];
}

/* Runs all threads of a block from barrier to barrier. All threads must reach the same barrier. */
static void run_fibers(unsigned threads) {
    for (unsigned i = 0; i < threads; i++) fibers[i].done = false;
    for (bool ended = false; !ended; epoch += fibers[0].barrier_line != WARP) {
        arrange(threads);
        unsigned done = 0;
        for (unsigned i = 0; i < threads; i++) {
            resume(order[i]);
            done += fibers[order[i]].done;
        }
        if (done && done != threads) fail("only a part of the block reached a barrier");
        for (unsigned i = 1; i < threads && !done; i++)
            if (fibers[i].barrier_line != fibers[0].barrier_line) fail("threads of a block met at different barriers");
        ended = done == threads;
    }
}

static void run_block(unsigned threads, bool barriers) {
    block_epoch = ++epoch;
    if (barriers) {
        run_fibers(threads);
        return;
    }
    arrange(threads);
    for (unsigned i = 0; i < threads; i++) {
        threadIdx.x = order[i];
        body(body_arguments);
    }
}

static bool prepare(unsigned threads, bool barriers) {
    if (!threads || threads > MOST_THREADS) return false;
    if (barriers && !stacks) {
        void *memory = mmap(nullptr, (size_t)MOST_THREADS * STACK_BYTES, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) return false;
        stacks = (char *)memory;
    }
    return true;
}

/* Which block is the i-th to run. The steps are primes: each block has its turn unless the number of blocks is a multiple,
 * and then they go forwards. */
static unsigned long block_number(unsigned long i, unsigned long total) {
    if (now->order == 0) return i;
    if (now->order == 1) return total - 1 - i;
    unsigned long step = now->order == 2 ? 97 : 89;
    return total % step ? (i * step + 13) % total : i;
}

static int run_grid(const launch *l, bool barriers) {
    now = l;
    launches++;
    memset(products, 0, sizeof products);
    memset(loads, 0, sizeof loads);
    if (!prepare(l->threads, barriers)) {
        snprintf(l->message, l->message_bytes, "a block of %u threads", l->threads);
        return 1;
    }
    if (__start_cnncc_shared) memset(__start_cnncc_shared, 0xff, (size_t)(__stop_cnncc_shared - __start_cnncc_shared));
    if (_setjmp(outside)) {
        for (fiber &f : fibers) f.started = false; /* they stopped in the middle of a kernel: start them again */
        return 1;
    }
    unsigned long plane = (unsigned long)l->grid[0] * l->grid[1], total = plane * l->grid[2];
    for (unsigned long i = 0; i < total; i++) {
        unsigned long number = block_number(i, total), of_plane = number % plane;
        blockIdx = {(unsigned)(of_plane % l->grid[0]), (unsigned)(of_plane / l->grid[0]), (unsigned)(number / plane)};
        if (of_plane % l->every == 0 || of_plane + 1 == plane) run_block(l->threads, barriers);
    }
    return 0;
}

template <class... P> struct call {
    void (*kernel)(P...);
    void **parameters;
    template <size_t... I> void operator()(std::index_sequence<I...>) { kernel(*(P *)parameters[I]...); }
};

/* Calls a kernel, all of whose parameters are pointers. `parameters` points to their values, as for cuLaunchKernel. */
template <class... P> static int run(void (*kernel)(P...), const launch *l, void **parameters, unsigned bound, bool barriers) {
    call<P...> what{kernel, parameters};
    if (l->threads > bound) {
        snprintf(l->message, l->message_bytes, "%u threads of a kernel that is bound to %u", l->threads, bound);
        return 1;
    }
    body = [](void *c) { (*(call<P...> *)c)(std::index_sequence_for<P...>{}); };
    body_arguments = &what;
    return run_grid(l, barriers);
}

} // namespace emulator

#define CNNCC_EMULATED 1
#define cnncc_mma ::emulator::mma<::emulator::half_of>
#define cnncc_mma_bfloat ::emulator::mma<::emulator::bfloat_of>
#define cnncc_mma_tf32 ::emulator::mma<::emulator::tf32_of, 1>
#define cnncc_tf32 ::emulator::to_tf32
#define cnncc_bfloats ::emulator::bfloats
#define cnncc_halves ::emulator::halves
#define cnncc_low_half ::emulator::low_half
#define cnncc_high_half ::emulator::high_half
#define cnncc_low_bfloat ::emulator::low_bfloat
#define cnncc_high_bfloat ::emulator::high_bfloat
#define cnncc_copy_or_clear ::emulator::copy_or_clear
#define cnncc_copy ::emulator::copy
#define cnncc_copy_or_fill ::emulator::copy_or_fill
#define cnncc_dot_unsigned ::emulator::dot<::emulator::unsigned_of>
#define cnncc_dot_signed ::emulator::dot<::emulator::signed_of>
#define cnncc_mma_unsigned ::emulator::mma_bytes<::emulator::unsigned_of>
#define cnncc_mma_signed ::emulator::mma_bytes<::emulator::signed_of>
#define cnncc_commit()
#define cnncc_wait_1()
#define cnncc_wait_2()
#define cnncc_fragments ::emulator::fragments
#define __global__
#define __launch_bounds__(n)
#define __shared__ static __attribute__((section("cnncc_shared")))
#define alignas(n) __attribute__((aligned(n)))
#define __syncthreads() ::emulator::barrier(__LINE__)
#define __syncthreads_or(mine) ::emulator::barrier_or(mine, __LINE__)
#define __threadfence()
#define atomicInc ::emulator::increase
#define cnncc_follow()

/* Comes after the source, once for each kernel: defines the function that the driver calls. */
#define CNNCC_KERNEL(name, bound, barriers)                                                                            \
    extern "C" int cnncc_run_##name(const ::emulator::launch *l, void **parameters) {                                  \
        return ::emulator::run(name, l, parameters, bound, barriers);                                                  \
    }
