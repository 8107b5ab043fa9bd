/*
 * The board's interrupt controllers and timer when the engine brings its own (core/irqchip.h): the models stay, as the
 * form in which their state is kept, but lines and messages go to the engine, and each model is a proxy for its twin.
 */
#ifndef LODGE_BOARD_IRQCHIP_H
#define LODGE_BOARD_IRQCHIP_H

#include "core/irq.h"

struct q35;
struct engine;

/* Where the wires end. The engine has irqchip_ops. */
struct irq_line irqchip_ioapic_line(struct engine *engine);
struct irq_line irqchip_pic_line(struct engine *engine);
struct msi_sink irqchip_messages(struct engine *engine);

/* Makes the models proxies. They have been made; the board has not been reset yet. */
void irqchip_take_over(struct q35 *q35);

#endif
