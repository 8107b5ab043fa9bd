#include "dev/chipset/pflash.h"

#include "base/bits.h"
#include "base/memory.h"
#include "core/memory.h"

enum pflash_mode { MODE_ARRAY, MODE_STATUS, MODE_IDENTIFIER, MODE_QUERY, MODE_COUNT };

enum pflash_pending { PENDING_COMMAND, PENDING_PROGRAM, PENDING_ERASE, PENDING_COUNT };

enum pflash_command {
    COMMAND_PROGRAM = 0x10,
    COMMAND_ERASE = 0x20,
    COMMAND_PROGRAM_ALTERNATE = 0x40,
    COMMAND_CLEAR_STATUS = 0x50,
    COMMAND_READ_STATUS = 0x70,
    COMMAND_READ_IDENTIFIER = 0x90,
    COMMAND_QUERY = 0x98,
    COMMAND_CONFIRM = 0xd0,
};

enum {
    STATUS_REGISTER_ERASE_FAILED = 1 << 5,
    STATUS_REGISTER_PROGRAM_FAILED = 1 << 4, /* with the one above: a command sequence that is none */
    STATUS_REGISTER_READY = 1 << 7,
};

enum { MANUFACTURER_INTEL = 0x89, DEVICE_CODE = 0x18, ERASED = 0xff };

/* The CFI query structure (JEP137B), from offset 0x10. */
enum {
    QUERY_SIGNATURE = 0x10, /* "QRY" */
    QUERY_COMMAND_SET = 0x13,
    QUERY_SIZE = 0x27,    /* as a power of two, rounded up */
    QUERY_REGIONS = 0x2c, /* number of erase block regions: 1 */
    QUERY_REGION = 0x2d,  /* blocks less one, and their size in 256 bytes; 16 bits each */
    QUERY_END = 0x31,
    COMMAND_SET_INTEL = 0x0001,
};

static const struct state_field pflash_fields[] = {
    STATE_SCALAR(struct pflash_state, mode, 1),
    STATE_SCALAR(struct pflash_state, pending, 1),
    STATE_SCALAR(struct pflash_state, status, 1),
};

static bool pflash_valid(const void *candidate)
{
    const struct pflash_state *state = candidate;

    return state->mode < MODE_COUNT && state->pending < PENDING_COUNT;
}

static const struct state_schema pflash_schema = {
    .name = "pflash",
    .version = 1,
    .fields = pflash_fields,
    .field_count = ARRAY_LENGTH(pflash_fields),
    .size = sizeof(struct pflash_state),
    .valid = pflash_valid,
};

static uint8_t *pflash_bytes(const struct pflash *flash)
{
    return flash->memory->host + flash->memory->ranges[flash->range].offset;
}

/* --- what has changed --- */

/* Bytes [from, to) are new. The store is told later: programming goes byte by byte. */
static void pflash_changed(struct pflash *flash, uint64_t from, uint64_t to)
{
    bool none = flash->changed_from == flash->changed_to;

    memory_wrote(flash->memory, flash->region.base + from, to - from);
    if (none || from < flash->changed_from)
        flash->changed_from = from;
    if (none || to > flash->changed_to)
        flash->changed_to = to;
}

/* Before the guest can see that an operation has ended. */
static void pflash_keep(struct pflash *flash)
{
    uint64_t from = flash->changed_from, size = flash->changed_to - from;

    flash->changed_to = from;
    if (size != 0 && flash->store)
        flash->store->write(flash->store, from, pflash_bytes(flash) + from, (size_t)size);
}

/* After each change of state: the bytes are to be seen, or else the registers. */
static void pflash_show(struct pflash *flash)
{
    bool shown = flash->state.mode == MODE_ARRAY && flash->state.pending == PENDING_COMMAND;

    if (shown)
        pflash_keep(flash);
    memory_show(flash->memory, flash->range, shown);
}

/* --- reading --- */

static uint8_t pflash_query(const struct pflash *flash, uint64_t offset)
{
    uint8_t table[QUERY_END - QUERY_SIGNATURE] = {'Q', 'R', 'Y'};
    uint64_t size = flash->region.size;
    unsigned power = 0;

    while (BIT64(power) < size)
        power++;
    store_le(table + QUERY_COMMAND_SET - QUERY_SIGNATURE, 2, COMMAND_SET_INTEL);
    table[QUERY_SIZE - QUERY_SIGNATURE] = (uint8_t)power;
    table[QUERY_REGIONS - QUERY_SIGNATURE] = 1;
    store_le(table + QUERY_REGION - QUERY_SIGNATURE, 2, size / PFLASH_BLOCK - 1);
    store_le(table + QUERY_REGION - QUERY_SIGNATURE + 2, 2, PFLASH_BLOCK / 256);
    return offset >= QUERY_SIGNATURE && offset < QUERY_END ? table[offset - QUERY_SIGNATURE] : 0;
}

static uint8_t pflash_read(struct pflash *flash, uint64_t offset)
{
    pflash_keep(flash);
    switch ((enum pflash_mode)flash->state.mode) {
    case MODE_IDENTIFIER:
        return (offset & 0xff) == 0 ? MANUFACTURER_INTEL : (offset & 0xff) == 1 ? DEVICE_CODE : 0;
    case MODE_QUERY:
        return pflash_query(flash, offset & 0xff);
    case MODE_ARRAY:
        if (flash->state.pending == PENDING_COMMAND)
            return pflash_bytes(flash)[offset]; /* a processor that still goes by the old map */
        return flash->state.status;
    default:
        return flash->state.status;
    }
}

/* --- writing --- */

/* Programming clears bits; only erasing sets them. */
static void pflash_program(struct pflash *flash, uint64_t offset, uint8_t value)
{
    pflash_bytes(flash)[offset] &= value;
    pflash_changed(flash, offset, offset + 1);
    flash->state.status |= STATUS_REGISTER_READY;
}

static void pflash_erase(struct pflash *flash, uint64_t offset)
{
    uint64_t block = align_down(offset, PFLASH_BLOCK);

    memset(pflash_bytes(flash) + block, ERASED, PFLASH_BLOCK);
    pflash_changed(flash, block, block + PFLASH_BLOCK);
    flash->state.status |= STATUS_REGISTER_READY;
}

static void pflash_command(struct pflash *flash, uint8_t command)
{
    struct pflash_state *state = &flash->state;

    switch (command) {
    case COMMAND_PROGRAM:
    case COMMAND_PROGRAM_ALTERNATE:
        state->mode = MODE_STATUS;
        state->pending = PENDING_PROGRAM;
        break;
    case COMMAND_ERASE:
        state->mode = MODE_STATUS;
        state->pending = PENDING_ERASE;
        break;
    case COMMAND_CLEAR_STATUS:
        state->status = 0;
        state->mode = MODE_ARRAY;
        break;
    case COMMAND_READ_STATUS:
        state->mode = MODE_STATUS;
        break;
    case COMMAND_READ_IDENTIFIER:
        state->mode = MODE_IDENTIFIER;
        break;
    case COMMAND_QUERY:
        state->mode = MODE_QUERY;
        break;
    default: /* Read Array, and whatever is no command */
        state->mode = MODE_ARRAY;
        break;
    }
}

static void pflash_write(struct pflash *flash, uint64_t offset, uint8_t value)
{
    enum pflash_pending pending = flash->state.pending;

    flash->state.pending = PENDING_COMMAND;
    if (pending == PENDING_PROGRAM)
        pflash_program(flash, offset, value);
    else if (pending == PENDING_ERASE && value == COMMAND_CONFIRM)
        pflash_erase(flash, offset);
    else if (pending == PENDING_ERASE)
        flash->state.status |= STATUS_REGISTER_READY | STATUS_REGISTER_ERASE_FAILED | STATUS_REGISTER_PROGRAM_FAILED;
    else
        pflash_command(flash, value);
    pflash_show(flash);
}

static enum io_result pflash_io(struct device *device, unsigned region, struct io_access *access)
{
    struct pflash *flash = CONTAINER_OF(device, struct pflash, device);

    (void)region;
    if (access->write)
        pflash_write(flash, access->offset, (uint8_t)access->value);
    else
        access->value = pflash_read(flash, access->offset);
    return IO_DONE;
}

static void pflash_reset(struct device *device)
{
    struct pflash *flash = CONTAINER_OF(device, struct pflash, device);

    flash->state = (struct pflash_state){.status = STATUS_REGISTER_READY};
    pflash_show(flash);
}

static void pflash_resume(struct device *device)
{
    pflash_show(CONTAINER_OF(device, struct pflash, device));
}

static void pflash_quiesce(struct device *device)
{
    pflash_keep(CONTAINER_OF(device, struct pflash, device));
}

static const struct device_type pflash_type = {
    .name = "pflash",
    .schema = &pflash_schema,
    .state_offset = offsetof(struct pflash, state),
    .io = pflash_io,
    .reset = pflash_reset,
    .quiesce = pflash_quiesce,
    .resume = pflash_resume,
};

enum status pflash_init(struct pflash *flash, struct guest_memory *memory, unsigned range, struct store *store,
                        struct bus *bus)
{
    *flash = (struct pflash){
        .device = {.type = &pflash_type, .path = "flash0"},
        .region = {.name = "pflash",
                   .space = BUS_MEMORY,
                   .base = memory->ranges[range].base,
                   .size = memory->ranges[range].size,
                   .smallest = 1,
                   .largest = 1,
                   .enabled = true,
                   .device = &flash->device},
        .memory = memory,
        .range = range,
        .store = store,
    };
    pflash_reset(&flash->device);
    return bus_add(bus, &flash->region);
}
