/*
 * Fuzzes what firmware speaks to: fw_cfg with its DMA, and the flash chip. Whatever a guest writes to ports, flash and
 * memory, the devices stay inside guest memory and their own state, the store is given bytes of the chip alone, and
 * what the chip shows is what the store was given.
 *
 *     fuzz_firmware [RUNS [SEED]]    each run is some hundred accesses; prints the seed of the run that fails
 *
 * With clang -fsanitize=fuzzer -DFUZZ_LIBFUZZER it has no main().
 */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "../unit/fake_machine.h"
#include "base/bits.h"
#include "dev/chipset/fw_cfg.h"
#include "dev/chipset/pflash.h"
#include "fuzz.h"

enum { RAM = 16 * PAGE_SIZE, FLASH = 4 * PAGE_SIZE, GUARD = PAGE_SIZE, INPUT = 2048, STEP = 8 };

#define FLASH_AT 0xffff0000ull

static struct fake_machine fake;
static struct fw_cfg config;
static struct pflash flash;
static _Alignas(PAGE_SIZE) uint8_t backing[RAM + FLASH + GUARD];
static uint8_t kept[FLASH];

const char *fuzz_command = "fuzz_firmware";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void keep(struct store *store, uint64_t offset, const void *bytes, size_t size)
{
    (void)store;
    fuzz_check(size != 0 && range_inside(offset, size, FLASH), "the store is asked for what it has not");
    memcpy(kept + offset, bytes, size);
}

static void set_up(void)
{
    static struct store store = {.write = keep};
    static uint8_t item[5000];
    struct guest_memory *memory = &fake.machine.memory;
    unsigned range;

    fake_machine_init(&fake, 1);
    memset(backing, 0, sizeof(backing));
    memset(backing + RAM, 0xff, FLASH);
    memset(backing + RAM + FLASH, 0xcc, GUARD);
    memcpy(kept, backing + RAM, FLASH);
    fuzz_check(memory_init(memory, backing, -1, RAM) == STATUS_OK, "no memory");
    fuzz_check(memory_add_rom(memory, FLASH_AT, FLASH, &range) == STATUS_OK, "no ROM");
    fuzz_check(fw_cfg_init(&config, memory, &fake.machine.bus) == STATUS_OK, "no fw_cfg");
    fuzz_check(fw_cfg_add(&config, FW_CFG_KERNEL_DATA, item, sizeof(item)) == STATUS_OK, "no item");
    fuzz_check(fw_cfg_add_number(&config, FW_CFG_CPU_COUNT, 3, 2) == STATUS_OK, "no number");
    fuzz_check(fw_cfg_add_file(&config, "etc/file", item, 100) == STATUS_OK, "no file");
    fuzz_check(pflash_init(&flash, memory, range, &store, &fake.machine.bus) == STATUS_OK, "no flash");
}

static uint32_t swap(uint32_t value)
{
    return __builtin_bswap32(value);
}

/* A descriptor that is likely to make sense, somewhere that is likely to be RAM. */
static void do_dma(const uint8_t *input)
{
    uint64_t at = load_le(input, 2) * 3, address = load_le(input + 2, 2) * 2;
    uint8_t descriptor[16] = {0};
    uint64_t word;

    descriptor[1] = input[6] % 0x28;
    descriptor[3] = input[4] & 0x1f;
    descriptor[6] = input[5];
    descriptor[7] = input[6];
    store_le(descriptor + 12, 4, swap((uint32_t)address));
    if (input[7] & 1)
        memset(descriptor + 8, input[7], 4);
    if (range_inside(at, sizeof(descriptor), RAM))
        memcpy(backing + at, descriptor, sizeof(descriptor));
    word = input[7] & 2 ? UINT32_MAX : 0;
    (void)bus_access(&fake.machine.bus, BUS_PORT, 0x514, 4, true, &word);
    word = swap((uint32_t)at);
    (void)bus_access(&fake.machine.bus, BUS_PORT, 0x518, 4, true, &word);
}

static void do_port(const uint8_t *input)
{
    uint64_t port = 0x510 + input[1] % 13, word = load_le(input + 2, 4);

    (void)bus_access(&fake.machine.bus, BUS_PORT, port, 1u << (input[6] % 3), input[7] & 1, &word);
}

/* As a processor would. */
static void do_flash(const uint8_t *input)
{
    static const uint8_t commands[] = {0x10, 0x20, 0x40, 0x50, 0x70, 0x90, 0x98, 0xd0, 0xff};
    uint64_t at = FLASH_AT + load_le(input, 2) % FLASH;
    unsigned size = 1u << (input[3] & 3);
    uint64_t word = input[4] & 1 ? commands[input[5] % sizeof(commands)] : load_le(input, 8);
    bool write = input[4] & 2;

    if (!write && memory_at(&fake.machine.memory, at, size, false))
        return;
    (void)bus_access(&fake.machine.bus, BUS_MEMORY, at, input[4] & 4 ? 1 : size, write, &word);
}

/* Saved and restored, whole or with a byte changed. */
static void do_state(struct device *device, const uint8_t *input)
{
    const struct state_schema *schema = device->type->schema;
    uint8_t saved[512], scratch[512];
    size_t size;

    fuzz_check(schema->size <= sizeof(scratch), "a state that is too large for this program");
    if (device->type->quiesce)
        device->type->quiesce(device);
    fuzz_check(state_encode(schema, device_state(device), saved, sizeof(saved), &size) == STATUS_OK,
               "it cannot be saved");
    fuzz_check(state_decode(schema, scratch, saved, size) == STATUS_OK, "what was saved cannot be restored");
    scratch[input[1] % schema->size] = input[2];
    if (schema->valid && !schema->valid(scratch))
        return;
    memcpy(device_state(device), scratch, schema->size);
    if (device->type->resume)
        device->type->resume(device);
}

static void step(const uint8_t *input)
{
    switch (input[0] >> 5) {
    case 0:
    case 1:
        do_dma(input);
        break;
    case 2:
        do_port(input);
        break;
    case 3:
        do_state(input[3] & 1 ? &flash.device : &config.device, input);
        break;
    default:
        do_flash(input);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    set_up();
    for (size_t at = 0; at + STEP <= size; at += STEP)
        step(data + at);
    flash.device.type->reset(&flash.device);
    fuzz_check(!fake.machine.memory.ranges[flash.range].hidden, "the flash does not come back");
    fuzz_check(memcmp(kept, backing + RAM, FLASH) == 0, "the store has other bytes than the chip");
    for (unsigned i = 0; i < GUARD; i++)
        fuzz_check(backing[RAM + FLASH + i] == 0xcc, "something was written behind guest memory");
    return 0;
}

#ifndef FUZZ_LIBFUZZER
static void run_one(void)
{
    uint8_t input[INPUT];

    fuzz_fill(input, sizeof(input));
    (void)LLVMFuzzerTestOneInput(input, sizeof(input));
}

int main(int argc, char **argv)
{
    return fuzz_main(argc, argv, run_one, LLVMFuzzerTestOneInput);
}
#endif
