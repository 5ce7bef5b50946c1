/* Which features of x86-64 this processor and its operating system have. The processor itself is asked.
 *
 * A feature that is not in the list below counts as missing: it is better to refuse a module than to crash in it.
 */
#include <cpuid.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

enum { LONGEST_TEXT = 512 };

/* Registers that the operating system must save: those of SSE and AVX; for AVX-512 also masks and upper halves. */
enum { NO_STATE = 0, AVX_STATE = 0x6, AVX512_STATE = 0xe6 };

enum { EAX, EBX, ECX, EDX };

static const struct feature {
    const char *name;
    uint32_t leaf, subleaf;
    int word, bit;
    uint32_t state;
} features[] = {
    {"sse3", 1, 0, ECX, 0, NO_STATE},
    {"ssse3", 1, 0, ECX, 9, NO_STATE},
    {"sse4.1", 1, 0, ECX, 19, NO_STATE},
    {"sse4.2", 1, 0, ECX, 20, NO_STATE},
    {"popcnt", 1, 0, ECX, 23, NO_STATE},
    {"movbe", 1, 0, ECX, 22, NO_STATE},
    {"fma", 1, 0, ECX, 12, AVX_STATE},
    {"avx", 1, 0, ECX, 28, AVX_STATE},
    {"f16c", 1, 0, ECX, 29, AVX_STATE},
    {"bmi", 7, 0, EBX, 3, NO_STATE},
    {"avx2", 7, 0, EBX, 5, AVX_STATE},
    {"bmi2", 7, 0, EBX, 8, NO_STATE},
    {"avx512f", 7, 0, EBX, 16, AVX512_STATE},
    {"avx512dq", 7, 0, EBX, 17, AVX512_STATE},
    {"adx", 7, 0, EBX, 19, NO_STATE},
    {"avx512ifma", 7, 0, EBX, 21, AVX512_STATE},
    {"clwb", 7, 0, EBX, 24, NO_STATE},
    {"avx512cd", 7, 0, EBX, 28, AVX512_STATE},
    {"sha", 7, 0, EBX, 29, NO_STATE},
    {"avx512bw", 7, 0, EBX, 30, AVX512_STATE},
    {"avx512vl", 7, 0, EBX, 31, AVX512_STATE},
    {"avx512vbmi", 7, 0, ECX, 1, AVX512_STATE},
    {"avx512vbmi2", 7, 0, ECX, 6, AVX512_STATE},
    {"gfni", 7, 0, ECX, 8, NO_STATE},
    {"vaes", 7, 0, ECX, 9, AVX_STATE},
    {"vpclmulqdq", 7, 0, ECX, 10, AVX_STATE},
    {"avx512vnni", 7, 0, ECX, 11, AVX512_STATE},
    {"avx512bitalg", 7, 0, ECX, 12, AVX512_STATE},
    {"avx512vpopcntdq", 7, 0, ECX, 14, AVX512_STATE},
    {"avx512vp2intersect", 7, 0, EDX, 8, AVX512_STATE},
    {"avxvnni", 7, 1, EAX, 4, AVX_STATE},
    {"avx512bf16", 7, 1, EAX, 5, AVX512_STATE},
    {"lzcnt", 0x80000001, 0, ECX, 5, NO_STATE},
    {"sse4a", 0x80000001, 0, ECX, 6, NO_STATE},
};

/* The registers that the operating system saves; 0 if it does not tell. */
static uint32_t saved_states(void) {
    uint32_t word[4], low, high;
    if (!__get_cpuid(1, &word[EAX], &word[EBX], &word[ECX], &word[EDX]) || !(word[ECX] >> 27 & 1)) return 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

static int has(const char *name, size_t length) {
    for (size_t i = 0; i < sizeof features / sizeof *features; ++i) {
        const struct feature *f = &features[i];
        uint32_t word[4];
        if (strlen(f->name) != length || memcmp(f->name, name, length)) continue;
        return __get_cpuid_count(f->leaf, f->subleaf, &word[EAX], &word[EBX], &word[ECX], &word[EDX]) &&
               (word[f->word] >> f->bit & 1) && (saved_states() & f->state) == f->state;
    }
    return 0;
}

/* Appends the missing features of a list, separated by commas, to a text. Returns how many are missing. Names that do not fit
 * into the text are left out. */
static int32_t missing(const char *required, char *text, size_t room) {
    int32_t count = 0;
    size_t used = strlen(text);
    for (const char *at = required; *at;) {
        const size_t length = strcspn(at, ",");
        if (!has(at, length)) {
            const size_t comma = count++ ? 2 : 0;
            if (used + comma + length < room) {
                memcpy(text + used, ", ", comma);
                memcpy(text + used + comma, at, length);
                used += comma + length;
                text[used] = 0;
            }
        }
        at += length;
        at += *at == ',';
    }
    return count;
}

/* How many of the features in a list, separated by commas, this processor lacks. */
int32_t cnncc_cpu_lacks(const char *required) {
    char text[1] = "";
    return missing(required, text, sizeof text);
}

/* "this processor lacks avx2, fma". The text is made at the first call; all calls return the same one. */
const char *cnncc_cpu_message(const char *required) {
    static char text[LONGEST_TEXT] = "this processor lacks ";
    static atomic_int made; /* 0 no, 1 a thread is making it, 2 yes */
    int none = 0;
    if (atomic_compare_exchange_strong(&made, &none, 1)) {
        if (!missing(required, text, sizeof text)) strcpy(text, "this processor lacks nothing that the module needs");
        atomic_store(&made, 2);
    }
    while (atomic_load(&made) != 2) __builtin_ia32_pause();
    return text;
}
