/*
 * The firmware configuration device: a set of numbered items that firmware reads, byte by byte or by
 * DMA. Interface: "QEMU Firmware Configuration (fw_cfg) Device", published with QEMU (docs/specs/fw_cfg).
 *
 *     0x510  selector, 16 bits, little-endian; write only
 *     0x511  data: the next byte of the selected item; its end reads as zeroes
 *     0x514  address of a DMA descriptor, 64 bits, big-endian, high half first; reads "QEMU CFG"
 *
 * Items are read-only to the guest. Beside their numbers files have names, which the directory lists.
 */
#ifndef LODGE_DEV_CHIPSET_FW_CFG_H
#define LODGE_DEV_CHIPSET_FW_CFG_H

#include <stdint.h>

#include "core/bus.h"
#include "core/device.h"

struct guest_memory;

/* The numbers that the interface fixes. */
enum fw_cfg_key {
    FW_CFG_SIGNATURE = 0x00,
    FW_CFG_ID = 0x01,
    FW_CFG_UUID = 0x02,
    FW_CFG_RAM_SIZE = 0x03,
    FW_CFG_NO_GRAPHIC = 0x04,
    FW_CFG_CPU_COUNT = 0x05,
    FW_CFG_KERNEL_SIZE = 0x08,
    FW_CFG_INITRD_SIZE = 0x0b,
    FW_CFG_BOOT_MENU = 0x0e,
    FW_CFG_MAX_CPUS = 0x0f,
    FW_CFG_KERNEL_DATA = 0x11,
    FW_CFG_INITRD_DATA = 0x12,
    FW_CFG_CMDLINE_SIZE = 0x14,
    FW_CFG_CMDLINE_DATA = 0x15,
    FW_CFG_SETUP_SIZE = 0x17,
    FW_CFG_SETUP_DATA = 0x18,
    FW_CFG_DIRECTORY = 0x19,
    FW_CFG_FIRST_FILE = 0x20,
};

enum { FW_CFG_ITEMS = 64, FW_CFG_FILES = 32, FW_CFG_NAME_SIZE = 56, FW_CFG_DIRECTORY_ENTRY = 64 };

struct fw_cfg_item {
    uint16_t key;
    uint32_t size;
    const void *bytes; /* NULL: the value below */
    uint8_t value[8];
};

struct fw_cfg_state {
    uint16_t selector;
    uint32_t offset;       /* in the selected item */
    uint32_t address_high; /* of the DMA descriptor, until the low half is written */
};

struct fw_cfg {
    struct device device;
    struct region ports, dma;
    struct guest_memory *memory;
    struct fw_cfg_item items[FW_CFG_ITEMS];
    unsigned item_count, file_count;
    uint8_t directory[4 + FW_CFG_FILES * FW_CFG_DIRECTORY_ENTRY];
    struct fw_cfg_state state;
};

/* Adds its ports to the bus; has signature, feature bits and an empty directory. Path "isa/fw-cfg". Errors: as bus_add(). */
enum status fw_cfg_init(struct fw_cfg *config, struct guest_memory *memory, struct bus *bus) MUST_CHECK;

/*
 * Add items before the machine runs. bytes are borrowed until it ends; names are copied; a number's size is 1, 2, 4
 * or 8 bytes. STATUS_EXISTS for a key that is there, STATUS_NO_MEMORY when the table is full, STATUS_INVALID
 * for a name that is too long. Logged.
 */
enum status fw_cfg_add(struct fw_cfg *config, uint16_t key, const void *bytes, uint32_t size) MUST_CHECK;
enum status fw_cfg_add_number(struct fw_cfg *config, uint16_t key, uint64_t number, unsigned size) MUST_CHECK;
enum status fw_cfg_add_file(struct fw_cfg *config, const char *name, const void *bytes, uint32_t size) MUST_CHECK;
enum status fw_cfg_add_file_number(struct fw_cfg *config, const char *name, uint64_t number, unsigned size) MUST_CHECK;

#endif
