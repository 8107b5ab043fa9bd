#include "boot/smbios.h"

#include <stdbool.h>

#include "base/bits.h"
#include "base/memory.h"
#include "port/log.h"

/* Structure types (DSP0134, chapter 7) and handles: type << 8 and a number. */
enum smbios_type {
    TYPE_SYSTEM = 1,
    TYPE_CHASSIS = 3,
    TYPE_PROCESSOR = 4,
    TYPE_MEMORY_ARRAY = 16,
    TYPE_MEMORY_DEVICE = 17,
    TYPE_MEMORY_RANGE = 19,
    TYPE_BOOT = 32,
    TYPE_END = 127,
};

enum { HEADER_SIZE = 4, ENTRY_MIDDLE = 16, ENTRY_MIDDLE_SIZE = 15 };

enum { KIB = 1024, SIZE_IN_EXTENDED = 0x7fff, KIB_IN_EXTENDED = 0x7fffffff };

struct smbios {
    uint8_t *bytes;
    size_t room, length;
    unsigned count;
    size_t largest;
    bool failed;
};

static void smbios_append(struct smbios *smbios, const void *bytes, size_t size)
{
    if (smbios->failed || !range_inside(smbios->length, size, smbios->room)) {
        smbios->failed = true;
        return;
    }
    memcpy(smbios->bytes + smbios->length, bytes, size);
    smbios->length += size;
}

/* The formatted part, whose header is filled in here, and its strings: one after the other, each with its zero. */
static void smbios_add(struct smbios *smbios, enum smbios_type type, unsigned number, uint8_t *structure, size_t size,
                       const char *strings)
{
    static const uint8_t end[2];
    size_t start = smbios->length;

    structure[0] = (uint8_t)type;
    structure[1] = (uint8_t)size;
    store_le(structure + 2, 2, (unsigned)type << 8 | number);
    smbios_append(smbios, structure, size);
    if (!strings)
        smbios_append(smbios, end, 2);
    for (const char *string = strings; string && *string; string += strlen(string) + 1)
        smbios_append(smbios, string, strlen(string) + 1);
    if (strings)
        smbios_append(smbios, end, 1);
    smbios->count++;
    if (smbios->length - start > smbios->largest)
        smbios->largest = smbios->length - start;
}

static void smbios_add_system(struct smbios *smbios, const struct smbios_machine *machine)
{
    uint8_t system[27] = {[4] = 1, [5] = 2, [6] = 3, [24] = 6 /* power switch */};
    uint8_t chassis[22] = {
        [4] = 1, [5] = 1 /* other */, [9] = 3, [10] = 3, [11] = 3 /* safe */, [12] = 2 /* security: unknown */};

    memcpy(system + 8, machine->uuid, SMBIOS_UUID_SIZE);
    smbios_add(smbios, TYPE_SYSTEM, 0, system, sizeof(system), "Lodge\0q35\0q35-1\0");
    smbios_add(smbios, TYPE_CHASSIS, 0, chassis, sizeof(chassis), "Lodge\0");
}

static void smbios_add_processor(struct smbios *smbios, const struct smbios_machine *machine)
{
    uint8_t cpu[42] = {
        [4] = 1,     /* socket */
        [5] = 3,     /* central processor */
        [6] = 2,     /* family: unknown, see CPUID */
        [7] = 2,     /* manufacturer */
        [24] = 0x41, /* populated, enabled */
        [25] = 1,    /* upgrade: other */
    };

    for (unsigned i = 26; i < 32; i++)
        cpu[i] = 0xff;                                    /* no cache structures */
    cpu[35] = cpu[36] = cpu[37] = (uint8_t)machine->cpus; /* cores, enabled ones, threads */
    cpu[38] = 0x0c;                                       /* 64-bit, multi-core */
    cpu[40] = 2;
    smbios_add(smbios, TYPE_PROCESSOR, 0, cpu, sizeof(cpu), "CPU 0\0Lodge\0");
}

static void smbios_add_memory_range(struct smbios *smbios, unsigned number, uint64_t base, uint64_t size)
{
    uint8_t range[31] = {[14] = 1};

    if (size == 0)
        return;
    store_le(range + 4, 4, base / KIB);
    store_le(range + 8, 4, (base + size - 1) / KIB);
    if ((base + size - 1) / KIB >= UINT32_MAX) { /* more than 4 TiB */
        store_le(range + 4, 8, UINT64_MAX);
        store_le(range + 15, 8, base);
        store_le(range + 23, 8, base + size - 1);
    }
    store_le(range + 12, 2, TYPE_MEMORY_ARRAY << 8);
    smbios_add(smbios, TYPE_MEMORY_RANGE, number, range, sizeof(range), NULL);
}

static void smbios_add_memory(struct smbios *smbios, const struct smbios_machine *machine)
{
    uint8_t array[23] = {[4] = 1 /* other location */, [5] = 3 /* system memory */, [6] = 3 /* no correction */};
    uint8_t device[40] = {[14] = 9 /* DIMM */, [16] = 1, [18] = 7 /* RAM */, [19] = 2 /* other detail */, [23] = 2};
    uint64_t size = machine->low + machine->high, kib = size / KIB, mib = kib / KIB;

    store_le(array + 7, 4, kib < 0x80000000u ? kib : 0x80000000u);
    if (kib >= 0x80000000u)
        store_le(array + 15, 8, size);
    store_le(array + 11, 2, 0xfffe); /* no error information */
    store_le(array + 13, 2, 1);
    smbios_add(smbios, TYPE_MEMORY_ARRAY, 0, array, sizeof(array), NULL);

    store_le(device + 4, 2, TYPE_MEMORY_ARRAY << 8);
    store_le(device + 6, 2, 0xfffe);
    store_le(device + 8, 2, 0xffff); /* widths: unknown */
    store_le(device + 10, 2, 0xffff);
    store_le(device + 12, 2, mib < SIZE_IN_EXTENDED ? mib : SIZE_IN_EXTENDED);
    if (mib >= SIZE_IN_EXTENDED)
        store_le(device + 28, 4, mib & KIB_IN_EXTENDED);
    smbios_add(smbios, TYPE_MEMORY_DEVICE, 0, device, sizeof(device), "DIMM 0\0Lodge\0");
    smbios_add_memory_range(smbios, 0, 0, machine->low);
    smbios_add_memory_range(smbios, 1, BIT64(32), machine->high);
}

static uint8_t sum(const uint8_t *bytes, size_t size)
{
    uint8_t total = 0;

    for (size_t i = 0; i < size; i++)
        total = (uint8_t)(total + bytes[i]);
    return total;
}

/* The entry point (DSP0134, 5.2.1); its second half has a checksum of its own. */
static void smbios_fill_entry(uint8_t *entry, const struct smbios *smbios)
{
    memset(entry, 0, SMBIOS_ENTRY_SIZE);
    memcpy(entry, "_SM_", 4);
    entry[5] = SMBIOS_ENTRY_SIZE;
    entry[6] = 2;
    entry[7] = 8;
    store_le(entry + 8, 2, smbios->largest);
    memcpy(entry + ENTRY_MIDDLE, "_DMI_", 5);
    store_le(entry + 22, 2, smbios->length);
    store_le(entry + 28, 2, smbios->count);
    entry[30] = 0x28;
    entry[21] = (uint8_t)-sum(entry + ENTRY_MIDDLE, ENTRY_MIDDLE_SIZE);
    entry[4] = (uint8_t)-sum(entry, SMBIOS_ENTRY_SIZE);
}

enum status smbios_build(const struct smbios_machine *machine, void *to, size_t room, size_t *used,
                         uint8_t entry[SMBIOS_ENTRY_SIZE])
{
    struct smbios smbios = {.bytes = to, .room = room};
    uint8_t boot[11] = {0}, end[HEADER_SIZE] = {0};

    smbios_add_system(&smbios, machine);
    smbios_add_processor(&smbios, machine);
    smbios_add_memory(&smbios, machine);
    smbios_add(&smbios, TYPE_BOOT, 0, boot, sizeof(boot), NULL);
    smbios_add(&smbios, TYPE_END, 0, end, sizeof(end), NULL);
    if (smbios.failed || smbios.length > UINT16_MAX) {
        log_error("boot: the SMBIOS tables do not fit %zu bytes", room);
        return STATUS_NO_MEMORY;
    }
    smbios_fill_entry(entry, &smbios);
    *used = smbios.length;
    return STATUS_OK;
}
