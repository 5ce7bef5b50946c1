/* Weights in a file of their own: mapped read-only, and compared with the hash that the module knows.
 *
 * The file is a header of 64 bytes (magic, 16 bytes; bytes of weights, uint64 little-endian; 8 zeros; BLAKE2b hash of
 * the weights, 32 bytes) and then the weights as the kernels read them. The weights must have the hash that is in the
 * module. The hash in the header only helps the message: it tells the weights of another module from altered ones.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* As in cnncc/runtime/interface.py. */
enum { OK, NULL_POINTER, MISALIGNED, UNREADABLE = 8, FOREIGN, TRUNCATED, ALTERED, OUT_OF_MEMORY };

enum { HEADER = 64, DIGEST_AT = 32, DIGEST = 32, ALIGN = 64, BLOCK = 128, ROUNDS = 12 };

static const char magic[16] = "cnncc weights 1\n";

struct model {
    const void *weights;
    void *mapping;
    size_t mapped;
};

/* BLAKE2b (RFC 7693) without key, with a hash of 32 bytes. */

static const uint64_t initial[8] = {
    0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
    0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179,
};

static const uint8_t order[10][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4}, {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13}, {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11}, {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5}, {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
};

static inline uint64_t rotated(uint64_t x, int bits) { return x >> bits | x << (64 - bits); }

static inline void mix(uint64_t v[16], int a, int b, int c, int d, uint64_t x, uint64_t y) {
    v[a] += v[b] + x;
    v[d] = rotated(v[d] ^ v[a], 32);
    v[c] += v[d];
    v[b] = rotated(v[b] ^ v[c], 24);
    v[a] += v[b] + y;
    v[d] = rotated(v[d] ^ v[a], 16);
    v[c] += v[d];
    v[b] = rotated(v[b] ^ v[c], 63);
}

static uint64_t little_endian(const uint8_t *bytes) {
    uint64_t value;
    memcpy(&value, bytes, sizeof value);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    value = __builtin_bswap64(value);
#endif
    return value;
}

static void compress(uint64_t h[8], const uint8_t block[BLOCK], uint64_t counted, int last) {
    uint64_t v[16], m[16];
    for (int i = 0; i < 8; ++i) {
        v[i] = h[i];
        v[i + 8] = initial[i];
    }
    for (int i = 0; i < 16; ++i) m[i] = little_endian(block + 8 * i);
    v[12] ^= counted;
    if (last) v[14] = ~v[14];
#pragma GCC unroll 12
    for (int round = 0; round < ROUNDS; ++round) {
        const uint8_t *s = order[round % 10];
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) mix(v, i, 4 + i, 8 + i, 12 + i, m[s[2 * i]], m[s[2 * i + 1]]);
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i)
            mix(v, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4, m[s[8 + 2 * i]], m[s[9 + 2 * i]]);
    }
    for (int i = 0; i < 8; ++i) h[i] ^= v[i] ^ v[i + 8];
}

void cnncc_blake2b(const uint8_t *data, size_t bytes, uint8_t digest[DIGEST]) {
    uint64_t h[8];
    uint8_t last[BLOCK] = {0};
    size_t done = 0;
    memcpy(h, initial, sizeof h);
    h[0] ^= 0x01010000 ^ DIGEST;
    for (; bytes - done > BLOCK; done += BLOCK) compress(h, data + done, done + BLOCK, 0);
    if (bytes > done) memcpy(last, data + done, bytes - done);
    compress(h, last, bytes, 1);
    for (int i = 0; i < DIGEST; ++i) digest[i] = (uint8_t)(h[i / 8] >> 8 * (i % 8));
}

/* Checks a weights file that is in memory, and makes a model of it. It must have `wanted` bytes of weights with that
 * hash. */
int32_t cnncc_weights_take(struct model *model, const void *data, size_t bytes, size_t wanted, const uint8_t *digest) {
    uint8_t found[DIGEST];
    const uint8_t *file = data;
    if (!model || !data) return NULL_POINTER;
    memset(model, 0, sizeof *model);
    if ((uintptr_t)data % ALIGN) return MISALIGNED;
    if (bytes < HEADER) return TRUNCATED;
    if (memcmp(file, magic, sizeof magic)) return FOREIGN;
    if (memcmp(file + DIGEST_AT, digest, DIGEST) || little_endian(file + sizeof magic) != wanted) return FOREIGN;
    if (bytes - HEADER != wanted) return TRUNCATED;
    cnncc_blake2b(file + HEADER, wanted, found);
    if (memcmp(found, digest, DIGEST)) return ALTERED;
    model->weights = file + HEADER;
    return OK;
}

void cnncc_weights_close(struct model *model) {
    if (!model) return;
    if (model->mapping) munmap(model->mapping, model->mapped);
    memset(model, 0, sizeof *model);
}

/* The size of a regular file; -1, with errno, for anything else. */
static off_t file_size(int file) {
    struct stat about;
    if (fstat(file, &about)) return -1;
    if (S_ISREG(about.st_mode)) return about.st_size;
    errno = S_ISDIR(about.st_mode) ? EISDIR : EINVAL;
    return -1;
}

int32_t cnncc_weights_open(struct model *model, const char *path, size_t wanted, const uint8_t *digest) {
    if (!model || !path) return NULL_POINTER;
    memset(model, 0, sizeof *model);
    const int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    const off_t size = file < 0 ? -1 : file_size(file);
    void *mapping = MAP_FAILED;
    if (size > 0) mapping = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, file, 0);
    const int why = errno;
    if (file >= 0) close(file);
    errno = why;
    if (size == 0) return TRUNCATED;
    if (mapping == MAP_FAILED) return size > 0 && why == ENOMEM ? OUT_OF_MEMORY : UNREADABLE;
    const int32_t code = cnncc_weights_take(model, mapping, (size_t)size, wanted, digest);
    if (code) {
        munmap(mapping, (size_t)size);
        return code;
    }
    model->mapping = mapping;
    model->mapped = (size_t)size;
    return OK;
}
