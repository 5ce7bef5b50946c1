/* Classifies one image with a compiled ResNet-50: no Python, no TVM, one shared object.
 *
 *   cnncc compile models/resnet50.net -o resnet50.so
 *   cc examples/c/classify.c -o classify ./resnet50.so
 *   ./classify                 a test pattern
 *   ./classify photo.ppm       a binary PPM of 224 x 224 pixels
 */
#if __has_include("resnet50.h")
#include "resnet50.h"
#else
#include "../../resnet50.h" /* compiled in the folder above, as the commands say */
#endif

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { SIDE = 224, PLANE = SIDE * SIDE, CLASSES = RESNET50_OUTPUT_FLOATS, SHOWN = 5, RUNS = 10 };

static float image[3 * PLANE];
static float scores[CLASSES];

/* Soft colour gradients: any image will do to see the module run. */
static void draw_pattern(void) {
    for (int c = 0; c < 3; ++c)
        for (int y = 0; y < SIDE; ++y)
            for (int x = 0; x < SIDE; ++x) image[c * PLANE + y * SIDE + x] = (float)((x * (c + 1) + y * (3 - c)) % 256);
}

/* Interleaved 8-bit RGB to the planes the network wants. Returns 0 if the file is no fitting PPM. */
static int read_ppm(const char *path) {
    unsigned char pixel[3];
    int width = 0, height = 0, most = 0;
    FILE *file = fopen(path, "rb");
    if (!file) return 0;
    int good = fscanf(file, "P6 %d %d %d", &width, &height, &most) == 3 && width == SIDE && height == SIDE && most == 255;
    if (good) fgetc(file); /* the one white space after the header */
    for (int i = 0; good && i < PLANE; ++i) {
        good = fread(pixel, 1, 3, file) == 3;
        for (int c = 0; c < 3; ++c) image[c * PLANE + i] = pixel[c];
    }
    fclose(file);
    return good;
}

static double milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e3 + now.tv_nsec * 1e-6;
}

int main(int argc, char **argv) {
    if (argc > 2 || (argc == 2 && !read_ppm(argv[1]))) {
        fprintf(stderr, "usage: classify [photo.ppm]   (binary PPM, %d x %d pixels, 8 bits)\n", SIDE, SIDE);
        return 2;
    }
    if (argc == 1) draw_pattern();

    void *arena = aligned_alloc(RESNET50_ARENA_ALIGN, (RESNET50_ARENA_BYTES + RESNET50_ARENA_ALIGN - 1) / RESNET50_ARENA_ALIGN * RESNET50_ARENA_ALIGN);
    if (!arena) {
        fprintf(stderr, "classify: no memory for an arena of %d bytes\n", RESNET50_ARENA_BYTES);
        return 1;
    }
    const resnet50_model *model = resnet50_model_get();
    double best = 0;
    for (int run = 0; run < RUNS; ++run) {
        const double start = milliseconds();
        const int code = resnet50_run(model, 1, image, scores, arena);
        const double taken = milliseconds() - start;
        if (code) {
            fprintf(stderr, "classify: %s\n", resnet50_error(code));
            return 1;
        }
        if (run == 0 || taken < best) best = taken;
    }
    free(arena);

    printf("class  probability\n");
    for (int shown = 0; shown < SHOWN; ++shown) {
        int top = 0;
        for (int i = 1; i < CLASSES; ++i)
            if (scores[i] > scores[top]) top = i;
        printf("%5d  %.6f\n", top, scores[top]);
        scores[top] = -1;
    }
    printf("best of %d runs: %.2f ms\n", RUNS, best);
    return 0;
}
