/*
 * The LPC bridge of the ICH9, 8086:2918 at 00:1f.0: where the PCI interrupt wires and the SCI go,
 * and where the ACPI registers are. Data sheet: Intel I/O Controller Hub 9 (316972), chapter 13.
 *
 * Registers of functions that this machine does not have (GPIO, root complex block, decode ranges)
 * keep what is written, because firmware checks it, without further effect.
 */
#ifndef LODGE_DEV_PCI_LPC_H
#define LODGE_DEV_PCI_LPC_H

#include <stdbool.h>
#include <stdint.h>

#include "core/device.h"
#include "core/irq.h"
#include "dev/pci/bus.h"
#include "dev/pci/function.h"

enum { LPC_DEVFN = PCI_DEVFN(31, 0) };

enum {
    LPC_PMBASE = 0x40,
    LPC_PMBASE_SIZE = 0x80,
    LPC_ACPI_CNTL = 0x44,
    LPC_ACPI_CNTL_ENABLE = 0x80,
    LPC_PIRQA_ROUT = 0x60, /* to PIRQD at 0x63 */
    LPC_PIRQE_ROUT = 0x68, /* to PIRQH at 0x6b */
    LPC_PIRQ_ROUT_DISABLE = 0x80,
};

/* The first of eight IOAPIC pins that the PIRQ wires are tied to. */
enum { LPC_FIRST_PIRQ_PIN = 16 };

struct lpc_state {
    struct pci_state pci;
    uint8_t sci; /* the level of the SCI */
};

/* Where the bridge's wires and registers lead. Called with the machine lock held, by any thread. */
struct lpc_wiring {
    struct irq_line ioapic; /* its pin: 16 to 23 for PIRQs; the SCI may be 9, 10, 11, 20 to 23 */
    struct irq_line pic;    /* its pin: an ISA IRQ, 0 to 15, to the 8259A pair alone */
    struct irq_line isa;    /* its pin: an ISA IRQ to both controllers; the SCI's usual way */
    /* The ACPI registers (LPC_PMBASE_SIZE ports) shall be at base, or nowhere. NULL: nobody cares. */
    void (*place_acpi)(void *context, uint16_t base, bool enabled);
    void *context;
};

struct lpc {
    struct device device;
    struct pci_function function;
    struct lpc_wiring wiring;
    uint8_t pirq_levels;                            /* follows from the functions that drive them */
    uint16_t acpi_base;                             /* what place_acpi() was last told; 0: nowhere */
    uint32_t ioapic_driven, pic_driven, isa_driven; /* bit n: pin n of that wiring is asserted now */
    struct lpc_state state;
};

/* Puts the bridge on the bus. Path "pci/00:1f.0". wiring is copied. Errors: as pci_function_register(). */
enum status lpc_init(struct lpc *lpc, struct pci_bus *bus, const struct lpc_wiring *wiring) MUST_CHECK;

/* For struct irq_line: PIRQ pin, 0 (A) to 7 (H). */
void lpc_set_pirq(void *lpc, unsigned pin, bool level);

/* For struct irq_line: the ACPI interrupt. */
void lpc_set_sci(void *lpc, unsigned pin, bool level);

#endif
