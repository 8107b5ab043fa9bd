/* The few parts of ELF that loading a kernel needs. */
#include "boot/elf.h"

#include "base/bits.h"
#include "base/memory.h"
#include "boot/context.h"
#include "boot/image.h"
#include "port/log.h"

enum {
    EI_CLASS = 4,
    EI_DATA = 5,
    EI_VERSION = 6,
    ELFCLASS32 = 1,
    ELFCLASS64 = 2,
    ELFDATA2LSB = 1,
    ET_EXEC = 2,
    ET_DYN = 3,
    EM_386 = 3,
    EM_X86_64 = 62,
    EV_CURRENT = 1,
    NOTE_HEADER = 12,
    SEGMENTS = 256, /* more than any kernel has; bounds what a made-up file can cost */
};

/* Where a field is in a structure of each class, and how wide: {offset, width} for 32 and for 64 bits. */
struct elf_field {
    struct {
        uint8_t offset, width;
    } of_class[2];
};

enum { FILE_HEADER_32 = 52, FILE_HEADER_64 = 64, PROGRAM_HEADER_32 = 32, PROGRAM_HEADER_64 = 56 };

static const struct elf_field e_type = {{{16, 2}, {16, 2}}}, e_machine = {{{18, 2}, {18, 2}}};
static const struct elf_field e_entry = {{{24, 4}, {24, 8}}}, e_phoff = {{{28, 4}, {32, 8}}};
static const struct elf_field e_phentsize = {{{42, 2}, {54, 2}}}, e_phnum = {{{44, 2}, {56, 2}}};

static const struct elf_field p_type = {{{0, 4}, {0, 4}}}, p_offset = {{{4, 4}, {8, 8}}};
static const struct elf_field p_vaddr = {{{8, 4}, {16, 8}}}, p_paddr = {{{12, 4}, {24, 8}}};
static const struct elf_field p_filesz = {{{16, 4}, {32, 8}}}, p_memsz = {{{20, 4}, {40, 8}}};
static const struct elf_field p_align = {{{28, 4}, {48, 8}}};

static uint64_t elf_get(const struct elf_image *image, const uint8_t *structure, const struct elf_field *field)
{
    return load_le(structure + field->of_class[image->is_64bit].offset, field->of_class[image->is_64bit].width);
}

bool elf_detect(const struct boot_file *file)
{
    return file->size >= 4 && memcmp(file->bytes, "\177ELF", 4) == 0;
}

static enum status elf_check_header(const struct elf_image *image)
{
    uint64_t type = elf_get(image, image->bytes, &e_type);
    uint64_t machine = elf_get(image, image->bytes, &e_machine);

    if (image->bytes[EI_DATA] != ELFDATA2LSB || image->bytes[EI_VERSION] != EV_CURRENT ||
        (machine != EM_386 && machine != EM_X86_64)) {
        log_error("boot: %s is an ELF file for another processor (machine %llu); give a kernel built for x86",
                  image->name, (unsigned long long)machine);
        return STATUS_UNSUPPORTED;
    }
    if (type != ET_EXEC && type != ET_DYN) {
        log_error("boot: %s is not a kernel: an ELF file of type %llu, not an executable; was it linked?", image->name,
                  (unsigned long long)type);
        return STATUS_INVALID;
    }
    return STATUS_OK;
}

static enum status elf_truncated(const struct elf_image *image, const char *what, uint64_t offset, uint64_t length)
{
    if (length > UINT64_MAX - offset) {
        log_error("boot: %s is damaged: its %s lies at offset 0x%llx with a length of 0x%llx bytes", image->name, what,
                  (unsigned long long)offset, (unsigned long long)length);
    } else {
        log_error("boot: %s is truncated: %llu bytes are missing from its %s (the file has %zu, and needs %llu)",
                  image->name, (unsigned long long)(offset + length - image->size), what, image->size,
                  (unsigned long long)(offset + length));
    }
    return STATUS_CORRUPT;
}

enum status elf_open(struct elf_image *image, const struct boot_file *file)
{
    *image = (struct elf_image){.name = file->name, .bytes = file->bytes, .size = file->size};
    if (file->size < FILE_HEADER_32)
        return elf_truncated(image, "file header", 0, FILE_HEADER_32);
    image->is_64bit = image->bytes[EI_CLASS] == ELFCLASS64;
    if (!image->is_64bit && image->bytes[EI_CLASS] != ELFCLASS32) {
        log_error("boot: %s is damaged: an ELF file of class %u", file->name, image->bytes[EI_CLASS]);
        return STATUS_CORRUPT;
    }
    if (image->is_64bit && file->size < FILE_HEADER_64)
        return elf_truncated(image, "file header", 0, FILE_HEADER_64);

    enum status status = elf_check_header(image);
    if (status != STATUS_OK)
        return status;

    image->entry = elf_get(image, image->bytes, &e_entry);
    image->phoff = elf_get(image, image->bytes, &e_phoff);
    image->phentsize = (unsigned)elf_get(image, image->bytes, &e_phentsize);
    image->phnum = (unsigned)elf_get(image, image->bytes, &e_phnum);
    if (image->phnum == 0 || image->phentsize < (image->is_64bit ? PROGRAM_HEADER_64 : PROGRAM_HEADER_32)) {
        log_error("boot: %s is not a kernel: an ELF file without program headers; was it linked?", file->name);
        return STATUS_INVALID;
    }
    if (image->phnum > SEGMENTS) {
        log_error("boot: %s has %u program headers; at most %d are taken", file->name, image->phnum, SEGMENTS);
        return STATUS_UNSUPPORTED;
    }
    uint64_t table = (uint64_t)image->phentsize * image->phnum;
    if (!range_inside(image->phoff, table, image->size))
        return elf_truncated(image, "program header table", image->phoff, table);
    return STATUS_OK;
}

struct elf_segment elf_segment(const struct elf_image *image, unsigned index)
{
    const uint8_t *header = image->bytes + image->phoff + (uint64_t)index * image->phentsize;

    return (struct elf_segment){
        .type = (uint32_t)elf_get(image, header, &p_type),
        .offset = elf_get(image, header, &p_offset),
        .vaddr = elf_get(image, header, &p_vaddr),
        .paddr = elf_get(image, header, &p_paddr),
        .filesz = elf_get(image, header, &p_filesz),
        .memsz = elf_get(image, header, &p_memsz),
        .align = elf_get(image, header, &p_align),
    };
}

/* One PT_NOTE segment: {namesz, descsz, type}, name and descriptor, each padded. */
static bool elf_search_notes(const uint8_t *notes, uint64_t size, uint64_t alignment, const char *owner, uint32_t type,
                             const uint8_t **descriptor, size_t *descriptor_size)
{
    uint64_t at = 0;

    while (range_inside(at, NOTE_HEADER, size)) {
        uint64_t namesz = load_le(notes + at, 4), descsz = load_le(notes + at + 4, 4);
        uint64_t name = at + NOTE_HEADER;
        uint64_t desc = align_up(name + namesz, alignment);

        if (!range_inside(desc, descsz, size))
            return false;
        if (load_le(notes + at + 8, 4) == type && namesz == strlen(owner) + 1 &&
            memcmp(notes + name, owner, (size_t)namesz) == 0) {
            *descriptor = notes + desc;
            *descriptor_size = (size_t)descsz;
            return true;
        }
        at = align_up(desc + descsz, alignment);
    }
    return false;
}

bool elf_find_note(const struct elf_image *image, const char *owner, uint32_t type, const uint8_t **descriptor,
                   size_t *size)
{
    for (unsigned i = 0; i < image->phnum; i++) {
        struct elf_segment segment = elf_segment(image, i);

        if (segment.type != ELF_PT_NOTE || !range_inside(segment.offset, segment.filesz, image->size))
            continue;
        if (elf_search_notes(image->bytes + segment.offset, segment.filesz, segment.align == 8 ? 8 : 4, owner, type,
                             descriptor, size))
            return true;
    }
    return false;
}

static enum status elf_no_room(const struct elf_image *image, const struct boot_context *context,
                               const struct elf_segment *segment, enum status status)
{
    unsigned long long base = segment->paddr, size = segment->memsz;

    if (status == STATUS_NO_MEMORY) {
        log_error("boot: %s has too many segments", image->name);
    } else if (e820_is_ram(&context->map, segment->paddr, segment->memsz)) {
        log_error("boot: %s is damaged: its segment at 0x%llx (0x%llx bytes) overlaps another", image->name, base,
                  size);
        return STATUS_CORRUPT;
    } else {
        log_error("boot: %s wants 0x%llx bytes at 0x%llx, where the machine's %llu MiB of memory are not: "
                  "link it lower, or give the machine more memory with -m",
                  image->name, size, base, (unsigned long long)(e820_ram_total(&context->map) >> 20));
    }
    return STATUS_NO_MEMORY;
}

static enum status elf_load_segment(const struct elf_image *image, struct boot_context *context,
                                    const struct elf_segment *segment)
{
    if (!range_inside(segment->offset, segment->filesz, image->size))
        return elf_truncated(image, "segments", segment->offset, segment->filesz);
    if (segment->filesz > segment->memsz) {
        log_error("boot: %s is damaged: a segment has more bytes in the file than in memory", image->name);
        return STATUS_CORRUPT;
    }

    enum status status = space_take(&context->space, segment->paddr, segment->memsz);
    if (status != STATUS_OK)
        return elf_no_room(image, context, segment, status);
    status = boot_put(context, segment->paddr, image->bytes + segment->offset, (size_t)segment->filesz);
    if (status != STATUS_OK)
        return status;
    return boot_clear(context, segment->paddr + segment->filesz, segment->memsz - segment->filesz);
}

enum status elf_load(const struct elf_image *image, struct boot_context *context, uint64_t *end)
{
    *end = 0;
    for (unsigned i = 0; i < image->phnum; i++) {
        struct elf_segment segment = elf_segment(image, i);

        if (segment.type != ELF_PT_LOAD || segment.memsz == 0)
            continue;
        enum status status = elf_load_segment(image, context, &segment);
        if (status != STATUS_OK)
            return status;
        if (segment.paddr + segment.memsz > *end)
            *end = segment.paddr + segment.memsz;
    }
    return STATUS_OK;
}

bool elf_has_physical(const struct elf_image *image, uint64_t address)
{
    for (unsigned i = 0; i < image->phnum; i++) {
        struct elf_segment segment = elf_segment(image, i);

        if (segment.type == ELF_PT_LOAD && address >= segment.paddr && address - segment.paddr < segment.memsz)
            return true;
    }
    return false;
}

bool elf_physical_entry(const struct elf_image *image, uint64_t *entry)
{
    for (unsigned i = 0; i < image->phnum; i++) {
        struct elf_segment segment = elf_segment(image, i);

        if (segment.type == ELF_PT_LOAD && image->entry >= segment.vaddr &&
            image->entry - segment.vaddr < segment.memsz) {
            *entry = image->entry - segment.vaddr + segment.paddr;
            return true;
        }
    }
    *entry = image->entry;
    return elf_has_physical(image, image->entry);
}
