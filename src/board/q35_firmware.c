#include "board/q35_firmware.h"

#include "base/bits.h"
#include "base/memory.h"
#include "port/log.h"
#include "x86/cpuid.h"

/* Memory sizes in CMOS, as PC firmware has left them there since the AT, and the convention of virtual machines. */
enum {
    CMOS_BASE_MEMORY = 0x15,     /* KiB below 640 KiB; 16 bits */
    CMOS_EXTENDED_MEMORY = 0x17, /* KiB from 1 MiB, at most 64 MiB; and again at 0x30 */
    CMOS_EXTENDED_MEMORY_2 = 0x30,
    CMOS_MEMORY_ABOVE_16M = 0x34, /* units of 64 KiB, below 4 GiB */
    CMOS_MEMORY_ABOVE_4G = 0x5b,  /* units of 64 KiB; 24 bits */
    CMOS_PROCESSORS = 0x5f,       /* less one */
    CMOS_BYTE_MAX = 0xff,
};

enum { KIB = 1024, UNIT = 64 * KIB, MIB = 1024 * KIB };

#define GIB (1024ull * MIB)
#define PCI_WINDOW_64_SIZE (64 * GIB)

#define CPUID_ADDRESS_SIZES 0x80000008u

enum { ADDRESS_BITS_LEAST = 36, ADDRESS_BITS_MOST = 52 };

enum { PCI_IO_BASE = 0xc000, PCI_IO_END = 0x10000 };

/* PIC-only kernels: PIRQs share IRQ 10 and 11, as on most PCs. */
enum { PIRQ_IRQ_FIRST = 10, PIRQ_IRQ_SECOND = 11, ELCR_SLAVE_PORT = 0x4d1 };

enum { UART_DLL = 0, UART_DLM = 1, UART_LCR = 3, UART_LCR_8_BITS = 3, UART_LCR_DLAB = 0x80, UART_DIVISOR_115200 = 1 };

static void cmos_set(struct q35 *q35, unsigned index, unsigned bytes, uint64_t value)
{
    for (unsigned i = 0; i < bytes; i++)
        rtc_set_cmos(&q35->rtc, index + i, (uint8_t)(value >> (8 * i)));
}

static uint64_t least(uint64_t left, uint64_t right)
{
    return left < right ? left : right;
}

static uint64_t beyond(uint64_t value, uint64_t limit)
{
    return value > limit ? value - limit : 0;
}

void q35_describe_memory(struct q35 *q35)
{
    const struct guest_memory *memory = &q35->machine->memory;
    uint64_t low = memory_low_size(memory), high = beyond(memory_top(memory), 4 * GIB);
    uint64_t extended = least(beyond(low, MIB), 63 * MIB + 1023 * KIB) / KIB;

    cmos_set(q35, CMOS_BASE_MEMORY, 2, least(low, 640 * KIB) / KIB);
    cmos_set(q35, CMOS_EXTENDED_MEMORY, 2, extended);
    cmos_set(q35, CMOS_EXTENDED_MEMORY_2, 2, extended);
    cmos_set(q35, CMOS_MEMORY_ABOVE_16M, 2, least(beyond(low, 16 * MIB) / UNIT, 0xffff));
    cmos_set(q35, CMOS_MEMORY_ABOVE_4G, 3, least(high / UNIT, 0xffffff));
    cmos_set(q35, CMOS_PROCESSORS, 1, least(q35->machine->cpu_count - 1, CMOS_BYTE_MAX));
}

static unsigned q35_address_bits(const struct q35 *q35)
{
    struct cpuid_result sizes = cpuid_query(&q35->machine->cpuid, CPUID_ADDRESS_SIZES, 0, 0, 0, 0);
    unsigned bits = sizes.eax & 0xff;

    return bits < ADDRESS_BITS_LEAST || bits > ADDRESS_BITS_MOST ? ADDRESS_BITS_LEAST : bits;
}

void q35_pci_windows(const struct q35 *q35, struct pci_windows *windows)
{
    uint64_t top = memory_top(&q35->machine->memory);
    uint64_t base = align_up(top > 4 * GIB ? top : 4 * GIB, GIB);

    *windows = (struct pci_windows){
        .io_base = PCI_IO_BASE,
        .io_end = PCI_IO_END,
        .memory32_base = Q35_PCI_BASE,
        .memory32_end = Q35_PCI_END,
    };
    if (!range_inside(base, PCI_WINDOW_64_SIZE, BIT64(q35_address_bits(q35))))
        return;
    windows->memory64_base = base;
    windows->memory64_end = base + PCI_WINDOW_64_SIZE;
}

static unsigned pirq_irq(unsigned pirq)
{
    return pirq & 2 ? PIRQ_IRQ_SECOND : PIRQ_IRQ_FIRST;
}

static void q35_route_interrupts(struct q35 *q35)
{
    struct pci_bus *bus = &q35->pci.bus;
    uint64_t elcr = BIT(PIRQ_IRQ_FIRST - 8) | BIT(PIRQ_IRQ_SECOND - 8) | BIT(PM_SCI_IRQ - 8);

    for (unsigned i = 0; i < 4; i++) {
        pci_bus_config_write(bus, LPC_DEVFN, LPC_PIRQA_ROUT + i, 1, pirq_irq(i));
        pci_bus_config_write(bus, LPC_DEVFN, LPC_PIRQE_ROUT + i, 1, pirq_irq(4 + i));
    }
    for (unsigned devfn = 0; devfn < PCI_FUNCTIONS; devfn++) {
        unsigned pin = pci_bus_config_read(bus, devfn, PCI_INTERRUPT_PIN, 1);

        if (pin >= 1 && pin <= 4)
            pci_bus_config_write(bus, devfn, PCI_INTERRUPT_LINE, 1, pirq_irq(pci_bus_pirq(PCI_SLOT(devfn), pin)));
    }
    bus_access(&q35->machine->bus, BUS_PORT, ELCR_SLAVE_PORT, 1, true, &elcr);
}

/* 115200 baud, 8 data bits, no parity: kernels that print before they have a driver count on it. */
static void q35_prepare_serial(struct q35 *q35)
{
    for (unsigned i = 0; i < ARRAY_LENGTH(q35->serial); i++) {
        struct uart16550 *uart = &q35->serial[i].uart;

        if (i > 0 && !q35->config.second_serial)
            continue;
        uart16550_write(uart, UART_LCR, UART_LCR_DLAB | UART_LCR_8_BITS);
        uart16550_write(uart, UART_DLL, UART_DIVISOR_115200);
        uart16550_write(uart, UART_DLM, 0);
        uart16550_write(uart, UART_LCR, UART_LCR_8_BITS);
    }
}

enum status q35_play_firmware(struct q35 *q35)
{
    struct pci_bus *bus = &q35->pci.bus;
    struct pci_windows windows;

    pci_bus_config_write(bus, PCI_HOST_DEVFN, PCI_HOST_PCIEXBAR, 4,
                         (uint32_t)(Q35_ECAM_BASE | PCI_HOST_PCIEXBAR_ENABLE));
    pci_bus_config_write(bus, LPC_DEVFN, LPC_PMBASE, 4, PM_BASE);
    pci_bus_config_write(bus, LPC_DEVFN, LPC_ACPI_CNTL, 1, LPC_ACPI_CNTL_ENABLE);
    q35_route_interrupts(q35);
    q35_prepare_serial(q35);
    q35_pci_windows(q35, &windows);
    return pci_bus_assign(bus, &windows);
}

enum { SHADOW_END = 0x100000, SHADOW_SIZE = 128 * KIB };

enum status q35_shadow_firmware(struct q35 *q35)
{
    const struct guest_memory *memory = &q35->machine->memory;
    uint64_t size = SHADOW_SIZE;
    const void *rom = memory_at(memory, Q35_FLASH_END - size, size, false);

    while (!rom && size > PAGE_SIZE) {
        size /= 2;
        rom = memory_at(memory, Q35_FLASH_END - size, size, false);
    }
    void *shadow = memory_at(memory, SHADOW_END - size, size, true);
    if (!rom || !shadow) {
        log_error("board %s: firmware needs a ROM that ends at 4 GiB, and RAM up to 1 MiB", Q35_NAME);
        return STATUS_NOT_FOUND;
    }
    memcpy(shadow, rom, size);
    memory_wrote(memory, SHADOW_END - size, size);
    return STATUS_OK;
}
