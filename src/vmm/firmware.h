/* Firmware for a machine: its files, where they go, and what it is told through fw_cfg. */
#ifndef LODGE_VMM_FIRMWARE_H
#define LODGE_VMM_FIRMWARE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "boot/acpi.h"
#include "boot/smbios.h"
#include "boot/table_loader.h"
#include "host/file.h"
#include "host/log_file.h"
#include "host/store.h"
#include "vmm/images.h"
#include "vmm/options.h"

struct fw_cfg;
struct guest_memory;
struct host_memory;
struct pci_windows;
struct q35_config;

enum {
    FIRMWARE_TABLES = 64 << 10,
    FIRMWARE_COMMANDS = 32 * TABLE_LOADER_COMMAND,
    FIRMWARE_SMBIOS = 1 << 10,
    FIRMWARE_E820_ENTRY = 20,
    FIRMWARE_E820_ENTRIES = 4,
};

struct firmware {
    bool present;               /* false: a kernel is started directly, and nothing else here is of use */
    struct host_file code;      /* what runs; given up once it is in the machine's flash */
    struct host_file variables; /* what its variables start from, where there is no store */
    struct host_store store;    /* where they are kept; fd -1: nowhere */
    bool keeps;                 /* the store is written */
    struct host_log_file log;
    uint64_t code_size, variables_size; /* of the flash chips; 0: there is none for variables */
    unsigned variables_range;           /* of guest memory */

    /* What fw_cfg's items point to. */
    uint8_t tables[FIRMWARE_TABLES];
    uint8_t commands[FIRMWARE_COMMANDS];
    uint8_t rsdp[ACPI_RSDP_SIZE];
    uint8_t smbios[FIRMWARE_SMBIOS];
    uint8_t smbios_entry[SMBIOS_ENTRY_SIZE];
    uint8_t e820[FIRMWARE_E820_ENTRIES * FIRMWARE_E820_ENTRY];
    void *initrd; /* several initial file systems in one piece, or NULL */
    uint64_t initrd_size;
};

/* Everything in order of use; the main thread, before the machine runs. Errors are logged. */

/* Opens the files that the options name and checks their sizes. Makes the variable store. */
enum status firmware_open(struct firmware *firmware, const struct vmm_options *options) MUST_CHECK;
void firmware_close(struct firmware *firmware); /* accepts a zeroed one */

/* Bytes of flash, which guest memory needs behind its RAM. */
uint64_t firmware_flash_size(const struct firmware *firmware);

/* Fills the flash, at host memory's offset `ram`. It stays over a reset of the machine, as flash does. */
enum status firmware_fill(struct firmware *firmware, struct host_memory *memory, uint64_t ram) MUST_CHECK;

/* For each life of the machine: the flash's place in guest memory, what the board has for it, and its fw_cfg items. */
enum status firmware_map(struct firmware *firmware, struct guest_memory *memory) MUST_CHECK;
void firmware_configure(struct firmware *firmware, struct q35_config *config);

struct firmware_machine {
    const struct vmm_options *options;
    const struct images *images; /* stay while the machine lives */
    const struct acpi_machine *acpi;
    const struct guest_memory *memory;
    const struct pci_windows *windows;
};
enum status firmware_describe(struct firmware *firmware, const struct firmware_machine *machine,
                              struct fw_cfg *config) MUST_CHECK;

#endif
