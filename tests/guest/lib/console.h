/* Output to the serial port and the debug console, and the end of the test. */
#ifndef LODGE_TESTS_GUEST_CONSOLE_H
#define LODGE_TESTS_GUEST_CONSOLE_H

#include <stdarg.h>
#include <stdint.h>

enum { PORT_SERIAL = 0x3f8, PORT_DEBUG_CONSOLE = 0xe9, PORT_EXIT = 0xf4 };

enum console_sink { CONSOLE_SERIAL = 1, CONSOLE_DEBUG = 2 };

/* Where print() goes: a set of enum console_sink. Both, until the command line says otherwise. */
void console_select(unsigned sinks);

/*
 * A small printf: %d %u %x %s %c %%, with l (64 bits), zero padding and a width. Safe on every CPU
 * and inside handlers; one call's text stays together.
 */
void print(const char *format, ...) __attribute__((format(printf, 1, 2)));
void print_list(const char *format, va_list arguments);

/* Ends the machine through port 0xF4: 0 is a pass; the emulator's status becomes (value << 1) | 1. */
_Noreturn void guest_exit(uint32_t value);

#endif
