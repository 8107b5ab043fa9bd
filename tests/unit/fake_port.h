/* The port interfaces as the unit tests need them: real locks and parking, a clock that stands still, a quiet log. */
#ifndef LODGE_TESTS_UNIT_FAKE_PORT_H
#define LODGE_TESTS_UNIT_FAKE_PORT_H

#include <stdint.h>

#include "port/clock.h"
#include "port/log.h"

struct fake_clock {
    struct clock clock; /* first */
    uint64_t now_ns;
};

struct fake_alarm {
    struct alarm alarm; /* first */
    uint64_t deadline_ns;
    unsigned sets;
};

void fake_clock_init(struct fake_clock *clock);
void fake_alarm_init(struct fake_alarm *alarm);

/* Lines logged at LOG_ERROR or LOG_WARNING since the last call. The last line is in fake_log_line. */
unsigned fake_log_count(void);
extern char fake_log_line[256];

/* Told each of those lines; NULL: nobody. */
extern void (*fake_log_listener)(const char *line);

#endif
