#include "cli/image_size.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/number.h"
#include "port/log.h"

bool image_size_parse(const char *text, uint64_t *bytes)
{
    size_t length = strlen(text);

    /* A bare number counts MiB for memory and bytes for other tools: here it has to say. */
    if (length > 0 && (text[length - 1] < '0' || text[length - 1] > '9') && size_parse(text, bytes)) {
        if (*bytes <= INT64_MAX)
            return true;
        log_error("%s is larger than a file can be; try 'lodge image --help'", text);
        return false;
    }
    log_error("a size is a number with K, M, G or T, like 10G, not '%s'; try 'lodge image --help'", text);
    return false;
}

const char *image_size_print(uint64_t bytes, char *text, size_t room)
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    unsigned unit = 0;
    uint64_t whole = bytes, rest = 0;

    while (whole >= 1024) {
        rest = whole % 1024;
        whole /= 1024;
        unit++;
    }
    if (unit > 0 && rest * 10 / 1024 > 0)
        (void)snprintf(text, room, "%" PRIu64 ".%" PRIu64 " %s", whole, rest * 10 / 1024, units[unit]);
    else
        (void)snprintf(text, room, "%" PRIu64 " %s", whole, units[unit]);
    return text;
}
