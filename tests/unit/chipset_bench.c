#include "chipset_bench.h"

#include "base/bits.h"

enum { STATE_ROOM = 8192 };

void bench_init(struct bench *bench)
{
    memset(bench, 0, sizeof(*bench));
    fake_machine_init(&bench->fake, 1);
}

static void wire_set(void *context, unsigned pin, bool level)
{
    struct bench_wire *wire = context;

    assert_int_equal(pin, 5);
    wire->rises += level && !wire->level;
    wire->level = level;
}

struct irq_line bench_line(struct bench_wire *wire)
{
    return (struct irq_line){.set = wire_set, .controller = wire, .pin = 5};
}

static void note_power_off(void *context)
{
    ((struct bench *)context)->power_offs++;
}

static void note_reset(void *context)
{
    ((struct bench *)context)->resets++;
}

static void note_exit(void *context, uint32_t value)
{
    ((struct bench *)context)->exits++;
    ((struct bench *)context)->exit_value = value;
}

struct platform bench_platform(struct bench *bench)
{
    return (struct platform){
        .power_off = note_power_off,
        .reset = note_reset,
        .debug_exit = note_exit,
        .context = bench,
    };
}

uint64_t bench_in(struct bench *bench, uint16_t port, unsigned size)
{
    uint64_t value = 0;

    (void)bus_access(&bench->fake.machine.bus, BUS_PORT, port, size, false, &value);
    return value;
}

void bench_out(struct bench *bench, uint16_t port, unsigned size, uint64_t value)
{
    (void)bus_access(&bench->fake.machine.bus, BUS_PORT, port, size, true, &value);
}

void bench_advance(struct bench *bench, uint64_t ns)
{
    fake_machine_advance(&bench->fake, ns);
}

static void quiesce(struct device *device)
{
    if (device->type->quiesce)
        device->type->quiesce(device);
}

static void resume(struct device *device)
{
    if (device->type->resume)
        device->type->resume(device);
}

static size_t save(struct device *device, uint8_t *bytes)
{
    size_t written = 0;

    quiesce(device);
    assert_true(state_encoded_size(device->type->schema) <= STATE_ROOM);
    assert_int_equal(state_encode(device->type->schema, device_state(device), bytes, STATE_ROOM, &written), STATUS_OK);
    return written;
}

void bench_round_trip(struct bench *bench, struct device *device, uint64_t pause_ns)
{
    const struct state_schema *schema = device->type->schema;
    static uint8_t bytes[STATE_ROOM], again[STATE_ROOM];
    _Alignas(8) uint8_t scratch[STATE_ROOM];
    size_t size = save(device, bytes);

    assert_true(schema->size <= sizeof(scratch));
    assert_int_equal(state_decode(schema, scratch, bytes, size), STATUS_OK);
    assert_null(state_compare(schema, scratch, device_state(device)));

    memset(device_state(device), 0x5a, schema->size);
    bench->fake.now_ns += pause_ns;
    memcpy(device_state(device), scratch, schema->size);
    resume(device);
    assert_int_equal(save(device, again), size);
    assert_memory_equal(bytes, again, size);
}

/* Any value, but rather the small ones that counters, indices and flags have. */
static uint64_t odd_value(uint64_t *seed)
{
    uint64_t random = fake_random(seed);

    switch (random & 3) {
    case 0:
        return random >> 8 & 0x1f;
    case 1:
        return ~0ull;
    case 2:
        return BIT64(random >> 8 & 63);
    default:
        return fake_random(seed);
    }
}

static void damage(const struct state_schema *schema, void *state, uint64_t *seed)
{
    unsigned count = fake_random(seed) % 4 + 1;

    while (count-- > 0) {
        const struct state_field *field = &schema->fields[fake_random(seed) % schema->field_count];
        size_t at = fake_random(seed) % field->count * (field->stride ? field->stride : field->width);

        store_le((char *)state + field->offset + at, field->width, odd_value(seed));
    }
}

void bench_hostile_state(struct bench *bench, struct device *device, unsigned rounds)
{
    const struct state_schema *schema = device->type->schema;
    _Alignas(8) uint8_t good[STATE_ROOM], candidate[STATE_ROOM];
    uint64_t seed = 0x1234567;
    unsigned accepted = 0;

    for (unsigned i = 0; i < rounds; i++) {
        quiesce(device);
        memcpy(good, device_state(device), schema->size);
        memcpy(candidate, good, schema->size);
        damage(schema, candidate, &seed);
        if (schema->valid && !schema->valid(candidate))
            continue;
        accepted++;
        memcpy(device_state(device), candidate, schema->size);
        resume(device);
        bench_random_io(bench, device, 50);
    }
    assert_true(accepted > rounds / 50);
}

void bench_random_io(struct bench *bench, struct device *device, unsigned accesses)
{
    static uint64_t seed = 0x9e3779b97f4a7c15;
    struct bus *bus = &bench->fake.machine.bus;
    struct region *regions[BUS_REGIONS];
    unsigned count = 0;

    for (unsigned i = 0; i < bus->count; i++) {
        if (bus->regions[i]->device == device)
            regions[count++] = bus->regions[i];
    }
    assert_true(count > 0);
    for (unsigned i = 0; i < accesses; i++) {
        uint64_t random = fake_random(&seed);
        struct region *region = regions[(random & 0xff) % count];
        uint16_t port = (uint16_t)(region->base + (random >> 8 & 0xff) % region->size);
        unsigned size = 1u << ((random >> 16 & 15) < 13 ? 0 : random >> 20 & 3);

        if (random >> 22 & 1)
            bench_out(bench, port, size, odd_value(&seed));
        else
            (void)bench_in(bench, port, size);
        if ((random >> 23 & 7) == 0)
            bench_advance(bench, fake_random(&seed) % (random >> 26 & 15 ? 3000 : 3000000));
    }
}
