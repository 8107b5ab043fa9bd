/* Address spaces: page faults on fresh memory and on a file, and mappings that nobody touches. */
#include "kernel/programs.h"

#include <sys/mman.h>
#include <unistd.h>

enum {
    PAGE = 4096,
    PAGES = 1024,
    MAPPINGS = 500,
    MAPPING_SIZE = 16 * PAGE,
};

static int file = -1;

static unsigned char *map(size_t size, int flags, int from)
{
    void *mapped = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, from, 0);

    if (mapped == MAP_FAILED) {
        bench_die("mmap");
    }
    return mapped;
}

static void unmap(unsigned char *memory, size_t size)
{
    if (munmap(memory, size) != 0) {
        bench_die("munmap");
    }
}

static uint64_t iterate_touch(void)
{
    unsigned char *memory = map((size_t)PAGES * PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    uint64_t checksum = 0;

    for (size_t i = 0; i < PAGES; i++) {
        volatile unsigned char *byte = memory + i * PAGE;

        *byte = (unsigned char)i;
        checksum += *byte;
    }
    unmap(memory, (size_t)PAGES * PAGE);
    return checksum;
}

static uint64_t iterate_mmap(void)
{
    for (size_t i = 0; i < MAPPINGS; i++) {
        unmap(map(MAPPING_SIZE, MAP_PRIVATE | MAP_ANONYMOUS, -1), MAPPING_SIZE);
    }
    return MAPPINGS;
}

/* A file in memory, all of whose pages exist, so that a fault on it is never a wait for a disk. */
static void create_file(void)
{
    unsigned char *memory;

    file = memfd_create("lodge-bench", MFD_CLOEXEC);
    if (file < 0 || ftruncate(file, (off_t)PAGES * PAGE) != 0) {
        bench_die("memfd_create");
    }
    memory = map((size_t)PAGES * PAGE, MAP_SHARED, file);
    for (size_t i = 0; i < PAGES; i++) {
        memory[i * PAGE] = (unsigned char)(i * 7);
    }
    unmap(memory, (size_t)PAGES * PAGE);
}

static void close_file(void)
{
    (void)close(file);
}

static uint64_t iterate_fault(void)
{
    unsigned char *memory = map((size_t)PAGES * PAGE, MAP_PRIVATE, file);
    uint64_t checksum = 0;

    for (size_t i = 0; i < PAGES; i++) {
        checksum = bench_mix(checksum, *(volatile unsigned char *)(memory + i * PAGE));
    }
    unmap(memory, (size_t)PAGES * PAGE);
    return checksum;
}

const struct bench_program bench_touch = {
    .name = "touch",
    .summary = "first write to a page of fresh memory",
    .iterations = 130,
    .operations = PAGES,
    .iterate = iterate_touch,
};

const struct bench_program bench_mmap = {
    .name = "mmap",
    .summary = "mmap and munmap of 64 KiB, untouched",
    .iterations = 150,
    .operations = MAPPINGS,
    .iterate = iterate_mmap,
};

const struct bench_program bench_fault = {
    .name = "fault",
    .summary = "first read of a page of a mapped file",
    .iterations = 870,
    .operations = PAGES,
    .setup = create_file,
    .iterate = iterate_fault,
    .teardown = close_file,
};
