/*
 * One PCI function: its configuration space, its BARs, its interrupt pin.
 *
 * A device model embeds a struct pci_function and, in its state struct, a struct pci_state; it
 * describes the latter with PCI_STATE_FIELDS. It fills in the header, BARs and capabilities at
 * construction, then calls pci_function_register(). From then on the guest's writes go through
 * write masks, BARs follow the command register by themselves, and the model's io() sees accesses
 * to its BARs with the region number that it gave.
 *
 * Threads: construction before the machine runs; everything else with the machine lock held.
 */
#ifndef LODGE_DEV_PCI_FUNCTION_H
#define LODGE_DEV_PCI_FUNCTION_H

#include <stdbool.h>
#include <stdint.h>

#include "core/device.h"
#include "dev/pci/registers.h"

struct pci_bus;
struct pci_function;
struct pci_msix;

/* What the guest can see of every function. */
struct pci_state {
    uint8_t config[PCI_CONFIG_SIZE];
    uint8_t intx; /* the function asks for its interrupt pin, whatever INTx Disable says */
};

#define PCI_STATE_FIELDS(type, member, version)                                                                        \
    STATE_ARRAY(type, member.config, version), STATE_SCALAR(type, member.intx, version)

enum pci_bar_kind { PCI_BAR_KIND_NONE, PCI_BAR_KIND_IO, PCI_BAR_KIND_MEMORY32, PCI_BAR_KIND_MEMORY64 };

struct pci_bar {
    enum pci_bar_kind kind;
    struct region region;
    bool blocked; /* decoded, but something else is there: tried again when others move */
};

/* What a model may want to know. Members may be NULL. */
struct pci_function_ops {
    void (*config_read)(struct pci_function *function, unsigned offset, unsigned size); /* before: may update config */
    void (*config_written)(struct pci_function *function, unsigned offset, unsigned size); /* after */
};

struct pci_function {
    struct device *device;
    struct pci_state *state;
    struct pci_bus *bus;
    const struct pci_function_ops *ops;
    struct pci_msix *msix;  /* NULL: no MSI-X (msix.h) */
    uint8_t msi_capability; /* offset; 0: no MSI (msi.h) */
    uint8_t devfn;
    uint8_t capability_end; /* first free byte after the header and the capabilities so far */
    bool intx_driven;       /* what the pin's wire sees now */
    struct pci_bar bars[PCI_BARS];
    uint8_t power_on[PCI_CONFIG_SIZE];       /* configuration space after reset */
    uint8_t writable[PCI_CONFIG_SIZE];       /* bits that the guest may write */
    uint8_t clear_on_write[PCI_CONFIG_SIZE]; /* bits that writing a one clears */
};

struct pci_identity {
    uint16_t vendor, device, subsystem_vendor, subsystem;
    uint32_t class_code; /* base class << 16 | subclass << 8 | programming interface */
    uint8_t revision;
};

/* Starts a function. device and state are borrowed; ops may be NULL. */
void pci_function_init(struct pci_function *function, struct device *device, struct pci_state *state,
                       const struct pci_identity *identity, const struct pci_function_ops *ops);

/* A register of configuration space: its power-on value and the bits that the guest may write. size is 1, 2 or 4. */
void pci_function_define(struct pci_function *function, unsigned offset, unsigned size, uint32_t power_on,
                         uint32_t writable);

/* The interrupt pin, 1 (INTA) to 4 (INTD). */
void pci_function_set_pin(struct pci_function *function, unsigned pin);

/*
 * BAR `number`, of `size` bytes (a power of two; at least 4 for I/O, 16 for memory); a 64-bit one takes the next
 * number too. io() sees it as region `region_number` in accesses of smallest..largest bytes. The caller
 * may set bars[number].region.doorbell afterwards. STATUS_INVALID (logged) for a BAR that cannot be.
 */
enum status pci_function_add_bar(struct pci_function *function, unsigned number, enum pci_bar_kind kind, uint64_t size,
                                 const char *name, unsigned region_number, uint8_t smallest,
                                 uint8_t largest) MUST_CHECK;

/*
 * Room for a capability of size bytes (its two header bytes among them), linked into the list.
 * Answers its offset, or 0 when configuration space is full (logged). Read-only and zero until defined.
 */
unsigned pci_function_add_capability(struct pci_function *function, unsigned identifier, unsigned size);

/*
 * Puts the function on the bus and its BARs, unplaced, into the address spaces; state becomes the
 * power-on state. STATUS_EXISTS if devfn is taken; others as bus_add().
 */
enum status pci_function_register(struct pci_function *function, struct pci_bus *bus, unsigned devfn) MUST_CHECK;

/* For the model's reset() and resume(): power-on state; or state as it was decoded, read-only bits as they must be. */
void pci_function_reset(struct pci_function *function);
void pci_function_resume(struct pci_function *function);

/* The interrupt pin. Held by the model until its cause is gone. */
void pci_function_set_intx(struct pci_function *function, bool level);

/* A register, little-endian, as it is now; no side effects. size is 1, 2 or 4. */
uint32_t pci_function_get(const struct pci_function *function, unsigned offset, unsigned size);

/*
 * Writes a register from the model's side: masks do not apply, nobody is told. Of read-only bits this
 * lasts until the next reset or resume.
 */
void pci_function_set(struct pci_function *function, unsigned offset, unsigned size, uint32_t value);

/* The guest's accesses. Any offset and size: bytes beyond the 256 read as zero and are not written. */
uint32_t pci_function_config_read(struct pci_function *function, unsigned offset, unsigned size);
void pci_function_config_write(struct pci_function *function, unsigned offset, unsigned size, uint32_t value);

#endif
