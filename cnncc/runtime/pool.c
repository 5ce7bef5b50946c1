/* The thread pool of compiled modules.
 *
 * cnncc_pool_launch(body, context, wanted) calls body(context, id, count) once for each id in [0, count), id 0 on the
 * calling thread, and returns when all have returned. count is at most `wanted` and at most the processors this process
 * may use. A call made while another one is running does not wait for it: it runs alone, with count 1.
 *
 * Workers start on first use and live as long as the process. Between launches they spin for a short while, since
 * inferences tend to follow each other, and then sleep.
 */
#define _GNU_SOURCE
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

typedef void (*cnncc_body)(void *context, int32_t id, int32_t count);

static struct {
    _Alignas(64) atomic_flag busy;
    int32_t workers; /* started so far, without the caller */
    int32_t count;   /* threads of the current launch, with the caller */
    cnncc_body body;
    void *context;
    _Alignas(64) atomic_uint launches;
    _Alignas(64) atomic_uint asleep;
    _Alignas(64) atomic_int unfinished;
} pool = {.busy = ATOMIC_FLAG_INIT};

static void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
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

static void *work(void *start) {
    const int32_t id = (int32_t)(intptr_t)start;
    unsigned seen = 0;
    for (;;) {
        wait_for_launch(seen);
        seen = atomic_load_explicit(&pool.launches, memory_order_acquire);
        /* Every worker answers every launch, so that none can still be reading this one when the next begins. */
        if (id < pool.count) pool.body(pool.context, id, pool.count);
        atomic_fetch_sub_explicit(&pool.unfinished, 1, memory_order_release);
    }
    return NULL;
}

static int32_t processors(void) {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? (int32_t)CPU_COUNT(&set) : 1;
}

/* Called with `busy` held and no launch under way. Signals stay with the application's own threads. */
static void start_workers(int32_t wanted) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    while (pool.workers < wanted) {
        pthread_t thread;
        const unsigned launches = atomic_load(&pool.launches);
        if (launches != 0) break; /* workers count launches from zero, so all start before the first */
        if (pthread_create(&thread, NULL, work, (void *)(intptr_t)(pool.workers + 1))) break;
        pthread_detach(thread);
        ++pool.workers;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void forget_workers(void) {
    /* In the child of a fork there are none. */
    pool.workers = 0;
    pool.count = 0;
    atomic_store(&pool.launches, 0);
    atomic_store(&pool.asleep, 0);
    atomic_store(&pool.unfinished, 0);
    atomic_flag_clear(&pool.busy);
}

void cnncc_pool_launch(cnncc_body body, void *context, int32_t wanted) {
    static atomic_int registered;
    if (wanted > LARGEST_POOL) wanted = LARGEST_POOL;
    if (wanted <= 1 || atomic_flag_test_and_set_explicit(&pool.busy, memory_order_acquire)) {
        body(context, 0, 1);
        return;
    }
    if (!atomic_exchange(&registered, 1)) pthread_atfork(NULL, NULL, forget_workers);
    if (atomic_load(&pool.launches) == 0) {
        const int32_t most = processors();
        start_workers((most < LARGEST_POOL ? most : LARGEST_POOL) - 1);
    }
    const int32_t count = wanted <= pool.workers + 1 ? wanted : pool.workers + 1;
    pool.body = body;
    pool.context = context;
    pool.count = count;
    atomic_store_explicit(&pool.unfinished, pool.workers, memory_order_relaxed);
    atomic_fetch_add(&pool.launches, 1);
    if (atomic_load(&pool.asleep))
        syscall(SYS_futex, &pool.launches, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
    body(context, 0, count);
    for (int spin = 0; atomic_load_explicit(&pool.unfinished, memory_order_acquire) != 0; ++spin) {
        if (spin < SPINS_BEFORE_YIELD) relax();
        else sched_yield();
    }
    atomic_flag_clear_explicit(&pool.busy, memory_order_release);
}
