/* The log. One line per call; the implementation is chosen by linking (host/log.c). */
#ifndef LODGE_PORT_LOG_H
#define LODGE_PORT_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

/* Writes "lodge: " and the message to stderr (host). Any thread. format is printf's (no %n, no floats). */
void log_emit(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* True while fewer than `burst` messages have passed here; for whatever a guest can trigger. */
struct log_limit {
    uint32_t seen;
};
static inline bool log_allowed(struct log_limit *limit, uint32_t burst)
{
    return __atomic_fetch_add(&limit->seen, 1, __ATOMIC_RELAXED) < burst;
}

#define log_error(...) log_emit(LOG_ERROR, __VA_ARGS__)
#define log_warning(...) log_emit(LOG_WARNING, __VA_ARGS__)
#define log_info(...) log_emit(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_emit(LOG_DEBUG, __VA_ARGS__)

#endif
