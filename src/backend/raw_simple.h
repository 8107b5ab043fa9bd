/* A disk on a plain file: the guest's bytes are the file's. A few threads do the work. */
#ifndef LODGE_BACKEND_RAW_SIMPLE_H
#define LODGE_BACKEND_RAW_SIMPLE_H

#include <stdbool.h>

#include "base/status.h"
#include "port/block.h"

/* Opens a file whose size is a multiple of BLOCK_SECTOR; logs its errors. *block is the caller's to close. */
enum status raw_simple_open(const char *path, bool read_only, struct block **block) MUST_CHECK;

/* Nobody uses it any more, and no request is under way. Accepts NULL. */
void raw_simple_close(struct block *block);

#endif
