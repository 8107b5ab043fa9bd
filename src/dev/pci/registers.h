/* The configuration space header and its capabilities (PCI Local Bus 3.0, chapter 6; PCI Express 1.1 for ECAM). */
#ifndef LODGE_DEV_PCI_REGISTERS_H
#define LODGE_DEV_PCI_REGISTERS_H

enum {
    PCI_CONFIG_SIZE = 256,
    PCI_CONFIG_EXTENDED_SIZE = 4096,
    PCI_FUNCTIONS = 256, /* of one bus: 32 devices of 8 functions */
    PCI_BARS = 6,
    PCI_PIRQS = 8, /* PIRQA..PIRQH of the ICH9 */
};

enum {
    PCI_VENDOR_ID = 0x00,
    PCI_DEVICE_ID = 0x02,
    PCI_COMMAND = 0x04,
    PCI_STATUS = 0x06,
    PCI_REVISION_ID = 0x08,
    PCI_CLASS_PROGRAMMING = 0x09,
    PCI_CLASS = 0x0a, /* subclass, base class */
    PCI_CACHE_LINE_SIZE = 0x0c,
    PCI_HEADER_TYPE = 0x0e,
    PCI_BAR0 = 0x10,
    PCI_SUBSYSTEM_VENDOR_ID = 0x2c,
    PCI_SUBSYSTEM_ID = 0x2e,
    PCI_CAPABILITIES = 0x34,
    PCI_INTERRUPT_LINE = 0x3c,
    PCI_INTERRUPT_PIN = 0x3d,
    PCI_HEADER_END = 0x40,
};

enum {
    PCI_COMMAND_IO = 1 << 0,
    PCI_COMMAND_MEMORY = 1 << 1,
    PCI_COMMAND_MASTER = 1 << 2,
    PCI_COMMAND_SERR = 1 << 8,
    PCI_COMMAND_INTX_DISABLE = 1 << 10,
    PCI_COMMAND_WRITABLE =
        PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_SERR | PCI_COMMAND_INTX_DISABLE,
    PCI_STATUS_INTERRUPT = 1 << 3,
    PCI_STATUS_CAPABILITIES = 1 << 4,
    PCI_HEADER_MULTI_FUNCTION = 0x80,
};

enum {
    PCI_BAR_IO = 1 << 0,
    PCI_BAR_64 = 1 << 2,
    PCI_BAR_PREFETCHABLE = 1 << 3,
};

enum { PCI_CAPABILITY_MSI = 0x05, PCI_CAPABILITY_VENDOR = 0x09, PCI_CAPABILITY_MSIX = 0x11 };

#define PCI_DEVFN(slot, function) ((unsigned)(slot) << 3 | (unsigned)(function))
#define PCI_SLOT(devfn) ((unsigned)(devfn) >> 3)

#endif
