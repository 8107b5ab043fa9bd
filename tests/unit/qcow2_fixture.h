/* qcow2 images for tests, made by us or by QEMU, and what their disks should hold. */
#ifndef LODGE_TESTS_UNIT_QCOW2_FIXTURE_H
#define LODGE_TESTS_UNIT_QCOW2_FIXTURE_H

#include "disk_fixture.h"

#include "backend/qcow2.h"

enum { SIZE = 6 << 20 }; /* of most disks */

extern uint8_t model[SIZE], buffer[SIZE];

/* Writes a file into the test's folder. */
void save(const char *name, const void *bytes, size_t size);

struct image *open_image(const char *name, bool read_only);
void create_image(const char *name, struct qcow2_layout layout);

/* The disk's bytes are the model's: as QEMU reads them, and it finds nothing wrong; and as we do. */
void compare(const char *name);
void compare_here(struct image *image);

/* Data, holes, and what packs well, in the model and in the file "pattern". */
void pattern(void);

#endif
