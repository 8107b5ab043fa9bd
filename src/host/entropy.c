#include "host/entropy.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/random.h>

#include "port/log.h"

static void entropy_fill(struct entropy *entropy, void *bytes, size_t size)
{
    uint8_t *at = bytes;

    (void)entropy;
    while (size > 0) {
        ssize_t got = getrandom(at, size, 0);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            /* Only a kernel without the call, or a filter in front of it: better none than known ones. */
            log_error("cannot get random bytes for the guest: %s", strerror(errno));
            memset(at, 0, size);
            return;
        }
        at += got;
        size -= (size_t)got;
    }
}

void host_entropy_init(struct entropy *entropy)
{
    *entropy = (struct entropy){.fill = entropy_fill};
}
