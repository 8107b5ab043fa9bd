/*
 * Ports for people who write firmware and kernels. None has state.
 *
 * 0xE9: what is written goes to a stream, byte by byte; reads give 0xE9, so that a guest can tell
 * it is there (the convention of Bochs). 0x402: the same for firmware, with the same answer. 0xF4: a write ends the machine with the written value.
 * 0x80: power-on self-test codes, and the place where old code writes to lose a microsecond.
 */
#ifndef LODGE_DEV_CHIPSET_DEBUG_PORTS_H
#define LODGE_DEV_CHIPSET_DEBUG_PORTS_H

#include "core/bus.h"
#include "core/device.h"
#include "dev/chipset/platform.h"
#include "port/stream.h"

struct debug_console {
    struct device device;
    struct region region;
    struct stream *stream;
};

/* Borrows the stream, only to write; NULL drops everything. Path "isa/debug-console". Errors: as bus_add(). */
enum status debug_console_init(struct debug_console *console, struct stream *stream, struct bus *bus) MUST_CHECK;

/* The same at 0x402, where firmware writes what it does. Path "isa/firmware-log". */
enum status firmware_log_init(struct debug_console *console, struct stream *stream, struct bus *bus) MUST_CHECK;

struct debug_exit {
    struct device device;
    struct region region;
    struct platform platform;
};

/*
 * Four ports from 0xF4; a write of 1, 2 or 4 bytes to any of them is platform.debug_exit(). Only for
 * machines that were asked to have it. platform is copied. Path "isa/debug-exit". Errors: as bus_add().
 */
enum status debug_exit_init(struct debug_exit *port, const struct platform *platform, struct bus *bus) MUST_CHECK;

struct post_port {
    struct device device;
    struct region region;
};

/* Takes writes, reads as ones. Path "isa/post". Errors: as bus_add(). */
enum status post_port_init(struct post_port *port, struct bus *bus) MUST_CHECK;

#endif
