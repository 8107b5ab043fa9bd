/* The whole board: what is where, which wire goes where, how a machine ends, save and restore. */
#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "board/q35.h"
#include "fake_machine.h"
#include "x86/msr.h"

enum { CPUS = 4, ROOM = 1 << 16, DEVICES = 64 };

struct sink {
    struct stream stream; /* first */
    char bytes[64];
    size_t size;
};

struct computer {
    struct fake_machine fake;
    struct q35 board;
    struct sink console, second, debug;
};

static struct computer one, two;
static struct computer *computer;
static uint8_t ram[4096];

static void sink_write(struct stream *stream, const void *bytes, size_t size)
{
    struct sink *sink = (struct sink *)stream;

    if (size > sizeof(sink->bytes) - sink->size)
        size = sizeof(sink->bytes) - sink->size;
    memcpy(sink->bytes + sink->size, bytes, size);
    sink->size += size;
}

static void sink_drained(struct stream *stream)
{
    (void)stream;
}

static void sink_init(struct sink *sink)
{
    *sink = (struct sink){.stream = {.write = sink_write, .drained = sink_drained}};
}

static struct q35_config configuration(struct computer *self)
{
    return (struct q35_config){
        .console = &self->console.stream,
        .second_serial = true,
        .second_stream = &self->second.stream,
        .debug_console = &self->debug.stream,
        .debug_exit = true,
        .tsc = {.now = fake_machine_tsc, .source = &self->fake, .khz = FAKE_TSC_KHZ},
    };
}

static void computer_init_memory(struct computer *self, const struct q35_config *config,
                                 const struct guest_memory *memory)
{
    memset(self, 0, sizeof(*self));
    sink_init(&self->console);
    sink_init(&self->second);
    sink_init(&self->debug);
    fake_machine_init(&self->fake, CPUS);
    self->fake.machine.memory = *memory;
    assert_int_equal(q35_init(&self->board, &self->fake.machine, config), STATUS_OK);
}

static void computer_init(struct computer *self, const struct q35_config *config)
{
    const struct guest_memory memory = {
        .host = ram,
        .size = sizeof(ram),
        .ranges = {{.base = 0, .size = 256 << 20}},
        .range_count = 1,
    };

    computer_init_memory(self, config, &memory);
}

static int setup(void **state)
{
    struct q35_config config = configuration(&one);

    (void)state;
    computer = &one;
    computer_init(computer, &config);
    return 0;
}

static uint64_t in(uint64_t port, unsigned size)
{
    uint64_t value = 0;

    bus_access(&computer->fake.machine.bus, BUS_PORT, port, size, false, &value);
    return value;
}

static void out(uint64_t port, unsigned size, uint64_t value)
{
    bus_access(&computer->fake.machine.bus, BUS_PORT, port, size, true, &value);
}

static uint64_t load(uint64_t address, unsigned size)
{
    uint64_t value = 0;

    bus_access(&computer->fake.machine.bus, BUS_MEMORY, address, size, false, &value);
    return value;
}

static void store(uint64_t address, unsigned size, uint64_t value)
{
    bus_access(&computer->fake.machine.bus, BUS_MEMORY, address, size, true, &value);
}

static uint32_t config_get(unsigned devfn, unsigned offset)
{
    return (uint32_t)load(Q35_ECAM_BASE | (uint64_t)devfn << 12 | offset, 4);
}

static void apic_put(unsigned cpu, uint32_t offset, uint32_t value)
{
    struct vcpu *vcpu = computer->fake.machine.vcpus[cpu];

    assert_true(vcpu->apic_ops->write(vcpu->apic, offset, 4, value));
}

static int acknowledge(unsigned cpu)
{
    struct vcpu *vcpu = computer->fake.machine.vcpus[cpu];

    return vcpu->apic_ops->acknowledge(vcpu->apic);
}

static void ioapic_put(unsigned pin, uint64_t entry)
{
    store(IOAPIC_BASE, 4, 0x11 + 2 * pin);
    store(IOAPIC_BASE + 0x10, 4, entry >> 32);
    store(IOAPIC_BASE, 4, 0x10 + 2 * pin);
    store(IOAPIC_BASE + 0x10, 4, entry & 0xffffffff);
}

/* The 8259A pair as kernels set it up: vectors 0x20 and 0x28, everything unmasked. */
static void program_pic(void)
{
    static const uint8_t words[][2] = {{0x20, 0x11}, {0xa0, 0x11}, {0x21, 0x20}, {0xa1, 0x28}, {0x21, 4},
                                       {0xa1, 2},    {0x21, 1},    {0xa1, 1},    {0x21, 0},    {0xa1, 0}};

    for (unsigned i = 0; i < ARRAY_LENGTH(words); i++)
        out(words[i][0], 1, words[i][1]);
}

static void press_key_irq(unsigned irq, bool level)
{
    isa_wires_set_device(&computer->board.isa_wires, irq, level);
}

static void test_refusals(void **state)
{
    struct q35_config config = configuration(&one);

    (void)state;
    config.tsc.khz = 0;
    assert_int_equal(q35_init(&one.board, &one.fake.machine, &config), STATUS_INVALID);
    config = configuration(&one);
    config.tsc.now = NULL; /* and this engine does not know */
    assert_int_equal(q35_init(&one.board, &one.fake.machine, &config), STATUS_INVALID);
    config = configuration(&one);
    one.fake.machine.vcpus[1] = NULL;
    assert_int_equal(q35_init(&one.board, &one.fake.machine, &config), STATUS_INVALID);
    one.fake.machine.cpu_count = 0;
    assert_int_equal(q35_init(&one.board, &one.fake.machine, &config), STATUS_INVALID);
}

static void test_inventory(void **state)
{
    (void)state;
    assert_int_equal(config_get(0, 0), 0x29c08086);
    assert_int_equal(config_get(LPC_DEVFN, 0), 0x29188086);
    assert_int_equal(load(IOAPIC_BASE, 4), 0);
    assert_int_equal(in(0x3fd, 1) & 0x60, 0x60);
    assert_int_equal(in(0x2fd, 1) & 0x60, 0x60);
    assert_int_equal(in(0xe9, 1), 0xe9);
    assert_int_not_equal(in(0x64, 1), 0xff);
    assert_int_equal(load(0xd0000000, 4), 0xffffffff);
    out(0x70, 1, 0x15);
    assert_int_equal(in(0x71, 1), 640 & 0xff);
    out(0x70, 1, 0x35);
    assert_int_equal(in(0x71, 1), (240 << 4) >> 8);
    out(0x70, 1, 0x5f);
    assert_int_equal(in(0x71, 1), CPUS - 1);
    for (unsigned i = 0; i < CPUS; i++)
        assert_ptr_equal(computer->fake.machine.vcpus[i]->apic_ops, &lapic_apic_ops);
}

static void test_optional_devices(void **state)
{
    struct q35_config config = configuration(&one);

    (void)state;
    config.second_serial = false;
    config.debug_exit = false;
    computer_init(computer, &config);
    assert_int_equal(in(0x2fd, 1), 0xff);
    out(0xf4, 1, 1);
    assert_int_equal(computer->fake.machine.end, MACHINE_RUNNING);
    assert_int_equal(in(0x402, 1), 0xff);
    out(0x510, 2, 0);
    assert_int_equal(in(0x511, 1), 0xff); /* no fw_cfg without firmware */
}

static void test_firmware(void **state)
{
    enum { FIRMWARE_RAM = 2 << 20, CODE = 256 << 10, VARIABLES = 64 << 10 };
    static _Alignas(PAGE_SIZE) uint8_t backing[FIRMWARE_RAM + CODE + VARIABLES];
    struct q35_config config = configuration(&one);
    struct guest_memory memory;
    unsigned code, variables;

    (void)state;
    for (unsigned i = 0; i < CODE; i++)
        backing[FIRMWARE_RAM + i] = (uint8_t)(i >> 10);
    assert_int_equal(memory_init(&memory, backing, -1, FIRMWARE_RAM), STATUS_OK);
    assert_int_equal(memory_add_rom(&memory, Q35_FLASH_END - CODE, CODE, &code), STATUS_OK);
    assert_int_equal(memory_add_rom(&memory, Q35_FLASH_END - CODE - VARIABLES, VARIABLES, &variables), STATUS_OK);
    config.firmware = true;
    config.firmware_log = &one.debug.stream;
    config.flash = true;
    config.flash_range = variables;
    computer_init_memory(computer, &config, &memory);

    assert_int_equal(load(Q35_ECAM_BASE, 4), 0xffffffff); /* nobody has played firmware */
    assert_int_equal(in(0x608, 4), 0xffffffff);
    assert_memory_equal(backing + 0xe0000, backing + FIRMWARE_RAM + CODE / 2, CODE / 2);
    out(0x510, 2, 0);
    assert_int_equal(in(0x511, 1), 'Q');
    out(0x402, 1, 'f');
    assert_memory_equal(one.debug.bytes, "f", 2);
    store(Q35_FLASH_END - CODE - VARIABLES, 1, 0x90);
    assert_int_equal(load(Q35_FLASH_END - CODE - VARIABLES, 1), 0x89);
    memset(backing + 0xe0000, 0, CODE / 2);
    assert_int_equal(q35_reset(&computer->board), STATUS_OK);
    assert_int_equal(backing[0xfffff], (CODE - 1) >> 10);
    assert_false(computer->fake.machine.memory.ranges[variables].hidden);
}

static void test_firmware_without_rom(void **state)
{
    struct q35_config config = configuration(&one);
    struct q35 *board = &one.board;

    (void)state;
    config.firmware = true;
    fake_machine_init(&one.fake, CPUS);
    assert_int_equal(q35_init(board, &one.fake.machine, &config), STATUS_NOT_FOUND);
}

static void test_streams(void **state)
{
    (void)state;
    out(0x3f8, 1, 'a');
    out(0x2f8, 1, 'b');
    out(0xe9, 1, 'c');
    assert_memory_equal(one.console.bytes, "a", 2);
    assert_memory_equal(one.second.bytes, "b", 2);
    assert_memory_equal(one.debug.bytes, "c", 2);
}

static void test_ends(void **state)
{
    struct fake_machine *fake = &computer->fake;

    (void)state;
    out(0xf4, 4, 0x21);
    assert_int_equal(fake->machine.end, MACHINE_DEBUG_EXIT);
    assert_int_equal(fake->machine.exit_value, 0x21);
    assert_int_equal(fake_machine_attention(fake, 3) & ATTENTION_STOP, ATTENTION_STOP);
    setup(NULL);
    out(0xcf9, 1, 6);
    assert_int_equal(fake->machine.end, MACHINE_RESET);
    setup(NULL);
    out(0x64, 1, 0xfe);
    assert_int_equal(fake->machine.end, MACHINE_RESET);
    setup(NULL);
    out(0x604, 2, 7 << 10 | 1 << 13);
    assert_int_equal(fake->machine.end, MACHINE_POWER_OFF);
}

/* A kernel that knows only the 8259A, and a board without firmware: the timer interrupts all the same. */
static void test_timer_through_pic(void **state)
{
    (void)state;
    program_pic();
    out(0x43, 1, 0x34);
    out(0x40, 1, 0xa9);
    out(0x40, 1, 0x04); /* 1 kHz */
    fake_machine_advance(&computer->fake, 1100000);
    assert_int_equal(acknowledge(0), 0x20);
    out(0x20, 1, 0x20);
    assert_int_equal(acknowledge(0), -1);
    fake_machine_advance(&computer->fake, 1000000);
    assert_int_equal(acknowledge(0), 0x20);
    assert_int_equal(acknowledge(1), -1);
}

static void test_isa_through_ioapic(void **state)
{
    (void)state;
    for (unsigned cpu = 0; cpu < CPUS; cpu++)
        apic_put(cpu, 0xf0, 0x1ff);
    ioapic_put(2, 1ull << 56 | 0x30); /* IRQ 0 is pin 2 */
    ioapic_put(1, 3ull << 56 | 0x31);
    press_key_irq(0, true);
    assert_int_equal(acknowledge(1), 0x30);
    press_key_irq(1, true);
    assert_int_equal(acknowledge(3), 0x31);
    press_key_irq(2, true); /* the cascade is nobody's */
    assert_int_equal(computer->board.ioapic.state.lines, 1u << 2 | 1u << 1);
}

/* Virtual wire through the IOAPIC: pin 0 is the 8259A pair. */
static void test_extint_through_ioapic(void **state)
{
    (void)state;
    for (unsigned cpu = 0; cpu < CPUS; cpu++)
        apic_put(cpu, 0xf0, 0x1ff);
    program_pic();
    ioapic_put(0, 2ull << 56 | 0x700);
    press_key_irq(4, true);
    assert_int_equal(acknowledge(0), -1);
    assert_int_equal(acknowledge(2), 0x24);
}

static void test_shared_isa_wire(void **state)
{
    struct isa_wires *wires = &computer->board.isa_wires;

    (void)state;
    isa_wires_set_sci(wires, 9, true);
    isa_wires_set_device(wires, 9, true);
    isa_wires_set_sci(wires, 9, false);
    assert_int_equal(computer->board.ioapic.state.lines, 1u << 9);
    isa_wires_set_device(wires, 9, false);
    assert_int_equal(computer->board.ioapic.state.lines, 0);
    isa_wires_set_pirq(wires, 11, true);
    assert_int_equal(computer->board.ioapic.state.lines, 0);
    assert_int_equal(computer->board.pic.state.chips[PIC_SLAVE].lines, 1u << 3);
    isa_wires_set_device(wires, 16, true);
}

static void test_power_button(void **state)
{
    (void)state;
    assert_false(q35_press_power(&computer->board));
    out(0x600, 2, 0xffff);
    out(0x602, 2, 1 << 8);
    out(0x604, 2, 1);
    apic_put(0, 0xf0, 0x1ff);
    ioapic_put(9, 0x8000 | 0x39);
    assert_true(q35_press_power(&computer->board));
    assert_int_equal(acknowledge(0), 0x39);
    out(0x600, 2, 1 << 8);
    apic_put(0, 0xb0, 0);
    assert_int_equal(acknowledge(0), -1);
    apic_put(0, 0x360, 0x400);
    q35_press_nmi(&computer->board);
    assert_true(fake_machine_attention(&computer->fake, 0) & ATTENTION_NMI);
}

static void test_acpi_moves(void **state)
{
    (void)state;
    assert_int_not_equal(in(0x608, 4), 0xffffffff);
    store(Q35_ECAM_BASE | LPC_DEVFN << 12 | LPC_PMBASE, 4, 0x1000);
    assert_int_equal(in(0x608, 4), 0xffffffff);
    assert_int_not_equal(in(0x1008, 4), 0xffffffff);
    assert_int_equal(q35_reset(&computer->board), STATUS_OK);
    assert_int_not_equal(in(0x608, 4), 0xffffffff);
}

static void test_windows(void **state)
{
    struct pci_windows windows;

    (void)state;
    q35_pci_windows(&computer->board, &windows);
    assert_int_equal(windows.memory32_base, 0xc0000000);
    assert_int_equal(windows.memory32_end, 0xfec00000);
    assert_int_equal(windows.memory64_base, 0); /* this processor has 36 address bits: no room */
    computer->fake.machine.cpuid = (struct cpuid_table){
        .leaves = {{.leaf = 0x80000008, .result = {.eax = 40}}},
        .count = 1,
        .max_extended = 0x80000008,
    };
    q35_pci_windows(&computer->board, &windows);
    assert_int_equal(windows.memory64_base, 4ull << 30);
    assert_int_equal(windows.memory64_end, 68ull << 30);
}

static uint64_t engine_tsc(const struct vcpu *vcpu)
{
    return fake_machine_tsc(&one.fake, vcpu->index) + 1000000000ull * vcpu->index;
}

/* Each processor's deadline is judged by its own counter, as its engine gives it. */
static void test_engine_tsc(void **state)
{
    struct q35_config config = configuration(&one);
    struct engine_ops ops = *one.fake.engine.ops;

    (void)state;
    ops.tsc = engine_tsc;
    config.tsc.now = NULL;
    fake_machine_init(&one.fake, CPUS);
    one.fake.engine.ops = &ops;
    assert_int_equal(q35_init(&one.board, &one.fake.machine, &config), STATUS_OK);
    for (unsigned cpu = 0; cpu < 2; cpu++) {
        apic_put(cpu, 0xf0, 0x1ff);
        apic_put(cpu, 0x320, 0x40000 | 0x41);
        lapic_apic_ops.write_msr(&one.board.lapics[cpu], MSR_IA32_TSC_DEADLINE, 1000000000);
    }
    assert_int_equal(acknowledge(0), -1);
    assert_int_equal(acknowledge(1), 0x41);
}

/* --- save and restore --- */

struct saved {
    const struct device *device;
    uint8_t *bytes;
    size_t size;
};

static unsigned save(struct computer *self, struct saved *saved)
{
    unsigned count = 0;

    for (struct device *device = self->fake.machine.devices; device; device = device->next) {
        const struct device_type *type = device->type;
        struct saved *at = &saved[count];

        if (!type->schema)
            continue;
        if (type->quiesce)
            type->quiesce(device);
        assert_true(count++ < DEVICES);
        *at = (struct saved){.device = device, .bytes = malloc(ROOM)};
        assert_int_equal(state_encode(type->schema, device_state(device), at->bytes, ROOM, &at->size), STATUS_OK);
    }
    return count;
}

static struct device *find(struct computer *self, const char *path)
{
    for (struct device *device = self->fake.machine.devices; device; device = device->next)
        if (strcmp(device->path, path) == 0)
            return device;
    return NULL;
}

static void restore(struct computer *self, struct saved *saved, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct device *device = find(self, saved[i].device->path);
        const struct state_schema *schema = device->type->schema;
        void *scratch = malloc(schema->size);

        assert_int_equal(state_decode(schema, scratch, saved[i].bytes, saved[i].size), STATUS_OK);
        memcpy(device_state(device), scratch, schema->size);
        free(scratch);
        free(saved[i].bytes);
    }
    for (struct device *device = self->fake.machine.devices; device; device = device->next)
        if (device->type->resume)
            device->type->resume(device);
    for (struct device *device = self->fake.machine.devices; device; device = device->next)
        if (device->type->quiesce)
            device->type->quiesce(device);
}

static void assert_same(struct computer *left, struct computer *right)
{
    for (struct device *device = left->fake.machine.devices; device; device = device->next) {
        struct device *twin = find(right, device->path);
        const char *field = NULL;

        assert_non_null(twin);
        if (device->type->schema)
            field = state_compare(device->type->schema, device_state(device), device_state(twin));
        if (field)
            print_error("%s: %s differs\n", device->path, field);
        assert_null(field);
    }
}

/* In the middle of things: interrupts pending and in service, timers running, windows moved. */
static void make_busy(void)
{
    program_pic();
    for (unsigned cpu = 0; cpu < CPUS; cpu++)
        apic_put(cpu, 0xf0, 0x1ff);
    apic_put(1, 0x3e0, 0xb);
    apic_put(1, 0x320, 0x20000 | 0x40);
    apic_put(1, 0x380, 12345678);
    apic_put(2, 0x320, 0x40000 | 0x41);
    computer->fake.machine.vcpus[2]->apic_ops->write_msr(computer->fake.machine.vcpus[2]->apic, MSR_IA32_TSC_DEADLINE,
                                                         fake_machine_tsc(&computer->fake, 2) + 100000000);
    ioapic_put(4, 3ull << 56 | 0x34);
    ioapic_put(9, 3ull << 56 | 0x8000 | 0x39);
    out(0x43, 1, 0x34);
    out(0x40, 1, 0xa9);
    out(0x40, 1, 0x04);
    out(0x3f9, 1, 2);
    out(0x3fc, 1, 8);
    out(0x602, 2, 1 << 8);
    out(0x604, 2, 1);
    q35_press_power(&computer->board);
    fake_machine_advance(&computer->fake, 3456789);
    acknowledge(3);
    store(Q35_ECAM_BASE | LPC_DEVFN << 12 | LPC_PIRQA_ROUT, 4, 0x05070b0a);
}

static void test_state(void **state)
{
    static struct saved saved[DEVICES];
    struct q35_config config = configuration(&two);
    unsigned count;

    (void)state;
    make_busy();
    count = save(&one, saved);
    assert_true(count >= 14);
    computer_init(&two, &config);
    two.fake.now_ns = one.fake.now_ns;
    two.fake.wall_ns = one.fake.wall_ns;
    restore(&two, saved, count);
    assert_same(&one, &two);
    /* Both go on alike. */
    for (unsigned step = 0; step < 40; step++) {
        fake_machine_advance(&one.fake, 1777777);
        fake_machine_advance(&two.fake, 1777777);
        for (unsigned cpu = 0; cpu < CPUS; cpu++) {
            int left, right;

            computer = &one;
            left = acknowledge(cpu);
            apic_put(cpu, 0xb0, 0);
            out(0x20, 1, 0x20);
            computer = &two;
            right = acknowledge(cpu);
            apic_put(cpu, 0xb0, 0);
            out(0x20, 1, 0x20);
            assert_int_equal(left, right);
        }
    }
    for (struct device *device = one.fake.machine.devices; device; device = device->next)
        if (device->type->quiesce)
            device->type->quiesce(device);
    for (struct device *device = two.fake.machine.devices; device; device = device->next)
        if (device->type->quiesce)
            device->type->quiesce(device);
    assert_same(&one, &two);
}

static void test_reset(void **state)
{
    struct q35_config config = configuration(&two);

    (void)state;
    make_busy();
    out(0x604, 2, 0);
    assert_int_equal(q35_reset(&one.board), STATUS_OK);
    computer_init(&two, &config);
    assert_string_equal(find(&one, "cpu/1/lapic")->type->name, "lapic");
    assert_null(state_compare(lapic_device_type.schema, &one.board.lapics[1].state, &two.board.lapics[1].state));
    assert_null(state_compare(one.board.lpc.device.type->schema, &one.board.lpc.state, &two.board.lpc.state));
    assert_null(state_compare(one.board.pci.device.type->schema, &one.board.pci.state, &two.board.pci.state));
    assert_null(state_compare(one.board.ioapic.device.type->schema, &one.board.ioapic.state, &two.board.ioapic.state));
    fake_machine_advance(&one.fake, 10 * NS_PER_SECOND);
    for (unsigned cpu = 0; cpu < CPUS; cpu++)
        assert_int_equal(acknowledge(cpu), -1);
}

/* A hostile guest on every port and page of the chipset; time passes meanwhile. */
static void test_random(void **state)
{
    uint64_t seed = 20;
    struct fake_machine *fake = &computer->fake;

    (void)state;
    for (unsigned i = 0; i < 200000; i++) {
        static const uint64_t bases[] = {IOAPIC_BASE, Q35_ECAM_BASE, Q35_ECAM_BASE | LPC_DEVFN << 12, 0xc0000000};
        static const uint16_t ports[] = {0x20, 0x40, 0x60, 0x70, 0xa0, 0x3f8, 0x2f8, 0x600, 0xcf8, 0x4d0};
        uint64_t random = fake_random(&seed), value = fake_random(&seed);
        unsigned size = 1u << (random & 3), cpu = random >> 4 & (CPUS - 1);
        unsigned offset = random >> 12 & 0x7f;

        switch (random >> 8 & 7) {
        case 0:
            store(bases[random >> 20 & 3] + (random >> 24 & 0xfff), size, value);
            break;
        case 1:
            load(bases[random >> 20 & 3] + (random >> 24 & 0xfff), size);
            break;
        case 2:
        case 3:
            out(ports[(random >> 20) % ARRAY_LENGTH(ports)] + (offset & 7), size, value);
            break;
        case 4:
            in(ports[(random >> 20) % ARRAY_LENGTH(ports)] + (offset & 7), size);
            break;
        case 5:
            computer->fake.machine.vcpus[cpu]->apic_ops->write(computer->fake.machine.vcpus[cpu]->apic,
                                                               (random >> 20 & 0x3f) << 4, 4, (uint32_t)value);
            break;
        case 6:
            acknowledge(cpu);
            break;
        default:
            fake_machine_advance(fake, value & 0xfffff);
            break;
        }
        if (fake->machine.end != MACHINE_RUNNING) {
            fake->machine.end = MACHINE_RUNNING;
            assert_int_equal(q35_reset(&computer->board), STATUS_OK);
        }
        one.console.size = one.second.size = one.debug.size = 0;
    }
    for (struct device *device = fake->machine.devices; device; device = device->next) {
        if (device->type->quiesce)
            device->type->quiesce(device);
        if (device->type->schema && device->type->schema->valid)
            assert_true(device->type->schema->valid(device_state(device)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_refusals, setup),
        cmocka_unit_test_setup(test_inventory, setup),
        cmocka_unit_test_setup(test_optional_devices, setup),
        cmocka_unit_test_setup(test_firmware, setup),
        cmocka_unit_test(test_firmware_without_rom),
        cmocka_unit_test_setup(test_streams, setup),
        cmocka_unit_test_setup(test_ends, setup),
        cmocka_unit_test_setup(test_timer_through_pic, setup),
        cmocka_unit_test_setup(test_isa_through_ioapic, setup),
        cmocka_unit_test_setup(test_extint_through_ioapic, setup),
        cmocka_unit_test_setup(test_shared_isa_wire, setup),
        cmocka_unit_test_setup(test_power_button, setup),
        cmocka_unit_test_setup(test_acpi_moves, setup),
        cmocka_unit_test_setup(test_windows, setup),
        cmocka_unit_test_setup(test_engine_tsc, setup),
        cmocka_unit_test_setup(test_state, setup),
        cmocka_unit_test_setup(test_reset, setup),
        cmocka_unit_test_setup(test_random, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
