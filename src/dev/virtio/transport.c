#include "base/bits.h"
#include "base/memory.h"
#include "dev/virtio/queue_internal.h"

/* BARs: registers; one address for each queue's notifications; MSI-X. */
/* Of 32 bits and without gaps: OVMF counts the BARs that there are, not their numbers. */
enum { BAR_REGISTERS = 0, BAR_NOTIFY = 1, BAR_MSIX = 2, REGION_REGISTERS = 0, REGION_NOTIFY = 1 };
enum {
    REGISTERS_SIZE = 0x4000,
    COMMON_OFFSET = 0x0000,
    ISR_OFFSET = 0x1000,
    CONFIG_OFFSET = 0x2000,
    NOTIFY_SIZE = 0x1000,
    NOTIFY_MULTIPLIER = 4,
};

/* A capability: type, BAR, offset, length; then what it adds (4.1.4). */
enum {
    CAP_LENGTH = 2,
    CAP_TYPE = 3,
    CAP_BAR = 4,
    CAP_OFFSET = 8,
    CAP_SIZE = 12,
    CAP_END = 16,
    CAP_MULTIPLIER = 16, /* notify */
    CAP_DATA = 16,       /* PCI */
    CAP_LONG_END = 20,
};

enum { INTERRUPT_PIN = 1, BROKEN_BURST = 8 };

#define TRANSPORT_FEATURES                                                                                             \
    (VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX | VIRTIO_F_RING_PACKED | VIRTIO_F_RING_RESET)

bool virtio_state_valid(const struct virtio_state *state)
{
    bool negotiated = state->status & VIRTIO_STATUS_FEATURES_OK;

    if (state->status & VIRTIO_STATUS_DRIVER_OK && !negotiated)
        return false;
    for (unsigned i = 0; i < VIRTIO_QUEUES; i++) {
        const struct virtio_queue_state *queue = &state->queues[i];

        if (queue->size > VIRTIO_QUEUE_SIZE || queue->enabled > negotiated || queue->signalled_valid > 1)
            return false;
    }
    return !(state->isr & ~(VIRTIO_ISR_QUEUE | VIRTIO_ISR_CONFIG));
}

bool virtio_running(const struct virtio *virtio)
{
    const unsigned wanted = VIRTIO_STATUS_DRIVER_OK | VIRTIO_STATUS_NEEDS_RESET;

    return (virtio->state->status & wanted) == VIRTIO_STATUS_DRIVER_OK && !virtio->stopped && !virtio->resetting;
}

bool virtio_queue_running(const struct virtio *virtio, unsigned queue)
{
    return queue < virtio->queue_count && virtio_running(virtio) && virtio->queues[queue].descriptors &&
           !virtio->queues[queue].resetting;
}

/* --- telling the driver --- */

static void config_interrupt(struct virtio *virtio)
{
    if (!(virtio->state->status & VIRTIO_STATUS_DRIVER_OK))
        return;
    if (pci_msix_enabled(&virtio->function)) {
        pci_msix_send(&virtio->function, virtio->state->config_vector);
    } else {
        virtio->state->isr |= VIRTIO_ISR_CONFIG;
        pci_function_set_intx(&virtio->function, true);
    }
}

void virtio_config_changed(struct virtio *virtio)
{
    if (!virtio->machine)
        return;
    virtio->state->config_generation++;
    config_interrupt(virtio);
}

void virtio_break(struct virtio *virtio, unsigned queue, const char *what)
{
    if (log_allowed(&virtio->broken, BROKEN_BURST))
        log_warning("%s: %s: the guest's driver gave queue %u %s; the device waits for a reset", virtio->path,
                    virtio->device.type->name, queue, what);
    if (virtio->state->status & VIRTIO_STATUS_NEEDS_RESET)
        return;
    virtio->state->status |= VIRTIO_STATUS_NEEDS_RESET;
    config_interrupt(virtio);
}

/* --- work --- */

void virtio_queue_run(struct virtio *virtio, unsigned queue)
{
    if (!virtio_queue_running(virtio, queue))
        return;
    virtio->budget = virtio->state->queues[queue].size;
    virtio->kind->ops->notify(virtio, queue);
    virtio->budget = UINT32_MAX;
}

/* Timer: the host's alarm, machine lock held. A guest that never stops adding buffers gets other work done between. */
static void transport_again(void *owner)
{
    struct virtio *virtio = owner;
    uint64_t postponed = virtio->postponed;

    virtio->postponed = 0;
    for (unsigned i = 0; i < virtio->queue_count; i++)
        if (postponed & BIT64(i))
            virtio_queue_run(virtio, i);
}

void transport_run_all(struct virtio *virtio)
{
    for (unsigned i = 0; i < virtio->queue_count; i++)
        virtio_queue_run(virtio, i);
}

/* --- resets --- */

void transport_forget_queue(struct virtio *virtio, unsigned queue)
{
    struct virtio_queue_state *state = &virtio->state->queues[queue];

    *state = (struct virtio_queue_state){.size = VIRTIO_QUEUE_SIZE, .vector = VIRTIO_NO_VECTOR};
    virtio_queue_close(virtio, queue);
}

/* All but what belongs to PCI: that stays as it is when a driver resets the device. */
static void transport_forget(struct virtio *virtio)
{
    struct virtio_state *state = virtio->state;

    state->device_feature_select = state->driver_feature_select = 0;
    state->driver_features = 0;
    state->config_vector = VIRTIO_NO_VECTOR;
    state->queue_select = 0;
    state->status = 0;
    state->isr = 0;
    state->config_generation = 0;
    virtio->resetting = false;
    virtio->postponed = 0;
    virtio->budget = UINT32_MAX;
    timer_cancel(&virtio->again);
    for (unsigned i = 0; i < VIRTIO_QUEUES; i++)
        transport_forget_queue(virtio, i);
    if (virtio->kind->ops->reset)
        virtio->kind->ops->reset(virtio);
}

void transport_reset(struct virtio *virtio)
{
    transport_forget(virtio);
    pci_function_set_intx(&virtio->function, false);
}

void virtio_chain_returned(struct virtio *virtio, unsigned queue)
{
    struct virtio_queue *ring = &virtio->queues[queue];

    if (virtio->resetting && virtio->held == 0)
        transport_reset(virtio);
    else if (ring->resetting && ring->chains == 0)
        transport_forget_queue(virtio, queue);
}

/* --- the other windows --- */

static uint8_t isr_read(struct virtio *virtio)
{
    uint8_t isr = virtio->state->isr;

    virtio->state->isr = 0;
    pci_function_set_intx(&virtio->function, false);
    return isr;
}

static uint32_t config_read(struct virtio *virtio, unsigned offset, unsigned size)
{
    uint8_t config[VIRTIO_CONFIG_SIZE] = {0};

    if (!range_inside(offset, size, virtio->kind->config_size))
        return 0;
    if (virtio->kind->ops->config_read)
        virtio->kind->ops->config_read(virtio, config);
    return (uint32_t)load_le(config + offset, size);
}

static void config_write(struct virtio *virtio, unsigned offset, unsigned size, uint32_t value)
{
    if (virtio->kind->ops->config_write && range_inside(offset, size, virtio->kind->config_size))
        virtio->kind->ops->config_write(virtio, offset, size, value);
}

static uint32_t registers_read(struct virtio *virtio, unsigned offset, unsigned size)
{
    if (offset >= CONFIG_OFFSET)
        return config_read(virtio, offset - CONFIG_OFFSET, size);
    if (offset >= ISR_OFFSET)
        return offset == ISR_OFFSET ? isr_read(virtio) : 0;
    return common_config_read(virtio, offset - COMMON_OFFSET, size);
}

static void registers_write(struct virtio *virtio, unsigned offset, unsigned size, uint32_t value)
{
    if (offset >= CONFIG_OFFSET)
        config_write(virtio, offset - CONFIG_OFFSET, size, value);
    else if (offset < ISR_OFFSET)
        common_config_write(virtio, offset - COMMON_OFFSET, size, value);
}

enum io_result virtio_io(struct device *device, unsigned region, struct io_access *access)
{
    struct virtio *virtio = CONTAINER_OF(device, struct virtio, device);
    unsigned offset = (unsigned)access->offset;

    if (region == PCI_REGION_MSIX)
        return pci_msix_io(&virtio->function, access);
    if (region == REGION_NOTIFY && access->write)
        virtio_queue_run(virtio, offset / NOTIFY_MULTIPLIER);
    else if (region == REGION_NOTIFY)
        access->value = 0;
    else if (access->write)
        registers_write(virtio, offset, access->size, (uint32_t)access->value);
    else
        access->value = registers_read(virtio, offset, access->size);
    return IO_DONE;
}

/* --- the window in configuration space (4.1.4.9): for software that cannot reach BARs --- */

static unsigned window_capability(const struct virtio *virtio)
{
    unsigned at = virtio->function.power_on[PCI_CAPABILITIES];

    while (at && virtio->function.power_on[at + CAP_TYPE] != VIRTIO_PCI_CAP_PCI)
        at = virtio->function.power_on[at + 1];
    return at;
}

/* One access as the capability describes it; false: it describes none. */
static bool window_access(struct virtio *virtio, unsigned at, bool write, uint32_t *value)
{
    unsigned number = pci_function_get(&virtio->function, at + CAP_BAR, 1);
    uint32_t offset = pci_function_get(&virtio->function, at + CAP_OFFSET, 4);
    uint32_t size = pci_function_get(&virtio->function, at + CAP_SIZE, 4);
    const struct region *region = number < PCI_BARS ? &virtio->function.bars[number].region : NULL;
    struct io_access access = {.offset = offset, .value = *value, .size = (uint8_t)size, .write = write};

    if (!region || region->size == 0 || (size != 1 && size != 2 && size != 4) || offset % size != 0 ||
        !range_inside(offset, size, region->size) || size < region->smallest)
        return false;
    access.value &= bits_mask(8 * size);
    (void)virtio_io(&virtio->device, region->index, &access);
    *value = (uint32_t)access.value;
    return true;
}

static bool touches_window(unsigned at, unsigned offset, unsigned size)
{
    return offset < at + CAP_LONG_END && offset + size > at + CAP_DATA;
}

static void transport_config_read(struct pci_function *function, unsigned offset, unsigned size)
{
    struct virtio *virtio = CONTAINER_OF(function, struct virtio, function);
    unsigned at = window_capability(virtio);
    uint32_t value = 0;

    if (touches_window(at, offset, size) && window_access(virtio, at, false, &value))
        pci_function_set(function, at + CAP_DATA, 4, value);
}

static void transport_config_written(struct pci_function *function, unsigned offset, unsigned size)
{
    struct virtio *virtio = CONTAINER_OF(function, struct virtio, function);
    unsigned at = window_capability(virtio);
    uint32_t value = pci_function_get(function, at + CAP_DATA, 4);

    if (touches_window(at, offset, size))
        (void)window_access(virtio, at, true, &value);
}

/* --- life --- */

static const struct pci_function_ops transport_pci_ops = {
    .config_read = transport_config_read,
    .config_written = transport_config_written,
};

void virtio_init(struct virtio *virtio, const struct device_type *type, const struct virtio_kind *kind,
                 struct virtio_state *state, uint64_t features, unsigned queue_count)
{
    *virtio = (struct virtio){
        .device = {.type = type, .path = virtio->path},
        .kind = kind,
        .state = state,
        .features = features | TRANSPORT_FEATURES,
        .queue_count = queue_count,
        .budget = UINT32_MAX,
    };
}

static void set_path(struct virtio *virtio, unsigned slot)
{
    static const char digits[] = "0123456789abcdef";

    memcpy(virtio->path, "pci/00:00.0", sizeof("pci/00:00.0"));
    virtio->path[7] = digits[slot >> 4];
    virtio->path[8] = digits[slot & 15];
}

static enum status add_capability(struct virtio *virtio, unsigned type, unsigned bar, unsigned offset, unsigned size)
{
    struct pci_function *function = &virtio->function;
    unsigned length = type == VIRTIO_PCI_CAP_NOTIFY || type == VIRTIO_PCI_CAP_PCI ? CAP_LONG_END : CAP_END;
    uint32_t writable = type == VIRTIO_PCI_CAP_PCI ? UINT32_MAX : 0;
    unsigned at = pci_function_add_capability(function, PCI_CAPABILITY_VENDOR, length);

    if (at == 0)
        return STATUS_NO_MEMORY;
    pci_function_define(function, at + CAP_LENGTH, 1, length, 0);
    pci_function_define(function, at + CAP_TYPE, 1, type, 0);
    pci_function_define(function, at + CAP_BAR, 1, bar, writable);
    pci_function_define(function, at + CAP_OFFSET, 4, offset, writable);
    pci_function_define(function, at + CAP_SIZE, 4, size, writable);
    if (type == VIRTIO_PCI_CAP_NOTIFY)
        pci_function_define(function, at + CAP_MULTIPLIER, 4, NOTIFY_MULTIPLIER, 0);
    if (type == VIRTIO_PCI_CAP_PCI)
        pci_function_define(function, at + CAP_DATA, 4, 0, writable);
    return STATUS_OK;
}

static enum status add_windows(struct virtio *virtio)
{
    struct pci_function *function = &virtio->function;
    enum status status = pci_function_add_bar(function, BAR_REGISTERS, PCI_BAR_KIND_MEMORY32, REGISTERS_SIZE, "virtio",
                                              REGION_REGISTERS, 1, 4);

    if (status == STATUS_OK)
        status = pci_function_add_bar(function, BAR_NOTIFY, PCI_BAR_KIND_MEMORY32, NOTIFY_SIZE, "virtio-notify",
                                      REGION_NOTIFY, 2, 4);
    if (status == STATUS_OK)
        status = add_capability(virtio, VIRTIO_PCI_CAP_COMMON, BAR_REGISTERS, COMMON_OFFSET, VIRTIO_COMMON_SIZE);
    if (status == STATUS_OK)
        status = add_capability(virtio, VIRTIO_PCI_CAP_ISR, BAR_REGISTERS, ISR_OFFSET, 1);
    if (status == STATUS_OK && virtio->kind->config_size)
        status = add_capability(virtio, VIRTIO_PCI_CAP_DEVICE, BAR_REGISTERS, CONFIG_OFFSET, virtio->kind->config_size);
    if (status == STATUS_OK)
        status = add_capability(virtio, VIRTIO_PCI_CAP_NOTIFY, BAR_NOTIFY, 0, virtio->queue_count * NOTIFY_MULTIPLIER);
    if (status == STATUS_OK)
        status = add_capability(virtio, VIRTIO_PCI_CAP_PCI, 0, 0, 0);
    if (status == STATUS_OK)
        status = pci_msix_add(function, &virtio->msix, &virtio->state->msix, virtio->queue_count + 1, BAR_MSIX);
    function->bars[BAR_NOTIFY].region.doorbell = true;
    function->bars[BAR_NOTIFY].region.doorbell_stride = NOTIFY_MULTIPLIER;
    function->bars[BAR_NOTIFY].region.doorbell_count = virtio->queue_count;
    return status;
}

enum status virtio_attach(struct virtio *virtio, struct machine *machine, struct pci_bus *bus, unsigned slot)
{
    const struct pci_identity identity = {
        .vendor = VIRTIO_PCI_VENDOR,
        .device = (uint16_t)(VIRTIO_PCI_DEVICE + virtio->kind->type),
        .subsystem_vendor = VIRTIO_PCI_VENDOR,
        .subsystem = (uint16_t)(VIRTIO_PCI_SUBSYSTEM + virtio->kind->type),
        .class_code = virtio->kind->class_code,
        .revision = VIRTIO_PCI_REVISION,
    };
    enum status status;

    set_path(virtio, slot);
    virtio->machine = machine;
    timer_init(&virtio->again, &machine->timers, transport_again, virtio);
    pci_function_init(&virtio->function, &virtio->device, &virtio->state->pci, &identity, &transport_pci_ops);
    pci_function_set_pin(&virtio->function, INTERRUPT_PIN);
    status = add_windows(virtio);
    if (status == STATUS_OK)
        status = pci_function_register(&virtio->function, bus, PCI_DEVFN(slot, 0));
    if (status == STATUS_OK)
        virtio_reset(&virtio->device);
    return status;
}

void virtio_reset(struct device *device)
{
    struct virtio *virtio = CONTAINER_OF(device, struct virtio, device);

    transport_forget(virtio);
    pci_function_reset(&virtio->function);
}

void virtio_quiesce(struct device *device)
{
    CONTAINER_OF(device, struct virtio, device)->stopped = true;
}

/* A machine that was saved elsewhere may know features that this device cannot serve. */
static void resume_features(struct virtio *virtio)
{
    struct virtio_state *state = virtio->state;

    if (!(state->status & VIRTIO_STATUS_FEATURES_OK) || common_config_acceptable(virtio))
        return;
    state->driver_features &= virtio->features;
    virtio_break(virtio, 0, "features that are not there any more");
}

/* Also after a state was loaded: rings are looked up anew, and what waits in them is taken up. */
void virtio_resume(struct device *device)
{
    struct virtio *virtio = CONTAINER_OF(device, struct virtio, device);

    virtio->stopped = false;
    pci_function_resume(&virtio->function);
    resume_features(virtio);
    for (unsigned i = 0; i < virtio->queue_count; i++)
        if (virtio->state->queues[i].enabled && virtio->queues[i].chains == 0)
            (void)virtio_queue_open(virtio, i);
    if (virtio->kind->ops->driver_ok && virtio_running(virtio))
        virtio->kind->ops->driver_ok(virtio);
    transport_run_all(virtio);
}
