#include "board/irqchip.h"

#include "base/bits.h"
#include "board/q35.h"
#include "core/engine.h"

/* --- the ends of wires; controller and router are the engine --- */

static void irqchip_set_ioapic(void *controller, unsigned pin, bool level)
{
    struct engine *engine = controller;

    engine->ops->irqchip->set_ioapic(engine, pin, level);
}

static void irqchip_set_pic(void *controller, unsigned pin, bool level)
{
    struct engine *engine = controller;

    engine->ops->irqchip->set_pic(engine, pin, level);
}

static void irqchip_send_msi(void *router, uint64_t address, uint32_t data)
{
    struct engine *engine = router;

    engine->ops->irqchip->send_msi(engine, address, data);
}

struct irq_line irqchip_ioapic_line(struct engine *engine)
{
    return (struct irq_line){.set = irqchip_set_ioapic, .controller = engine};
}

struct irq_line irqchip_pic_line(struct engine *engine)
{
    return (struct irq_line){.set = irqchip_set_pic, .controller = engine};
}

struct msi_sink irqchip_messages(struct engine *engine)
{
    return (struct msi_sink){.send = irqchip_send_msi, .router = engine};
}

/* --- state --- */

/* fetch() and put() of a device that is a member of the board. */
#define IRQCHIP_PROXY(member, part)                                                                                    \
    static enum status member##_fetch(struct device *device)                                                           \
    {                                                                                                                  \
        struct engine *engine = CONTAINER_OF(device, struct q35, member.device)->machine->engine;                      \
                                                                                                                       \
        return engine->ops->irqchip->get(engine, part, 0, device_state(device));                                       \
    }                                                                                                                  \
                                                                                                                       \
    static enum status member##_put(struct device *device)                                                             \
    {                                                                                                                  \
        struct engine *engine = CONTAINER_OF(device, struct q35, member.device)->machine->engine;                      \
                                                                                                                       \
        return engine->ops->irqchip->set(engine, part, 0, device_state(device));                                       \
    }                                                                                                                  \
                                                                                                                       \
    static const struct device_proxy member##_proxy = {.fetch = member##_fetch, .put = member##_put}

IRQCHIP_PROXY(pic, IRQCHIP_PIC);
IRQCHIP_PROXY(ioapic, IRQCHIP_IOAPIC);
IRQCHIP_PROXY(pit, IRQCHIP_PIT);

static enum status lapic_fetch(struct device *device)
{
    const struct vcpu *vcpu = CONTAINER_OF(device, struct lapic, device)->vcpu;

    return vcpu->engine->ops->irqchip->get(vcpu->engine, IRQCHIP_LAPIC, vcpu->index, device_state(device));
}

static enum status lapic_put(struct device *device)
{
    const struct vcpu *vcpu = CONTAINER_OF(device, struct lapic, device)->vcpu;

    return vcpu->engine->ops->irqchip->set(vcpu->engine, IRQCHIP_LAPIC, vcpu->index, device_state(device));
}

static const struct device_proxy lapic_proxy = {.fetch = lapic_fetch, .put = lapic_put};

void irqchip_take_over(struct q35 *q35)
{
    q35->pic.device.proxy = &pic_proxy;
    q35->ioapic.device.proxy = &ioapic_proxy;
    q35->pit.device.proxy = &pit_proxy;
    for (unsigned i = 0; i < q35->machine->cpu_count; i++)
        q35->lapics[i].device.proxy = &lapic_proxy;
}
