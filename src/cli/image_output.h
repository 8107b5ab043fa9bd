/* A file that gets its name only when it is complete. */
#ifndef LODGE_CLI_IMAGE_OUTPUT_H
#define LODGE_CLI_IMAGE_OUTPUT_H

#include "backend/qcow2.h"

struct image_output {
    const char *name; /* that it is to have; borrowed */
    char *temporary;  /* that it has; owned */
    struct file file;
};

/*
 * An empty file beside the one of that name, which may exist only with `replace`, and then must be a plain
 * file that nobody uses. Logged.
 */
enum status image_output_open(struct image_output *output, const char *name, bool replace) MUST_CHECK;

/* Makes it durable and names it; closes it. Logged. */
enum status image_output_finish(struct image_output *output) MUST_CHECK;

/* Removes it. */
void image_output_abandon(struct image_output *output);

#endif
