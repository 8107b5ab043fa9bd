/* Compressed clusters into a new qcow2 image. Calls are the image's owner's (image.h). */
#ifndef LODGE_BACKEND_QCOW2_WRITER_H
#define LODGE_BACKEND_QCOW2_WRITER_H

#include "backend/qcow2.h"

struct qcow2_writer;

enum status qcow2_writer_create(struct image *image, struct qcow2_writer **writer) MUST_CHECK;
void qcow2_writer_destroy(struct qcow2_writer *writer); /* before the image is closed; NULL is accepted */

/*
 * One whole cluster of the disk, at a multiple of the cluster size that was never written. What does not
 * become smaller is written as it is.
 */
enum block_result qcow2_writer_put(struct qcow2_writer *writer, uint64_t offset, const void *bytes) MUST_CHECK;

#endif
