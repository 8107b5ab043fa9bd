/*
 * What the host can give, as far as it tells: the smallest of available memory (with free swap),
 * the control groups' limits (version 2 and 1) and the address-space limit. A guess by nature, since
 * others take memory too; but a machine that cannot fit is refused here and not killed later.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "host/memory.h"

enum { PATH_ROOM = 1024, LINE_ROOM = 1024 };

/* The program itself, its code cache and its stacks need addresses too. */
static const uint64_t memory_own_addresses = 512ull << 20;

static uint64_t limit_sum(uint64_t left, uint64_t right)
{
    return left > UINT64_MAX - right ? UINT64_MAX : left + right;
}

/* The number behind a name at the start of a line ("MemAvailable:   123 kB", "inactive_file 456"), or `otherwise`. */
static uint64_t limit_of_field(const char *path, const char *field, uint64_t otherwise)
{
    char line[LINE_ROOM];
    size_t length = strlen(field);
    FILE *file = fopen(path, "re");

    if (!file)
        return otherwise;
    while (fgets(line, sizeof(line), file)) {
        uint64_t value;

        if (strncmp(line, field, length) == 0 && sscanf(line + length, "%*[: \t]%" SCNu64, &value) == 1) {
            otherwise = value;
            break;
        }
    }
    (void)fclose(file);
    return otherwise;
}

/* Of a field in kB. */
static uint64_t limit_of_kib(const char *path, const char *field, uint64_t otherwise)
{
    uint64_t kib = limit_of_field(path, field, UINT64_MAX);

    return kib == UINT64_MAX ? otherwise : kib << 10;
}

/* A file with one number; "max", or no file, is no limit. */
static uint64_t limit_of_file(const char *folder, const char *name)
{
    char path[PATH_ROOM];
    uint64_t value = UINT64_MAX;
    FILE *file;

    if (snprintf(path, sizeof(path), "%s/%s", folder, name) >= (int)sizeof(path))
        return UINT64_MAX;
    file = fopen(path, "re");
    if (!file)
        return UINT64_MAX;
    if (fscanf(file, "%" SCNu64, &value) != 1)
        value = UINT64_MAX;
    (void)fclose(file);
    return value;
}

/* What differs between the two versions of control groups. */
struct group_names {
    const char *mount, *limit, *used, *active_file, *inactive_file;
};

static const struct group_names group_v1 = {"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
                                            "total_active_file", "total_inactive_file"};
static const struct group_names group_v2 = {"/sys/fs/cgroup", "memory.max", "memory.current", "active_file",
                                            "inactive_file"};

/* Of one group. Cached files count as used, but the kernel gives them up. */
static uint64_t limit_of_group(const char *folder, const struct group_names *names)
{
    char path[PATH_ROOM];
    uint64_t limit = limit_of_file(folder, names->limit);
    uint64_t used = limit_of_file(folder, names->used);

    if (limit == UINT64_MAX || used == UINT64_MAX ||
        snprintf(path, sizeof(path), "%s/memory.stat", folder) >= (int)sizeof(path))
        return UINT64_MAX;
    uint64_t cached = limit_of_field(path, names->active_file, 0) + limit_of_field(path, names->inactive_file, 0);
    used -= cached < used ? cached : used;
    return limit > used ? limit - used : 0;
}

/* From the process's group up to the root, whose files are what a container sees of its own group. */
static uint64_t limit_of_groups(const char *group, const struct group_names *names)
{
    char folder[PATH_ROOM];
    uint64_t available = UINT64_MAX;

    if (snprintf(folder, sizeof(folder), "%s%s", names->mount, group) >= (int)sizeof(folder))
        return UINT64_MAX;
    for (;;) {
        uint64_t left = limit_of_group(folder, names);
        char *slash = strrchr(folder, '/');

        available = left < available ? left : available;
        if (strlen(folder) <= strlen(names->mount) || !slash)
            return available;
        *slash = '\0';
    }
}

/* The lines of /proc/self/cgroup: "0::/path" is version 2, "4:memory:/path" version 1. */
static uint64_t limit_of_control_groups(void)
{
    char line[LINE_ROOM];
    uint64_t available = UINT64_MAX;
    FILE *file = fopen("/proc/self/cgroup", "re");

    if (!file)
        return UINT64_MAX;
    while (fgets(line, sizeof(line), file)) {
        uint64_t left = UINT64_MAX;
        char *controllers = strchr(line, ':');
        char *group = controllers ? strchr(controllers + 1, ':') : NULL;

        if (!group)
            continue;
        *group++ = '\0';
        group[strcspn(group, "\n")] = '\0';
        if (controllers[1] == '\0')
            left = limit_of_groups(group, &group_v2);
        else if (strcmp(controllers + 1, "memory") == 0)
            left = limit_of_groups(group, &group_v1);
        available = left < available ? left : available;
    }
    (void)fclose(file);
    return available;
}

static uint64_t limit_of_addresses(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return UINT64_MAX;
    uint64_t used = limit_sum(limit_of_kib("/proc/self/status", "VmSize", 0), memory_own_addresses);
    return limit.rlim_cur > used ? limit.rlim_cur - used : 0;
}

uint64_t host_memory_available(const char **limited_by)
{
    uint64_t available = limit_of_kib("/proc/meminfo", "MemAvailable", UINT64_MAX);
    uint64_t groups = limit_of_control_groups();
    uint64_t addresses = limit_of_addresses();

    *limited_by = "this host";
    if (available != UINT64_MAX)
        available = limit_sum(available, limit_of_kib("/proc/meminfo", "SwapFree", 0));
    if (groups < available) {
        *limited_by = "the control group's memory limit";
        available = groups;
    }
    if (addresses < available) {
        *limited_by = "the address-space limit (ulimit -v)";
        available = addresses;
    }
    return available;
}
