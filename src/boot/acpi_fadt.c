/* Fixed hardware: the power management registers of the ICH9 (FADT, ACPI 6.4, section 5.2.9). */
#include "boot/acpi_table.h"

#include "base/bits.h"

/* Offsets in the table. */
enum {
    FIRMWARE_CTRL = 36,
    DSDT = 40,
    SCI_INT = 46,
    SMI_CMD = 48,
    ACPI_ENABLE = 52,
    ACPI_DISABLE = 53,
    PM1A_EVT_BLK = 56,
    PM1A_CNT_BLK = 64,
    PM_TMR_BLK = 76,
    GPE0_BLK = 80,
    PM1_EVT_LEN = 88,
    PM1_CNT_LEN = 89,
    PM_TMR_LEN = 91,
    GPE0_BLK_LEN = 92,
    P_LVL2_LAT = 96,
    P_LVL3_LAT = 98,
    CENTURY = 108,
    IAPC_BOOT_ARCH = 109,
    FLAGS = 112,
    RESET_REG = 116,
    RESET_VALUE = 128,
    MINOR_VERSION = 131,
    X_DSDT = 140,
    X_PM1A_EVT_BLK = 148,
    X_PM1A_CNT_BLK = 172,
    X_PM_TMR_BLK = 208,
    X_GPE0_BLK = 220,
    FADT_SIZE = 276,
};

/* The ICH9's, as dev/chipset has them; PM base 0x600. */
enum {
    PM1_EVT = 0x600,
    PM1_CNT = 0x604,
    PM_TMR = 0x608,
    GPE0 = 0x620,
    PM1_EVT_BYTES = 4,
    PM1_CNT_BYTES = 2,
    PM_TMR_BYTES = 4,
    GPE0_BYTES = 16,
    SCI_IRQ = 9,
    SMI_COMMAND_PORT = 0xb2,
    ENABLE_COMMAND = 2,
    DISABLE_COMMAND = 3,
    RESET_PORT = 0xcf9,
    RESET_COMMAND = 6,
    RTC_CENTURY = 0x32,
};

enum { LEGACY_DEVICES = BIT(0), HAS_8042 = BIT(1), VGA_NOT_PRESENT = BIT(2), NO_ASPM = BIT(4) };

enum {
    WBINVD = BIT(0),
    PROC_C1 = BIT(2),
    SLP_BUTTON_ABSENT = BIT(5),
    FIX_RTC_ABSENT = BIT(6),
    RESET_REG_SUP = BIT(10),
};

enum { LATENCY_UNSUPPORTED = 0xfff };

/* Access sizes of a generic address: 1 byte, 2 word, 3 doubleword. */
enum { ACCESS_BYTE = 1, ACCESS_WORD = 2, ACCESS_DWORD = 3, SPACE_IO = 1 };

static void acpi_generic_address(uint8_t *to, uint16_t port, unsigned bytes, uint8_t access)
{
    to[0] = SPACE_IO;
    to[1] = (uint8_t)(8 * bytes);
    to[2] = 0;
    to[3] = access;
    store_le(to + 4, 8, port);
}

static void acpi_fill_registers(uint8_t *fadt)
{
    store_le(fadt + PM1A_EVT_BLK, 4, PM1_EVT);
    store_le(fadt + PM1A_CNT_BLK, 4, PM1_CNT);
    store_le(fadt + PM_TMR_BLK, 4, PM_TMR);
    store_le(fadt + GPE0_BLK, 4, GPE0);
    fadt[PM1_EVT_LEN] = PM1_EVT_BYTES;
    fadt[PM1_CNT_LEN] = PM1_CNT_BYTES;
    fadt[PM_TMR_LEN] = PM_TMR_BYTES;
    fadt[GPE0_BLK_LEN] = GPE0_BYTES;
    acpi_generic_address(fadt + X_PM1A_EVT_BLK, PM1_EVT, PM1_EVT_BYTES, ACCESS_WORD);
    acpi_generic_address(fadt + X_PM1A_CNT_BLK, PM1_CNT, PM1_CNT_BYTES, ACCESS_WORD);
    acpi_generic_address(fadt + X_PM_TMR_BLK, PM_TMR, PM_TMR_BYTES, ACCESS_DWORD);
    acpi_generic_address(fadt + X_GPE0_BLK, GPE0, GPE0_BYTES, ACCESS_BYTE);
}

/* The power button is a fixed one; sleep button and RTC wake-up are not there. */
uint64_t acpi_add_fadt(struct acpi_tables *tables, uint64_t facs, uint64_t dsdt)
{
    acpi_begin(tables, "FACP", 6);
    if (!acpi_reserve(tables, FADT_SIZE - ACPI_HEADER_SIZE, 1))
        return 0;

    uint8_t *fadt = tables->bytes + tables->start;
    acpi_point(tables, fadt + FIRMWARE_CTRL, 4, facs);
    acpi_point(tables, fadt + DSDT, 4, dsdt);
    acpi_point(tables, fadt + X_DSDT, 8, dsdt);
    store_le(fadt + SCI_INT, 2, SCI_IRQ);
    store_le(fadt + SMI_CMD, 4, SMI_COMMAND_PORT);
    fadt[ACPI_ENABLE] = ENABLE_COMMAND;
    fadt[ACPI_DISABLE] = DISABLE_COMMAND;
    acpi_fill_registers(fadt);
    store_le(fadt + P_LVL2_LAT, 2, LATENCY_UNSUPPORTED);
    store_le(fadt + P_LVL3_LAT, 2, LATENCY_UNSUPPORTED);
    fadt[CENTURY] = RTC_CENTURY;
    store_le(fadt + IAPC_BOOT_ARCH, 2, LEGACY_DEVICES | HAS_8042 | VGA_NOT_PRESENT | NO_ASPM);
    store_le(fadt + FLAGS, 4, WBINVD | PROC_C1 | SLP_BUTTON_ABSENT | FIX_RTC_ABSENT | RESET_REG_SUP);
    acpi_generic_address(fadt + RESET_REG, RESET_PORT, 1, ACCESS_BYTE);
    fadt[RESET_VALUE] = RESET_COMMAND;
    fadt[MINOR_VERSION] = 4;
    return acpi_end(tables);
}
