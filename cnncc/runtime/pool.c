/* The thread pool of compiled modules.
 *
 * cnncc_pool_launch(unused, wanted, body, context) is a `parallel_for` as cnncc_threads describes. It calls
 * body(context, 0) on the calling thread. Up to wanted - 1 workers join the launch and call body(context, id), with id
 * in [1, wanted). The launch returns when its own call and the calls of all workers that joined have returned. The body
 * must do all of its work with any number of workers, even with none: a worker that wakes late finds the launch closed
 * and does not join, so no thread waits for another one that has no core. A launch during another launch gets no
 * workers.
 *
 * Workers start when they are first needed, at most one for each processor that the process may use, and live as long
 * as the process. Between launches they spin for a short time, because one run often follows another, and then sleep.
 * They compute with the caller's rounding and denormal modes. After a fork, the child starts workers of its own.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LARGEST_POOL 256
#define SPINS_BEFORE_SLEEP 4000
#define SPINS_BEFORE_YIELD 20000
#ifndef CPU_QUOTA
#define CPU_QUOTA "/sys/fs/cgroup/cpu.max" /* "max 100000", or "QUOTA PERIOD" in microseconds */
#endif

typedef void (*cnncc_body)(void *context, int32_t id);

/* `state` holds the number of launches (bits 16 and up), how many workers have joined the present one (bits 1 to 15), and
 * whether more may join (bit 0). */
#define OPEN UINT64_C(1)
#define ONE_WORKER UINT64_C(2)
#define WORKERS UINT64_C(0xfffe)
#define ONE_LAUNCH UINT64_C(0x10000)

static struct {
    _Alignas(64) atomic_flag busy;
    int32_t workers; /* how many have been started */
    int32_t wanted;  /* threads of the present launch, with the caller */
    cnncc_body body;
    void *context;
    uint64_t modes; /* of the caller: see arithmetic_modes */
    _Alignas(64) _Atomic uint64_t state;
    _Alignas(64) atomic_uint launches; /* the futex that sleeping workers wait on */
    atomic_uint asleep;
} pool = {.busy = ATOMIC_FLAG_INIT};

static void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* The modes of this thread: how it rounds, and whether it flushes denormals to zero. */
static uint64_t arithmetic_modes(void) {
    uint64_t modes = 0;
#if defined(__x86_64__)
    modes = __builtin_ia32_stmxcsr();
#elif defined(__aarch64__)
    __asm__ volatile("mrs %0, fpcr" : "=r"(modes));
#endif
    return modes;
}

static void set_arithmetic_modes(uint64_t modes) {
#if defined(__x86_64__)
    __builtin_ia32_ldmxcsr((uint32_t)modes);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" : : "r"(modes));
#endif
    (void)modes;
}

static void wait_for_launch(unsigned seen) {
    for (int spin = 0; spin < SPINS_BEFORE_SLEEP; ++spin) {
        if (atomic_load_explicit(&pool.launches, memory_order_acquire) != seen) return;
        relax();
    }
    atomic_fetch_add(&pool.asleep, 1);
    while (atomic_load(&pool.launches) == seen)
        syscall(SYS_futex, &pool.launches, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
    atomic_fetch_sub(&pool.asleep, 1);
}

/* Joins the present launch if it is open. The fields of the launch may be read only between joining and leaving. */
static void join(int32_t id) {
    uint64_t state = atomic_load_explicit(&pool.state, memory_order_acquire);
    do {
        if (!(state & OPEN)) return;
    } while (!atomic_compare_exchange_weak_explicit(&pool.state, &state, state + ONE_WORKER, memory_order_acq_rel,
                                                    memory_order_acquire));
    if (id < pool.wanted) {
        set_arithmetic_modes(pool.modes);
        pool.body(pool.context, id);
    }
    atomic_fetch_sub_explicit(&pool.state, ONE_WORKER, memory_order_release);
}

static void *work(void *start) {
    const int32_t id = (int32_t)(intptr_t)start;
    unsigned seen = 0;
    for (;;) {
        wait_for_launch(seen);
        seen = atomic_load_explicit(&pool.launches, memory_order_acquire);
        join(id);
    }
    return NULL;
}

/* The number at *at, 0 if there is none. Moves *at past the number and the character after it. */
static int64_t number(const char **at) {
    int64_t value = 0;
    for (; **at >= '0' && **at <= '9'; ++*at) value = value * 10 + (**at - '0');
    if (**at) ++*at;
    return value;
}

/* How many processors the quota of the control group is worth, rounded up; `most` if there is no quota. */
static int32_t quota(int32_t most) {
    char text[64];
    const int file = open(CPU_QUOTA, O_RDONLY | O_CLOEXEC);
    if (file < 0) return most;
    const ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    text[length > 0 ? length : 0] = 0;
    const char *at = text;
    const int64_t time = number(&at), period = number(&at);
    if (time <= 0 || period <= 0) return most;
    const int64_t share = (time + period - 1) / period;
    return share < most ? (int32_t)share : most;
}

/* How many processors this process may use. */
static int32_t processors(void) {
    cpu_set_t set;
    return quota(sched_getaffinity(0, sizeof set, &set) == 0 ? (int32_t)CPU_COUNT(&set) : 1);
}

/* The caller must hold `busy`. Workers block all signals: these go to the application's own threads. */
static void start_workers(int32_t wanted) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    while (pool.workers < wanted) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, work, (void *)(intptr_t)(pool.workers + 1))) break;
        pthread_detach(thread);
        ++pool.workers;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* Runs in the child of a fork, which has no workers and no launch. */
static void forget_workers(void) {
    pool.workers = 0;
    atomic_store(&pool.state, 0);
    atomic_store(&pool.asleep, 0);
    atomic_flag_clear(&pool.busy);
}

void cnncc_pool_launch(void *unused, int32_t wanted, cnncc_body body, void *context) {
    (void)unused;
    static atomic_int registered;
    if (wanted > LARGEST_POOL) wanted = LARGEST_POOL;
    if (wanted <= 1 || atomic_flag_test_and_set_explicit(&pool.busy, memory_order_acquire)) {
        body(context, 0);
        return;
    }
    if (!atomic_exchange(&registered, 1)) pthread_atfork(NULL, NULL, forget_workers);
    if (pool.workers < wanted - 1) {
        const int32_t most = processors();
        start_workers((wanted < most ? wanted : most) - 1);
    }
    pool.body = body;
    pool.context = context;
    pool.wanted = wanted;
    pool.modes = arithmetic_modes();
    atomic_fetch_add_explicit(&pool.state, ONE_LAUNCH | OPEN, memory_order_release);
    atomic_fetch_add(&pool.launches, 1);
    if (atomic_load(&pool.asleep))
        syscall(SYS_futex, &pool.launches, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
    body(context, 0);
    atomic_fetch_and_explicit(&pool.state, ~OPEN, memory_order_acq_rel);
    for (int spin = 0; atomic_load_explicit(&pool.state, memory_order_acquire) & WORKERS; ++spin) {
        if (spin < SPINS_BEFORE_YIELD) relax();
        else sched_yield();
    }
    atomic_flag_clear_explicit(&pool.busy, memory_order_release);
}
