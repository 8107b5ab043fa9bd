/* Telling kernels apart, and the order of steps that puts one into memory. */
#include "boot/image.h"

#include "base/bits.h"
#include "base/memory.h"
#include "boot/bios.h"
#include "boot/context.h"
#include "boot/elf.h"
#include "boot/linux.h"
#include "boot/multiboot.h"
#include "boot/pvh.h"
#include "port/log.h"

/* Files that people give by mistake: the bytes at an offset, and what to say. */
struct image_mistake {
    uint32_t offset;
    uint8_t length;
    const char *magic;
    const char *what;
};

static const struct image_mistake mistakes[] = {
    {0, 2, "\x1f\x8b", "gzip-compressed data; decompress it, or is it an initrd?"},
    {0, 6, "\xfd\x37zXZ\0", "xz-compressed data; decompress it, or is it an initrd?"},
    {0, 4, "\x28\xb5\x2f\xfd", "zstd-compressed data; decompress it, or is it an initrd?"},
    {0, 6, "070701", "a cpio archive; an initrd is given with --initrd"},
    {0, 4, "QFI\xfb", "a qcow2 disk image; a disk is given with -d"},
    {0, 4, "KDMV", "a VMDK disk image; a disk is given with -d"},
    {0, 7, "!<arch>", "an archive (a .deb or .a file); unpack it"},
    {0, 2, "#!", "a script"},
    {0x38, 4, "ARM\x64", "a Linux kernel for 64-bit ARM"},
    {0x38, 4, "RSC\x05", "a Linux kernel for RISC-V"},
    {0x8001, 5, "CD001", "a CD image; a disk is given with -d"},
    {0x1fe, 2, "\x55\xaa", "a boot sector or disk image; a disk is given with -d"},
    {0, 2, "MZ", "a program for UEFI or Windows"},
};

static enum boot_kind image_refuse(const struct boot_file *kernel, const char *what)
{
    log_error("boot: %s is not a kernel: %s", kernel->name, what);
    return BOOT_KIND_NONE;
}

static enum boot_kind image_explain(const struct boot_file *kernel)
{
    if (kernel->size == 0)
        return image_refuse(kernel, "an empty file");
    if (multiboot2_detect(kernel))
        return image_refuse(kernel, "it has a Multiboot 2 header only; add a Multiboot 1 header or a PVH note");
    for (unsigned i = 0; i < ARRAY_LENGTH(mistakes); i++) {
        const struct image_mistake *mistake = &mistakes[i];

        if (range_inside(mistake->offset, mistake->length, kernel->size) &&
            memcmp((const uint8_t *)kernel->bytes + mistake->offset, mistake->magic, mistake->length) == 0)
            return image_refuse(kernel, mistake->what);
    }
    return image_refuse(kernel, "it is no Linux bzImage, has no ELF header and no Multiboot header");
}

static enum boot_kind image_kind_of_elf(const struct boot_file *kernel)
{
    struct elf_image image;

    if (elf_open(&image, kernel) != STATUS_OK)
        return BOOT_KIND_NONE;
    if (pvh_detect(&image))
        return BOOT_KIND_PVH;
    if (multiboot_detect(kernel))
        return BOOT_KIND_MULTIBOOT;
    if (multiboot2_detect(kernel))
        return image_explain(kernel);
    return image_refuse(kernel, "an ELF file with neither a PVH note nor a Multiboot header in its first 8 KiB "
                                "(a Linux vmlinux needs CONFIG_PVH; its bzImage always works)");
}

/* An ELF file may carry both PVH note and Multiboot header; PVH tells the kernel more. */
enum boot_kind boot_image_kind(const struct boot_file *kernel)
{
    if (linux_detect(kernel))
        return BOOT_KIND_LINUX;
    if (elf_detect(kernel))
        return image_kind_of_elf(kernel);
    if (multiboot_detect(kernel))
        return BOOT_KIND_MULTIBOOT;
    return image_explain(kernel);
}

const char *boot_kind_name(enum boot_kind kind)
{
    switch (kind) {
    case BOOT_KIND_LINUX:
        return "Linux bzImage";
    case BOOT_KIND_PVH:
        return "PVH kernel";
    case BOOT_KIND_MULTIBOOT:
        return "Multiboot kernel";
    default:
        return "not a kernel";
    }
}

static enum status image_check_request(const struct boot_request *request)
{
    if (request->module_count <= BOOT_MODULES)
        return STATUS_OK;
    log_error("boot: %u modules were given; at most %d are taken", request->module_count, BOOT_MODULES);
    return STATUS_INVALID;
}

static enum status image_load(enum boot_kind kind, struct boot_context *context, struct cpu_state *bsp)
{
    switch (kind) {
    case BOOT_KIND_LINUX:
        return linux_load(context, bsp);
    case BOOT_KIND_PVH:
        return pvh_load(context, bsp);
    case BOOT_KIND_MULTIBOOT:
        return multiboot_load(context, bsp);
    default:
        return STATUS_INVALID;
    }
}

enum status boot_load(const struct boot_request *request, struct guest_memory *memory, struct cpu_state *bsp)
{
    struct boot_context context = {.request = request, .memory = memory};
    enum boot_kind kind = boot_image_kind(&request->kernel);
    enum status status = kind == BOOT_KIND_NONE ? STATUS_INVALID : image_check_request(request);

    if (status == STATUS_OK)
        status = e820_build(&context.map, memory, request->machine.ecam.base, request->machine.ecam.size);
    if (status != STATUS_OK)
        return status;

    space_init(&context.space, &context.map);
    status = bios_prepare(&context);
    if (status == STATUS_OK)
        status = image_load(kind, &context, bsp);
    if (status == STATUS_OK)
        boot_firmware_cpu(bsp, request->physical_bits);
    return status;
}
