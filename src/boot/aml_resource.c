/* Resource descriptors (ACPI 6.4, sections 6.4.2 and 6.4.3). */
#include "boot/aml.h"

#include "base/bits.h"
#include "base/memory.h"

enum {
    IO_PORT = 0x47,
    IRQ_NO_FLAGS = 0x22,
    END_TAG = 0x79,
    MEMORY32_FIXED = 0x86,
    DWORD_ADDRESS = 0x87,
    WORD_ADDRESS = 0x88,
    QWORD_ADDRESS = 0x8a,
};

enum {
    IO_DECODE_16 = 0x01,
    MEMORY_WRITABLE = 0x01,
    ADDRESS_FIXED = 0x0c, /* minimum and maximum are fixed; producer, positive decode */
    ENTIRE_IO_RANGE = 0x03,
    HEADER = 3, /* of a large descriptor: tag and length */
    END_TAG_SIZE = 2,
};

static void aml_resource_add(struct aml_resources *resources, const uint8_t *bytes, size_t size)
{
    if (!range_inside(resources->length, size + END_TAG_SIZE, AML_RESOURCES)) {
        resources->failed = true;
        return;
    }
    memcpy(resources->bytes + resources->length, bytes, size);
    resources->length += size;
}

void aml_resource_io(struct aml_resources *resources, uint16_t base, uint8_t size)
{
    uint8_t descriptor[8] = {IO_PORT, IO_DECODE_16, 0, 0, 0, 0, 1, size};

    store_le(descriptor + 2, 2, base);
    store_le(descriptor + 4, 2, base);
    aml_resource_add(resources, descriptor, sizeof(descriptor));
}

/* Edge, active high: as the ISA bus has it. */
void aml_resource_irq(struct aml_resources *resources, unsigned irq)
{
    uint8_t descriptor[3] = {IRQ_NO_FLAGS};

    store_le(descriptor + 1, 2, BIT(irq & 15));
    aml_resource_add(resources, descriptor, sizeof(descriptor));
}

void aml_resource_memory_fixed(struct aml_resources *resources, uint32_t base, uint32_t size)
{
    uint8_t descriptor[12] = {MEMORY32_FIXED, sizeof(descriptor) - HEADER, 0, MEMORY_WRITABLE};

    store_le(descriptor + 4, 4, base);
    store_le(descriptor + 8, 4, size);
    aml_resource_add(resources, descriptor, sizeof(descriptor));
}

void aml_resource_window(struct aml_resources *resources, enum aml_window kind, uint64_t base, uint64_t size)
{
    uint64_t last = base + size - 1;
    size_t width = last <= UINT16_MAX ? 2 : last <= UINT32_MAX ? 4 : 8;
    uint8_t descriptor[HEADER + 3 + 5 * 8] = {0};
    size_t length = HEADER + 3 + 5 * width;
    uint8_t *field = descriptor + HEADER + 3;

    descriptor[0] = width == 2 ? WORD_ADDRESS : width == 4 ? DWORD_ADDRESS : QWORD_ADDRESS;
    store_le(descriptor + 1, 2, length - HEADER);
    descriptor[3] = (uint8_t)kind;
    descriptor[4] = ADDRESS_FIXED;
    if (kind == AML_WINDOW_MEMORY)
        descriptor[5] = MEMORY_WRITABLE;
    else if (kind == AML_WINDOW_IO)
        descriptor[5] = ENTIRE_IO_RANGE;

    /* Granularity and translation stay zero. */
    store_le(field + width, width, base);
    store_le(field + 2 * width, width, last);
    store_le(field + 4 * width, width, size);
    aml_resource_add(resources, descriptor, length);
}

void aml_name_resources(struct aml *aml, const char *path, struct aml_resources *resources)
{
    static const uint8_t end_tag[END_TAG_SIZE] = {END_TAG, 0}; /* checksum 0: not computed */

    if (resources->failed)
        aml->failed = true;
    memcpy(resources->bytes + resources->length, end_tag, END_TAG_SIZE);
    aml_name(aml, path);
    aml_buffer(aml, resources->bytes, resources->length + END_TAG_SIZE);
}
