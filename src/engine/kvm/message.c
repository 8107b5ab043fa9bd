/*
 * Interrupt routes, and messages over them. A message that is sent for the first time gets a route and an irqfd, so
 * that sending it again is one write to an eventfd. A guest has few (one for each queue of each device); when it has
 * gone through more than there are places, all are forgotten and begun anew.
 */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/bits.h"
#include "engine/kvm/engine.h"
#include "port/log.h"

enum { WIRES = 2 + IOAPIC_PINS + PIC_PINS, ROUTES = WIRES + MESSAGES };

#define MESSAGE_REGION 0xfeeull
enum { MESSAGE_REGION_SHIFT = 20 };

struct routes {
    struct kvm_irq_routing header;
    struct kvm_irq_routing_entry entries[ROUTES];
};

static void add_wire(struct routes *routes, uint32_t gsi, uint32_t chip, uint32_t pin)
{
    routes->entries[routes->header.nr++] = (struct kvm_irq_routing_entry){
        .gsi = gsi,
        .type = KVM_IRQ_ROUTING_IRQCHIP,
        .u.irqchip = {.irqchip = chip, .pin = pin},
    };
}

static void add_wires(struct routes *routes)
{
    add_wire(routes, GSI_TIMER, KVM_IRQCHIP_PIC_MASTER, 0);
    add_wire(routes, GSI_TIMER, KVM_IRQCHIP_IOAPIC, TIMER_PIN);
    for (uint32_t pin = 1; pin < IOAPIC_PINS; pin++)
        if (pin != TIMER_PIN)
            add_wire(routes, GSI_IOAPIC + pin, KVM_IRQCHIP_IOAPIC, pin);
    for (uint32_t pin = 1; pin < PIC_PINS; pin++)
        if (pin != CASCADE_IRQ)
            add_wire(routes, GSI_PIC + pin, pin < PIC_HALF ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE,
                     pin % PIC_HALF);
}

static void add_message(struct routes *routes, uint32_t gsi, const struct kvm_message *message)
{
    routes->entries[routes->header.nr++] = (struct kvm_irq_routing_entry){
        .gsi = gsi,
        .type = KVM_IRQ_ROUTING_MSI,
        .u.msi = {.address_lo = (uint32_t)message->address,
                  .address_hi = (uint32_t)(message->address >> 32),
                  .data = message->data},
    };
}

enum status kvm_routes_set(struct kvm_engine *kvm)
{
    struct routes routes = {.header.nr = 0};

    add_wires(&routes);
    for (unsigned i = 0; i < kvm->messages.count; i++)
        add_message(&routes, GSI_MESSAGE + i, &kvm->messages.entries[i]);
    return KVM_REQUEST(kvm->vm, KVM_SET_GSI_ROUTING, &routes);
}

static bool irqfd_assign(const struct kvm_engine *kvm, int fd, uint32_t gsi, uint32_t flags)
{
    struct kvm_irqfd irqfd = {.fd = (uint32_t)fd, .gsi = gsi, .flags = flags};

    return ioctl(kvm->vm, KVM_IRQFD, &irqfd) == 0;
}

static void forget_messages(struct kvm_engine *kvm)
{
    for (unsigned i = 0; i < kvm->messages.count; i++) {
        (void)irqfd_assign(kvm, kvm->messages.entries[i].fd, GSI_MESSAGE + i, KVM_IRQFD_FLAG_DEASSIGN);
        close(kvm->messages.entries[i].fd);
    }
    kvm->messages.count = 0;
}

void kvm_messages_destroy(struct kvm_engine *kvm)
{
    forget_messages(kvm);
}

static struct kvm_message *find_message(struct kvm_engine *kvm, uint64_t address, uint32_t data)
{
    for (unsigned i = 0; i < kvm->messages.count; i++)
        if (kvm->messages.entries[i].address == address && kvm->messages.entries[i].data == data)
            return &kvm->messages.entries[i];
    return NULL;
}

/* NULL: this message goes without a route of its own. */
static struct kvm_message *add_route(struct kvm_engine *kvm, uint64_t address, uint32_t data)
{
    struct kvm_messages *messages = &kvm->messages;
    struct kvm_message *message;

    if (messages->count == MESSAGES)
        forget_messages(kvm);
    message = &messages->entries[messages->count];
    *message = (struct kvm_message){address, data, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    if (message->fd < 0)
        return NULL;
    messages->count++;
    if (kvm_routes_set(kvm) == STATUS_OK && irqfd_assign(kvm, message->fd, GSI_MESSAGE + messages->count - 1, 0))
        return message;
    close(message->fd);
    messages->count--;
    messages->direct = true; /* it will not go better next time */
    return NULL;
}

static void send_direct(const struct kvm_engine *kvm, uint64_t address, uint32_t data)
{
    static struct log_limit limit;
    struct kvm_msi msi = {.address_lo = (uint32_t)address, .address_hi = (uint32_t)(address >> 32), .data = data};

    if (ioctl(kvm->vm, KVM_SIGNAL_MSI, &msi) < 0 && log_allowed(&limit, 8))
        log_error("engine kvm: message 0x%llx, 0x%x: %s", (unsigned long long)address, data, strerror(errno));
}

/* As the models do: only the addresses of local APICs are looked at, and no more than 32 bits of them. */
void kvm_message_send(struct engine *engine, uint64_t address, uint32_t data)
{
    struct kvm_engine *kvm = kvm_engine_of(engine);
    const uint64_t one = 1;
    struct kvm_message *message;

    if (address >> MESSAGE_REGION_SHIFT != MESSAGE_REGION)
        return;
    message = find_message(kvm, address, data);
    if (!message && !kvm->messages.direct)
        message = add_route(kvm, address, data);
    if (!message || write(message->fd, &one, sizeof(one)) != sizeof(one))
        send_direct(kvm, address, data);
}
