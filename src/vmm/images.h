/* The files that a machine boots from, read into memory for the time of loading. */
#ifndef LODGE_VMM_IMAGES_H
#define LODGE_VMM_IMAGES_H

#include "base/status.h"
#include "boot/image.h"
#include "host/file.h"
#include "vmm/options.h"

struct images {
    struct host_file kernel;
    struct host_file initrds[VMM_INITRDS];
    struct boot_file modules[VMM_INITRDS]; /* what boot_load() is given for the initrds */
};

/*
 * Reads what is not there already. Called again after a reset: plain files are read anew, so that a rebuilt
 * kernel is what restarts; what came through a pipe has been kept. Logs its errors.
 */
enum status images_read(struct images *images, const struct vmm_options *options) MUST_CHECK;

/* The machine has its copy: gives up what can be read again. */
void images_release(struct images *images, const struct vmm_options *options);

void images_destroy(struct images *images, const struct vmm_options *options); /* accepts zeroed images */

#endif
