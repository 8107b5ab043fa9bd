/* Disks for tests: a scratch file, a synchronous face for struct block, and the programs of QEMU. */
#ifndef LODGE_TESTS_UNIT_DISK_FIXTURE_H
#define LODGE_TESTS_UNIT_DISK_FIXTURE_H

#include "unit.h"

#include <stdbool.h>

#include "backend/disk.h"

/* A folder of its own for each test program; gone at its end. */
const char *disk_folder(void);

/* A name in it, valid until the test ends; one of several static buffers. */
const char *disk_path(const char *name);

/* Waits until the request is over. */
enum block_result disk_do(struct block *block, enum block_operation operation, uint64_t offset, void *bytes,
                          size_t size);
enum block_result disk_zero(struct block *block, uint64_t offset, uint64_t size, bool unmap);

/* A shell command in the folder; its exit status. Its output goes to a file "output" there. */
int disk_shell(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Fills with what only this seed gives. */
void disk_fill(void *bytes, size_t size, uint64_t seed);

/* The same numbers from the same seed. */
uint64_t disk_random(uint64_t *state);

#endif
