#include "host/footprint.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "host/memory.h"
#include "port/log.h"

enum { SMAPS_LINE = 4608 }; /* a path is at most 4096 */

static const char *const part_names[FOOTPRINT_PARTS] = {
    [FOOTPRINT_GUEST_RAM] = "guest RAM",
    [FOOTPRINT_CODE_CACHE] = "code cache",
    [FOOTPRINT_VCPUS] = "vCPUs and TLBs",
    [FOOTPRINT_HEAP] = "heap",
    [FOOTPRINT_STACKS] = "stacks",
    [FOOTPRINT_LIBRARIES] = "program and libraries",
    [FOOTPRINT_OTHER] = "translator data, other",
};

/*
 * Memory that is mapped more than once in this process (the code cache is: once to write, once to
 * run) counts once: of our own memory files the kernel's share by mappings (Pss) is taken, of
 * everything else what is resident (Rss), since it does not matter here who else has our libraries.
 */
#define MEMORY_FILE "/memfd:lodge-"

/* What a mapping's name begins with. */
static const struct {
    const char *prefix;
    enum footprint_part part;
} name_parts[] = {
    {"/memfd:" HOST_MEMORY_NAME, FOOTPRINT_GUEST_RAM},
    {"/memfd:lodge-code", FOOTPRINT_CODE_CACHE},
    {"/memfd:lodge-vcpu", FOOTPRINT_VCPUS},
    {"[heap]", FOOTPRINT_HEAP},
    {"[stack]", FOOTPRINT_STACKS},
    {"/", FOOTPRINT_LIBRARIES},
};

const char *footprint_part_name(enum footprint_part part)
{
    return part_names[part];
}

static enum footprint_part footprint_classify(uint64_t start, uint64_t end, const char *name, bool follows_file,
                                              const struct footprint_hint *hints, size_t hint_count)
{
    for (size_t i = 0; i < hint_count; i++) {
        uint64_t address = (uint64_t)(uintptr_t)hints[i].address;

        if (start <= address && address < end)
            return hints[i].part;
    }
    for (size_t i = 0; i < ARRAY_LENGTH(name_parts); i++)
        if (strncmp(name, name_parts[i].prefix, strlen(name_parts[i].prefix)) == 0)
            return name_parts[i].part;
    /* A library's zeroed data is a nameless mapping right behind its file's. */
    if (name[0] == '\0' && follows_file)
        return FOOTPRINT_LIBRARIES;
    return FOOTPRINT_OTHER;
}

static int kept = -1; /* /proc/self/smaps */

void footprint_keep(void)
{
    if (kept < 0)
        kept = open("/proc/self/smaps", O_RDONLY | O_CLOEXEC);
}

/* From its start; a stream of its own each time, since a buffer would show what was read before. */
static FILE *footprint_file(void)
{
    if (kept < 0)
        return fopen("/proc/self/smaps", "re");
    if (lseek(kept, 0, SEEK_SET) != 0)
        return NULL;
    int fd = fcntl(kept, F_DUPFD_CLOEXEC, 0);
    return fd < 0 ? NULL : fdopen(fd, "r");
}

enum status footprint_measure(struct footprint *footprint, const struct footprint_hint *hints, size_t hint_count)
{
    enum footprint_part part = FOOTPRINT_OTHER;
    bool is_ours = false;
    uint64_t start, end, last_end = 0, kib;
    char line[SMAPS_LINE], name[SMAPS_LINE];
    FILE *file = footprint_file();

    *footprint = (struct footprint){0};
    if (!file) {
        log_error("cannot measure memory: /proc/self/smaps: %s", strerror(errno));
        return STATUS_IO;
    }
    while (fgets(line, sizeof(line), file)) {
        name[0] = '\0';
        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %*s %*s %*s %[^\n]", &start, &end, name) >= 2) {
            bool follows_file = start == last_end && part == FOOTPRINT_LIBRARIES;

            part = footprint_classify(start, end, name, follows_file, hints, hint_count);
            is_ours = strncmp(name, MEMORY_FILE, strlen(MEMORY_FILE)) == 0;
            last_end = end;
        } else if (sscanf(line, is_ours ? "Pss: %" SCNu64 : "Rss: %" SCNu64, &kib) == 1) {
            footprint->resident[part] += kib << 10;
        }
    }
    (void)fclose(file);
    return STATUS_OK;
}

uint64_t footprint_own(const struct footprint *footprint)
{
    uint64_t sum = 0;

    for (int part = 0; part < FOOTPRINT_PARTS; part++)
        if (part != FOOTPRINT_GUEST_RAM)
            sum += footprint->resident[part];
    return sum;
}
