/* The files that a machine boots from, read into memory for the time of loading. */
#ifndef LODGE_VMM_IMAGES_H
#define LODGE_VMM_IMAGES_H

#include "base/status.h"
#include "boot/image.h"
#include "host/file.h"
#include "host/opener.h"
#include "vmm/options.h"

enum { IMAGES_MOST = VMM_INITRDS + 1 };
_Static_assert(IMAGES_MOST <= (int)OPENER_FILES, "the opener has a number for each");

struct images {
    struct host_file kernel;
    struct host_file initrds[VMM_INITRDS];
    struct boot_file modules[VMM_INITRDS]; /* what boot_load() is given for the initrds */
};

/*
 * Reads what is not there already. Called again after a reset: plain files are read anew, so that a rebuilt
 * kernel is what restarts; what came through a pipe has been kept. opener: opens the images_paths() for us, or NULL.
 * Logs its errors.
 */
enum status images_read(struct images *images, const struct vmm_options *options,
                        struct host_opener *opener) MUST_CHECK;

/* Fills paths, with room for IMAGES_MOST, and answers their number; the first is NULL where there is no kernel. */
size_t images_paths(const struct vmm_options *options, const char **paths);

/* The machine has its copy: gives up what can be read again. */
void images_release(struct images *images, const struct vmm_options *options);

void images_destroy(struct images *images, const struct vmm_options *options); /* accepts zeroed images */

#endif
