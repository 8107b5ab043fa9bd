/* The devices that the virtio fuzzer drives, and the worlds behind them. */
#include <stdlib.h>
#include <string.h>

#include "../unit/virtio_bench.h"
#include "base/bits.h"
#include "dev/virtio/balloon.h"
#include "dev/virtio/block.h"
#include "dev/virtio/console.h"
#include "dev/virtio/net.h"
#include "dev/virtio/rng.h"
#include "dev/virtio/vsock.h"
#include "fuzz_virtio.h"

/* A place in guest memory for a request's header. */
static uint8_t *header_at(struct bench_buffer *buffer, uint32_t size)
{
    *buffer = (struct bench_buffer){BENCH_DATA + fuzz_below(64) * 4096, size, false};
    return bench_at(fuzz_bench(), buffer->address);
}

/* Touches every byte, so that the sanitizer sees where they are. */
static void touch(void *bytes, size_t size, bool write)
{
    static volatile uint8_t sink;
    volatile uint8_t *at = bytes;

    for (size_t i = 0; i<size; i += size - i> 64 ? 64 : 1) {
        if (write)
            at[i] = (uint8_t)i;
        else
            sink = at[i];
    }
    (void)sink;
}

static void lock(void)
{
    lock_acquire(&fuzz_bench()->fake.machine.lock);
}

static void unlock(void)
{
    lock_release(&fuzz_bench()->fake.machine.lock);
}

/* --- block --- */

enum { DISK_SECTORS = 1000 };

static struct block disk;
static struct virtio_block block_device;
static struct block_request *waiting[2 * VIRTIO_BLOCK_REQUESTS];
static unsigned waiting_count;

static void disk_touch(const struct block_request *request)
{
    if (request->operation == BLOCK_READ || request->operation == BLOCK_WRITE)
        for (unsigned i = 0; i < request->segment_count; i++)
            touch(request->segments[i].bytes, request->segments[i].size, request->operation == BLOCK_READ);
}

static bool disk_submit(struct block *block, struct block_request *request)
{
    uint64_t size = 0;

    (void)block;
    fuzz_check(range_inside(request->offset, request->length, disk.limits.size), "a request outside of the disk");
    fuzz_check(request->offset % BLOCK_SECTOR == 0 && request->length % BLOCK_SECTOR == 0, "half a sector");
    for (unsigned i = 0; i < request->segment_count; i++)
        size += request->segments[i].size;
    if (request->operation == BLOCK_READ || request->operation == BLOCK_WRITE)
        fuzz_check(size == request->length && size > 0, "segments that are not the length");
    if (fuzz_one_in(4)) {
        disk_touch(request);
        return true;
    }
    fuzz_check(waiting_count < ARRAY_LENGTH(waiting), "more requests than the device has");
    waiting[waiting_count++] = request;
    return false;
}

static void disk_finish(unsigned index)
{
    static const enum block_result results[] = {BLOCK_DONE,  BLOCK_DONE,     BLOCK_DONE,
                                                BLOCK_ERROR, BLOCK_NO_SPACE, BLOCK_UNSUPPORTED};
    struct block_request *request = waiting[index];

    waiting[index] = waiting[--waiting_count];
    disk_touch(request);
    request->done(request, results[fuzz_below(ARRAY_LENGTH(results))]);
}

static void disk_drain(struct block *block)
{
    (void)block;
    while (waiting_count > 0)
        disk_finish(waiting_count - 1);
}

static struct virtio *block_make(void)
{
    bool discard = fuzz_one_in(2);

    disk = (struct block){
        .limits = {.size = DISK_SECTORS * BLOCK_SECTOR,
                   .physical_block = 4096,
                   .discard_granularity = discard ? 4096 : 0,
                   .write_zeroes = fuzz_one_in(2),
                   .read_only = fuzz_one_in(10)},
        .submit = disk_submit,
        .drain = disk_drain,
    };
    waiting_count = 0;
    memset(&block_device.state, 0, sizeof(block_device.state));
    virtio_block_init(&block_device, &disk, "fuzz", 1 + (unsigned)fuzz_below(4));
    return &block_device.virtio;
}

/* Header, data, answer. */
static unsigned block_shape(unsigned queue, struct bench_buffer *buffers, unsigned count)
{
    static const uint8_t types[] = {0, 0, 1, 1, 4, 8, 11, 13, 99};
    uint8_t *header = header_at(&buffers[0], 16);
    unsigned type = types[fuzz_below(sizeof(types))];

    (void)queue;
    store_le(header, 8, type);
    store_le(header + 8, 8, fuzz_one_in(10) ? fuzz_next() : fuzz_below(DISK_SECTORS));
    for (unsigned i = 1; i < count; i++) {
        buffers[i].write = type == 0 || type == 8;
        if (!fuzz_one_in(6))
            buffers[i].size = (uint32_t)(1 + fuzz_below(8)) * BLOCK_SECTOR;
    }
    if (count < 3 || type == 4)
        count = 2;
    if (type >= 11 && count == 3) {
        uint8_t *range = header_at(&buffers[1], 16);

        store_le(range, 8, fuzz_below(DISK_SECTORS));
        store_le(range + 8, 4, fuzz_one_in(6) ? fuzz_next() & 0xffffffff : fuzz_below(64));
        store_le(range + 12, 4, fuzz_below(3));
    }
    (void)header_at(&buffers[count - 1], 1);
    buffers[count - 1].write = true;
    return count;
}

static void block_outside(void)
{
    for (uint64_t count = fuzz_below(8); count > 0 && waiting_count > 0; count--)
        disk_finish((unsigned)fuzz_below(waiting_count));
    if (fuzz_one_in(20)) {
        lock();
        disk.limits.size = fuzz_one_in(2) || waiting_count > 0 ? disk.limits.size : BLOCK_SECTOR * fuzz_below(2000);
        virtio_block_resized(&block_device);
        unlock();
    }
}

/* --- net --- */

static struct network network;
static struct virtio_net net_device;

static bool network_transmit(struct network *self, unsigned pair, const struct packet *packet)
{
    size_t size = 0;

    if (fuzz_one_in(4))
        (void)self->receive(self->device, pair, packet); /* a wire whose ends meet */
    for (unsigned i = 0; i < packet->segment_count; i++) {
        touch(packet->segments[i].bytes, packet->segments[i].size, false);
        size += packet->segments[i].size;
    }
    fuzz_check(size == packet->size && size >= PACKET_HEADER && size <= PACKET_MOST, "a frame of a wrong size");
    fuzz_check(!packet->needs_checksum || (size_t)packet->checksum_start + packet->checksum_offset + 2 <= packet->size,
               "a checksum outside of its frame");
    return !fuzz_one_in(8);
}

static void network_drained(struct network *self, unsigned pair)
{
    (void)self;
    (void)pair;
}

static void network_configure(struct network *self, unsigned abilities, unsigned pairs)
{
    fuzz_check(!(abilities & ~self->receive_abilities), "the guest takes what was never offered");
    fuzz_check(pairs >= 1 && pairs <= self->pairs, "pairs that are not there");
}

static struct virtio *net_make(void)
{
    static const uint8_t mac[PACKET_MAC] = {2, 0, 0, 0, 0, 1};

    network = (struct network){
        .pairs = 1 + (unsigned)fuzz_below(4),
        .transmit_abilities = (unsigned)fuzz_below(16),
        .receive_abilities = (unsigned)fuzz_below(16),
        .transmit = network_transmit,
        .drained = network_drained,
        .configure = network_configure,
    };
    memset(&net_device, 0, sizeof(net_device));
    virtio_net_init(&net_device, &network, mac, 4);
    return &net_device.virtio;
}

static unsigned net_shape(unsigned queue, struct bench_buffer *buffers, unsigned count)
{
    uint8_t *header;

    if (queue + 1 == net_device.virtio.queue_count || (queue == 2 && fuzz_one_in(2))) {
        header = header_at(&buffers[0], 2 + (uint32_t)fuzz_below(40));
        fuzz_fill(header, 44);
        header[0] = (uint8_t)fuzz_below(6);
        header[1] = (uint8_t)fuzz_below(3);
        store_le(header + 2, 4, fuzz_below(4));
        (void)header_at(&buffers[1], 1);
        buffers[1].write = true;
        return 2;
    }
    for (unsigned i = 0; i < count; i++)
        buffers[i].write = queue % 2 == 0;
    if (queue % 2 == 0)
        return count;
    header = header_at(&buffers[0], 12);
    memset(header, 0, 12);
    header[0] = (uint8_t)fuzz_below(3);
    header[1] = (uint8_t)(fuzz_below(6) | (fuzz_one_in(4) ? 0x80 : 0));
    store_le(header + 2, 8, fuzz_one_in(2) ? fuzz_next() : 0x0010002205a00036);
    return count;
}

static void net_outside(void)
{
    static uint8_t bytes[PACKET_MOST];
    size_t size = PACKET_HEADER + (fuzz_one_in(4) ? fuzz_below(PACKET_MOST - PACKET_HEADER + 1) : fuzz_below(1600));
    const struct packet_segment segments[] = {{bytes, size / 2}, {bytes + size / 2, size - size / 2}};
    const struct packet packet = {
        .segments = segments,
        .segment_count = 2,
        .size = size,
        .needs_checksum = fuzz_one_in(3),
        .checksum_valid = fuzz_one_in(3),
        .cut = fuzz_one_in(3) ? (enum packet_cut)fuzz_below(3) : PACKET_WHOLE,
        .cut_size = 1448,
        .header_size = 54,
    };

    lock();
    if (fuzz_one_in(6))
        virtio_net_set_link(&net_device, !fuzz_one_in(3));
    if (fuzz_one_in(2))
        network.sendable(network.device, (unsigned)fuzz_below(5));
    else
        (void)network.receive(network.device, (unsigned)fuzz_below(5), &packet);
    unlock();
}

/* --- console, rng --- */

static struct stream stream;
static struct virtio_console console_device;
static struct virtio_rng rng_device;

static void stream_write(struct stream *self, const void *bytes, size_t size)
{
    (void)self;
    touch((void *)(uintptr_t)bytes, size, false);
}

static void stream_drained(struct stream *self)
{
    (void)self;
}

static struct virtio *console_make(void)
{
    stream = (struct stream){.write = stream_write, .drained = stream_drained};
    memset(&console_device, 0, sizeof(console_device));
    virtio_console_init(&console_device, fuzz_one_in(10) ? NULL : &stream);
    return &console_device.virtio;
}

static void console_outside(void)
{
    uint8_t bytes[100];

    fuzz_fill(bytes, sizeof(bytes));
    lock();
    if (fuzz_one_in(4))
        virtio_console_resize(&console_device, (uint16_t)fuzz_next(), (uint16_t)fuzz_next());
    else if (stream.receive)
        fuzz_check(stream.receive(stream.device, bytes, sizeof(bytes)) <= sizeof(bytes), "more taken than given");
    unlock();
}

static void entropy_fill(struct entropy *self, void *bytes, size_t size)
{
    (void)self;
    memset(bytes, 0x5a, size);
}

static struct entropy entropy = {.fill = entropy_fill};

static struct virtio *rng_make(void)
{
    memset(&rng_device, 0, sizeof(rng_device));
    virtio_rng_init(&rng_device, &entropy);
    return &rng_device.virtio;
}

/* --- balloon --- */

static struct virtio_balloon balloon_device;

static void pages_release(struct memory_releaser *self, uint64_t offset, uint64_t size)
{
    (void)self;
    fuzz_check(range_inside(offset, size, BENCH_RAM) && (offset | size) % 4096 == 0, "pages that are not there");
}

static struct memory_releaser releaser = {.release = pages_release};

static struct virtio *balloon_make(void)
{
    memset(&balloon_device, 0, sizeof(balloon_device));
    virtio_balloon_init(&balloon_device);
    return &balloon_device.virtio;
}

/* Page numbers, or statistics. */
static unsigned balloon_shape(unsigned queue, struct bench_buffer *buffers, unsigned count)
{
    uint8_t *list;

    if (queue > 2)
        return count;
    list = header_at(&buffers[0], queue == 2 ? 100 : 4 * (uint32_t)(1 + fuzz_below(100)));
    for (unsigned i = 0; i < 100; i++) {
        if (queue == 2)
            store_le(list + 10ull * i, 2, fuzz_below(12));
        else
            store_le(list + 4ull * i, 4, fuzz_one_in(10) ? fuzz_next() : fuzz_below(BENCH_RAM >> 12));
    }
    return 1;
}

static void balloon_outside(void)
{
    lock();
    fuzz_bench()->fake.machine.memory.releaser = &releaser;
    if (fuzz_one_in(2))
        virtio_balloon_set_target(&balloon_device, (uint32_t)fuzz_next());
    else
        (void)virtio_balloon_poll(&balloon_device);
    unlock();
}

/* --- vsock --- */

enum { GUEST_CID = 3 };

static struct vsock_world world;
static struct virtio_vsock vsock_device;
static struct {
    bool ours;
    size_t held; /* from the guest, not consumed */
} calls[VSOCK_CONNECTIONS];

static void world_connect(struct vsock_world *self, unsigned connection, uint32_t port)
{
    (void)port;
    fuzz_check(connection < VSOCK_CONNECTIONS && !calls[connection].ours, "a number that is in use");
    calls[connection].ours = true;
    calls[connection].held = 0;
    if (fuzz_one_in(2)) {
        self->accepted(self->device, connection);
    } else if (fuzz_one_in(2)) {
        calls[connection].ours = false;
        self->hang_up(self->device, connection);
    }
}

static void world_note(struct vsock_world *self, unsigned connection)
{
    (void)self;
    fuzz_check(connection < VSOCK_CONNECTIONS && calls[connection].ours, "a connection that is not there");
}

static void world_send(struct vsock_world *self, unsigned connection, const void *bytes, size_t size)
{
    world_note(self, connection);
    touch((void *)(uintptr_t)bytes, size, false);
    calls[connection].held += size;
    fuzz_check(calls[connection].held <= VSOCK_WINDOW, "more than the world has room for");
    if (fuzz_one_in(2)) {
        self->consumed(self->device, connection, calls[connection].held);
        calls[connection].held = 0;
    }
}

static void world_close(struct vsock_world *self, unsigned connection)
{
    world_note(self, connection);
    calls[connection].ours = false;
}

static struct virtio *vsock_make(void)
{
    world = (struct vsock_world){
        .connect = world_connect,
        .opened = world_note,
        .send = world_send,
        .drained = world_note,
        .finished = world_note,
        .close = world_close,
    };
    memset(calls, 0, sizeof(calls));
    memset(&vsock_device, 0, sizeof(vsock_device));
    virtio_vsock_init(&vsock_device, &world, GUEST_CID);
    return &vsock_device.virtio;
}

/* A packet; its ports are few, so that packets meet. */
static unsigned vsock_shape(unsigned queue, struct bench_buffer *buffers, unsigned count)
{
    static const uint32_t ports[] = {1, 2, 0x40000000, 0x40000001};
    uint8_t *header;
    uint32_t length = fuzz_one_in(3) ? 0 : 1 + (uint32_t)fuzz_below(fuzz_one_in(8) ? 70000 : 3000);

    for (unsigned i = 0; i < count; i++)
        buffers[i].write = queue != 1;
    if (queue != 1)
        return count;
    header = header_at(&buffers[0], 44);
    store_le(header, 8, fuzz_one_in(30) ? fuzz_next() : GUEST_CID);
    store_le(header + 8, 8, 2);
    store_le(header + 16, 4, ports[fuzz_below(2)]);
    store_le(header + 20, 4, ports[fuzz_below(4)]);
    store_le(header + 24, 4, fuzz_one_in(20) ? fuzz_next() : length);
    store_le(header + 28, 2, fuzz_one_in(30) ? 2 : 1);
    store_le(header + 30, 2, fuzz_one_in(3) ? 5 : 1 + fuzz_below(8));
    store_le(header + 32, 4, fuzz_below(4));
    store_le(header + 36, 4, fuzz_one_in(8) ? fuzz_next() : 65536);
    store_le(header + 40, 4, fuzz_one_in(8) ? fuzz_next() : 0);
    buffers[1] = (struct bench_buffer){BENCH_DATA, length, false};
    return length ? 2 : 1;
}

static void vsock_outside_call(unsigned number)
{
    static uint8_t bytes[9000];

    switch (fuzz_below(5)) {
    case 0:
        calls[number].ours = false;
        world.hang_up(world.device, number);
        break;
    case 1:
        world.finish(world.device, number);
        break;
    case 2:
        world.consumed(world.device, number, calls[number].held);
        calls[number].held = 0;
        break;
    case 3:
        world.accepted(world.device, number);
        break;
    default:
        (void)world.receive(world.device, number, bytes, 1 + fuzz_below(sizeof(bytes)));
        break;
    }
}

static void vsock_outside(void)
{
    lock();
    if (fuzz_one_in(4)) {
        int number = world.open(world.device, 1 + (uint32_t)fuzz_below(2));

        fuzz_check(number < VSOCK_CONNECTIONS, "a number that is none");
        if (number >= 0) {
            fuzz_check(!calls[number].ours, "a number that is in use");
            calls[number].ours = true;
            calls[number].held = 0;
        }
    }
    for (unsigned i = 0; i < VSOCK_CONNECTIONS; i++)
        if (calls[i].ours && fuzz_one_in(2))
            vsock_outside_call(i);
    unlock();
}

const struct target fuzz_targets[] = {
    {"block", block_make, block_shape, block_outside},         {"net", net_make, net_shape, net_outside},
    {"console", console_make, NULL, console_outside},          {"rng", rng_make, NULL, NULL},
    {"balloon", balloon_make, balloon_shape, balloon_outside}, {"vsock", vsock_make, vsock_shape, vsock_outside},
};
const size_t fuzz_target_count = ARRAY_LENGTH(fuzz_targets);
