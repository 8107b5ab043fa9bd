#include "dev/virtio/block.h"

#include "base/bits.h"
#include "base/memory.h"

#define BLOCK_F_SEG_MAX (1ull << 2)
#define BLOCK_F_RO (1ull << 5)
#define BLOCK_F_BLK_SIZE (1ull << 6)
#define BLOCK_F_FLUSH (1ull << 9)
#define BLOCK_F_TOPOLOGY (1ull << 10)
#define BLOCK_F_MQ (1ull << 12)
#define BLOCK_F_DISCARD (1ull << 13)
#define BLOCK_F_WRITE_ZEROES (1ull << 14)

/* Request types and their answers (5.2.6). */
enum {
    TYPE_IN = 0,
    TYPE_OUT = 1,
    TYPE_FLUSH = 4,
    TYPE_GET_ID = 8,
    TYPE_DISCARD = 11,
    TYPE_WRITE_ZEROES = 13,
    ANSWER_OK = 0,
    ANSWER_IOERR = 1,
    ANSWER_UNSUPP = 2,
};

enum { HEADER_SIZE = 16, ANSWER_SIZE = 1, RANGE_SIZE = 16, RANGE_UNMAP = 1, CLASS_STORAGE = 0x018000 };

/* Discards and zeroings are one range each, as large as a 32-bit number of sectors in one go. */
enum { RANGE_SECTORS_MOST = 1 << 22, PHYSICAL_EXPONENT_MOST = 15 };

/* Where things are in the device configuration (5.2.4). */
enum {
    CONFIG_CAPACITY = 0,
    CONFIG_SEG_MAX = 12,
    CONFIG_BLK_SIZE = 20,
    CONFIG_PHYSICAL_BLOCK_EXP = 24,
    CONFIG_MIN_IO_SIZE = 26,
    CONFIG_OPT_IO_SIZE = 28,
    CONFIG_NUM_QUEUES = 34,
    CONFIG_MAX_DISCARD_SECTORS = 36,
    CONFIG_MAX_DISCARD_SEG = 40,
    CONFIG_DISCARD_ALIGNMENT = 44,
    CONFIG_MAX_WRITE_ZEROES_SECTORS = 48,
    CONFIG_MAX_WRITE_ZEROES_SEG = 52,
    CONFIG_WRITE_ZEROES_MAY_UNMAP = 56,
    CONFIG_SIZE = 60,
};

static const struct state_field block_fields[] = {
    VIRTIO_STATE_FIELDS(struct virtio_block_state, virtio, 1),
};

static bool block_valid(const void *candidate)
{
    return virtio_state_valid(&((const struct virtio_block_state *)candidate)->virtio);
}

static const struct state_schema block_schema = {
    .name = "virtio-block",
    .version = 1,
    .fields = block_fields,
    .field_count = ARRAY_LENGTH(block_fields),
    .size = sizeof(struct virtio_block_state),
    .valid = block_valid,
};

static struct virtio_block *block_of(struct virtio *virtio)
{
    return CONTAINER_OF(virtio, struct virtio_block, virtio);
}

/* --- the pool --- */

static struct virtio_block_request *pool_take(struct virtio_block *disk)
{
    struct virtio_block_request *request = disk->free;

    if (request) {
        disk->free = request->next;
        return request;
    }
    if (disk->fresh == VIRTIO_BLOCK_REQUESTS)
        return NULL;
    request = &disk->requests[disk->fresh++];
    request->disk = disk;
    return request;
}

static void pool_put(struct virtio_block_request *request)
{
    request->next = request->disk->free;
    request->disk->free = request;
}

/* --- the end of a request --- */

/* The answer is the last byte of what the device may write. */
static void block_answer(struct virtio_block_request *request, uint8_t answer)
{
    const struct virtio_chain *chain = &request->chain;
    struct virtio *virtio = &request->disk->virtio;

    (void)virtio_chain_write(chain, chain->writable_bytes - ANSWER_SIZE, &answer, ANSWER_SIZE);
    virtio_queue_push(virtio, chain, chain->writable_bytes);
    pool_put(request);
}

static uint8_t answer_of(enum block_result result)
{
    switch (result) {
    case BLOCK_DONE:
        return ANSWER_OK;
    case BLOCK_UNSUPPORTED:
        return ANSWER_UNSUPP;
    case BLOCK_ERROR:
    case BLOCK_NO_SPACE:
        break;
    }
    return ANSWER_IOERR;
}

/* Oldest first. Machine lock held. */
static struct virtio_block_request *completed_take(struct virtio_block *disk)
{
    struct virtio_block_request *list = __atomic_exchange_n(&disk->completed, NULL, __ATOMIC_ACQUIRE), *first = NULL;

    while (list) {
        struct virtio_block_request *next = list->next;

        list->next = first;
        first = list;
        list = next;
    }
    return first;
}

/* Answers all that are complete, then interrupts once for each queue, then goes on with queues that had to wait. */
static void block_complete(struct virtio_block *disk)
{
    struct virtio_block_request *request = completed_take(disk), *next;
    uint64_t touched = 0, starved = disk->starved;

    for (; request; request = next) {
        next = request->next;
        touched |= BIT64(request->chain.ticket.queue);
        block_answer(request, answer_of(request->result));
    }
    disk->starved = 0;
    for (unsigned i = 0; i < disk->virtio.queue_count; i++) {
        if (touched & BIT64(i))
            virtio_queue_flush(&disk->virtio, i);
        if (starved & BIT64(i))
            virtio_queue_run(&disk->virtio, i);
    }
}

/* A backend's thread, no lock held. Whoever finds the list empty answers for those that come meanwhile. */
static void block_done(struct block_request *done, enum block_result result)
{
    struct virtio_block_request *request = CONTAINER_OF(done, struct virtio_block_request, request);
    struct virtio_block *disk = request->disk;
    struct virtio_block_request *head = __atomic_load_n(&disk->completed, __ATOMIC_RELAXED);

    /* Without flushes a driver takes a finished write for a durable one (5.2.6.2). */
    if (result == BLOCK_DONE && done->operation != BLOCK_READ && done->operation != BLOCK_FLUSH &&
        !virtio_has(&disk->virtio, BLOCK_F_FLUSH)) {
        done->operation = BLOCK_FLUSH;
        if (!disk->block->submit(disk->block, done))
            return;
    }
    request->result = result;
    do {
        request->next = head;
    } while (!__atomic_compare_exchange_n(&disk->completed, &head, request, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED));
    if (head)
        return;
    lock_acquire(&disk->virtio.machine->lock);
    block_complete(disk);
    lock_release(&disk->virtio.machine->lock);
}

/* --- its beginning --- */

static bool inside_disk(const struct virtio_block *disk, uint64_t sector, uint64_t bytes)
{
    uint64_t sectors = disk->block->limits.size / BLOCK_SECTOR;

    return bytes % BLOCK_SECTOR == 0 && range_inside(sector, bytes / BLOCK_SECTOR, sectors);
}

static void block_submit(struct virtio_block_request *request, enum block_operation operation, uint64_t offset,
                         uint64_t length)
{
    struct block *block = request->disk->block;

    request->request.operation = operation;
    request->request.offset = offset;
    request->request.length = length;
    request->request.segments = request->segments;
    request->request.done = block_done;
    if (block->submit(block, &request->request))
        block_answer(request, ANSWER_OK);
}

/* The chain's segments without their first `skip` bytes, `length` bytes of them. */
static void block_take_segments(struct virtio_block_request *request, const struct virtio_segment *from, uint64_t skip,
                                uint64_t length)
{
    unsigned count = 0;

    for (; length > 0; from++) {
        uint64_t here;

        if (skip >= from->size) {
            skip -= from->size;
            continue;
        }
        here = from->size - skip < length ? from->size - skip : length;
        request->segments[count++] = (struct block_segment){.bytes = from->bytes + skip, .size = (size_t)here};
        length -= here;
        skip = 0;
    }
    request->request.segment_count = count;
}

static void block_transfer(struct virtio_block_request *request, uint64_t sector)
{
    const struct virtio_chain *chain = &request->chain;
    bool write = request->type == TYPE_OUT;
    uint64_t length = write ? chain->readable_bytes - HEADER_SIZE : chain->writable_bytes - ANSWER_SIZE;

    if (!inside_disk(request->disk, sector, length) || (write && request->disk->block->limits.read_only)) {
        block_answer(request, ANSWER_IOERR);
        return;
    }
    if (length == 0) {
        block_answer(request, ANSWER_OK);
        return;
    }
    if (write)
        block_take_segments(request, chain->segments, HEADER_SIZE, length);
    else
        block_take_segments(request, chain->segments + chain->readable, 0, length);
    block_submit(request, write ? BLOCK_WRITE : BLOCK_READ, sector * BLOCK_SECTOR, length);
}

/* One range: sector, number of sectors, flags. */
static void block_clear(struct virtio_block_request *request)
{
    const struct block_limits *limits = &request->disk->block->limits;
    bool zeroes = request->type == TYPE_WRITE_ZEROES;
    uint8_t range[RANGE_SIZE];
    uint64_t sector, sectors;
    uint32_t flags;

    if (zeroes ? !limits->write_zeroes : !limits->discard_granularity) {
        block_answer(request, ANSWER_UNSUPP);
        return;
    }
    if (request->chain.readable_bytes != HEADER_SIZE + RANGE_SIZE || limits->read_only) {
        block_answer(request, ANSWER_IOERR);
        return;
    }
    (void)virtio_chain_read(&request->chain, HEADER_SIZE, range, sizeof(range));
    sector = load_le(range, 8);
    sectors = load_le(range + 8, 4);
    flags = (uint32_t)load_le(range + 12, 4);
    if (flags & ~(zeroes ? (uint32_t)RANGE_UNMAP : 0)) {
        block_answer(request, ANSWER_UNSUPP);
        return;
    }
    if (sectors > RANGE_SECTORS_MOST || !inside_disk(request->disk, sector, sectors * BLOCK_SECTOR)) {
        block_answer(request, ANSWER_IOERR);
        return;
    }
    if (sectors == 0) {
        block_answer(request, ANSWER_OK);
        return;
    }
    request->request.unmap = flags & RANGE_UNMAP;
    block_submit(request, zeroes ? BLOCK_WRITE_ZEROES : BLOCK_DISCARD, sector * BLOCK_SECTOR, sectors * BLOCK_SECTOR);
}

static void block_tell_serial(struct virtio_block_request *request)
{
    const struct virtio_block *disk = request->disk;
    size_t room = request->chain.writable_bytes - ANSWER_SIZE;

    (void)virtio_chain_write(&request->chain, 0, disk->serial,
                             room < sizeof(disk->serial) ? room : sizeof(disk->serial));
    block_answer(request, ANSWER_OK);
}

/* A request without a header or without room for an answer cannot even be refused. */
static void block_begin(struct virtio_block_request *request)
{
    struct virtio_block *disk = request->disk;
    uint8_t header[HEADER_SIZE];

    request->request.segment_count = 0;
    request->request.unmap = false;
    if (request->chain.writable_bytes < ANSWER_SIZE ||
        virtio_chain_read(&request->chain, 0, header, sizeof(header)) != sizeof(header)) {
        unsigned queue = request->chain.ticket.queue;

        virtio_break(&disk->virtio, queue, "a request without header or answer");
        virtio_queue_push(&disk->virtio, &request->chain, 0);
        pool_put(request);
        return;
    }
    request->type = (uint32_t)load_le(header, 4);
    switch (request->type) {
    case TYPE_IN:
    case TYPE_OUT:
        block_transfer(request, load_le(header + 8, 8));
        break;
    case TYPE_FLUSH:
        block_submit(request, BLOCK_FLUSH, 0, 0);
        break;
    case TYPE_DISCARD:
    case TYPE_WRITE_ZEROES:
        block_clear(request);
        break;
    case TYPE_GET_ID:
        block_tell_serial(request);
        break;
    default:
        block_answer(request, ANSWER_UNSUPP);
        break;
    }
}

static void block_notify(struct virtio *virtio, unsigned queue)
{
    struct virtio_block *disk = block_of(virtio);
    struct virtio_block_request *request;

    while ((request = pool_take(disk)) != NULL) {
        if (!virtio_queue_pop(virtio, queue, &request->chain)) {
            pool_put(request);
            break;
        }
        block_begin(request);
    }
    if (!request)
        disk->starved |= BIT64(queue);
    virtio_queue_flush(virtio, queue);
}

/* --- the device --- */

static void block_config_read(struct virtio *virtio, uint8_t *config)
{
    const struct block_limits *limits = &block_of(virtio)->block->limits;
    unsigned exponent = 0;

    while (exponent < PHYSICAL_EXPONENT_MOST && (uint32_t)BLOCK_SECTOR << exponent < limits->physical_block)
        exponent++;
    store_le(config + CONFIG_CAPACITY, 8, limits->size / BLOCK_SECTOR);
    store_le(config + CONFIG_SEG_MAX, 4, VIRTIO_SEGMENTS - 2);
    store_le(config + CONFIG_BLK_SIZE, 4, BLOCK_SECTOR);
    store_le(config + CONFIG_PHYSICAL_BLOCK_EXP, 1, exponent);
    store_le(config + CONFIG_MIN_IO_SIZE, 2, 1ull << exponent);
    store_le(config + CONFIG_NUM_QUEUES, 2, virtio->queue_count);
    if (limits->discard_granularity) {
        store_le(config + CONFIG_MAX_DISCARD_SECTORS, 4, RANGE_SECTORS_MOST);
        store_le(config + CONFIG_MAX_DISCARD_SEG, 4, 1);
        store_le(config + CONFIG_DISCARD_ALIGNMENT, 4, limits->discard_granularity / BLOCK_SECTOR);
    }
    if (limits->write_zeroes) {
        store_le(config + CONFIG_MAX_WRITE_ZEROES_SECTORS, 4, RANGE_SECTORS_MOST);
        store_le(config + CONFIG_MAX_WRITE_ZEROES_SEG, 4, 1);
        store_le(config + CONFIG_WRITE_ZEROES_MAY_UNMAP, 1, 1);
    }
}

static void block_reset(struct virtio *virtio)
{
    block_of(virtio)->starved = 0;
}

/* After quiesce, without the machine lock: returns when no request is under way. */
static void block_drain(struct device *device)
{
    struct virtio_block *disk = block_of(CONTAINER_OF(device, struct virtio, device));

    disk->block->drain(disk->block);
}

static const struct device_type block_type = {
    .name = "virtio-block",
    .schema = &block_schema,
    .state_offset = offsetof(struct virtio_block, state),
    .io = virtio_io,
    .reset = virtio_reset,
    .quiesce = virtio_quiesce,
    .drain = block_drain,
    .resume = virtio_resume,
};

static const struct virtio_ops block_ops = {
    .notify = block_notify,
    .reset = block_reset,
    .config_read = block_config_read,
};

static const struct virtio_kind block_kind = {
    .type = VIRTIO_TYPE_BLOCK,
    .class_code = CLASS_STORAGE,
    .config_size = CONFIG_SIZE,
    .ops = &block_ops,
};

static uint64_t block_features(const struct block_limits *limits, unsigned queues)
{
    return BLOCK_F_SEG_MAX | BLOCK_F_BLK_SIZE | BLOCK_F_FLUSH | BLOCK_F_TOPOLOGY | (queues > 1 ? BLOCK_F_MQ : 0) |
           (limits->read_only ? BLOCK_F_RO : 0) | (limits->discard_granularity ? BLOCK_F_DISCARD : 0) |
           (limits->write_zeroes ? BLOCK_F_WRITE_ZEROES : 0);
}

void virtio_block_init(struct virtio_block *disk, struct block *block, const char *serial, unsigned queues)
{
    size_t length = strlen(serial);

    queues = queues < VIRTIO_BLOCK_QUEUES ? queues : VIRTIO_BLOCK_QUEUES;
    virtio_init(&disk->virtio, &block_type, &block_kind, &disk->state.virtio, block_features(&block->limits, queues),
                queues);
    disk->block = block;
    memset(disk->serial, 0, sizeof(disk->serial));
    memcpy(disk->serial, serial, length < sizeof(disk->serial) ? length : sizeof(disk->serial));
    disk->starved = 0;
    disk->completed = NULL;
    disk->free = NULL;
    disk->fresh = 0;
}

void virtio_block_resized(struct virtio_block *disk)
{
    virtio_config_changed(&disk->virtio);
}
