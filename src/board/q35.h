/*
 * Board q35-1: every device of the machine, and how they are wired together.
 *
 * The guest-visible result is a versioned contract. What a guest can tell apart (an address, an
 * IRQ, an identity, a device more or less) changes only with a new board version.
 */
#ifndef LODGE_BOARD_Q35_H
#define LODGE_BOARD_Q35_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "board/isa_wires.h"
#include "core/machine.h"
#include "dev/chipset/debug_ports.h"
#include "dev/chipset/fw_cfg.h"
#include "dev/chipset/i8042.h"
#include "dev/chipset/ioapic.h"
#include "dev/chipset/lapic.h"
#include "dev/chipset/pic.h"
#include "dev/chipset/pflash.h"
#include "dev/chipset/pit.h"
#include "dev/chipset/pm.h"
#include "dev/chipset/reset_control.h"
#include "dev/chipset/rtc.h"
#include "dev/chipset/uart_isa.h"
#include "dev/pci/host.h"
#include "dev/pci/lpc.h"
#include "dev/virtio/virtio.h"

#define Q35_NAME "q35-1"

/* The physical address map, for ACPI tables and memory maps. */
#define Q35_ECAM_BASE 0xb0000000ull
#define Q35_ECAM_SIZE 0x10000000ull
#define Q35_PCI_BASE 0xc0000000ull
#define Q35_PCI_END 0xfec00000ull

/* PCI slots of virtio devices: 00:01.0 and up, below those of the chipset. */
enum { Q35_VIRTIO_SLOT = 1, Q35_VIRTIO_SLOTS = 24 };
/* Where flash ends; firmware's first instruction is 16 bytes before. */
#define Q35_FLASH_END 0x100000000ull
#define Q35_FLASH_BASE 0xff000000ull

/* What differs from one machine to the next. Streams are borrowed; NULL: nothing is plugged in. */
struct q35_config {
    struct stream *console; /* COM1 */
    bool second_serial;     /* there is a COM2, at the far end of which is: */
    struct stream *second_stream;
    struct stream *debug_console; /* port 0xE9, write only */
    bool debug_exit;              /* port 0xF4 ends the machine */
    /*
     * A firmware image will run: the board stays as reset leaves it. False: a kernel is started
     * directly, and the board is left as firmware would hand it over.
     */
    bool firmware;
    /* Virtio devices, started but not attached, from slot Q35_VIRTIO_SLOT on; borrowed. NULL: an empty slot. */
    struct virtio *const *virtio;
    unsigned virtio_count;
    struct stream *firmware_log; /* port 0x402, where it writes what it does; with firmware only */
    bool flash;                  /* the memory's range flash_range is a flash chip that firmware writes: */
    unsigned flash_range;
    struct store *flash_store; /* NULL: what it writes is gone with the process */
    /* now NULL: the engine is asked (engine_ops.tsc). khz is needed. */
    struct guest_tsc tsc;
};

struct q35 {
    struct machine *machine;
    struct q35_config config;
    struct isa_wires isa_wires;

    struct lapic_bus apics;
    struct lapic lapics[MACHINE_CPUS];
    struct ioapic ioapic;
    struct pic pic;

    struct pci_host pci;
    struct lpc lpc;

    struct pit pit;
    struct rtc rtc;
    struct pm pm;
    struct reset_control reset_control;
    struct i8042 i8042;
    struct uart_isa serial[2];
    struct debug_console debug_console;
    struct debug_exit debug_exit;
    struct post_port post_port;

    /* With firmware. Its items are added to fw_cfg between q35_init() and the first instruction. */
    struct fw_cfg fw_cfg;
    struct debug_console firmware_log;
    struct pflash flash;
};

/*
 * Makes and wires all devices, adds them to the machine, gives every vCPU its APIC, and brings the
 * board to its state at power-on (q35_reset). The machine has its memory, vCPUs and engine, and does
 * not run; neither it nor the board may move afterwards. Nothing needs to be undone: the board owns
 * nothing outside itself. STATUS_INVALID for a machine or configuration that cannot be; others as
 * bus_add(). Logged.
 */
enum status q35_init(struct q35 *q35, struct machine *machine, const struct q35_config *config) MUST_CHECK;

/*
 * Power-on: resets all devices and, unless there is firmware, does its part: places PCI BARs and
 * the chipset's windows, routes interrupts. If there is, its last 128 KiB are copied to where it starts. Call it again after adding PCI devices. No vCPU runs;
 * the machine lock is not held. STATUS_NO_MEMORY (logged) when BARs do not fit.
 */
enum status q35_reset(struct q35 *q35) MUST_CHECK;

/* Where BARs may be. The 64-bit window is empty when the processor's addresses do not reach that far. */
void q35_pci_windows(const struct q35 *q35, struct pci_windows *windows);

/* The power button; answers whether the guest listens to it. Takes the machine lock. Any thread. */
bool q35_press_power(struct q35 *q35);

/* The NMI button. Takes the machine lock. Any thread. */
void q35_press_nmi(struct q35 *q35);

#endif
