/*
 * Loading a bzImage.
 *
 * The file is a real-mode part ("setup", unused here but for its header), then the protected-mode
 * part, which decompresses itself. The setup header says where that part prefers to be, how much
 * memory from there on it uses before it has read the memory map (init_size), and what it takes.
 */
#include "boot/linux.h"

#include "base/bits.h"
#include "base/memory.h"
#include "boot/context.h"
#include "boot/handover.h"
#include "boot/image.h"
#include "core/memory.h"
#include "port/log.h"
#include "x86/cpu_state.h"

/* Offsets in the file and in the boot parameters alike: the setup header. */
enum {
    SETUP_SECTS = 0x1f1,
    SYSSIZE = 0x1f4,
    BOOT_FLAG = 0x1fe,
    JUMP_LENGTH = 0x201,
    HEADER = 0x202,
    VERSION = 0x206,
    TYPE_OF_LOADER = 0x210,
    LOADFLAGS = 0x211,
    CODE32_START = 0x214,
    RAMDISK_IMAGE = 0x218,
    RAMDISK_SIZE = 0x21c,
    CMD_LINE_PTR = 0x228,
    INITRD_ADDR_MAX = 0x22c,
    KERNEL_ALIGNMENT = 0x230,
    RELOCATABLE_KERNEL = 0x234,
    XLOADFLAGS = 0x236,
    CMDLINE_SIZE = 0x238,
    PREF_ADDRESS = 0x258,
    INIT_SIZE = 0x260,
    HEADER_2_12_END = 0x268,
};

/* Offsets in the boot parameters alone (Documentation/x86/zero-page.rst). */
enum {
    ACPI_RSDP_ADDR = 0x070,
    E820_COUNT = 0x1e8,
    SETUP_HEADER_LIMIT = 0x290,
    E820_TABLE = 0x2d0,
    E820_RECORD = 20,
    BOOT_PARAMS_SIZE = 4096,
};

enum {
    BOOT_FLAG_VALUE = 0xaa55,
    HEADER_VALUE = 0x53726448, /* "HdrS" */
    VERSION_2_12 = 0x20c,      /* the first with xloadflags */
    LOADED_HIGH = BIT(0),
    XLF_KERNEL_64 = BIT(0),
    LOADER_UNDEFINED = 0xff, /* a loader without an assigned number */
    SECTOR = 512,
    SETUP_SECTS_DEFAULT = 4,
    ENTRY_64 = 0x200,
    INITRD_PIECE_ALIGNMENT = 4,
};

struct linux_image {
    const char *name;
    const uint8_t *header;  /* the file's beginning */
    const uint8_t *payload; /* the protected-mode part */
    uint64_t payload_size;
    uint64_t load_address;
    uint64_t initrd_address, initrd_size;
};

static uint64_t linux_field(const struct linux_image *image, unsigned offset, unsigned width)
{
    return load_le(image->header + offset, width);
}

bool linux_detect(const struct boot_file *kernel)
{
    const uint8_t *bytes = kernel->bytes;

    return kernel->size >= HEADER + 4 && load_le(bytes + BOOT_FLAG, 2) == BOOT_FLAG_VALUE &&
           load_le(bytes + HEADER, 4) == HEADER_VALUE;
}

static enum status linux_refuse(const struct linux_image *image, const char *why)
{
    log_error("boot: %s is a Linux kernel, but %s", image->name, why);
    return STATUS_UNSUPPORTED;
}

/* Can the 64-bit protocol start it at all? */
static enum status linux_check_protocol(const struct linux_image *image)
{
    uint64_t version = linux_field(image, VERSION, 2);

    if (version < VERSION_2_12) {
        log_error("boot: %s is a Linux kernel of boot protocol %llu.%02llu; 2.12 (Linux 3.8) or newer is needed",
                  image->name, (unsigned long long)version >> 8, (unsigned long long)version & 0xff);
        return STATUS_UNSUPPORTED;
    }
    if (!(linux_field(image, LOADFLAGS, 1) & LOADED_HIGH))
        return linux_refuse(image, "a zImage; build a bzImage");
    if (!(linux_field(image, XLOADFLAGS, 2) & XLF_KERNEL_64))
        return linux_refuse(image, "a 32-bit one; give one built for x86-64");
    return STATUS_OK;
}

static enum status linux_truncated(const struct linux_image *image, uint64_t have, uint64_t needed)
{
    log_error("boot: %s is a truncated Linux kernel: it should have %llu bytes, and %llu of them are missing",
              image->name, (unsigned long long)needed, (unsigned long long)(needed - have));
    return STATUS_CORRUPT;
}

/* Finds the two parts in the file. */
static enum status linux_open(struct linux_image *image, const struct boot_file *kernel)
{
    *image = (struct linux_image){.name = kernel->name, .header = kernel->bytes};
    if (kernel->size < HEADER_2_12_END)
        return linux_truncated(image, kernel->size, HEADER_2_12_END);

    enum status status = linux_check_protocol(image);
    if (status != STATUS_OK)
        return status;

    uint64_t setup_sects = linux_field(image, SETUP_SECTS, 1);
    uint64_t setup_size = ((setup_sects ? setup_sects : SETUP_SECTS_DEFAULT) + 1) * SECTOR;
    image->payload_size = linux_field(image, SYSSIZE, 4) * 16;
    if (!range_inside(setup_size, image->payload_size, kernel->size))
        return linux_truncated(image, kernel->size, setup_size + image->payload_size);
    if (image->payload_size <= ENTRY_64) {
        log_error("boot: %s is damaged: its protected-mode part has only %llu bytes", image->name,
                  (unsigned long long)image->payload_size);
        return STATUS_CORRUPT;
    }
    image->payload = image->header + setup_size;
    return STATUS_OK;
}

/* Where the kernel goes: where it prefers to be, or else the lowest place above that. */
static enum status linux_choose_address(struct linux_image *image, struct boot_context *context)
{
    uint64_t preferred = linux_field(image, PREF_ADDRESS, 8);
    uint64_t alignment = linux_field(image, KERNEL_ALIGNMENT, 4);
    uint64_t size = linux_field(image, INIT_SIZE, 4);
    bool relocatable = linux_field(image, RELOCATABLE_KERNEL, 1) != 0;

    if (size < image->payload_size)
        size = image->payload_size;
    if (relocatable && (alignment == 0 || (alignment & (alignment - 1)) != 0)) {
        log_error("boot: %s is damaged: its alignment 0x%llx is no power of two", image->name,
                  (unsigned long long)alignment);
        return STATUS_CORRUPT;
    }

    image->load_address = preferred;
    if (preferred < HIGH_MEMORY || preferred >= BOOT_32BIT_LIMIT || (relocatable && preferred % alignment != 0) ||
        !space_is_free(&context->space, preferred, size)) {
        uint64_t minimum = preferred > HIGH_MEMORY ? preferred : HIGH_MEMORY;

        if (!relocatable ||
            !space_find_low(&context->space, size, alignment, minimum, BOOT_32BIT_LIMIT, &image->load_address)) {
            log_error("boot: %s needs %llu KiB of memory from address 0x%llx on; the machine has %llu KiB: "
                      "give it more memory with -m",
                      image->name, (unsigned long long)size >> 10, (unsigned long long)preferred,
                      (unsigned long long)e820_ram_total(&context->map) >> 10);
            return STATUS_NO_MEMORY;
        }
    }
    return space_take(&context->space, image->load_address, size);
}

/* The modules become one initrd, as high as kernel and memory allow; the kernel wants each part 4-byte aligned. */
static enum status linux_load_initrd(struct linux_image *image, struct boot_context *context)
{
    const struct boot_request *request = context->request;
    uint64_t limit = linux_field(image, INITRD_ADDR_MAX, 4) + 1;
    uint64_t size = boot_modules_size(context, INITRD_PIECE_ALIGNMENT);

    if (size == 0)
        return STATUS_OK;
    if (size > UINT32_MAX ||
        !space_find_high(&context->space, size, PAGE_SIZE, HIGH_MEMORY, limit, &image->initrd_address))
        return boot_too_large(context, request->modules[0].name, size);
    enum status status = space_take(&context->space, image->initrd_address, size);

    image->initrd_size = size;
    uint64_t at = image->initrd_address;
    for (unsigned i = 0; status == STATUS_OK && i < request->module_count; i++) {
        const struct boot_file *module = &request->modules[i];
        uint64_t end = align_up(at + module->size, INITRD_PIECE_ALIGNMENT);

        status = boot_put(context, at, module->bytes, module->size);
        if (status == STATUS_OK)
            status = boot_clear(context, at + module->size, end - at - module->size);
        at = end;
    }
    return status;
}

static enum status linux_place_command_line(struct linux_image *image, struct boot_context *context, uint64_t *address)
{
    const char *line = boot_command_line(context);
    uint64_t limit = linux_field(image, CMDLINE_SIZE, 4);

    if (strlen(line) > limit) {
        log_error("boot: the command line has %zu bytes; %s takes %llu: shorten it", strlen(line), image->name,
                  (unsigned long long)limit);
        return STATUS_INVALID;
    }
    return boot_place_string(context, "the command line", line, address);
}

static void linux_write_e820(uint8_t *params, const struct e820_map *map)
{
    _Static_assert(E820_ENTRIES <= 128, "the boot parameters have 128 records");
    store_le(params + E820_COUNT, 1, map->count);
    for (unsigned i = 0; i < map->count; i++) {
        uint8_t *record = params + E820_TABLE + (size_t)i * E820_RECORD;

        store_le(record, 8, map->entries[i].base);
        store_le(record + 8, 8, map->entries[i].size);
        store_le(record + 16, 4, map->entries[i].type);
    }
}

/* The header as the kernel has it, with what a loader fills in; everything else zero. */
static void linux_fill_params(uint8_t *params, const struct linux_image *image, const struct boot_context *context,
                              uint64_t command_line)
{
    size_t header_end = HEADER + linux_field(image, JUMP_LENGTH, 1);

    if (header_end > SETUP_HEADER_LIMIT)
        header_end = SETUP_HEADER_LIMIT;
    memset(params, 0, BOOT_PARAMS_SIZE);
    memcpy(params + SETUP_SECTS, image->header + SETUP_SECTS, header_end - SETUP_SECTS);

    store_le(params + TYPE_OF_LOADER, 1, LOADER_UNDEFINED);
    store_le(params + CODE32_START, 4, image->load_address);
    store_le(params + RAMDISK_IMAGE, 4, image->initrd_address);
    store_le(params + RAMDISK_SIZE, 4, image->initrd_size);
    store_le(params + CMD_LINE_PTR, 4, command_line);
    store_le(params + ACPI_RSDP_ADDR, 8, context->rsdp);
    linux_write_e820(params, &context->map);
}

enum status linux_load(struct boot_context *context, struct cpu_state *bsp)
{
    struct linux_image image;
    uint8_t params[BOOT_PARAMS_SIZE];
    uint64_t params_address = 0, command_line = 0;
    enum status status = linux_open(&image, &context->request->kernel);

    if (status == STATUS_OK)
        status = linux_choose_address(&image, context);
    if (status == STATUS_OK)
        status = boot_put(context, image.load_address, image.payload, (size_t)image.payload_size);
    if (status == STATUS_OK)
        status = linux_load_initrd(&image, context);
    if (status == STATUS_OK)
        status = linux_place_command_line(&image, context, &command_line);
    if (status != STATUS_OK)
        return status;

    linux_fill_params(params, &image, context, command_line);
    status = boot_place(context, "the boot parameters", params, sizeof(params), PAGE_SIZE, &params_address);
    if (status == STATUS_OK)
        status = handover_long_mode(context, bsp, image.load_address + ENTRY_64);
    if (status == STATUS_OK)
        bsp->gpr[GPR_RSI] = params_address;
    return status;
}
