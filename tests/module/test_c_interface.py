"""The C interface: threads by the caller, codes for every mistake, tables, re-entrance; in C and in C++."""

from __future__ import annotations

from pathlib import Path

import pytest
from module.c_programs import SETUP, build, compile_and_run, write

from cnncc.runtime.interface import FORMAT, TEXTS, Code


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A module of a small network, with both headers."""
    place = tmp_path_factory.mktemp("interface")
    write(build(), place, "so", "h", "hpp")
    return place


def test_every_mistake_has_its_code(folder):
    source = (
        SETUP
        + """
int main(void) {
    char *arena = memory(SMALL_ARENA_BYTES + SMALL_ARENA_ALIGN);
    const small_model *model = small_model_get();
    const small_model closed = {0};
    const cnncc_threads negative = {-1, NULL, NULL};
    fill();
    CHECK(small_run(NULL, 1, in, out, arena) == CNNCC_NULL_POINTER);
    CHECK(small_run(model, 1, NULL, out, arena) == CNNCC_NULL_POINTER);
    CHECK(small_run(model, 1, in, NULL, arena) == CNNCC_NULL_POINTER);
    CHECK(small_run(model, 1, in, out, NULL) == CNNCC_NULL_POINTER);
    CHECK(small_run(model, 1, in, out, arena + 32) == CNNCC_MISALIGNED);
    CHECK(small_run(&closed, 1, in, out, arena) == CNNCC_NOT_OPEN);
    CHECK(small_run_with(model, 1, in, out, arena, SMALL_ARENA_BYTES - 1, NULL) == CNNCC_ARENA_TOO_SMALL);
    CHECK(small_run_with(model, 1, in, out, arena, SMALL_ARENA_BYTES, &negative) == CNNCC_BAD_THREADS);
    for (int images = -1; images < 3; images += 1 + !images)
        CHECK(small_run(model, images, in, out, arena) == CNNCC_BAD_IMAGES && !small_arena_bytes_for(images));
    CHECK(small_run_with(model, 1, in, out, arena, SMALL_ARENA_BYTES, NULL) == CNNCC_OK);
    CHECK(small_run(model, 1, in, wanted, arena) == CNNCC_OK && !memcmp(out, wanted, sizeof out));
    for (int code = -1; code < 15; ++code) puts(small_error(code));
    return 0;
}
"""
    )
    texts = compile_and_run(folder, source, "./small.so").splitlines()
    expected = {int(code): text for code, text in TEXTS.items()}
    expected[Code.WRONG_PROCESSOR] = "this processor lacks nothing that the module needs"
    assert texts == [expected.get(code, "unknown error code") for code in range(-1, 15)]


def test_tables_and_version(folder):
    source = (
        SETUP
        + """
int main(void) {
    const cnncc_port *in_ports, *out_ports;
    CHECK(small_inputs(NULL) == 1 && small_outputs(NULL) == 1);
    CHECK(small_inputs(&in_ports) == 1 && small_outputs(&out_ports) == 1);
    CHECK(in_ports->rank == 4 && in_ports->shape[1] == 3 && in_ports->shape[2] == 17 && in_ports->shape[3] == 19);
    CHECK(in_ports->count == SMALL_INPUT_FLOATS && out_ports->count == SMALL_OUTPUT_FLOATS);
    CHECK(out_ports->rank == 2 && out_ports->shape[0] == 1 && out_ports->shape[1] == 10);
    CHECK(!strcmp(small_version(), SMALL_VERSION) && small_arena_bytes() == SMALL_ARENA_BYTES);
    printf("%s %s %s", in_ports->name, out_ports->name, small_version());
    return 0;
}
"""
    )
    import cnncc

    assert compile_and_run(folder, source, "./small.so") == f"input 5.softmax {cnncc.__version__}"


def test_threads_of_the_caller(folder):
    """In parallel, one after another, backwards, with ids left out or beyond: the same bits. Nobody: an error."""
    source = (
        SETUP
        + """
#include <pthread.h>
typedef void (*body_t)(void *, int32_t);
struct job { body_t body; void *context; int32_t id; };
static int calls, counts;
static void *start(void *p) { struct job *j = p; j->body(j->context, j->id); return NULL; }
static void parallel(void *pool, int32_t count, body_t body, void *context) {
    pthread_t threads[8];
    struct job jobs[8];
    CHECK(pool == &calls && count <= 8);
    ++calls;
    counts = count;
    for (int32_t i = 0; i < count; ++i) {
        jobs[i] = (struct job){body, context, i};
        CHECK(!pthread_create(&threads[i], NULL, start, &jobs[i]));
    }
    for (int32_t i = 0; i < count; ++i) pthread_join(threads[i], NULL);
}
static void backwards(void *pool, int32_t count, body_t body, void *context) {
    (void)pool;
    while (count--) body(context, count);
}
static void last_only(void *pool, int32_t count, body_t body, void *context) { (void)pool; body(context, count - 1); }
static void too_many(void *pool, int32_t count, body_t body, void *context) {
    (void)pool;
    body(context, count);
    body(context, -1);
    body(context, 0);
}
static void nobody(void *pool, int32_t count, body_t body, void *context) {
    (void)pool, (void)count, (void)body, (void)context;
}
int main(void) {
    void *arena = memory(SMALL_ARENA_BYTES);
    const small_model *model = small_model_get();
    const cnncc_threads ways[] = {{0, NULL, NULL}, {1, NULL, NULL}, {2, NULL, NULL}, {99, NULL, NULL},
                                  {2, parallel, &calls}, {0, parallel, &calls}, {9, parallel, &calls},
                                  {2, backwards, NULL}, {2, last_only, NULL}, {2, too_many, NULL}};
    fill();
    CHECK(!small_run(model, 1, in, wanted, arena));
    for (size_t i = 0; i < sizeof ways / sizeof *ways; ++i)
        for (int repeat = 0; repeat < 20; ++repeat) {
            memset(out, 0xff, sizeof out);
            CHECK(!small_run_with(model, 1, in, out, arena, SMALL_ARENA_BYTES, &ways[i]));
            CHECK(!memcmp(out, wanted, sizeof out));
        }
    CHECK(calls == 60 && counts == SMALL_MAX_THREADS);
    const cnncc_threads none = {2, nobody, NULL};
    CHECK(small_run_with(model, 1, in, out, arena, SMALL_ARENA_BYTES, &none) == CNNCC_UNFINISHED);
    return 0;
}
"""
    )
    compile_and_run(folder, source, "./small.so")


def test_threads_with_their_own_wishes_share_one_model(folder):
    """Eight threads, each with another number of threads and its own image, on one constant model."""
    source = (
        SETUP
        + """
#include <pthread.h>
static float images[8][SMALL_INPUT_FLOATS], alone[8][SMALL_OUTPUT_FLOATS];
static void *serve(void *p) {
    const int id = (int)(size_t)p;
    const cnncc_threads threads = {id % 4, NULL, NULL};
    void *arena = memory(SMALL_ARENA_BYTES);
    float result[SMALL_OUTPUT_FLOATS];
    for (int repeat = 0; repeat < 200; ++repeat) {
        CHECK(!small_run_with(small_model_get(), 1, images[id], result, arena, SMALL_ARENA_BYTES, &threads));
        CHECK(!memcmp(result, alone[id], sizeof result));
    }
    free(arena);
    return NULL;
}
int main(void) {
    pthread_t threads[8];
    void *arena = memory(SMALL_ARENA_BYTES);
    for (int id = 0; id < 8; ++id) {
        for (int i = 0; i < SMALL_INPUT_FLOATS; ++i) images[id][i] = (float)((i * (id + 3)) % 23) / 23;
        CHECK(!small_run(small_model_get(), 1, images[id], alone[id], arena));
    }
    for (size_t id = 0; id < 8; ++id) CHECK(!pthread_create(&threads[id], NULL, serve, (void *)id));
    for (int id = 0; id < 8; ++id) pthread_join(threads[id], NULL);
    return memcmp(alone[0], alone[1], sizeof alone[0]) == 0;
}
"""
    )
    compile_and_run(folder, source, "./small.so")


def test_a_run_allocates_nothing(folder):
    """malloc and its kin are counted, in this program and in all it is linked with."""
    source = (
        SETUP
        + """
static long calls;
extern void *__libc_malloc(size_t);
void *malloc(size_t bytes) { ++calls; return __libc_malloc(bytes); }
int main(void) {
    void *arena = memory(SMALL_ARENA_BYTES);
    const cnncc_threads one = {1, NULL, NULL};
    fill();
    const long before = calls;
    for (int i = 0; i < 100; ++i) {
        CHECK(!small_run_with(small_model_get(), 1, in, out, arena, SMALL_ARENA_BYTES, &one));
        CHECK(!small_run(small_model_get(), 1, in, wanted, arena));
    }
    printf("%ld", calls - before);
    return 0;
}
"""
    )
    assert int(compile_and_run(folder, source, "./small.so")) == 0


def test_the_cpp_header(folder):
    source = """
#include "small.hpp"
#include <array>
#include <cstdio>
#include <cstring>
int main() {
    cnncc::small_network network;
    std::vector<float> image(SMALL_INPUT_FLOATS, 0.5f);
    std::array<float, SMALL_OUTPUT_FLOATS> out;
    network(image, out);
    const std::vector<float> result = network(image);
    if (std::memcmp(result.data(), out.data(), sizeof out)) return 1;
    cnncc::small_network copy = network, moved = std::move(network);
    network = copy;
    if (copy(image) != result || moved(image) != result || network(image) != result) return 2;
    if (cnncc::small_network::inputs().size() != 1 || cnncc::small_network::outputs().begin()->rank != 2) return 3;
    float few[3] = {};
    try { network(few, out); return 4; } catch (const std::invalid_argument &error) { std::puts(error.what()); }
    try {
        cnncc::small_network bad(cnncc_threads{-1, nullptr, nullptr});
        bad(image);
        return 5;
    } catch (const cnncc::error &error) { std::printf("%d %s\\n", error.code, error.what()); }
    return 0;
}
"""
    told = compile_and_run(folder, source, "./small.so", flags=("-pedantic",)).splitlines()
    assert told == ["small: input has 3 numbers, not 969", "5 small: the number of threads is negative"]


def test_headers_of_several_networks_in_one_program(folder, tmp_path):
    """They share types; of another version of cnncc, a compiler refuses them together."""
    other = build("net other\ninput 1x4x4\nrelu\n", threads=1)
    write(other, folder, "so", "h", "hpp", name="other")
    both = """
#include "small.hpp"
#include "other.hpp"
int main() { cnncc::small_network a; cnncc::other_network b; return SMALL_MAX_THREADS + OTHER_MAX_THREADS - 3; }
"""
    compile_and_run(folder, both, "./small.so", "./other.so")
    text = (folder / "other.h").read_text().replace(f"CNNCC_INTERFACE != {FORMAT}", f"CNNCC_INTERFACE != {FORMAT + 1}")
    (folder / "later.h").write_text(text)
    with pytest.raises(AssertionError, match="modules of different versions of cnncc"):
        compile_and_run(folder, '#include "small.h"\n#include "later.h"\nint main(void) { return 0; }\n')
