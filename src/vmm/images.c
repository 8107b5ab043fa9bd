#include "vmm/images.h"

/* is_regular is still false in a file that has not been read: then there is nothing to keep either. */
static bool image_is_kept(const struct host_file *file)
{
    return file->bytes && !file->is_regular;
}

/* number: the opener's. */
static enum status image_read(struct host_file *file, const char *kind, const char *path, uint64_t limit,
                              struct host_opener *opener, size_t number)
{
    if (image_is_kept(file))
        return STATUS_OK;
    host_file_destroy(file);
    return opener ? host_file_read_open(file, host_opener_open(opener, number), kind, path, limit)
                  : host_file_read(file, kind, path, limit);
}

size_t images_paths(const struct vmm_options *options, const char **paths)
{
    paths[0] = options->kernel;
    for (unsigned i = 0; i < options->initrd_count; i++)
        paths[i + 1] = options->initrds[i];
    return options->initrd_count + 1;
}

enum status images_read(struct images *images, const struct vmm_options *options, struct host_opener *opener)
{
    enum status status = STATUS_OK;

    if (options->kernel)
        status = image_read(&images->kernel, "kernel", options->kernel, options->memory, opener, 0);
    for (unsigned i = 0; i < options->initrd_count && status == STATUS_OK; i++) {
        struct host_file *file = &images->initrds[i];

        status = image_read(file, "initrd", options->initrds[i], options->memory, opener, i + 1);
        images->modules[i] = (struct boot_file){.name = options->initrds[i], .bytes = file->bytes, .size = file->size};
    }
    return status;
}

void images_release(struct images *images, const struct vmm_options *options)
{
    if (!image_is_kept(&images->kernel))
        host_file_destroy(&images->kernel);
    for (unsigned i = 0; i < options->initrd_count; i++)
        if (!image_is_kept(&images->initrds[i]))
            host_file_destroy(&images->initrds[i]);
}

void images_destroy(struct images *images, const struct vmm_options *options)
{
    host_file_destroy(&images->kernel);
    for (unsigned i = 0; i < options->initrd_count; i++)
        host_file_destroy(&images->initrds[i]);
}
