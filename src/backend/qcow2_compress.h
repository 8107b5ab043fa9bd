/* Writing compressed clusters into a new image. */
#ifndef LODGE_BACKEND_QCOW2_COMPRESS_H
#define LODGE_BACKEND_QCOW2_COMPRESS_H

#include "backend/qcow2_internal.h"

/* Where the next packed cluster may go. Begins zeroed. */
struct qcow2_packer {
    uint64_t at;
};

/*
 * One whole cluster of the disk, at a multiple of the cluster size that was never written. What does not
 * become smaller is written as it is.
 */
enum block_result qcow2_write_packed(struct image *image, struct qcow2_packer *packer, uint64_t offset,
                                     const void *bytes) MUST_CHECK;

#endif
