/* A place in scattered memory: the segments of a request, and how far they have been used. */
#ifndef LODGE_BACKEND_BUFFER_H
#define LODGE_BACKEND_BUFFER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "port/block.h"

/* Passed by value; borrows the segments. The memory may be a guest's: it changes at any time. */
struct buffer {
    const struct block_segment *segments;
    unsigned count;
    size_t skip; /* bytes of the first segment that are behind us */
};

struct buffer buffer_of_request(const struct block_request *request);

/* Plain memory; the segment is the caller's and must live as long as the buffer. */
struct buffer buffer_of_memory(struct block_segment *segment, void *bytes, size_t size);

/* `size` bytes on; at most what there is. */
struct buffer buffer_advance(struct buffer buffer, size_t size);

void buffer_copy_from(struct buffer buffer, void *to, size_t size);
void buffer_copy_to(struct buffer buffer, const void *from, size_t size);
void buffer_zero(struct buffer buffer, size_t size);

/* How many vectors the next `size` bytes take. */
unsigned buffer_pieces(struct buffer buffer, size_t size);

/* Fills at most `room` vectors with the next `size` bytes; answers how many bytes they hold. */
size_t buffer_vectors(struct buffer buffer, size_t size, struct iovec *vectors, unsigned room, unsigned *count);

#endif
