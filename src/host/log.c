/* port/log.h over stderr. A message is one write(), so that lines of several threads do not mix. */
#include "port/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "host/log.h"

enum { LOG_LINE = 1024 };

static const char log_prefix[] = "lodge: ";

static atomic_bool carriage_return; /* of the process's one terminal */

void host_log_carriage_return(bool on)
{
    atomic_store(&carriage_return, on);
}

/*
 * A message may quote what a guest or a file said; on a terminal its control characters could do
 * anything, and a line break would make it look like a message of ours.
 */
static void log_clean(char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c < 0x20 || c == 0x7f)
            text[i] = '?';
    }
}

void log_emit(enum log_level level, const char *format, ...)
{
    char line[LOG_LINE + 2];
    size_t start = sizeof(log_prefix) - 1;
    int saved = errno;
    va_list arguments;

    if (level == LOG_DEBUG)
        return;
    memcpy(line, log_prefix, start);
    va_start(arguments, format);
    int wanted = vsnprintf(line + start, LOG_LINE - start, format, arguments);
    va_end(arguments);
    size_t length = wanted < 0 ? 0 : (size_t)wanted;
    if (length > LOG_LINE - start - 1) {
        length = LOG_LINE - start - 1;
        memcpy(line + LOG_LINE - 4, "...", 3);
    }
    log_clean(line + start, length);
    length += start;
    if (atomic_load(&carriage_return))
        line[length++] = '\r';
    line[length++] = '\n';
    ssize_t written = write(STDERR_FILENO, line, length);
    (void)written; /* nobody is left to tell */
    errno = saved;
}
