/* Nameless files for what is thrown away at the end. */
#ifndef LODGE_BACKEND_TEMPORARY_H
#define LODGE_BACKEND_TEMPORARY_H

#include "backend/image.h"

/*
 * Puts an empty qcow2 image over *image, which becomes its backing, in a file without a name in $TMPDIR
 * (otherwise /var/tmp). On failure *image is closed and NULL. Logged.
 */
enum status temporary_overlay(struct image **image) MUST_CHECK;

#endif
