#include "dev/virtio/balloon.h"

#include "base/bits.h"
#include "core/memory.h"

#define BALLOON_F_MUST_TELL_HOST (1ull << 0)
#define BALLOON_F_STATS_VQ (1ull << 1)
#define BALLOON_F_DEFLATE_ON_OOM (1ull << 2)
#define BALLOON_F_PAGE_REPORTING (1ull << 5)

/*
 * Queues (5.5.2). Linux numbers only those that were negotiated, so that reports arrive at queue 3 where there is no
 * free page hinting, and at 4 by the letter of the specification.
 */
enum { QUEUE_INFLATE = 0, QUEUE_DEFLATE = 1, QUEUE_STATISTICS = 2, QUEUES = 5 };

enum { CONFIG_NUM_PAGES = 0, CONFIG_ACTUAL = 4, CONFIG_SIZE = 8, CLASS_OTHER = 0xff0000 };

/* Page numbers are read in pieces; a list longer than the limit is not one. A statistic is a tag and a number. */
enum { PIECE = 64, LIST_MOST = 1 << 16, STATISTIC_SIZE = 10, STATISTICS_MOST = 64 };

static const struct state_field balloon_fields[] = {
    VIRTIO_STATE_FIELDS(struct virtio_balloon_state, virtio, 1),
    STATE_SCALAR(struct virtio_balloon_state, target, 1),
    STATE_SCALAR(struct virtio_balloon_state, actual, 1),
};

static bool balloon_valid(const void *candidate)
{
    return virtio_state_valid(&((const struct virtio_balloon_state *)candidate)->virtio);
}

static const struct state_schema balloon_schema = {
    .name = "virtio-balloon",
    .version = 1,
    .fields = balloon_fields,
    .field_count = ARRAY_LENGTH(balloon_fields),
    .size = sizeof(struct virtio_balloon_state),
    .valid = balloon_valid,
};

static struct virtio_balloon *balloon_of(struct virtio *virtio)
{
    return CONTAINER_OF(virtio, struct virtio_balloon, virtio);
}

static bool has_statistics(const struct virtio_balloon *balloon)
{
    return virtio_has(&balloon->virtio, BALLOON_F_STATS_VQ);
}

/* --- pages --- */

/* Neighbours, upwards or downwards, are given up in one go. */
struct run {
    uint64_t first, count;
};

static void run_release(struct virtio_balloon *balloon, struct run *run)
{
    if (run->count > 0)
        memory_release(&balloon->virtio.machine->memory, run->first << PAGE_SHIFT, run->count << PAGE_SHIFT);
    run->count = 0;
}

static void run_add(struct virtio_balloon *balloon, struct run *run, uint64_t page)
{
    if (run->count > 0 && (page == run->first + run->count || page + 1 == run->first)) {
        run->first = page < run->first ? page : run->first;
        run->count++;
        return;
    }
    run_release(balloon, run);
    *run = (struct run){.first = page, .count = 1};
}

/* Page numbers of 32 bits, in the order in which the guest took them. */
static void balloon_inflate(struct virtio_balloon *balloon)
{
    const struct virtio_chain *chain = &balloon->chain;
    struct run run = {0};
    uint8_t piece[PIECE * 4];
    size_t at = 0, size;

    while ((size = virtio_chain_read(chain, at, piece, sizeof(piece))) >= 4) {
        for (size_t i = 0; i + 4 <= size; i += 4)
            run_add(balloon, &run, load_le(piece + i, 4));
        at += size;
    }
    run_release(balloon, &run);
}

/* Free pages, as buffers that may be overwritten; whole pages of them are given up. */
static void balloon_report(struct virtio_balloon *balloon)
{
    const struct virtio_chain *chain = &balloon->chain;

    for (unsigned i = chain->readable; i < (unsigned)chain->readable + chain->writable; i++) {
        const struct virtio_segment *segment = &chain->segments[i];
        uint64_t first = align_up(segment->address, PAGE_SIZE), end = segment->address + segment->size;

        end = align_down(end, PAGE_SIZE);
        if (first < end)
            memory_release(&balloon->virtio.machine->memory, first, end - first);
    }
}

static void balloon_take_pages(struct virtio_balloon *balloon, unsigned queue)
{
    struct virtio *virtio = &balloon->virtio;

    while (virtio_queue_pop(virtio, queue, &balloon->chain)) {
        if (balloon->chain.readable_bytes > LIST_MOST)
            virtio_break(virtio, queue, "a list of too many pages");
        else if (queue == QUEUE_INFLATE)
            balloon_inflate(balloon);
        else if (queue != QUEUE_DEFLATE)
            balloon_report(balloon);
        virtio_queue_push(virtio, &balloon->chain, 0);
    }
    virtio_queue_flush(virtio, queue);
}

/* --- statistics --- */

static void balloon_forget_statistics(struct virtio_balloon *balloon)
{
    for (unsigned i = 0; i < BALLOON_STATISTICS; i++)
        balloon->statistics[i] = BALLOON_UNKNOWN;
}

/* The guest's buffer stays in the queue until new figures are wanted: giving it back is the question (5.5.6.3). */
static void balloon_read_statistics(struct virtio_balloon *balloon)
{
    uint8_t entry[STATISTIC_SIZE];

    if (!virtio_queue_pop(&balloon->virtio, QUEUE_STATISTICS, &balloon->chain))
        return;
    for (unsigned i = 0; i < STATISTICS_MOST; i++) {
        if (virtio_chain_read(&balloon->chain, (size_t)i * sizeof(entry), entry, sizeof(entry)) != sizeof(entry))
            break;
        if (load_le(entry, 2) < BALLOON_STATISTICS)
            balloon->statistics[load_le(entry, 2)] = load_le(entry + 2, 8);
    }
    virtio_queue_unpop(&balloon->virtio, &balloon->chain.ticket);
}

bool virtio_balloon_poll(struct virtio_balloon *balloon)
{
    struct virtio *virtio = &balloon->virtio;

    if (!has_statistics(balloon) || !virtio_queue_pop(virtio, QUEUE_STATISTICS, &balloon->chain))
        return false;
    virtio_queue_push(virtio, &balloon->chain, 0);
    virtio_queue_flush(virtio, QUEUE_STATISTICS);
    /* Found empty, the queue asks to be notified of what comes next. */
    if (virtio_queue_pop(virtio, QUEUE_STATISTICS, &balloon->chain))
        virtio_queue_unpop(virtio, &balloon->chain.ticket);
    return true;
}

/* --- the device --- */

static void balloon_notify(struct virtio *virtio, unsigned queue)
{
    struct virtio_balloon *balloon = balloon_of(virtio);

    if (queue == QUEUE_STATISTICS && has_statistics(balloon))
        balloon_read_statistics(balloon);
    else
        balloon_take_pages(balloon, queue);
}

static void balloon_config_read(struct virtio *virtio, uint8_t *config)
{
    const struct virtio_balloon *balloon = balloon_of(virtio);

    store_le(config + CONFIG_NUM_PAGES, 4, balloon->state.target);
    store_le(config + CONFIG_ACTUAL, 4, balloon->state.actual);
}

static void balloon_config_write(struct virtio *virtio, unsigned offset, unsigned size, uint32_t value)
{
    if (offset == CONFIG_ACTUAL && size == 4)
        balloon_of(virtio)->state.actual = value;
}

static void balloon_reset(struct virtio *virtio)
{
    struct virtio_balloon *balloon = balloon_of(virtio);

    balloon->state.target = balloon->target;
    balloon->state.actual = 0;
}

static void balloon_resume(struct device *device)
{
    struct virtio_balloon *balloon = balloon_of(CONTAINER_OF(device, struct virtio, device));

    balloon->target = balloon->state.target;
    balloon_forget_statistics(balloon);
    virtio_resume(device);
}

static const struct device_type balloon_type = {
    .name = "virtio-balloon",
    .schema = &balloon_schema,
    .state_offset = offsetof(struct virtio_balloon, state),
    .io = virtio_io,
    .reset = virtio_reset,
    .quiesce = virtio_quiesce,
    .resume = balloon_resume,
};

static const struct virtio_ops balloon_ops = {
    .notify = balloon_notify,
    .reset = balloon_reset,
    .config_read = balloon_config_read,
    .config_write = balloon_config_write,
};

static const struct virtio_kind balloon_kind = {
    .type = VIRTIO_TYPE_BALLOON,
    .class_code = CLASS_OTHER,
    .config_size = CONFIG_SIZE,
    .ops = &balloon_ops,
};

void virtio_balloon_init(struct virtio_balloon *balloon)
{
    virtio_init(&balloon->virtio, &balloon_type, &balloon_kind, &balloon->state.virtio,
                BALLOON_F_MUST_TELL_HOST | BALLOON_F_STATS_VQ | BALLOON_F_DEFLATE_ON_OOM | BALLOON_F_PAGE_REPORTING,
                QUEUES);
    balloon->target = 0;
    balloon_forget_statistics(balloon);
}

void virtio_balloon_set_target(struct virtio_balloon *balloon, uint32_t pages)
{
    balloon->target = pages;
    if (balloon->state.target == pages)
        return;
    balloon->state.target = pages;
    virtio_config_changed(&balloon->virtio);
}
