/*
 * Loading a Multiboot kernel: the header and the image. What the kernel is told is in
 * multiboot_info.c.
 */
#include "boot/multiboot.h"

#include "base/bits.h"
#include "boot/context.h"
#include "boot/elf.h"
#include "boot/handover.h"
#include "boot/image.h"
#include "boot/multiboot_info.h"
#include "port/log.h"
#include "x86/cpu_state.h"

enum {
    SEARCH = 8192,    /* the header lies wholly within this */
    SEARCH_2 = 32768, /* Multiboot 2's does within this, on 8 bytes */
    HEADER_SIZE = 12,
    HEADER_WITH_ADDRESSES = 32,
    FLAG_VIDEO = BIT(2),
    FLAG_ADDRESSES = BIT(16),
    FLAGS_REQUIRED = 0xffff, /* a loader that does not know one of these bits must refuse */
    FLAGS_KNOWN = 0x0007,
};

#define HEADER_MAGIC 0x1badb002u
#define HEADER_MAGIC_2 0xe85250d6u
#define ENTRY_MAGIC 0x2badb002u

struct multiboot_header {
    uint64_t offset; /* in the file */
    uint32_t flags;
    uint32_t header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr; /* with FLAG_ADDRESSES */
};

static bool multiboot_find(const struct boot_file *kernel, struct multiboot_header *header)
{
    const uint8_t *bytes = kernel->bytes;
    size_t limit = kernel->size < SEARCH ? kernel->size : SEARCH;

    for (size_t at = 0; range_inside(at, HEADER_SIZE, limit); at += 4) {
        uint32_t flags = (uint32_t)load_le(bytes + at + 4, 4);

        if (load_le(bytes + at, 4) != HEADER_MAGIC || HEADER_MAGIC + flags + (uint32_t)load_le(bytes + at + 8, 4) != 0)
            continue;
        *header = (struct multiboot_header){.offset = at, .flags = flags};
        if (!(flags & FLAG_ADDRESSES))
            return true;
        if (!range_inside(at, HEADER_WITH_ADDRESSES, limit))
            return false;
        header->header_addr = (uint32_t)load_le(bytes + at + 12, 4);
        header->load_addr = (uint32_t)load_le(bytes + at + 16, 4);
        header->load_end_addr = (uint32_t)load_le(bytes + at + 20, 4);
        header->bss_end_addr = (uint32_t)load_le(bytes + at + 24, 4);
        header->entry_addr = (uint32_t)load_le(bytes + at + 28, 4);
        return true;
    }
    return false;
}

bool multiboot_detect(const struct boot_file *kernel)
{
    struct multiboot_header header;

    return multiboot_find(kernel, &header);
}

bool multiboot2_detect(const struct boot_file *kernel)
{
    const uint8_t *bytes = kernel->bytes;
    size_t limit = kernel->size < SEARCH_2 ? kernel->size : SEARCH_2;

    for (size_t at = 0; range_inside(at, 16, limit); at += 8) {
        uint32_t sum =
            (uint32_t)(load_le(bytes + at + 4, 4) + load_le(bytes + at + 8, 4) + load_le(bytes + at + 12, 4));

        if (load_le(bytes + at, 4) == HEADER_MAGIC_2 && HEADER_MAGIC_2 + sum == 0)
            return true;
    }
    return false;
}

static enum status multiboot_damaged(const struct boot_context *context, const char *what)
{
    log_error("boot: %s is damaged: %s", context->request->kernel.name, what);
    return STATUS_CORRUPT;
}

/* The image as the header's address fields lay it out (specification, 3.1.3). *end: of code, data and bss. */
static enum status multiboot_load_flat(const struct multiboot_header *header, struct boot_context *context,
                                       uint64_t *entry, uint64_t *end)
{
    const struct boot_file *kernel = &context->request->kernel;
    uint64_t before = (uint64_t)header->header_addr - header->load_addr; /* bytes loaded from before the header */

    if (header->load_addr > header->header_addr || before > header->offset)
        return multiboot_damaged(context, "its Multiboot header's load address is before the file");
    uint64_t offset = header->offset - before;
    uint64_t size = header->load_end_addr ? (uint64_t)header->load_end_addr - header->load_addr : kernel->size - offset;

    if (header->load_end_addr && header->load_end_addr < header->load_addr)
        return multiboot_damaged(context, "its Multiboot header's load end is before the load address");
    if (!range_inside(offset, size, kernel->size)) {
        log_error("boot: %s is truncated: %llu bytes are missing", kernel->name,
                  (unsigned long long)(offset + size - kernel->size));
        return STATUS_CORRUPT;
    }
    *end = header->load_addr + size;
    if (header->bss_end_addr > *end)
        *end = header->bss_end_addr;
    *entry = header->entry_addr;
    if (*entry < header->load_addr || *entry >= header->load_addr + size)
        return multiboot_damaged(context, "its Multiboot entry point is outside of what is loaded");

    if (space_take(&context->space, header->load_addr, *end - header->load_addr) != STATUS_OK) {
        log_error("boot: %s wants memory from 0x%x to 0x%llx, which the machine does not have free: "
                  "link it elsewhere, or give the machine more memory with -m",
                  kernel->name, header->load_addr, (unsigned long long)*end);
        return STATUS_NO_MEMORY;
    }
    enum status status = boot_put(context, header->load_addr, (const uint8_t *)kernel->bytes + offset, (size_t)size);
    if (status != STATUS_OK)
        return status;
    return boot_clear(context, header->load_addr + size, *end - header->load_addr - size);
}

static enum status multiboot_load_elf(struct boot_context *context, uint64_t *entry, uint64_t *end)
{
    struct elf_image image;
    enum status status = elf_open(&image, &context->request->kernel);

    if (status != STATUS_OK)
        return status;
    if (!elf_physical_entry(&image, entry) || *entry >= BOOT_32BIT_LIMIT)
        return multiboot_damaged(context, "its entry point is in none of its segments below 4 GiB");
    return elf_load(&image, context, end);
}

static enum status multiboot_load_image(const struct multiboot_header *header, struct boot_context *context,
                                        uint64_t *entry, uint64_t *end)
{
    const struct boot_file *kernel = &context->request->kernel;

    if (header->flags & FLAGS_REQUIRED & ~(unsigned)FLAGS_KNOWN) {
        log_error("boot: %s asks for Multiboot features that nobody has (flags 0x%x)", kernel->name, header->flags);
        return STATUS_UNSUPPORTED;
    }
    if (header->flags & FLAG_VIDEO)
        log_warning("boot: %s asks for a video mode; this machine has a serial console only", kernel->name);
    if (header->flags & FLAG_ADDRESSES)
        return multiboot_load_flat(header, context, entry, end);
    if (elf_detect(kernel))
        return multiboot_load_elf(context, entry, end);
    log_error("boot: %s has a Multiboot header without addresses, but is not an ELF file", kernel->name);
    return STATUS_INVALID;
}

enum status multiboot_load(struct boot_context *context, struct cpu_state *bsp)
{
    struct multiboot_header header;
    uint64_t entry = 0, end = 0, info = 0;

    if (!multiboot_find(&context->request->kernel, &header))
        return multiboot_damaged(context, "its Multiboot header is incomplete");
    enum status status = multiboot_load_image(&header, context, &entry, &end);

    if (status == STATUS_OK)
        status = multiboot_place_info(context, end, &info);
    if (status == STATUS_OK)
        status = handover_protected_mode(context, bsp, (uint32_t)entry);
    if (status == STATUS_OK) {
        bsp->gpr[GPR_RAX] = ENTRY_MAGIC;
        bsp->gpr[GPR_RBX] = info;
    }
    return status;
}
