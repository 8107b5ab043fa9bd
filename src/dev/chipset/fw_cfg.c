#include "dev/chipset/fw_cfg.h"

#include "base/bits.h"
#include "base/memory.h"
#include "core/memory.h"
#include "port/log.h"

enum fw_cfg_region { REGION_PORTS, REGION_DMA };

enum { PORTS = 0x510, PORTS_SIZE = 2, DATA_OFFSET = 1, DMA = 0x514, DMA_SIZE = 8 };

enum { ID_TRADITIONAL = 1 << 0, ID_DMA = 1 << 1 };

/* "QEMU CFG", as a big-endian register reads it. */
#define DMA_SIGNATURE 0x51454d5520434647ull

/* The DMA descriptor: control, length, address; big-endian. */
enum { DESCRIPTOR_SIZE = 16, DESCRIPTOR_LENGTH = 4, DESCRIPTOR_ADDRESS = 8 };

enum dma_control {
    DMA_ERROR = 1 << 0,
    DMA_READ = 1 << 1,
    DMA_SKIP = 1 << 2,
    DMA_SELECT = 1 << 3,
    DMA_WRITE = 1 << 4,
    DMA_SELECTOR_SHIFT = 16,
};

/* In a selector: to write through the data port, which is no longer done. */
enum { SELECTOR_WRITE = 1 << 14 };

/* A directory entry: size and key, big-endian, and the name. */
enum { ENTRY_SIZE = 0, ENTRY_KEY = 4, ENTRY_NAME = 8, DIRECTORY_COUNT_SIZE = 4 };

static const struct state_field fw_cfg_fields[] = {
    STATE_SCALAR(struct fw_cfg_state, selector, 1),
    STATE_SCALAR(struct fw_cfg_state, offset, 1),
    STATE_SCALAR(struct fw_cfg_state, address_high, 1),
};

static const struct state_schema fw_cfg_schema = {
    .name = "fw-cfg",
    .version = 1,
    .fields = fw_cfg_fields,
    .field_count = ARRAY_LENGTH(fw_cfg_fields),
    .size = sizeof(struct fw_cfg_state),
};

static uint64_t load_be(const uint8_t *from, size_t size)
{
    uint64_t value = 0;

    for (size_t i = 0; i < size; i++)
        value = value << 8 | from[i];
    return value;
}

static void store_be(uint8_t *to, size_t size, uint64_t value)
{
    for (size_t i = size; i-- > 0; value >>= 8)
        to[i] = (uint8_t)value;
}

/* --- items --- */

static const struct fw_cfg_item *item_find(const struct fw_cfg *config, uint16_t key)
{
    for (unsigned i = 0; i < config->item_count; i++)
        if (config->items[i].key == key)
            return &config->items[i];
    return NULL;
}

static const uint8_t *item_bytes(const struct fw_cfg_item *item)
{
    return item->bytes ? item->bytes : item->value;
}

static enum status item_add(struct fw_cfg *config, const struct fw_cfg_item *item)
{
    if (item_find(config, item->key)) {
        log_error("fw_cfg: item 0x%x is there already", item->key);
        return STATUS_EXISTS;
    }
    if (config->item_count == FW_CFG_ITEMS) {
        log_error("fw_cfg: no room for item 0x%x; there are %d", item->key, (int)FW_CFG_ITEMS);
        return STATUS_NO_MEMORY;
    }
    config->items[config->item_count++] = *item;
    return STATUS_OK;
}

enum status fw_cfg_add(struct fw_cfg *config, uint16_t key, const void *bytes, uint32_t size)
{
    const struct fw_cfg_item item = {.key = key, .bytes = size ? bytes : NULL, .size = size};

    return item_add(config, &item);
}

enum status fw_cfg_add_number(struct fw_cfg *config, uint16_t key, uint64_t number, unsigned size)
{
    struct fw_cfg_item item = {.key = key, .size = size};

    store_le(item.value, size, number);
    return item_add(config, &item);
}

/* A name in the directory, and the key that it gets. */
static enum status directory_add(struct fw_cfg *config, const char *name, uint32_t size, uint16_t *key)
{
    uint8_t *entry = config->directory + DIRECTORY_COUNT_SIZE + config->file_count * FW_CFG_DIRECTORY_ENTRY;

    if (strlen(name) >= FW_CFG_NAME_SIZE) {
        log_error("fw_cfg: the file name %s is longer than %d bytes", name, FW_CFG_NAME_SIZE - 1);
        return STATUS_INVALID;
    }
    if (config->file_count == FW_CFG_FILES) {
        log_error("fw_cfg: no room for the file %s; there are %d", name, (int)FW_CFG_FILES);
        return STATUS_NO_MEMORY;
    }
    *key = (uint16_t)(FW_CFG_FIRST_FILE + config->file_count++);
    store_be(entry + ENTRY_SIZE, 4, size);
    store_be(entry + ENTRY_KEY, 2, *key);
    memcpy(entry + ENTRY_NAME, name, strlen(name));
    store_be(config->directory, DIRECTORY_COUNT_SIZE, config->file_count);
    return STATUS_OK;
}

enum status fw_cfg_add_file(struct fw_cfg *config, const char *name, const void *bytes, uint32_t size)
{
    uint16_t key = 0;
    enum status status = directory_add(config, name, size, &key);

    return status == STATUS_OK ? fw_cfg_add(config, key, bytes, size) : status;
}

enum status fw_cfg_add_file_number(struct fw_cfg *config, const char *name, uint64_t number, unsigned size)
{
    uint16_t key = 0;
    enum status status = directory_add(config, name, size, &key);

    return status == STATUS_OK ? fw_cfg_add_number(config, key, number, size) : status;
}

/* --- reading --- */

static void fw_cfg_select(struct fw_cfg *config, uint16_t selector)
{
    config->state.selector = selector & (uint16_t)~SELECTOR_WRITE;
    config->state.offset = 0;
}

/* How many bytes of the selected item are left, and where they are. */
static uint32_t fw_cfg_rest(const struct fw_cfg *config, const uint8_t **bytes)
{
    const struct fw_cfg_item *item = item_find(config, config->state.selector);

    if (!item || config->state.offset >= item->size)
        return 0;
    *bytes = item_bytes(item) + config->state.offset;
    return item->size - config->state.offset;
}

/* An offset at the end of the numbers stays there: it is behind every item. */
static void fw_cfg_advance(struct fw_cfg *config, uint32_t count)
{
    config->state.offset = count > UINT32_MAX - config->state.offset ? UINT32_MAX : config->state.offset + count;
}

static uint8_t fw_cfg_next(struct fw_cfg *config)
{
    const uint8_t *bytes;
    uint8_t value = fw_cfg_rest(config, &bytes) ? bytes[0] : 0;

    fw_cfg_advance(config, 1);
    return value;
}

/* --- DMA --- */

/* Zeroes behind an item's end: guests ask for few, hostile ones for 4 GiB. */
static enum status dma_clear(struct fw_cfg *config, uint64_t address, uint64_t size)
{
    static const uint8_t zeroes[PAGE_SIZE];
    enum status status = STATUS_OK;

    while (size && status == STATUS_OK) {
        size_t piece = size < sizeof(zeroes) ? (size_t)size : sizeof(zeroes);

        status = memory_write(config->memory, address, zeroes, piece);
        address += piece;
        size -= piece;
    }
    return status;
}

static enum status dma_read(struct fw_cfg *config, uint64_t address, uint32_t length)
{
    const uint8_t *bytes = NULL;
    uint32_t rest = fw_cfg_rest(config, &bytes);
    uint32_t copied = length < rest ? length : rest;
    enum status status = STATUS_OK;

    if (address > UINT64_MAX - length)
        return STATUS_INVALID;
    if (copied)
        status = memory_write(config->memory, address, bytes, copied);
    if (status == STATUS_OK)
        status = dma_clear(config, address + copied, length - copied);
    return status;
}

static enum status dma_carry_out(struct fw_cfg *config, uint32_t control, uint32_t length, uint64_t address)
{
    if (control & DMA_SELECT)
        fw_cfg_select(config, (uint16_t)(control >> DMA_SELECTOR_SHIFT));
    if (control & DMA_READ) {
        enum status status = dma_read(config, address, length);

        if (status == STATUS_OK)
            fw_cfg_advance(config, length);
        return status;
    }
    if (control & DMA_WRITE)
        return STATUS_INVALID; /* there is nothing to write to */
    if (control & DMA_SKIP)
        fw_cfg_advance(config, length);
    return STATUS_OK;
}

/* The answer is the control field: zero, or the error bit. A descriptor that is not in memory gets none. */
static void fw_cfg_dma(struct fw_cfg *config, uint64_t at)
{
    uint8_t descriptor[DESCRIPTOR_SIZE], answer[4];

    if (memory_read(config->memory, at, descriptor, sizeof(descriptor)) != STATUS_OK)
        return;
    enum status status =
        dma_carry_out(config, (uint32_t)load_be(descriptor, 4), (uint32_t)load_be(descriptor + DESCRIPTOR_LENGTH, 4),
                      load_be(descriptor + DESCRIPTOR_ADDRESS, 8));
    store_be(answer, sizeof(answer), status == STATUS_OK ? 0 : DMA_ERROR);
    status = memory_write(config->memory, at, answer, sizeof(answer));
    (void)status; /* in ROM: the guest does not get to know */
}

/* --- registers --- */

static enum io_result fw_cfg_io_ports(struct fw_cfg *config, struct io_access *access)
{
    if (access->write && access->size == 2)
        fw_cfg_select(config, (uint16_t)access->value);
    else if (!access->write && access->size == 1 && access->offset == DATA_OFFSET)
        access->value = fw_cfg_next(config);
    else if (!access->write)
        access->value = 0;
    return IO_DONE;
}

static enum io_result fw_cfg_io_dma(struct fw_cfg *config, struct io_access *access)
{
    uint8_t bytes[8];

    if (!access->write) {
        store_be(bytes, sizeof(bytes), DMA_SIGNATURE);
        access->value = load_le(bytes + access->offset, 4);
        return IO_DONE;
    }
    store_le(bytes, 4, access->value);
    if (access->offset == 0) {
        config->state.address_high = (uint32_t)load_be(bytes, 4);
        return IO_DONE;
    }
    uint64_t at = (uint64_t)config->state.address_high << 32 | load_be(bytes, 4);
    config->state.address_high = 0;
    fw_cfg_dma(config, at);
    return IO_DONE;
}

static enum io_result fw_cfg_io(struct device *device, unsigned region, struct io_access *access)
{
    struct fw_cfg *config = CONTAINER_OF(device, struct fw_cfg, device);

    return region == REGION_PORTS ? fw_cfg_io_ports(config, access) : fw_cfg_io_dma(config, access);
}

static void fw_cfg_reset(struct device *device)
{
    struct fw_cfg *config = CONTAINER_OF(device, struct fw_cfg, device);

    config->state = (struct fw_cfg_state){0};
}

static const struct device_type fw_cfg_type = {
    .name = "fw-cfg",
    .schema = &fw_cfg_schema,
    .state_offset = offsetof(struct fw_cfg, state),
    .io = fw_cfg_io,
    .reset = fw_cfg_reset,
};

static struct region fw_cfg_region(struct fw_cfg *config, const char *name, enum fw_cfg_region index)
{
    return (struct region){
        .name = name,
        .space = BUS_PORT,
        .enabled = true,
        .device = &config->device,
        .index = index,
    };
}

static enum status fw_cfg_add_regions(struct fw_cfg *config, struct bus *bus)
{
    enum status status;

    config->ports = fw_cfg_region(config, "fw-cfg", REGION_PORTS);
    config->ports.base = PORTS;
    config->ports.size = PORTS_SIZE;
    config->ports.smallest = 1;
    config->ports.largest = 2;
    config->dma = fw_cfg_region(config, "fw-cfg-dma", REGION_DMA);
    config->dma.base = DMA;
    config->dma.size = DMA_SIZE;
    config->dma.smallest = 4;
    config->dma.largest = 4;
    status = bus_add(bus, &config->ports);
    return status == STATUS_OK ? bus_add(bus, &config->dma) : status;
}

enum status fw_cfg_init(struct fw_cfg *config, struct guest_memory *memory, struct bus *bus)
{
    enum status status;

    memset(config, 0, sizeof(*config));
    config->device.type = &fw_cfg_type;
    config->device.path = "isa/fw-cfg";
    config->memory = memory;
    status = fw_cfg_add(config, FW_CFG_SIGNATURE, "QEMU", 4);
    if (status == STATUS_OK)
        status = fw_cfg_add_number(config, FW_CFG_ID, ID_TRADITIONAL | ID_DMA, 4);
    if (status == STATUS_OK)
        status = fw_cfg_add(config, FW_CFG_DIRECTORY, config->directory, sizeof(config->directory));
    return status == STATUS_OK ? fw_cfg_add_regions(config, bus) : status;
}
