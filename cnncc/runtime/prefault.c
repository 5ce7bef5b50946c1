/* Reads all weights inside a module into memory before the first run. Without this, the first run would have thousands
 * of page faults; all pages at once take half of their time. Linux before 5.14 cannot do it; the first run then has the
 * page faults.
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
