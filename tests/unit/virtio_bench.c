#include "virtio_bench.h"

#include <assert.h>
#include <string.h>

#include "base/bits.h"

enum { BAR_REGISTERS = 0, BAR_NOTIFY = 1, BAR_MSIX = 2, AREA_SIZE = 0x1800 };
enum { AREA_DESCRIPTORS, AREA_DRIVER, AREA_DEVICE, AREA_INDIRECT };

#define WINDOW 0xc0000000ull

static _Alignas(4096) uint8_t ram[BENCH_RAM];

static void bench_message(void *router, uint64_t address, uint32_t data)
{
    struct bench *bench = router;

    (void)address;
    bench->messages[data % PCI_MSIX_VECTORS]++;
}

static void bench_wire(void *controller, unsigned pin, bool level)
{
    (void)pin;
    ((struct bench *)controller)->pin = level;
}

void bench_init(struct bench *bench, struct virtio *virtio)
{
    const struct msi_sink sink = {.send = bench_message, .router = bench};
    const struct irq_line wires = {.set = bench_wire, .controller = bench};
    const struct pci_windows windows = {.memory32_base = WINDOW, .memory32_end = WINDOW + (1 << 20)};
    const struct pci_host_reset_control reset_control = {0};
    struct machine *machine = &bench->fake.machine;
    enum status status;

    memset(bench, 0, sizeof(*bench));
    memset(ram, 0, sizeof(ram));
    fake_machine_init(&bench->fake, 1);
    status = memory_init(&machine->memory, ram, -1, sizeof(ram));
    assert(status == STATUS_OK);
    status = pci_host_init(&bench->host, &machine->bus, &sink, &wires, &reset_control);
    assert(status == STATUS_OK);
    status = virtio_attach(virtio, machine, &bench->host.bus, BENCH_SLOT);
    assert(status == STATUS_OK);
    status = pci_bus_assign(&bench->host.bus, &windows);
    assert(status == STATUS_OK);
    (void)status;
    bench->virtio = virtio;
    bench->registers = virtio->function.bars[BAR_REGISTERS].region.base;
    bench->notify = virtio->function.bars[BAR_NOTIFY].region.base;
    bench->msix = virtio->function.bars[BAR_MSIX].region.base;
}

uint64_t bench_read(struct bench *bench, unsigned offset, unsigned size)
{
    uint64_t value = 0;

    (void)bus_access(&bench->fake.machine.bus, BUS_MEMORY, bench->registers + offset, size, false, &value);
    return value;
}

void bench_write(struct bench *bench, unsigned offset, unsigned size, uint64_t value)
{
    (void)bus_access(&bench->fake.machine.bus, BUS_MEMORY, bench->registers + offset, size, true, &value);
}

uint8_t bench_status(struct bench *bench)
{
    return (uint8_t)bench_read(bench, VIRTIO_COMMON_STATUS, 1);
}

static void msix_write(struct bench *bench, unsigned offset, uint64_t value)
{
    (void)bus_access(&bench->fake.machine.bus, BUS_MEMORY, bench->msix + offset, 4, true, &value);
}

void bench_use_msix(struct bench *bench)
{
    unsigned vectors = bench->virtio->queue_count + 1;

    for (unsigned i = 0; i < vectors; i++) {
        msix_write(bench, 16 * i, 0xfee00000);
        msix_write(bench, 16 * i + 8, i);
        msix_write(bench, 16 * i + 12, 0);
    }
    pci_bus_config_write(&bench->host.bus, PCI_DEVFN(BENCH_SLOT, 0), bench->virtio->msix.capability + 2, 2, 0x8000);
}

uint64_t bench_features(struct bench *bench)
{
    uint64_t low, high;

    bench_write(bench, VIRTIO_COMMON_DEVICE_FEATURE_SELECT, 4, 0);
    low = bench_read(bench, VIRTIO_COMMON_DEVICE_FEATURE, 4);
    bench_write(bench, VIRTIO_COMMON_DEVICE_FEATURE_SELECT, 4, 1);
    high = bench_read(bench, VIRTIO_COMMON_DEVICE_FEATURE, 4);
    return low | high << 32;
}

bool bench_negotiate(struct bench *bench, uint64_t features)
{
    features |= VIRTIO_F_VERSION_1;
    bench->packed = features & VIRTIO_F_RING_PACKED;
    bench_write(bench, VIRTIO_COMMON_STATUS, 1, 0);
    bench_write(bench, VIRTIO_COMMON_STATUS, 1, VIRTIO_STATUS_ACKNOWLEDGE);
    bench_write(bench, VIRTIO_COMMON_STATUS, 1, VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER);
    for (unsigned i = 0; i < 2; i++) {
        bench_write(bench, VIRTIO_COMMON_DRIVER_FEATURE_SELECT, 4, i);
        bench_write(bench, VIRTIO_COMMON_DRIVER_FEATURE, 4, features >> (32 * i) & 0xffffffff);
    }
    bench_write(bench, VIRTIO_COMMON_STATUS, 1,
                VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER | VIRTIO_STATUS_FEATURES_OK);
    if (pci_msix_enabled(&bench->virtio->function))
        bench_write(bench, VIRTIO_COMMON_CONFIG_VECTOR, 2, 0);
    return bench_status(bench) & VIRTIO_STATUS_FEATURES_OK;
}

uint64_t bench_area(unsigned queue, unsigned area)
{
    return BENCH_AREA + (uint64_t)queue * BENCH_STRIDE + (uint64_t)area * AREA_SIZE;
}

void bench_add_queue(struct bench *bench, unsigned queue, unsigned size)
{
    uint16_t start = bench->packed ? VIRTIO_WRAP : 0;

    memset(bench_at(bench, bench_area(queue, 0)), 0, BENCH_STRIDE);
    bench->queues[queue] = (struct bench_queue){
        .size = size,
        .indirect = bench->queues[queue].indirect,
        .next_available = start,
        .next_used = start,
    };
    bench_write(bench, VIRTIO_COMMON_QUEUE_SELECT, 2, queue);
    bench_write(bench, VIRTIO_COMMON_QUEUE_SIZE, 2, size);
    bench_write(bench, VIRTIO_COMMON_QUEUE_VECTOR, 2,
                pci_msix_enabled(&bench->virtio->function) ? queue + 1 : VIRTIO_NO_VECTOR);
    for (unsigned i = 0; i < 3; i++)
        bench_write(bench, VIRTIO_COMMON_QUEUE_DESC + 8 * i, 8, bench_area(queue, i));
    bench_write(bench, VIRTIO_COMMON_QUEUE_ENABLE, 2, 1);
}

void bench_driver_ok(struct bench *bench)
{
    bench_write(bench, VIRTIO_COMMON_STATUS, 1, bench_status(bench) | VIRTIO_STATUS_DRIVER_OK);
}

void bench_start(struct bench *bench, uint64_t features, unsigned size)
{
    bool accepted = bench_negotiate(bench, features);

    assert(accepted);
    (void)accepted;
    for (unsigned i = 0; i < bench->virtio->queue_count; i++)
        bench_add_queue(bench, i, size);
    bench_driver_ok(bench);
}

void *bench_at(struct bench *bench, uint64_t address)
{
    (void)bench;
    assert(address < sizeof(ram));
    return ram + address;
}

void bench_descriptor(struct bench *bench, uint64_t table, unsigned index, const struct bench_buffer *buffer,
                      unsigned flags, unsigned link)
{
    uint8_t *at = bench_at(bench, table + (uint64_t)VIRTIO_DESC_SIZE * index);

    if (buffer->write)
        flags |= VIRTIO_DESC_WRITE;
    store_le(at, 8, buffer->address);
    store_le(at + 8, 4, buffer->size);
    store_le(at + 12, 2, bench->packed ? link : flags);
    store_le(at + 14, 2, bench->packed ? flags : link);
}

/* The buffers in an indirect table of their own; answers the one buffer that stands for them. */
static struct bench_buffer add_table(struct bench *bench, unsigned queue, const struct bench_buffer *buffers,
                                     unsigned count)
{
    uint64_t table = bench_area(queue, AREA_INDIRECT);

    for (unsigned i = 0; i < count; i++)
        bench_descriptor(bench, table, i, &buffers[i], !bench->packed && i + 1 < count ? VIRTIO_DESC_NEXT : 0, i + 1);
    return (struct bench_buffer){.address = table, .size = count * VIRTIO_DESC_SIZE};
}

static uint16_t add_split(struct bench *bench, unsigned queue, const struct bench_buffer *buffers, unsigned count,
                          unsigned flags)
{
    struct bench_queue *ring = &bench->queues[queue];
    uint8_t *driver = bench_at(bench, bench_area(queue, AREA_DRIVER));
    uint16_t head = (uint16_t)ring->free;

    for (unsigned i = 0; i < count; i++) {
        unsigned next = (ring->free + 1) % ring->size;

        bench_descriptor(bench, bench_area(queue, AREA_DESCRIPTORS), ring->free, &buffers[i],
                         flags | (i + 1 < count ? (unsigned)VIRTIO_DESC_NEXT : 0), next);
        ring->free = next;
    }
    store_le(driver + 4 + (size_t)2 * (ring->next_available % ring->size), 2, head);
    ring->next_available++;
    store_le(driver + 2, 2, ring->next_available);
    return head;
}

static uint16_t add_packed(struct bench *bench, unsigned queue, const struct bench_buffer *buffers, unsigned count,
                           unsigned flags)
{
    struct bench_queue *ring = &bench->queues[queue];
    uint16_t id = ring->next_available & (VIRTIO_WRAP - 1u);

    ring->taken[id] = (uint16_t)count;
    for (unsigned i = 0; i < count; i++) {
        unsigned index = ring->next_available & (VIRTIO_WRAP - 1u);
        bool wrap = ring->next_available & VIRTIO_WRAP;

        bench_descriptor(bench, bench_area(queue, AREA_DESCRIPTORS), index, &buffers[i],
                         flags | (i + 1 < count ? (unsigned)VIRTIO_DESC_NEXT : 0) |
                             (unsigned)(wrap ? VIRTIO_DESC_AVAIL : VIRTIO_DESC_USED),
                         id);
        ring->next_available =
            (uint16_t)(index + 1 == ring->size ? (wrap ? 0 : VIRTIO_WRAP) : ring->next_available + 1);
    }
    return id;
}

uint16_t bench_add(struct bench *bench, unsigned queue, const struct bench_buffer *buffers, unsigned count)
{
    struct bench_buffer table;
    unsigned flags = 0;

    if (bench->queues[queue].indirect) {
        table = add_table(bench, queue, buffers, count);
        buffers = &table;
        count = 1;
        flags = VIRTIO_DESC_INDIRECT;
    }
    return bench->packed ? add_packed(bench, queue, buffers, count, flags)
                         : add_split(bench, queue, buffers, count, flags);
}

void bench_kick(struct bench *bench, unsigned queue)
{
    uint64_t value = queue;

    (void)bus_access(&bench->fake.machine.bus, BUS_MEMORY, bench->notify + (uint64_t)4 * queue, 2, true, &value);
}

static bool used_split(struct bench *bench, unsigned queue, uint16_t *id, uint32_t *length)
{
    struct bench_queue *ring = &bench->queues[queue];
    const uint8_t *device = bench_at(bench, bench_area(queue, AREA_DEVICE));
    const uint8_t *element = device + 4 + (size_t)8 * (ring->next_used % ring->size);

    if (load_le(device + 2, 2) == ring->next_used)
        return false;
    *id = (uint16_t)load_le(element, 4);
    *length = (uint32_t)load_le(element + 4, 4);
    ring->next_used++;
    return true;
}

static bool used_packed(struct bench *bench, unsigned queue, uint16_t *id, uint32_t *length)
{
    struct bench_queue *ring = &bench->queues[queue];
    unsigned index = ring->next_used & (VIRTIO_WRAP - 1u);
    bool wrap = ring->next_used & VIRTIO_WRAP;
    const uint8_t *desc = bench_at(bench, bench_area(queue, AREA_DESCRIPTORS) + (uint64_t)VIRTIO_DESC_SIZE * index);
    unsigned flags = (unsigned)load_le(desc + 14, 2);

    if (!!(flags & VIRTIO_DESC_AVAIL) != wrap || !!(flags & VIRTIO_DESC_USED) != wrap)
        return false;
    *length = (uint32_t)load_le(desc + 8, 4);
    *id = (uint16_t)load_le(desc + 12, 2);
    index += ring->taken[*id % VIRTIO_QUEUE_SIZE];
    if (index >= ring->size) {
        index -= ring->size;
        wrap = !wrap;
    }
    ring->next_used = (uint16_t)(index | (wrap ? (unsigned)VIRTIO_WRAP : 0));
    return true;
}

bool bench_used(struct bench *bench, unsigned queue, uint16_t *id, uint32_t *length)
{
    return bench->packed ? used_packed(bench, queue, id, length) : used_split(bench, queue, id, length);
}

void bench_rest(struct bench *bench)
{
    struct machine *machine = &bench->fake.machine;
    enum status status;

    machine_drain_devices(machine);
    lock_acquire(&machine->lock);
    status = machine_quiesce_devices(machine);
    lock_release(&machine->lock);
    assert(status == STATUS_OK);
    (void)status;
}

void bench_resume(struct bench *bench)
{
    struct machine *machine = &bench->fake.machine;
    enum status status;

    lock_acquire(&machine->lock);
    status = machine_resume_devices(machine);
    lock_release(&machine->lock);
    assert(status == STATUS_OK);
    (void)status;
}
