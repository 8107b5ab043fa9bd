/* The PCI transport: capabilities, registers, negotiation, interrupts, resets, saved state. */
#include "unit.h"

#include <string.h>

#include "base/bits.h"
#include "dev/virtio/virtio.h"
#include "fake_port.h"
#include "virtio_bench.h"

enum { SIZE = 16, QUEUES = 3, DEVFN = PCI_DEVFN(BENCH_SLOT, 0), CONFIG_BYTES = 12 };

#define FEATURE_ONE (1ull << 3)
#define FEATURE_TWO (1ull << 40 >> 3)

/* A device that keeps what it is given until it is told. */
struct gadget_state {
    struct virtio_state virtio;
    uint32_t number;
};

static struct gadget {
    struct virtio virtio;
    struct gadget_state state;
    unsigned notified[QUEUES], resets, readies, kept;
    struct virtio_chain held[SIZE];
} gadget;

static struct bench bench;

static const struct state_field gadget_fields[] = {
    VIRTIO_STATE_FIELDS(struct gadget_state, virtio, 1),
    STATE_SCALAR(struct gadget_state, number, 1),
};

static bool gadget_valid(const void *candidate)
{
    return virtio_state_valid(&((const struct gadget_state *)candidate)->virtio);
}

static const struct state_schema gadget_schema = {
    .name = "gadget",
    .version = 1,
    .fields = gadget_fields,
    .field_count = ARRAY_LENGTH(gadget_fields),
    .size = sizeof(struct gadget_state),
    .valid = gadget_valid,
};

static void gadget_notify(struct virtio *virtio, unsigned queue)
{
    gadget.notified[queue]++;
    while (gadget.kept < SIZE && virtio_queue_pop(virtio, queue, &gadget.held[gadget.kept]))
        gadget.kept++;
}

static bool gadget_accepts(const struct virtio *virtio, uint64_t features)
{
    (void)virtio;
    return !(features & FEATURE_TWO) || features & FEATURE_ONE;
}

static void gadget_driver_ok(struct virtio *virtio)
{
    (void)virtio;
    gadget.readies++;
}

static void gadget_restarted(struct virtio *virtio)
{
    (void)virtio;
    gadget.resets++;
}

static void gadget_config_read(struct virtio *virtio, uint8_t *config)
{
    (void)virtio;
    store_le(config, 4, 0x11223344);
    store_le(config + 4, 4, gadget.state.number);
    store_le(config + 8, 4, 0x55667788);
}

static void gadget_config_write(struct virtio *virtio, unsigned offset, unsigned size, uint32_t value)
{
    (void)virtio;
    if (offset == 4 && size == 4)
        gadget.state.number = value;
}

static const struct device_type gadget_type = {
    .name = "gadget",
    .schema = &gadget_schema,
    .state_offset = offsetof(struct gadget, state),
    .io = virtio_io,
    .reset = virtio_reset,
    .quiesce = virtio_quiesce,
    .resume = virtio_resume,
};
static const struct virtio_ops gadget_ops = {
    .notify = gadget_notify,
    .accepts = gadget_accepts,
    .driver_ok = gadget_driver_ok,
    .reset = gadget_restarted,
    .config_read = gadget_config_read,
    .config_write = gadget_config_write,
};
static const struct virtio_kind gadget_kind = {
    .type = 42, .class_code = 0xff0000, .config_size = CONFIG_BYTES, .ops = &gadget_ops};

static void make(void)
{
    memset(&gadget, 0, sizeof(gadget));
    virtio_init(&gadget.virtio, &gadget_type, &gadget_kind, &gadget.state.virtio, FEATURE_ONE | FEATURE_TWO, QUEUES);
    bench_init(&bench, &gadget.virtio);
    (void)fake_log_count();
}

static uint32_t config(unsigned offset, unsigned size)
{
    return pci_bus_config_read(&bench.host.bus, DEVFN, offset, size);
}

/* Where the capability of a type is. */
static unsigned capability(unsigned type)
{
    unsigned at = config(PCI_CAPABILITIES, 1);

    while (at && (config(at, 1) != PCI_CAPABILITY_VENDOR || config(at + 3, 1) != type))
        at = config(at + 1, 1);
    return at;
}

static void add_one(unsigned queue)
{
    const struct bench_buffer buffer = {BENCH_DATA, 8, true};

    (void)bench_add(&bench, queue, &buffer, 1);
}

static void give_back(unsigned index)
{
    virtio_queue_push(&gadget.virtio, &gadget.held[index], 8);
    virtio_queue_flush(&gadget.virtio, gadget.held[index].ticket.queue);
}

static void test_identity(void **state)
{
    unsigned notify, i;

    (void)state;
    make();
    assert_int_equal(config(PCI_VENDOR_ID, 2), 0x1af4);
    assert_int_equal(config(PCI_DEVICE_ID, 2), 0x1040 + 42);
    assert_int_equal(config(PCI_REVISION_ID, 1), 1);
    assert_string_equal(gadget.virtio.device.path, "pci/00:03.0");
    for (i = VIRTIO_PCI_CAP_COMMON; i <= VIRTIO_PCI_CAP_PCI; i++)
        assert_int_not_equal(capability(i), 0);
    assert_int_equal(config(capability(VIRTIO_PCI_CAP_DEVICE) + 12, 4), CONFIG_BYTES);
    notify = capability(VIRTIO_PCI_CAP_NOTIFY);
    assert_int_equal(config(notify + 4, 1), 1);
    assert_int_equal(config(notify + 16, 4), 4);
    assert_true(gadget.virtio.function.bars[1].region.doorbell);
    assert_false(gadget.virtio.function.bars[0].region.doorbell);
    assert_int_equal(bench_read(&bench, VIRTIO_COMMON_NUM_QUEUES, 2), QUEUES);
}

static void test_negotiation(void **state)
{
    (void)state;
    make();
    assert_int_equal(bench_features(&bench), FEATURE_ONE | FEATURE_TWO | VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC |
                                                 VIRTIO_F_EVENT_IDX | VIRTIO_F_RING_PACKED | VIRTIO_F_RING_RESET);
    assert_false(bench_negotiate(&bench, FEATURE_TWO)); /* not without the other */
    assert_false(bench_negotiate(&bench, 1));           /* not offered */
    assert_true(bench_negotiate(&bench, FEATURE_ONE | FEATURE_TWO));
    assert_true(virtio_has(&gadget.virtio, FEATURE_TWO));
    /* Settled: what is written now changes nothing. */
    bench_write(&bench, VIRTIO_COMMON_DRIVER_FEATURE_SELECT, 4, 0);
    bench_write(&bench, VIRTIO_COMMON_DRIVER_FEATURE, 4, 0);
    assert_int_equal(bench_read(&bench, VIRTIO_COMMON_DRIVER_FEATURE, 4), FEATURE_ONE);
    bench_write(&bench, VIRTIO_COMMON_STATUS, 1, 0);
    assert_int_equal(bench_status(&bench), 0);
    assert_int_equal(bench_read(&bench, VIRTIO_COMMON_DRIVER_FEATURE, 4), 0);
    /* Without VERSION_1, or without FEATURES_OK, nobody is ready. */
    bench_write(&bench, VIRTIO_COMMON_STATUS, 1, 3);
    bench_write(&bench, VIRTIO_COMMON_STATUS, 1, 3 | VIRTIO_STATUS_FEATURES_OK | VIRTIO_STATUS_DRIVER_OK);
    assert_int_equal(bench_status(&bench), 3);
    assert_int_equal(gadget.readies, 0);
    /* Features beyond the 64 that there are. */
    bench_write(&bench, VIRTIO_COMMON_DEVICE_FEATURE_SELECT, 4, 2);
    assert_int_equal(bench_read(&bench, VIRTIO_COMMON_DEVICE_FEATURE, 4), 0);
}

static void test_queue_registers(void **state)
{
    (void)state;
    make();
    assert_true(bench_negotiate(&bench, 0));
    bench_write(&bench, VIRTIO_COMMON_QUEUE_SELECT, 2, 2);
    assert_int_equal(bench_read(&bench, VIRTIO_COMMON_QUEUE_SIZE, 2), VIRTIO_QUEUE_SIZE);
    assert_int_equal(bench_read(&bench, VIRTIO_COMMON_QUEUE_NOTIFY_OFF, 2), 2);
    assert_int_equal(bench_read(&bench, VIRTIO_COMMON_QUEUE_VECTOR, 2), VIRTIO_NO_VECTOR);
    bench_write(&bench, VIRTIO_COMMON_QUEUE_SIZE, 2, VIRTIO_QUEUE_SIZE * 2);
    assert_int_equal(bench_read(&bench, VIRTIO_COMMON_QUEUE_SIZE, 2), VIRTIO_QUEUE_SIZE);
    bench_write(&bench, VIRTIO_COMMON_QUEUE_VECTOR, 2, QUEUES + 1);
    assert_int_equal(bench_read(&bench, VIRTIO_COMMON_QUEUE_VECTOR, 2), VIRTIO_NO_VECTOR);
    bench_write(&bench, VIRTIO_COMMON_QUEUE_VECTOR, 2, QUEUES);
    assert_int_equal(bench_read(&bench, VIRTIO_COMMON_QUEUE_VECTOR, 2), QUEUES);
    bench_add_queue(&bench, 2, SIZE);
    assert_int_equal(bench_read(&bench, VIRTIO_COMMON_QUEUE_ENABLE, 2), 1);
    assert_int_equal(bench_read(&bench, VIRTIO_COMMON_QUEUE_DRIVER, 8), bench_area(2, 1));
    assert_int_equal(bench_read(&bench, VIRTIO_COMMON_QUEUE_DRIVER + 4, 4), 0);
    /* It does not move any more. */
    bench_write(&bench, VIRTIO_COMMON_QUEUE_DESC, 8, 0x1000);
    assert_int_equal(bench_read(&bench, VIRTIO_COMMON_QUEUE_DESC, 8), bench_area(2, 0));
    /* A queue that is not there. */
    bench_write(&bench, VIRTIO_COMMON_QUEUE_SELECT, 2, QUEUES);
    assert_int_equal(bench_read(&bench, VIRTIO_COMMON_QUEUE_SIZE, 2), 0);
    bench_write(&bench, VIRTIO_COMMON_QUEUE_ENABLE, 2, 1);
    assert_int_equal(bench_read(&bench, VIRTIO_COMMON_QUEUE_ENABLE, 2), 0);
    bench_write(&bench, VIRTIO_COMMON_QUEUE_SELECT, 2, 0xffff);
    bench_write(&bench, VIRTIO_COMMON_QUEUE_DESC, 8, 0x1000);
    assert_int_equal(bench_read(&bench, VIRTIO_COMMON_QUEUE_DESC, 8), 0);
}

/* Areas that are outside of memory, or not aligned, or of no possible size. */
static void test_bad_areas(void **state)
{
    static const struct {
        unsigned reg, size;
        uint64_t value;
    } cases[] = {
        {VIRTIO_COMMON_QUEUE_DESC, 8, BENCH_RAM - 16},
        {VIRTIO_COMMON_QUEUE_DRIVER, 8, BENCH_RAM - 4},
        {VIRTIO_COMMON_QUEUE_DEVICE, 8, BENCH_RAM - 8},
        {VIRTIO_COMMON_QUEUE_DESC, 8, BENCH_DATA + 8},
        {VIRTIO_COMMON_QUEUE_DRIVER, 8, BENCH_DATA + 1},
        {VIRTIO_COMMON_QUEUE_DEVICE, 8, BENCH_DATA + 2},
        {VIRTIO_COMMON_QUEUE_DESC, 8, ~0xfull},
        {VIRTIO_COMMON_QUEUE_SIZE, 2, 0},
        {VIRTIO_COMMON_QUEUE_SIZE, 2, 24},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        make();
        assert_true(bench_negotiate(&bench, 0));
        for (unsigned area = 0; area < 3; area++)
            bench_write(&bench, VIRTIO_COMMON_QUEUE_DESC + 8 * area, 8, bench_area(0, area));
        bench_write(&bench, cases[i].reg, cases[i].size, cases[i].value);
        bench_write(&bench, VIRTIO_COMMON_QUEUE_ENABLE, 2, 1);
        assert_int_equal(bench_read(&bench, VIRTIO_COMMON_QUEUE_ENABLE, 2), 0);
        assert_true(bench_status(&bench) & VIRTIO_STATUS_NEEDS_RESET);
        assert_int_equal(fake_log_count(), 1);
        bench_driver_ok(&bench);
        bench_kick(&bench, 0);
        assert_int_equal(gadget.notified[0], 0);
    }
    /* In the packed form any number of descriptors will do. */
    make();
    assert_true(bench_negotiate(&bench, VIRTIO_F_RING_PACKED));
    bench_add_queue(&bench, 0, 24);
    assert_int_equal(bench_status(&bench) & VIRTIO_STATUS_NEEDS_RESET, 0);
}

/* Nothing is taken before the driver is ready; then what waits is. */
static void test_ready(void **state)
{
    (void)state;
    make();
    assert_true(bench_negotiate(&bench, 0));
    bench_add_queue(&bench, 1, SIZE);
    add_one(1);
    bench_kick(&bench, 1);
    assert_int_equal(gadget.notified[1], 0);
    bench_driver_ok(&bench);
    assert_int_equal(gadget.readies, 1);
    assert_int_equal(gadget.notified[1], 1);
    assert_int_equal(gadget.kept, 1);
    assert_int_equal(gadget.notified[0], 0); /* not enabled */
    bench_kick(&bench, 0);
    bench_kick(&bench, QUEUES);
    bench_kick(&bench, 1000);
    assert_int_equal(gadget.notified[0], 0);
}

static void test_pin(void **state)
{
    (void)state;
    make();
    bench_start(&bench, 0, SIZE);
    add_one(0);
    bench_kick(&bench, 0);
    assert_false(bench.pin);
    give_back(0);
    assert_true(bench.pin);
    assert_int_equal(bench_read(&bench, BENCH_ISR, 1), VIRTIO_ISR_QUEUE);
    assert_false(bench.pin);
    assert_int_equal(bench_read(&bench, BENCH_ISR, 1), 0);
    virtio_config_changed(&gadget.virtio);
    assert_true(bench.pin);
    assert_int_equal(bench_read(&bench, BENCH_ISR, 1), VIRTIO_ISR_CONFIG);
    virtio_config_changed(&gadget.virtio);
    bench_write(&bench, VIRTIO_COMMON_STATUS, 1, 0);
    assert_false(bench.pin);
}

static void test_vectors(void **state)
{
    (void)state;
    make();
    bench_use_msix(&bench);
    bench_start(&bench, 0, SIZE);
    add_one(1);
    bench_kick(&bench, 1);
    give_back(0);
    assert_int_equal(bench.messages[2], 1);
    assert_false(bench.pin);
    assert_int_equal(bench_read(&bench, BENCH_ISR, 1), 0);
    virtio_config_changed(&gadget.virtio);
    assert_int_equal(bench.messages[0], 1);
    bench_write(&bench, VIRTIO_COMMON_CONFIG_VECTOR, 2, VIRTIO_NO_VECTOR);
    virtio_config_changed(&gadget.virtio);
    assert_int_equal(bench.messages[0], 1);
}

static void test_device_config(void **state)
{
    unsigned generation;

    (void)state;
    make();
    assert_int_equal(bench_read(&bench, BENCH_CONFIG, 4), 0x11223344);
    assert_int_equal(bench_read(&bench, BENCH_CONFIG + 1, 1), 0x33);
    assert_int_equal(bench_read(&bench, BENCH_CONFIG + 10, 2), 0x5566);
    assert_int_equal(bench_read(&bench, BENCH_CONFIG + CONFIG_BYTES, 4), 0);
    bench_write(&bench, BENCH_CONFIG + 4, 4, 77);
    assert_int_equal(gadget.state.number, 77);
    bench_write(&bench, BENCH_CONFIG + CONFIG_BYTES, 4, 1);
    generation = (unsigned)bench_read(&bench, VIRTIO_COMMON_GENERATION, 1);
    virtio_config_changed(&gadget.virtio);
    assert_int_equal(bench_read(&bench, VIRTIO_COMMON_GENERATION, 1), generation + 1);
}

/* A reset is done when the device holds nothing any more; until then the status says so. */
static void test_reset_waits(void **state)
{
    (void)state;
    make();
    bench_start(&bench, 0, SIZE);
    add_one(0);
    add_one(1);
    bench_kick(&bench, 0);
    bench_kick(&bench, 1);
    gadget.resets = 0;
    bench_write(&bench, VIRTIO_COMMON_STATUS, 1, 0);
    assert_int_not_equal(bench_status(&bench), 0);
    bench_write(&bench, VIRTIO_COMMON_QUEUE_SELECT, 2, 2); /* nobody listens */
    give_back(0);
    assert_int_not_equal(bench_status(&bench), 0);
    assert_int_equal(gadget.resets, 0);
    give_back(1);
    assert_int_equal(bench_status(&bench), 0);
    assert_int_equal(gadget.resets, 1);
    assert_int_equal(load_le((uint8_t *)bench_at(&bench, bench_area(0, 2)) + 2, 2), 0); /* never shown as used */
    assert_false(bench.pin);
}

static void test_queue_reset(void **state)
{
    (void)state;
    make();
    bench_start(&bench, VIRTIO_F_RING_RESET, SIZE);
    add_one(1);
    bench_kick(&bench, 1);
    bench_write(&bench, VIRTIO_COMMON_QUEUE_SELECT, 2, 1);
    bench_write(&bench, VIRTIO_COMMON_QUEUE_RESET, 2, 1);
    assert_int_equal(bench_read(&bench, VIRTIO_COMMON_QUEUE_RESET, 2), 1);
    add_one(1);
    bench_kick(&bench, 1);
    assert_int_equal(gadget.kept, 1);
    give_back(0);
    assert_int_equal(bench_read(&bench, VIRTIO_COMMON_QUEUE_RESET, 2), 0);
    assert_int_equal(bench_read(&bench, VIRTIO_COMMON_QUEUE_ENABLE, 2), 0);
    gadget.kept = 0;
    bench_add_queue(&bench, 1, SIZE / 2);
    add_one(1);
    bench_kick(&bench, 1);
    assert_int_equal(gadget.kept, 1);
    /* Others were left alone. */
    bench_write(&bench, VIRTIO_COMMON_QUEUE_SELECT, 2, 0);
    assert_int_equal(bench_read(&bench, VIRTIO_COMMON_QUEUE_ENABLE, 2), 1);
}

/* Power-on with buffers still held: they are void, whatever becomes of them. */
static void test_power_on(void **state)
{
    (void)state;
    make();
    bench_start(&bench, 0, SIZE);
    add_one(0);
    bench_kick(&bench, 0);
    virtio_reset(&gadget.virtio.device);
    assert_int_equal(gadget.virtio.held, 1);
    give_back(0);
    assert_int_equal(gadget.virtio.held, 0);
    assert_int_equal(gadget.virtio.queues[0].in_flight, 0);
    assert_int_equal(load_le((uint8_t *)bench_at(&bench, bench_area(0, 2)) + 2, 2), 0);
}

/* The window in configuration space reaches all BARs, and only them. */
static void test_window(void **state)
{
    unsigned at;

    (void)state;
    make();
    at = capability(VIRTIO_PCI_CAP_PCI);
    pci_bus_config_write(&bench.host.bus, DEVFN, at + 4, 1, 0);
    pci_bus_config_write(&bench.host.bus, DEVFN, at + 8, 4, VIRTIO_COMMON_NUM_QUEUES);
    pci_bus_config_write(&bench.host.bus, DEVFN, at + 12, 4, 2);
    assert_int_equal(config(at + 16, 4), QUEUES);
    pci_bus_config_write(&bench.host.bus, DEVFN, at + 8, 4, BENCH_CONFIG + 4);
    pci_bus_config_write(&bench.host.bus, DEVFN, at + 12, 4, 4);
    pci_bus_config_write(&bench.host.bus, DEVFN, at + 16, 4, 1234);
    assert_int_equal(gadget.state.number, 1234);
    for (unsigned bar = 0; bar < 256; bar++) {
        pci_bus_config_write(&bench.host.bus, DEVFN, at + 4, 1, bar);
        pci_bus_config_write(&bench.host.bus, DEVFN, at + 8, 4, 0xfffffffc);
        (void)config(at + 16, 4);
        pci_bus_config_write(&bench.host.bus, DEVFN, at + 16, 4, 1);
        pci_bus_config_write(&bench.host.bus, DEVFN, at + 8, 4, 1);
        (void)config(at + 16, 4);
        pci_bus_config_write(&bench.host.bus, DEVFN, at + 12, 4, bar);
    }
}

/* Stopped, saved, loaded into a device that was switched on a moment ago: it goes on where it was. */
static void test_saved(void **state)
{
    static uint8_t bytes[1 << 16];
    static struct gadget_state loaded;
    size_t size;
    uint16_t id;
    uint32_t length;

    (void)state;
    for (unsigned packed = 0; packed < 2; packed++) {
        make();
        bench_use_msix(&bench);
        bench_start(&bench, packed ? VIRTIO_F_RING_PACKED : 0, SIZE);
        for (unsigned i = 0; i < 5; i++) {
            add_one(1);
            bench_kick(&bench, 1);
            give_back(i);
            assert_true(bench_used(&bench, 1, &id, &length));
        }
        virtio_quiesce(&gadget.virtio.device);
        add_one(1);
        bench_kick(&bench, 1);
        assert_int_equal(gadget.kept, 5);
        assert_int_equal(state_encode(&gadget_schema, &gadget.state, bytes, sizeof(bytes), &size), STATUS_OK);

        virtio_reset(&gadget.virtio.device);
        assert_int_equal(state_decode(&gadget_schema, &loaded, bytes, size), STATUS_OK);
        gadget.state = loaded;
        virtio_resume(&gadget.virtio.device);
        assert_int_equal(gadget.kept, 6);
        give_back(5);
        assert_true(bench_used(&bench, 1, &id, &length));
        assert_int_equal(length, 8);
        assert_int_equal(bench.messages[2], 6);
    }
    /* What could not be is refused: by the check, or by the device when it goes on. */
    gadget.state.virtio.queues[0].size = VIRTIO_QUEUE_SIZE + 1;
    assert_int_equal(state_encode(&gadget_schema, &gadget.state, bytes, sizeof(bytes), &size), STATUS_OK);
    assert_int_equal(state_decode(&gadget_schema, &loaded, bytes, size), STATUS_INVALID);
    gadget.state.virtio.queues[0].size = SIZE;
    gadget.state.virtio.queues[0].next_used = SIZE;
    virtio_resume(&gadget.virtio.device);
    assert_true(bench_status(&bench) & VIRTIO_STATUS_NEEDS_RESET);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_identity),        cmocka_unit_test(test_negotiation),
        cmocka_unit_test(test_queue_registers), cmocka_unit_test(test_bad_areas),
        cmocka_unit_test(test_ready),           cmocka_unit_test(test_pin),
        cmocka_unit_test(test_vectors),         cmocka_unit_test(test_device_config),
        cmocka_unit_test(test_reset_waits),     cmocka_unit_test(test_queue_reset),
        cmocka_unit_test(test_power_on),        cmocka_unit_test(test_window),
        cmocka_unit_test(test_saved),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
