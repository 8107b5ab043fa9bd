/*
 * The qcow2 format, versions 2 and 3: docs/interop/qcow2.txt of QEMU. Numbers in the file are big-endian.
 * Names are those of that text.
 */
#ifndef LODGE_BACKEND_QCOW2_FORMAT_H
#define LODGE_BACKEND_QCOW2_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#include "base/bits.h"

enum { QCOW2_MAGIC = 0x514649fb };

/* Offsets of the header's fields. */
enum {
    QCOW2_VERSION = 4,
    QCOW2_BACKING_FILE_OFFSET = 8,
    QCOW2_BACKING_FILE_SIZE = 16,
    QCOW2_CLUSTER_BITS = 20,
    QCOW2_SIZE = 24,
    QCOW2_CRYPT_METHOD = 32,
    QCOW2_L1_SIZE = 36,
    QCOW2_L1_TABLE_OFFSET = 40,
    QCOW2_REFCOUNT_TABLE_OFFSET = 48,
    QCOW2_REFCOUNT_TABLE_CLUSTERS = 56,
    QCOW2_NB_SNAPSHOTS = 60,
    QCOW2_SNAPSHOTS_OFFSET = 64,
    QCOW2_V2_LENGTH = 72,
    QCOW2_INCOMPATIBLE_FEATURES = 72,
    QCOW2_COMPATIBLE_FEATURES = 80,
    QCOW2_AUTOCLEAR_FEATURES = 88,
    QCOW2_REFCOUNT_ORDER = 96,
    QCOW2_HEADER_LENGTH = 100,
    QCOW2_V3_LENGTH = 104,
    QCOW2_COMPRESSION_TYPE = 104,
    QCOW2_FULL_LENGTH = 112,
};

/* incompatible_features */
enum {
    QCOW2_DIRTY = 1 << 0,
    QCOW2_CORRUPT = 1 << 1,
    QCOW2_EXTERNAL_DATA = 1 << 2,
    QCOW2_COMPRESSION = 1 << 3,
    QCOW2_EXTENDED_L2 = 1 << 4,
};
/* compatible_features */
enum { QCOW2_LAZY_REFCOUNTS = 1 << 0 };

enum { QCOW2_ZLIB = 0, QCOW2_ZSTD = 1 };

/* Header extensions. */
enum {
    QCOW2_EXTENSION_END = 0,
    QCOW2_EXTENSION_BACKING_FORMAT = (int)0xe2792aca,
    QCOW2_EXTENSION_FEATURE_NAMES = 0x6803f857,
    QCOW2_EXTENSION_BITMAPS = 0x23852875,
};

#define QCOW2_OFFSET_MASK 0x00fffffffffffe00ull /* of L1, L2 and refcount table entries */
#define QCOW2_COPIED BIT64(63)                  /* L1, L2: nobody else refers to it */
#define QCOW2_COMPRESSED BIT64(62)              /* L2 */
#define QCOW2_ZERO 1ull                         /* L2, version 3 */

enum {
    QCOW2_CLUSTER_BITS_LEAST = 9,
    QCOW2_CLUSTER_BITS_MOST = 21,
    QCOW2_CLUSTER_BITS_DEFAULT = 16,
    QCOW2_L1_MOST = 32 << 20,            /* bytes */
    QCOW2_REFCOUNT_TABLE_MOST = 8 << 20, /* bytes */
    QCOW2_SNAPSHOTS_MOST = 65536,
    QCOW2_SNAPSHOT_TABLE_MOST = 64 << 20, /* bytes */
    QCOW2_BACKING_NAME_MOST = 1023,
};

/* Big-endian access to bytes of any alignment; size is 1, 2, 4 or 8. */
static inline uint64_t load_be(const void *from, size_t size)
{
    const uint8_t *byte = from;
    uint64_t value = 0;

    for (size_t i = 0; i < size; i++)
        value = value << 8 | byte[i];
    return value;
}

/* The same for a table's entry, which is looked up for each request. */
static inline uint64_t load_be64(const void *from)
{
    uint64_t value;

    __builtin_memcpy(&value, from, sizeof(value));
    return __builtin_bswap64(value);
}

static inline void store_be(void *to, size_t size, uint64_t value)
{
    uint8_t *byte = to;

    for (size_t i = 0; i < size; i++)
        byte[size - 1 - i] = (uint8_t)(value >> (8 * i));
}

#endif
