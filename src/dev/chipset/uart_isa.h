/* A 16550A on the I/O port bus: COM1 and its like. */
#ifndef LODGE_DEV_CHIPSET_UART_ISA_H
#define LODGE_DEV_CHIPSET_UART_ISA_H

#include "core/bus.h"
#include "core/device.h"
#include "dev/chipset/uart16550.h"

struct uart_isa {
    struct device device;
    struct region region;
    struct uart16550 uart;
};

/* Where it is and what it is wired to. irq is copied, the rest borrowed until the machine ends. */
struct uart_isa_wiring {
    const char *path;      /* "isa/uart0" */
    uint16_t base;         /* 0x3f8 */
    struct irq_line irq;
    struct stream *stream; /* NULL: nothing is plugged in */
    struct timer_queue *timers;
};

/* Adds the eight ports to the bus. Errors: as bus_add(). */
enum status uart_isa_init(struct uart_isa *uart, const struct uart_isa_wiring *wiring, struct bus *bus) MUST_CHECK;

#endif
