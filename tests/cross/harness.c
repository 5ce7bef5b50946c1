/* Runs a module for another processor under an emulator.
 *
 *     harness MODULE NAME THREADS IMAGES INPUT_FLOATS,... OUTPUT_FLOATS,...
 *
 * reads the inputs from standard input, one after the other, runs twice, and writes the outputs of both runs.
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 10, ALIGN = 64 };

typedef int (*run_function)(const void *, ...);

struct threads { /* cnncc_threads of the header */
    int32_t count;
    void *parallel_for, *pool;
};

static void *function(void *library, const char *name, const char *suffix) {
    char symbol[256];
    snprintf(symbol, sizeof symbol, "%s_%s", name, suffix);
    void *found = dlsym(library, symbol);
    if (!found) {
        fprintf(stderr, "harness: no %s\n", symbol);
        exit(2);
    }
    return found;
}

static int sizes(char *list, size_t *floats) {
    int count = 0;
    for (char *part = strtok(list, ","); part && count < MOST; part = strtok(NULL, ",")) floats[count++] = strtoul(part, NULL, 10);
    return count;
}

static void *memory(size_t bytes) {
    void *block = aligned_alloc(ALIGN, (bytes + ALIGN) / ALIGN * ALIGN);
    if (!block) exit(3);
    return block;
}

int main(int argc, char **argv) {
    if (argc != 7) return 2;
    void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        fprintf(stderr, "harness: %s\n", dlerror());
        return 2;
    }
    const void *(*model_get)(void) = (const void *(*)(void))function(library, argv[2], "model_get");
    size_t (*arena_bytes)(int32_t) = (size_t(*)(int32_t))function(library, argv[2], "arena_bytes_for");
    run_function run = (run_function)function(library, argv[2], "run_with");
    const struct threads threads = {atoi(argv[3]), NULL, NULL};
    const int32_t images = atoi(argv[4]);

    size_t floats[2 * MOST];
    const int inputs = sizes(argv[5], floats), outputs = sizes(argv[6], floats + inputs), arrays = inputs + outputs;
    void *p[2 * MOST + 1];
    for (int i = 0; i < arrays; ++i) {
        p[i] = memory(sizeof(float) * floats[i]);
        if (i < inputs && fread(p[i], sizeof(float), floats[i], stdin) != floats[i]) return 5;
    }
    const size_t size = arena_bytes(images);
    p[arrays] = memory(size);
    memset(p[arrays], 0xff, size); /* not-a-numbers: what nobody wrote shows */
    for (int repeat = 0; repeat < 2; ++repeat) {
        const void *m = model_get();
        int code;
        switch (arrays) {
        case 2: code = run(m, images, p[0], p[1], p[2], size, &threads); break;
        case 3: code = run(m, images, p[0], p[1], p[2], p[3], size, &threads); break;
        case 4: code = run(m, images, p[0], p[1], p[2], p[3], p[4], size, &threads); break;
        case 5: code = run(m, images, p[0], p[1], p[2], p[3], p[4], p[5], size, &threads); break;
        case 6: code = run(m, images, p[0], p[1], p[2], p[3], p[4], p[5], p[6], size, &threads); break;
        case 7: code = run(m, images, p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], size, &threads); break;
        case 8: code = run(m, images, p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8], size, &threads); break;
        case 9: code = run(m, images, p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8], p[9], size, &threads); break;
        case 10: code = run(m, images, p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8], p[9], p[10], size, &threads); break;
        case 11: code = run(m, images, p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8], p[9], p[10], p[11], size, &threads); break;
        default: return 6;
        }
        if (code) return 7;
        for (int i = inputs; i < arrays; ++i)
            if (fwrite(p[i], sizeof(float), floats[i], stdout) != floats[i]) return 8;
    }
    return 0;
}
