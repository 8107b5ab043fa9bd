#include "host/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bits.h"
#include "port/log.h"

static uint64_t memory_mib(uint64_t bytes)
{
    return bytes >> 20;
}

static enum status memory_check(uint64_t size)
{
    const char *limited_by;
    uint64_t available = host_memory_available(&limited_by);

    if (size <= available)
        return STATUS_OK;
    log_error("cannot give the machine %" PRIu64 " MiB of memory: %s leaves %" PRIu64 " MiB; choose a smaller -m",
              memory_mib(size), limited_by, memory_mib(available));
    return STATUS_NO_MEMORY;
}

static enum status memory_map(struct host_memory *memory)
{
    memory->host = mmap(NULL, memory->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, memory->fd, 0);
    if (memory->host == MAP_FAILED) {
        memory->host = NULL;
        log_error("cannot map %" PRIu64 " MiB of guest memory: %s", memory_mib(memory->size), strerror(errno));
        return STATUS_NO_MEMORY;
    }
    /* A core dump of the program need not hold the guest, and a child has no business with it. */
    (void)madvise(memory->host, memory->size, MADV_DONTDUMP);
    (void)madvise(memory->host, memory->size, MADV_DONTFORK);
    (void)madvise(memory->host, memory->size, MADV_HUGEPAGE);
    return STATUS_OK;
}

/* The mapping stays; touched again, the pages are zeroes. */
static void memory_release_pages(struct memory_releaser *releaser, uint64_t offset, uint64_t size)
{
    const struct host_memory *memory = CONTAINER_OF(releaser, struct host_memory, releaser);

    if (range_inside(offset, size, memory->size))
        (void)fallocate(memory->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)size);
}

enum status host_memory_create(struct host_memory *memory, uint64_t size)
{
    enum status status = memory_check(size);

    *memory = (struct host_memory){.size = size, .fd = -1, .releaser.release = memory_release_pages};
    if (status != STATUS_OK)
        return status;
    memory->fd = memfd_create(HOST_MEMORY_NAME, MFD_CLOEXEC);
    if (memory->fd < 0) {
        log_error("cannot create guest memory: %s", strerror(errno));
        return STATUS_NO_MEMORY;
    }
    if (ftruncate(memory->fd, (off_t)size) != 0) {
        log_error("cannot create %" PRIu64 " MiB of guest memory: %s", memory_mib(size), strerror(errno));
        status = STATUS_NO_MEMORY;
    } else {
        status = memory_map(memory);
    }
    if (status != STATUS_OK)
        host_memory_destroy(memory);
    return status;
}

void host_memory_destroy(struct host_memory *memory)
{
    if (memory->host)
        (void)munmap(memory->host, memory->size);
    if (memory->size > 0 && memory->fd >= 0)
        close(memory->fd);
    *memory = (struct host_memory){.fd = -1};
}

enum status host_memory_clear(struct host_memory *memory, uint64_t size)
{
    if (fallocate(memory->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)size) == 0)
        return STATUS_OK;
    log_error("cannot clear guest memory: %s", strerror(errno));
    return STATUS_IO;
}
