/* qcow2 images for tools: making, checking, resizing, describing. Calls are the owner's (image.h). */
#ifndef LODGE_BACKEND_QCOW2_H
#define LODGE_BACKEND_QCOW2_H

#include "backend/image.h"

struct qcow2_layout {
    uint64_t size;              /* of the disk, a multiple of BLOCK_SECTOR */
    unsigned version;           /* 2 or 3 */
    unsigned cluster_bits;      /* 9 to 21 */
    bool zstd;                  /* for compressed clusters; version 3 */
    const char *backing_path;   /* as it is to stand in the image; NULL: none */
    const char *backing_format; /* "raw" or "qcow2" */
};

/* Writes an empty image into an empty file, which stays the caller's. Logged. */
enum status qcow2_create(struct file *file, const struct qcow2_layout *layout) MUST_CHECK;

/* What a check found. Clusters of the file. */
struct qcow2_report {
    uint64_t errors;                /* data may be lost: references that are not counted, or lead nowhere */
    uint64_t leaks;                 /* clusters that count as used and are not */
    uint64_t repaired;              /* of both */
    uint64_t allocated, compressed; /* of the disk's clusters */
    uint64_t total;                 /* clusters of the disk */
};

/*
 * Reads all tables, and compares the counts with what is really referred to. With `repair`, counts are made
 * right. STATUS_OK: the report tells; otherwise it could not be found out, logged.
 */
enum status qcow2_check(struct image *image, bool repair, struct qcow2_report *report) MUST_CHECK;

/* After a check that left nothing: takes the marks of damage and of an interrupted writer off. Logged. */
enum status qcow2_vouch(struct image *image) MUST_CHECK;

/* The disk's new size. A smaller one gives up what is behind it; refused with snapshots. Logged. */
enum status qcow2_resize(struct image *image, uint64_t size) MUST_CHECK;

struct qcow2_facts {
    unsigned version;
    const char *backing_path, *backing_format; /* or NULL; valid as long as the image */
    const char *compression;
    unsigned refcount_bits;
    uint32_t snapshots;
    bool is_dirty, is_corrupt, lazy_refcounts;
};

bool image_is_qcow2(const struct image *image);
void qcow2_describe(struct image *image, struct qcow2_facts *facts);

#endif
