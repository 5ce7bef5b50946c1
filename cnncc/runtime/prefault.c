/* Weights that are linked in come from the module's file page by page, and the first run would wait for thousands of page
 * faults. Asked for at once, before it, they cost half. Where the system cannot (Linux before 5.14), the run does it.
 */
#define _GNU_SOURCE
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

void cnncc_prefault(const void *data, size_t bytes) {
    static atomic_int done;
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), start = (uintptr_t)data & ~(page - 1);
    if (!atomic_exchange(&done, 1)) (void)madvise((void *)start, (uintptr_t)data + bytes - start, MADV_POPULATE_READ);
}
