/*
 * The register model of a 16550A UART, apart from any bus. Data sheet: National Semiconductor
 * PC16550D (TL/C/8652).
 *
 * What is transmitted leaves at once, whatever the baud rate; the rate only sets the delay of the
 * character timeout interrupt. The far end never sends errors and never overruns: while there is
 * no room it waits. The interrupt output passes through OUT2, as on every PC; in loopback mode OUT2
 * is inactive, and so is the interrupt.
 *
 * Threads: everything with the machine lock held.
 */
#ifndef LODGE_DEV_CHIPSET_UART16550_H
#define LODGE_DEV_CHIPSET_UART16550_H

#include <stdbool.h>
#include <stdint.h>

#include "core/irq.h"
#include "core/timer.h"
#include "port/stream.h"
#include "state/schema.h"

enum { UART_FIFO = 16, UART_REGISTERS = 8 };

struct uart16550_state {
    uint8_t ier, fcr, lcr, mcr, scr, dll, dlm;
    uint8_t lsr_errors;          /* OE, PE, FE, BI: those of the oldest character, and what is not read yet */
    uint8_t msr;                 /* with the delta bits */
    uint8_t thre_pending;        /* the transmitter has become empty, and nobody was told */
    uint8_t timeout_pending;     /* characters wait below the trigger level */
    uint8_t rx_head, rx_count;   /* the receiver FIFO is a ring */
    uint8_t rx_data[UART_FIFO];
    uint8_t rx_errors[UART_FIFO];
};

extern const struct state_schema uart16550_schema;

struct uart16550 {
    struct uart16550_state state;
    struct irq_line irq;
    struct stream *stream;       /* NULL: nothing is plugged in */
    struct timer timer;          /* the character timeout */
    bool asserted;               /* what irq was last told */
    bool refused;                /* the stream holds characters back until drained() */
};

/* Borrows the stream and makes itself its receiver. */
void uart16550_init(struct uart16550 *uart, const struct irq_line *irq, struct stream *stream,
                    struct timer_queue *timers);

void uart16550_reset(struct uart16550 *uart);

/* After the state was replaced: the line, the timer, and the stream may send. */
void uart16550_resume(struct uart16550 *uart);

/* reg is A2..A0, 0..7. */
uint8_t uart16550_read(struct uart16550 *uart, unsigned reg);
void uart16550_write(struct uart16550 *uart, unsigned reg, uint8_t value);

#endif
