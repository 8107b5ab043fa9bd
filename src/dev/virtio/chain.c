#include "dev/virtio/chain.h"

#include "base/memory.h"
#include "core/memory.h"

/* Copies between bytes and segments, skipping the first `offset` of the latter. Both may be guest memory, and meet. */
static size_t segments_copy(const struct virtio_segment *segments, unsigned count, size_t offset, uint8_t *bytes,
                            size_t size, bool write)
{
    size_t copied = 0;

    for (unsigned i = 0; i < count && copied < size; i++) {
        const struct virtio_segment *segment = &segments[i];
        size_t here;

        if (offset >= segment->size) {
            offset -= segment->size;
            continue;
        }
        here = segment->size - offset;
        here = here < size - copied ? here : size - copied;
        if (write)
            memmove(segment->bytes + offset, bytes + copied, here);
        else
            memmove(bytes + copied, segment->bytes + offset, here);
        copied += here;
        offset = 0;
    }
    /* What was read is settled now: the compiler may not look into guest memory again. */
    __asm__ volatile("" ::: "memory");
    return copied;
}

size_t virtio_chain_read(const struct virtio_chain *chain, size_t offset, void *to, size_t size)
{
    return segments_copy(chain->segments, chain->readable, offset, to, size, false);
}

size_t virtio_chain_write(const struct virtio_chain *chain, size_t offset, const void *from, size_t size)
{
    return segments_copy(chain->segments + chain->readable, chain->writable, offset, (uint8_t *)(uintptr_t)from, size,
                         true);
}

void virtio_chain_wrote(const struct virtio_chain *chain, const struct guest_memory *memory, uint32_t size)
{
    const struct virtio_segment *segment = chain->segments + chain->readable;

    for (unsigned i = 0; i < chain->writable && size > 0; i++, segment++) {
        uint32_t here = segment->size < size ? segment->size : size;

        memory_wrote(memory, segment->address, here);
        size -= here;
    }
}
