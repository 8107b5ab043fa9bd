/*
 * A disk, as a device sees it: requests in, completions out, in any order.
 *
 * Threads: submit() may be called from any thread and with the machine lock held, so it starts the
 * work and does not wait for it. What takes no waiting it may do at once: then it answers true, and
 * that is all. Otherwise done() is called once for each request, by a thread of the backend (never
 * from inside submit()) with no lock held; it may submit more. All else as it says below.
 */
#ifndef LODGE_PORT_BLOCK_H
#define LODGE_PORT_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BLOCK_SECTOR = 512 };

enum block_operation {
    BLOCK_READ,
    BLOCK_WRITE,
    BLOCK_FLUSH,        /* all writes that were done before this was submitted are durable after it */
    BLOCK_DISCARD,      /* the bytes may read as anything until written; the space may be given back */
    BLOCK_WRITE_ZEROES, /* the bytes read as zeroes; with unmap the space may be given back */
};

enum block_result {
    BLOCK_DONE,
    BLOCK_ERROR,       /* the medium failed, or the image is damaged; logged by the backend */
    BLOCK_NO_SPACE,    /* the host has no room for a write */
    BLOCK_UNSUPPORTED, /* this backend does not do that operation */
};

struct block_segment {
    void *bytes;
    size_t size;
};

/*
 * Owned by the device, and with its segments untouched until done(). offset and length are multiples of
 * BLOCK_SECTOR, inside the disk (the device has checked), and for reads and writes length is the sum of the
 * segments. The memory of segments is guest RAM: it may change at any time.
 */
struct block_request {
    enum block_operation operation;
    bool unmap;
    uint64_t offset, length;
    const struct block_segment *segments;
    unsigned segment_count;
    void (*done)(struct block_request *request, enum block_result result);

    /* The backend's, from submit() to done(). */
    struct block_request *next;
    uint64_t backend[4];
};

/* What a disk is; constant but for size, which changes only with resized(). */
struct block_limits {
    uint64_t size;                  /* bytes, a multiple of BLOCK_SECTOR */
    uint32_t physical_block;        /* bytes: writes smaller than this are slower; a power of two, 512 or more */
    uint32_t discard_granularity;   /* bytes, 0: no discard */
    bool read_only;
    bool write_zeroes;
};

struct block {
    struct block_limits limits;
    bool (*submit)(struct block *block, struct block_request *request);
    /*
     * Returns when no request is under way. The owner has stopped submitting and holds no lock that a done()
     * takes.
     */
    void (*drain)(struct block *block);
};

#endif
