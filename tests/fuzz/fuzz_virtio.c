/*
 * Fuzzes the virtio devices and their transport: a driver that knows how things are done, and every now and then
 * does them wrong. Whatever it does, the device answers or asks for a reset, touches nothing but guest memory, and
 * holds no buffer once its requests are done. The sanitizers watch the rest.
 *
 *     fuzz_virtio DEVICE [RUNS [SEED]]    DEVICE: block, net, console, rng, balloon, vsock
 */
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/virtio_bench.h"
#include "base/bits.h"
#include "fuzz_virtio.h"

enum { STEPS = 40, PIECES = 6, PAGES = 64 };

const char *fuzz_command;

static struct bench bench;
static const struct target *target;
static struct virtio *virtio;

bool fuzz_one_in(unsigned count)
{
    return fuzz_below(count) == 0;
}

struct bench *fuzz_bench(void)
{
    return &bench;
}

/* --- buffers --- */

static uint64_t any_address(void)
{
    static const uint64_t edges[] = {0, 1, BENCH_RAM - 1, BENCH_RAM, BENCH_RAM - 4096, ~0ull, 1ull << 63, 0xfee00000};

    if (fuzz_one_in(40))
        return edges[fuzz_below(ARRAY_LENGTH(edges))];
    return BENCH_DATA + fuzz_below(PAGES) * 4096 + (fuzz_one_in(4) ? fuzz_below(4096) : 0);
}

static uint32_t any_size(void)
{
    static const uint32_t sizes[] = {1, 2, 10, 12, 16, 20, 44, 512, 1024, 1526, 4096, 65536};
    static const uint32_t edges[] = {0, 0xffffffff, 0x80000000, BENCH_RAM};

    if (fuzz_one_in(60))
        return edges[fuzz_below(ARRAY_LENGTH(edges))];
    return fuzz_one_in(3) ? 1 + (uint32_t)fuzz_below(5000) : sizes[fuzz_below(ARRAY_LENGTH(sizes))];
}

/* Readable before writable, nearly always; the device's own kind of request at its head, mostly. */
static void add_buffers(unsigned queue)
{
    struct bench_buffer buffers[PIECES];
    unsigned count = 1 + (unsigned)fuzz_below(PIECES), readable = (unsigned)fuzz_below(count + 1);

    for (unsigned i = 0; i < count; i++)
        buffers[i] = (struct bench_buffer){any_address(), any_size(), i >= readable};
    if (target->shape && !fuzz_one_in(4))
        count = target->shape(queue, buffers, count);
    if (fuzz_one_in(50))
        buffers[fuzz_below(count)].write ^= true;
    bench.queues[queue].indirect = fuzz_one_in(2);
    (void)bench_add(&bench, queue, buffers, count);
}

static unsigned any_queue(void)
{
    unsigned queue = (unsigned)fuzz_below(virtio->queue_count);

    return bench.queues[queue].size ? queue : 0;
}

/* --- what a driver does --- */

static void take_used(unsigned queue)
{
    uint16_t id;
    uint32_t length;

    for (unsigned i = 0; i < 300 && bench_used(&bench, queue, &id, &length); i++)
        if (id >= VIRTIO_QUEUE_SIZE)
            return; /* it was the driver that made it up */
}

/* When the driver wants to be interrupted: an event in a ring, or the flags in front of it. */
static void want_events(unsigned queue)
{
    const struct bench_queue *ring = &bench.queues[queue];
    uint8_t *driver = bench_at(&bench, bench_area(queue, 1));
    uint64_t near = ring->next_used + fuzz_below(4);

    if (bench.packed) {
        store_le(driver, 2, near % ring->size | (fuzz_one_in(2) ? (uint64_t)VIRTIO_WRAP : 0));
        store_le(driver + 2, 2, fuzz_below(4));
    } else {
        store_le(driver, 2, fuzz_below(2));
        store_le(driver + 4 + (size_t)2 * ring->size, 2, near);
    }
}

static void step_use(void)
{
    unsigned queue = any_queue(), count = 1 + (unsigned)fuzz_below(4);

    if (bench.queues[queue].size == 0)
        return;
    while (count-- > 0)
        add_buffers(queue);
    if (fuzz_one_in(4))
        want_events(queue);
    if (!fuzz_one_in(8))
        bench_kick(&bench, queue);
    if (!fuzz_one_in(8))
        take_used(queue);
}

/* Somewhere in rings and indirect tables, while the device may be in the middle of them. */
static void step_scribble(void)
{
    uint64_t at = bench_area(any_queue(), 0) + fuzz_below(BENCH_STRIDE - 8);
    uint8_t *bytes = bench_at(&bench, at);

    if (fuzz_one_in(2)) {
        /* A descriptor that might be one: a table, a link, a piece. */
        uint8_t *desc = bench_at(&bench, bench_area(any_queue(), fuzz_one_in(3) ? 3 : 0) + 16 * fuzz_below(8));

        store_le(desc, 8, any_address());
        store_le(desc + 8, 4, fuzz_one_in(4) ? any_size() : 16 * fuzz_below(400));
        store_le(desc + (bench.packed ? 14 : 12), 2, fuzz_below(8) | (bench.packed ? fuzz_next() & 0x8080 : 0));
    } else if (fuzz_one_in(2))
        bytes[0] ^= (uint8_t)(1 << fuzz_below(8));
    else
        fuzz_fill(bytes, 1 + fuzz_below(8));
    bench_kick(&bench, any_queue());
}

static void step_register(void)
{
    static const unsigned sizes[] = {1, 2, 4, 8};
    unsigned size = sizes[fuzz_below(4)], offset = (unsigned)fuzz_below(64);
    uint64_t value = fuzz_one_in(2) ? fuzz_below(300) : fuzz_next();

    if (fuzz_one_in(3))
        offset += BENCH_CONFIG;
    else if (fuzz_one_in(8))
        offset = fuzz_one_in(2) ? (unsigned)BENCH_ISR : (unsigned)fuzz_below(0x4000);
    if (fuzz_one_in(2))
        (void)bench_read(&bench, offset, size);
    else
        bench_write(&bench, offset, size, value);
}

/* The window in configuration space, set to a register of some BAR. */
static void use_window(unsigned devfn)
{
    static const uint32_t places[] = {0, BENCH_ISR, BENCH_CONFIG};
    struct pci_bus *bus = &bench.host.bus;
    unsigned at = 0x40;

    while (at < 0xf0 && (pci_bus_config_read(bus, devfn, at, 1) != PCI_CAPABILITY_VENDOR ||
                         pci_bus_config_read(bus, devfn, at + 3, 1) != VIRTIO_PCI_CAP_PCI))
        at += 4;
    pci_bus_config_write(bus, devfn, at + 4, 1, 2 * (uint32_t)fuzz_below(3));
    pci_bus_config_write(bus, devfn, at + 8, 4, places[fuzz_below(3)] + 4 * (uint32_t)fuzz_below(16));
    pci_bus_config_write(bus, devfn, at + 12, 4, 1u << fuzz_below(3));
    if (fuzz_one_in(2))
        (void)pci_bus_config_read(bus, devfn, at + 16, 4);
    else
        pci_bus_config_write(bus, devfn, at + 16, 4, (uint32_t)fuzz_below(300));
}

/* Configuration space, the window in it included; what turns the device's memory off is turned back on. */
static void step_config_space(void)
{
    static const unsigned sizes[] = {1, 2, 4};
    unsigned devfn = PCI_DEVFN(BENCH_SLOT, 0), size = sizes[fuzz_below(3)];
    unsigned offset = 0x40 + (unsigned)fuzz_below(0xc0) / size * size;

    if (fuzz_one_in(2))
        use_window(devfn);
    else if (fuzz_one_in(2))
        (void)pci_bus_config_read(&bench.host.bus, devfn, offset, size);
    else
        pci_bus_config_write(&bench.host.bus, devfn, offset, size, (uint32_t)fuzz_below(0x5000));
    pci_bus_config_write(&bench.host.bus, devfn, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

static void start_driver(void)
{
    uint64_t offered = bench_features(&bench), features = fuzz_one_in(4) ? offered : offered & fuzz_next();

    if (!bench_negotiate(&bench, features) && !bench_negotiate(&bench, offered))
        return; /* a reset that waits */
    for (unsigned i = 0; i < virtio->queue_count; i++)
        if (!fuzz_one_in(20))
            bench_add_queue(&bench, i, 1u << (1 + fuzz_below(8)));
    bench_driver_ok(&bench);
}

static void step_reset(void)
{
    if (fuzz_one_in(3))
        start_driver();
    else if (fuzz_one_in(2)) {
        unsigned queue = any_queue();

        bench_write(&bench, VIRTIO_COMMON_QUEUE_SELECT, 2, queue);
        bench_write(&bench, VIRTIO_COMMON_QUEUE_RESET, 2, 1);
        if (bench_read(&bench, VIRTIO_COMMON_QUEUE_ENABLE, 2) == 0)
            bench_add_queue(&bench, queue, 16);
    }
}

/* Stopped, saved, loaded, resumed: the driver does not notice. */
static void step_save(void)
{
    static uint8_t bytes[1 << 17];
    const struct device_type *type = virtio->device.type;
    void *scratch = malloc(type->schema->size);
    size_t size;

    fuzz_check(scratch != NULL, "out of memory");
    bench_rest(&bench);
    fuzz_check(virtio->held == 0, "a device at rest holds buffers");
    fuzz_check(state_encode(type->schema, device_state(&virtio->device), bytes, sizeof(bytes), &size) == STATUS_OK,
               "the state cannot be saved");
    fuzz_check(state_decode(type->schema, scratch, bytes, size) == STATUS_OK, "what was saved cannot be loaded");
    memcpy(device_state(&virtio->device), scratch, type->schema->size);
    bench_resume(&bench);
    free(scratch);
}

/* A state that nobody has saved, as far as it passes for one: the device lives with it. */
static void load_anything(void)
{
    const struct state_schema *schema = virtio->device.type->schema;
    uint8_t *state = device_state(&virtio->device), *scratch = malloc(schema->size);

    fuzz_check(scratch != NULL, "out of memory");
    bench_rest(&bench);
    memcpy(scratch, state, schema->size);
    for (uint64_t changes = 1 + fuzz_below(8); changes > 0; changes--) {
        const struct state_field *field = &schema->fields[fuzz_below(schema->field_count)];
        size_t stride = field->stride ? field->stride : field->width;

        fuzz_fill(scratch + field->offset + stride * fuzz_below(field->count), field->width);
    }
    if (schema->valid(scratch))
        memcpy(state, scratch, schema->size);
    free(scratch);
    bench_resume(&bench);
    lock_acquire(&bench.fake.machine.lock);
    for (unsigned i = 0; i < virtio->queue_count; i++)
        virtio_queue_run(virtio, i);
    lock_release(&bench.fake.machine.lock);
    if (target->outside)
        target->outside();
}

static void step(void)
{
    switch (fuzz_below(16)) {
    case 0:
        step_scribble();
        break;
    case 1:
        step_register();
        break;
    case 2:
        step_config_space();
        break;
    case 3:
        step_reset();
        break;
    case 4:
        if (fuzz_one_in(4))
            step_save();
        break;
    case 5:
    case 6:
    case 7:
        if (target->outside)
            target->outside();
        break;
    case 8:
        fake_machine_advance(&bench.fake, 1000);
        break;
    default:
        step_use();
        break;
    }
}

static void run_one(void)
{
    virtio = target->make();
    bench_init(&bench, virtio);
    machine_add_device(&bench.fake.machine, &virtio->device);
    if (fuzz_one_in(2))
        bench_use_msix(&bench);
    start_driver();
    for (unsigned i = 0; i < STEPS; i++)
        step();
    if (fuzz_one_in(2))
        load_anything();
    bench_rest(&bench);
    fuzz_check(virtio->held == 0, "buffers are held although nothing is under way");
}

int main(int argc, char **argv)
{
    static char command[32];

    for (size_t i = 0; i < fuzz_target_count && argc > 1; i++)
        if (strcmp(argv[1], fuzz_targets[i].name) == 0)
            target = &fuzz_targets[i];
    if (!target) {
        (void)fprintf(stderr, "usage: fuzz_virtio DEVICE [RUNS [SEED]]\n");
        return 2;
    }
    (void)snprintf(command, sizeof(command), "fuzz_virtio %s", target->name);
    fuzz_command = command;
    return fuzz_main(argc - 1, argv + 1, run_one, NULL);
}
