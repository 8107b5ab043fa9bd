/* What the program may tell the log besides messages; the messages go through port/log.h. */
#ifndef LODGE_HOST_LOG_H
#define LODGE_HOST_LOG_H

#include <stdbool.h>

/*
 * While a terminal is raw it does not return the carriage by itself: lines then end in CR LF.
 * Any thread, async-signal-safe.
 */
void host_log_carriage_return(bool on);

#endif
