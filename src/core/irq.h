/* How a device reaches the interrupt controllers: handed to it at construction. */
#ifndef LODGE_CORE_IRQ_H
#define LODGE_CORE_IRQ_H

#include <stdbool.h>
#include <stdint.h>

/* A wire. set() with the machine lock held; level true is asserted (before any polarity). */
struct irq_line {
    void (*set)(void *controller, unsigned pin, bool level);
    void *controller;
    unsigned pin;
};

static inline void irq_set(const struct irq_line *line, bool level)
{
    if (line->set)
        line->set(line->controller, line->pin, level);
}

/* Message-signalled interrupts: a write of data to an address in 0xFEE0_0000..0xFEEF_FFFF. Machine lock held. */
struct msi_sink {
    void (*send)(void *router, uint64_t address, uint32_t data);
    void *router;
};

static inline void msi_send(const struct msi_sink *sink, uint64_t address, uint32_t data)
{
    if (sink->send)
        sink->send(sink->router, address, data);
}

#endif
