/* What firmware would find, and what it would do, where none runs. Inside the board only. */
#ifndef LODGE_BOARD_Q35_FIRMWARE_H
#define LODGE_BOARD_Q35_FIRMWARE_H

#include "board/q35.h"

/* The CMOS bytes that tell memory sizes and the number of processors. Before the machine runs. */
void q35_describe_memory(struct q35 *q35);

/* Right after reset: windows, interrupt routing, BARs. The machine lock is not held. Errors: as pci_bus_assign(). */
enum status q35_play_firmware(struct q35 *q35) MUST_CHECK;

#endif
