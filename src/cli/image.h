/* `lodge image`: disk images, without a machine. */
#ifndef LODGE_CLI_IMAGE_H
#define LODGE_CLI_IMAGE_H

#include "backend/image.h"

enum { IMAGE_EXIT_OK = 0, IMAGE_EXIT_FAILED = 1, IMAGE_EXIT_USAGE = 2, IMAGE_EXIT_LEAKS = 3, IMAGE_EXIT_ERRORS = 4 };

/* What the command line said; each command uses its part. */
struct image_arguments {
    enum image_format format, output_format, backing_format;
    bool has_output_format, has_backing_format;
    const char *backing;
    enum backing_rule rule;
    uint64_t cluster_size;
    bool zstd, compress, json, repair, shrink;
    const char *names[2];
    unsigned name_count;
    const char *output, *packages, *hostname, *ssh_key, *password, *mirror, *kernel_folder; /* build; or NULL */
    uint64_t disk_size;                                                                     /* build; or 0 */
};

/* arguments: what follows "image", NULL-terminated. Answers the exit status. */
int image_command(char **arguments);

int image_create(const struct image_arguments *arguments);
int image_info(const struct image_arguments *arguments);
int image_check(const struct image_arguments *arguments);
int image_resize(const struct image_arguments *arguments);
int image_build(const struct image_arguments *arguments);
int image_convert(const struct image_arguments *arguments);

#endif
