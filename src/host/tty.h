/*
 * The controlling terminal in raw mode, and back: on every way out, the terminal is as it was.
 *
 * A process has one terminal, so this is the one place with state of the process: exit handlers
 * and signal handlers must reach it.
 */
#ifndef LODGE_HOST_TTY_H
#define LODGE_HOST_TTY_H

#include <stdbool.h>
#include <stdint.h>

/*
 * If the descriptor is a terminal, remember how it is and arrange for host_tty_restore() at
 * exit(). Returns whether it is one. Before threads.
 */
bool host_tty_open(int fd);

/* Is this process the one that the terminal's keys go to? False for a background job. */
bool host_tty_foreground(void);

/*
 * Every key, Ctrl-C too, becomes a byte; output bytes pass unchanged. Nothing happens without a
 * terminal or in the background. The event loop's thread.
 */
void host_tty_raw(void);

/* How many characters it shows. False: there is no terminal, or it does not know. */
bool host_tty_size(uint16_t *columns, uint16_t *rows);

/* As it was when opened. Any thread, async-signal-safe, any number of times. */
void host_tty_restore(void);

#endif
