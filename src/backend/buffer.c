#include "backend/buffer.h"

#include <string.h>

struct buffer buffer_of_request(const struct block_request *request)
{
    return (struct buffer){.segments = request->segments, .count = request->segment_count};
}

struct buffer buffer_of_memory(struct block_segment *segment, void *bytes, size_t size)
{
    *segment = (struct block_segment){.bytes = bytes, .size = size};
    return (struct buffer){.segments = segment, .count = 1};
}

/* The next piece without a break, at most `size` bytes, which the buffer moves behind. */
static struct iovec buffer_take(struct buffer *buffer, size_t size)
{
    while (buffer->count > 0 && buffer->skip == buffer->segments->size) {
        buffer->segments++;
        buffer->count--;
        buffer->skip = 0;
    }
    if (buffer->count == 0)
        return (struct iovec){0};
    size_t room = buffer->segments->size - buffer->skip;
    struct iovec piece = {.iov_base = (char *)buffer->segments->bytes + buffer->skip,
                          .iov_len = size < room ? size : room};
    buffer->skip += piece.iov_len;
    return piece;
}

struct buffer buffer_advance(struct buffer buffer, size_t size)
{
    while (size > 0) {
        size_t taken = buffer_take(&buffer, size).iov_len;

        if (taken == 0)
            break;
        size -= taken;
    }
    return buffer;
}

void buffer_copy_from(struct buffer buffer, void *to, size_t size)
{
    char *at = to;

    while (size > 0) {
        struct iovec piece = buffer_take(&buffer, size);

        if (piece.iov_len == 0)
            return;
        memcpy(at, piece.iov_base, piece.iov_len);
        at += piece.iov_len;
        size -= piece.iov_len;
    }
}

void buffer_copy_to(struct buffer buffer, const void *from, size_t size)
{
    const char *at = from;

    while (size > 0) {
        struct iovec piece = buffer_take(&buffer, size);

        if (piece.iov_len == 0)
            return;
        memcpy(piece.iov_base, at, piece.iov_len);
        at += piece.iov_len;
        size -= piece.iov_len;
    }
}

void buffer_zero(struct buffer buffer, size_t size)
{
    while (size > 0) {
        struct iovec piece = buffer_take(&buffer, size);

        if (piece.iov_len == 0)
            return;
        memset(piece.iov_base, 0, piece.iov_len);
        size -= piece.iov_len;
    }
}

unsigned buffer_pieces(struct buffer buffer, size_t size)
{
    unsigned pieces = 0;

    while (size > 0) {
        size_t taken = buffer_take(&buffer, size).iov_len;

        if (taken == 0)
            break;
        size -= taken;
        pieces++;
    }
    return pieces;
}

size_t buffer_vectors(struct buffer buffer, size_t size, struct iovec *vectors, unsigned room, unsigned *count)
{
    size_t held = 0;

    *count = 0;
    while (held < size && *count < room) {
        struct iovec piece = buffer_take(&buffer, size - held);

        if (piece.iov_len == 0)
            break;
        vectors[(*count)++] = piece;
        held += piece.iov_len;
    }
    return held;
}
