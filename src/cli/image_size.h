/* Sizes of disks, read and written as people do. */
#ifndef LODGE_CLI_IMAGE_SIZE_H
#define LODGE_CLI_IMAGE_SIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A number with K, M, G or T. Logs why not. */
bool image_size_parse(const char *text, uint64_t *bytes);

/* "1.5 GiB" */
const char *image_size_print(uint64_t bytes, char *text, size_t room);

#endif
