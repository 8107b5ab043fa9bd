/* The BIOS data area, and ACPI tables in the BIOS area, where kernels look for them on their own. */
#include "boot/bios.h"

#include "base/bits.h"
#include "boot/acpi.h"
#include "boot/context.h"
#include "boot/image.h"
#include "core/memory.h"
#include "port/log.h"

/* Words of the BIOS data area, from 0x400. */
enum { BDA_COM1 = 0x00, BDA_COM2 = 0x02, BDA_EBDA_SEGMENT = 0x0e, BDA_MEMORY_KIB = 0x13, BDA_SIZE = 0x100 };

static enum status bios_write_data_area(struct boot_context *context)
{
    uint8_t area[BDA_SIZE] = {0};
    uint8_t extended_kib = (VIDEO_AREA - BIOS_EXTENDED_DATA_AREA) / 1024;

    store_le(area + BDA_COM1, 2, 0x3f8);
    if (context->request->machine.second_serial)
        store_le(area + BDA_COM2, 2, 0x2f8);
    store_le(area + BDA_EBDA_SEGMENT, 2, BIOS_EXTENDED_DATA_AREA >> 4);
    store_le(area + BDA_MEMORY_KIB, 2, BIOS_EXTENDED_DATA_AREA / 1024);

    enum status status = boot_clear(context, 0, BIOS_DATA_AREA);
    if (status == STATUS_OK)
        status = boot_put(context, BIOS_DATA_AREA, area, sizeof(area));
    if (status == STATUS_OK)
        status = boot_clear(context, BIOS_EXTENDED_DATA_AREA, VIDEO_AREA - BIOS_EXTENDED_DATA_AREA);
    if (status == STATUS_OK)
        status = boot_put(context, BIOS_EXTENDED_DATA_AREA, &extended_kib, 1);
    return status;
}

static enum status bios_write_acpi(struct boot_context *context)
{
    uint8_t *area = memory_at(context->memory, BIOS_AREA, HIGH_MEMORY - BIOS_AREA, true);
    size_t used = 0;

    if (!area) {
        log_error("boot: no memory at 0x%x for the ACPI tables", (unsigned)BIOS_AREA);
        return STATUS_INVALID;
    }
    enum status status = acpi_build(&context->request->machine, area, HIGH_MEMORY - BIOS_AREA, BIOS_AREA, &used);
    memory_wrote(context->memory, BIOS_AREA, used);
    context->rsdp = BIOS_AREA;
    return status;
}

enum status bios_prepare(struct boot_context *context)
{
    enum status status = bios_write_data_area(context);

    return status == STATUS_OK ? bios_write_acpi(context) : status;
}
