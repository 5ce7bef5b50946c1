/* Reads a handwritten digit with LeNet-5.
 *
 *     cnncc compile lenet5 -o lenet5.so
 *     cc -O2 digit.c -o digit ./lenet5.so
 *     ./digit 7.pgm                           (binary PGM, 32 x 32 pixels, white on black)
 *
 * For another processor, on a machine of this kind (docs/cross.md):
 *
 *     cnncc compile lenet5 --target aarch64 -o lenet5.so
 *     aarch64-linux-gnu-gcc -O2 digit.c -o digit ./lenet5.so
 */
#include "lenet5.h"

#include <stdio.h>
#include <stdlib.h>

enum { SIDE = 32, CLASSES = LENET5_OUTPUT_FLOATS };

static int read_pgm(const char *path, float *image) {
    static unsigned char pixels[SIDE * SIDE];
    int width = 0, height = 0, most = 0;
    FILE *file = fopen(path, "rb");
    if (!file) return 0;
    int good = fscanf(file, "P5 %d %d %d", &width, &height, &most) == 3 && width == SIDE && height == SIDE && most == 255;
    if (good) fgetc(file); /* the one white space after the header */
    good = good && fread(pixels, 1, sizeof pixels, file) == sizeof pixels;
    for (int i = 0; good && i < SIDE * SIDE; ++i) image[i] = pixels[i];
    fclose(file);
    return good;
}

int main(int argc, char **argv) {
    static float image[SIDE * SIDE], scores[CLASSES];
    static _Alignas(LENET5_ARENA_ALIGN) unsigned char arena[LENET5_ARENA_BYTES];
    if (argc != 2 || !read_pgm(argv[1], image)) {
        fprintf(stderr, "usage: digit digit.pgm   (binary PGM, %d x %d pixels, 8 bits)\n", SIDE, SIDE);
        return 2;
    }
    const int code = lenet5_run(lenet5_model_get(), 1, image, scores, arena);
    if (code) {
        fprintf(stderr, "digit: %s\n", lenet5_error(code));
        return 1;
    }
    printf("class  probability\n");
    for (int i = 0; i < CLASSES; ++i) printf("%5d  %.9f\n", i, scores[i]);
    return 0;
}
