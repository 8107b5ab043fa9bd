/* What firmware would find, and what it would do, where none runs. Inside the board only. */
#ifndef LODGE_BOARD_Q35_FIRMWARE_H
#define LODGE_BOARD_Q35_FIRMWARE_H

#include "board/q35.h"

/* The CMOS bytes that tell memory sizes and the number of processors. Before the machine runs. */
void q35_describe_memory(struct q35 *q35);

/* Right after reset: windows, interrupt routing, BARs. The machine lock is not held. Errors: as pci_bus_assign(). */
enum status q35_play_firmware(struct q35 *q35) MUST_CHECK;

/*
 * What the chipset shows below 1 MiB at power-on: a copy of the firmware's last 128 KiB, in RAM, where firmware that
 * wants to change it would have to move it anyway. STATUS_NOT_FOUND (logged): there is no ROM that ends at 4 GiB.
 */
enum status q35_shadow_firmware(struct q35 *q35) MUST_CHECK;

#endif
