"""The thread pool in C: how many threads it starts, how they round, and what a fork leaves of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from module.c_programs import SETUP, build, compile_and_run, run, write

from cnncc.module import toolchain

POOL = ("-x", "c", os.fspath(toolchain.RUNTIME / "pool.c"))
DECLARED = """
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
void cnncc_pool_launch(void *, int32_t, void (*body)(void *, int32_t), void *);
"""
needs_two = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two processors")


@pytest.mark.parametrize(
    ("quota", "most"),
    [("max 100000", None), ("100000 100000", 1), ("150000 100000", 2), ("50000 100000", 1), ("900000 100000", None),
     ("nonsense", None), ("", None), (None, None)],
)  # fmt: skip
def test_threads_follow_the_quota(tmp_path, quota, most):
    """One per processor that the process may use, and no more than its control group pays for, rounded up."""
    if quota is not None:
        (tmp_path / "cpu.max").write_text(quota)
    source = (
        DECLARED
        + """
static void body(void *context, int32_t id) { (void)context, (void)id; }
int main(void) {
    int threads = 0;
    cnncc_pool_launch(NULL, 200, body, NULL);
    DIR *tasks = opendir("/proc/self/task");
    for (struct dirent *entry; (entry = readdir(tasks));) threads += *entry->d_name != '.';
    printf("%d", threads);
    return 0;
}
"""
    )
    started = int(compile_and_run(tmp_path, source, *POOL, flags=('-DCPU_QUOTA="cpu.max"',)))
    processors = len(os.sched_getaffinity(0))
    assert started == (processors if most is None else min(most, processors))


@needs_two
def test_workers_compute_in_the_mode_of_the_caller(tmp_path):
    """Rounding and flushing of denormals, whatever the thread that started them had."""
    source = (
        DECLARED
        + """
#include <fenv.h>
#include <stdatomic.h>
#include <time.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
static void flush(int on) { _MM_SET_FLUSH_ZERO_MODE(on ? _MM_FLUSH_ZERO_ON : _MM_FLUSH_ZERO_OFF); }
#else
static void flush(int on) { (void)on; }
#endif
static atomic_int came;
static volatile float ones[2] = {1, 3}, tiny = 1e-38f;
static float thirds[2], halves[2];
static void body(void *context, int32_t id) {
    (void)context;
    thirds[id] = ones[0] / ones[1];
    halves[id] = tiny / 16;
    ++came;
    while (came < 2) {}
}
static void check(int rounding, int flushing) {
    fesetround(rounding);
    flush(flushing);
    came = 0;
    cnncc_pool_launch(NULL, 2, body, NULL);
    printf("%d%d ", thirds[0] == thirds[1], halves[0] == halves[1]);
}
int main(void) {
    check(FE_TONEAREST, 0);
    check(FE_UPWARD, 0);
    check(FE_DOWNWARD, 1);
    check(FE_TONEAREST, 1);
    check(FE_TONEAREST, 0);
    return 0;
}
"""
    )
    assert compile_and_run(tmp_path, source, *POOL, "-lm", flags=("-frounding-math",)) == "11 " * 5


FORKS = (
    SETUP
    + """
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>
static atomic_int stop;
static void *serve(void *unused) {
    void *arena = memory(SMALL_ARENA_BYTES);
    float result[SMALL_OUTPUT_FLOATS];
    (void)unused;
    while (!stop) {
        CHECK(!small_run(small_model_get(), 1, in, result, arena));
        CHECK(!memcmp(result, wanted, sizeof result));
    }
    return NULL;
}
int main(void) {
    pthread_t thread;
    void *arena = memory(SMALL_ARENA_BYTES);
    fill();
    CHECK(!small_run(small_model_get(), 1, in, wanted, arena));
    CHECK(!pthread_create(&thread, NULL, serve, NULL));
    for (int i = 0; i < 50; ++i) {
        const pid_t child = fork();
        if (!child) {
            alarm(20);
            for (int run = 0; run < 20; ++run)
                if (small_run(small_model_get(), 1, in, out, arena) || memcmp(out, wanted, sizeof out)) _exit(1);
            _exit(0);
        }
        int status;
        CHECK(waitpid(child, &status, 0) == child && status == 0);
        CHECK(!small_run(small_model_get(), 1, in, out, arena) && !memcmp(out, wanted, sizeof out));
    }
    stop = 1;
    pthread_join(thread, NULL);
    return 0;
}
"""
)


def test_a_fork_in_the_middle_of_runs(tmp_path):
    """Children of a process whose other thread is running the network, and whose pool is at work: all go on."""
    write(build(), tmp_path, "so", "h")
    compile_and_run(tmp_path, FORKS, "./small.so")


@pytest.fixture(scope="module")
def limited(tmp_path_factory) -> Path:
    """A program that may start no thread."""
    folder = tmp_path_factory.mktemp("limited")
    write(build(), folder, "so", "h")
    source = (
        SETUP
        + """
#include <sys/resource.h>
int main(void) {
    struct rlimit none = {0, 0};
    void *arena = memory(SMALL_ARENA_BYTES);
    const cnncc_threads one = {1, NULL, NULL};
    fill();
    CHECK(!small_run_with(small_model_get(), 1, in, wanted, arena, SMALL_ARENA_BYTES, &one));
    CHECK(!setrlimit(RLIMIT_AS, &none));
    CHECK(!small_run(small_model_get(), 1, in, out, arena) && !memcmp(out, wanted, sizeof out));
    return 0;
}
"""
    )
    compile_and_run(folder, source, "./small.so")
    return folder


def test_without_memory_for_threads_one_does_the_work(limited):
    run(limited)
