#define _GNU_SOURCE
#include "qcow2_fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

uint8_t model[SIZE], buffer[SIZE];

void save(const char *name, const void *bytes, size_t size)
{
    int fd = open(disk_path(name), O_RDWR | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, size), (ssize_t)size);
    close(fd);
}

struct image *open_image(const char *name, bool read_only)
{
    struct image_options options = {.format = IMAGE_QCOW2, .read_only = read_only};
    struct image *image;

    assert_int_equal(image_open(disk_path(name), &options, &image), STATUS_OK);
    return image;
}

void create_image(const char *name, struct qcow2_layout layout)
{
    struct file file;
    int fd = open(disk_path(name), O_RDWR | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(file_open(&file, disk_path(name), FILE_WRITE), STATUS_OK);
    assert_int_equal(qcow2_create(&file, &layout), STATUS_OK);
    file_close(&file);
}

/* The disk's bytes are the model's, and QEMU finds nothing wrong. */
void compare(const char *name)
{
    save("model", model, SIZE);
    assert_int_equal(disk_shell("qemu-img compare -f qcow2 -F raw %s model", name), 0);
    assert_int_equal(disk_shell("qemu-img check -f qcow2 %s", name), 0);
}

void compare_here(struct image *image)
{
    assert_int_equal(image_read(image, 0, buffer, SIZE), BLOCK_DONE);
    assert_memory_equal(buffer, model, SIZE);
}

void pattern(void)
{
    memset(model, 0, SIZE);
    for (unsigned i = 0; i < SIZE / 65536; i += 3)
        disk_fill(model + 65536ull * i, i % 2 ? 65536 : 4096, i);
    memset(model + (2 << 20), 'x', 1 << 20); /* packs well */
    save("pattern", model, SIZE);
}
