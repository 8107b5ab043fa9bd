/* fw_cfg: items by port and by DMA, the directory, and guests that mean no good. */
#include "chipset_bench.h"

#include "base/bits.h"
#include "dev/chipset/fw_cfg.h"

enum { RAM = 64 * PAGE_SIZE, DESCRIPTOR = 0x1000, BUFFER = 0x2000 };

enum { ERROR = 1, READ = 2, SKIP = 4, SELECT = 8, WRITE = 16 };

static _Alignas(PAGE_SIZE) uint8_t ram[RAM];
static struct bench bench;
static struct fw_cfg config;

static const uint8_t contents[] = "what firmware wants to know";

static int setup(void **state)
{
    struct guest_memory *memory = &bench.fake.machine.memory;

    (void)state;
    bench_init(&bench);
    memset(ram, 0xcc, sizeof(ram));
    assert_int_equal(memory_init(memory, ram, -1, RAM), STATUS_OK);
    assert_int_equal(fw_cfg_init(&config, memory, &bench.fake.machine.bus), STATUS_OK);
    assert_int_equal(fw_cfg_add(&config, FW_CFG_UUID, contents, sizeof(contents)), STATUS_OK);
    assert_int_equal(fw_cfg_add_number(&config, FW_CFG_CPU_COUNT, 0x1234, 2), STATUS_OK);
    assert_int_equal(fw_cfg_add_file(&config, "etc/first", contents, 4), STATUS_OK);
    assert_int_equal(fw_cfg_add_file_number(&config, "etc/second", 0x0102030405060708, 8), STATUS_OK);
    return 0;
}

static void store_be32(uint8_t *to, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++)
        to[i] = (uint8_t)(value >> (24 - 8 * i));
}

static uint32_t load_be32(const uint8_t *from)
{
    return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

static uint32_t swap(uint64_t value)
{
    uint8_t bytes[4];

    store_be32(bytes, (uint32_t)value);
    return (uint32_t)load_le(bytes, 4);
}

/* What the guest finds in the descriptor afterwards. */
static uint32_t dma(uint64_t at, uint32_t control, uint32_t length, uint64_t address)
{
    if (range_inside(at, 16, RAM)) {
        store_be32(ram + at, control);
        store_be32(ram + at + 4, length);
        store_be32(ram + at + 8, (uint32_t)(address >> 32));
        store_be32(ram + at + 12, (uint32_t)address);
    }
    bench_out(&bench, 0x514, 4, swap(at >> 32));
    bench_out(&bench, 0x518, 4, swap(at));
    return range_inside(at, 16, RAM) ? load_be32(ram + at) : 0;
}

static void read_item(uint16_t key, void *to, size_t size)
{
    uint8_t *byte = to;

    bench_out(&bench, 0x510, 2, key);
    for (size_t i = 0; i < size; i++)
        byte[i] = bench_inb(&bench, 0x511);
}

static void test_ports(void **state)
{
    uint8_t bytes[sizeof(contents) + 4];

    (void)state;
    read_item(FW_CFG_SIGNATURE, bytes, 5);
    assert_memory_equal(bytes, "QEMU\0", 5);
    read_item(FW_CFG_ID, bytes, 4);
    assert_int_equal(load_le(bytes, 4), 3);
    read_item(FW_CFG_UUID, bytes, sizeof(bytes));
    assert_memory_equal(bytes, contents, sizeof(contents));
    assert_int_equal(load_le(bytes + sizeof(contents), 4), 0);
    read_item(FW_CFG_CPU_COUNT, bytes, 3);
    assert_int_equal(load_le(bytes, 2), 0x1234);
    assert_int_equal(bytes[2], 0);
    read_item(0x7777, bytes, 4);
    assert_int_equal(load_le(bytes, 4), 0);
    bench_out(&bench, 0x510, 2, FW_CFG_CPU_COUNT);
    assert_int_equal(bench_inb(&bench, 0x510), 0);
    bench_outb(&bench, 0x511, 0xff); /* nothing is written */
    assert_int_equal(bench_inb(&bench, 0x511), 0x34);
}

static void test_directory(void **state)
{
    uint8_t bytes[4 + 3 * FW_CFG_DIRECTORY_ENTRY];

    (void)state;
    read_item(FW_CFG_DIRECTORY, bytes, sizeof(bytes));
    assert_int_equal(load_be32(bytes), 2);
    assert_int_equal(load_be32(bytes + 4), 4);
    assert_int_equal(bytes[8] << 8 | bytes[9], FW_CFG_FIRST_FILE);
    assert_string_equal((const char *)bytes + 12, "etc/first");
    assert_int_equal(load_be32(bytes + 68), 8);
    assert_string_equal((const char *)bytes + 76, "etc/second");
    assert_int_equal(load_be32(bytes + 132), 0);
    read_item((uint16_t)(bytes[72] << 8 | bytes[73]), bytes, 8);
    assert_true(load_le(bytes, 8) == 0x0102030405060708);
}

static void test_dma(void **state)
{
    (void)state;
    assert_int_equal(bench_in(&bench, 0x514, 4), swap(0x51454d55)); /* "QEMU" */
    assert_int_equal(bench_in(&bench, 0x518, 4), swap(0x20434647)); /* " CFG" */
    assert_int_equal(dma(DESCRIPTOR, FW_CFG_UUID << 16 | SELECT | READ, sizeof(contents) + 2, BUFFER), 0);
    assert_memory_equal(ram + BUFFER, contents, sizeof(contents));
    assert_int_equal(load_le(ram + BUFFER + sizeof(contents), 4), 0xcccc0000);

    assert_int_equal(dma(DESCRIPTOR, FW_CFG_UUID << 16 | SELECT | SKIP, 5, 0), 0);
    assert_int_equal(dma(DESCRIPTOR, READ, 4, BUFFER), 0);
    assert_memory_equal(ram + BUFFER, contents + 5, 4);
    assert_int_equal(bench_inb(&bench, 0x511), contents[9]); /* both ways share the offset */
    assert_int_equal(dma(DESCRIPTOR, 0, 0, 0), 0);
}

static void test_dma_of_hostile_guests(void **state)
{
    (void)state;
    assert_int_equal(dma(DESCRIPTOR, FW_CFG_UUID << 16 | SELECT | READ, 16, RAM - 8), ERROR);
    assert_int_equal(ram[RAM - 8], 0xcc);
    assert_int_equal(dma(DESCRIPTOR, READ, 16, UINT64_MAX - 4), ERROR);
    assert_int_equal(dma(DESCRIPTOR, READ, UINT32_MAX, BUFFER), ERROR); /* zeroes to the end of RAM, and no further */
    assert_int_equal(dma(DESCRIPTOR, FW_CFG_UUID << 16 | SELECT | WRITE, 4, BUFFER), ERROR);
    assert_int_equal(dma(RAM - 8, READ, 4, BUFFER), 0);        /* a descriptor that RAM ends in, */
    assert_int_equal(dma(UINT64_MAX - 7, READ, 4, BUFFER), 0); /* and one that wraps: nothing happens */

    /* Far behind an item's end, and back to another. */
    assert_int_equal(dma(DESCRIPTOR, FW_CFG_UUID << 16 | SELECT | SKIP, UINT32_MAX, 0), 0);
    assert_int_equal(dma(DESCRIPTOR, SKIP, UINT32_MAX, 0), 0);
    assert_int_equal(bench_inb(&bench, 0x511), 0);
    assert_int_equal(dma(DESCRIPTOR, FW_CFG_CPU_COUNT << 16 | SELECT, 0, 0), 0);
    assert_int_equal(bench_inb(&bench, 0x511), 0x34);

    /* A read over the descriptor itself: the answer comes last. */
    assert_int_equal(dma(DESCRIPTOR, FW_CFG_UUID << 16 | SELECT | READ, 16, DESCRIPTOR), 0);
    assert_memory_equal(ram + DESCRIPTOR + 4, contents + 4, 12);
}

static void test_items_are_checked(void **state)
{
    char name[FW_CFG_NAME_SIZE + 1];

    (void)state;
    assert_int_equal(fw_cfg_add(&config, FW_CFG_UUID, contents, 1), STATUS_EXISTS);
    memset(name, 'n', sizeof(name));
    name[FW_CFG_NAME_SIZE] = '\0';
    assert_int_equal(fw_cfg_add_file(&config, name, contents, 1), STATUS_INVALID);
    name[FW_CFG_NAME_SIZE - 1] = '\0';
    assert_int_equal(fw_cfg_add_file(&config, name, contents, 1), STATUS_OK);
    for (unsigned i = 3; i < FW_CFG_FILES; i++)
        assert_int_equal(fw_cfg_add_file(&config, "etc/more", contents, 1), STATUS_OK);
    assert_int_equal(fw_cfg_add_file(&config, "etc/more", contents, 1), STATUS_NO_MEMORY);
    for (unsigned i = config.item_count; i < FW_CFG_ITEMS; i++)
        assert_int_equal(fw_cfg_add(&config, (uint16_t)(0x1000 + i), contents, 1), STATUS_OK);
    assert_int_equal(fw_cfg_add(&config, 0x2000, contents, 1), STATUS_NO_MEMORY);
}

static void test_state(void **state)
{
    (void)state;
    bench_out(&bench, 0x510, 2, FW_CFG_UUID);
    assert_int_equal(bench_inb(&bench, 0x511), contents[0]);
    bench_out(&bench, 0x514, 4, swap(1));
    bench_round_trip(&bench, &config.device, 0);
    assert_int_equal(bench_inb(&bench, 0x511), contents[1]);
    bench_hostile_state(&bench, &config.device, 2000);
    bench_random_io(&bench, &config.device, 20000);
    config.device.type->reset(&config.device);
    assert_int_equal(bench_inb(&bench, 0x511), 'Q');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_ports, setup),
        cmocka_unit_test_setup(test_directory, setup),
        cmocka_unit_test_setup(test_dma, setup),
        cmocka_unit_test_setup(test_dma_of_hostile_guests, setup),
        cmocka_unit_test_setup(test_items_are_checked, setup),
        cmocka_unit_test_setup(test_state, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
