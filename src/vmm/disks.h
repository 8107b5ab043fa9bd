/* The disks of a machine: from what --disk says to a struct block. */
#ifndef LODGE_VMM_DISKS_H
#define LODGE_VMM_DISKS_H

#include "base/status.h"
#include "port/block.h"

struct aio_engine;

enum { DISK_SERIAL = 20 };

/*
 * FILE[,format=F][,readonly][,discard-changes][,serial=TEXT][,backing=RULE][,cache=MODE], as the manual page explains.
 * Logs its errors. *block is the caller's to close; the engine stays longer.
 */
enum status vmm_disk_open(const char *spec, struct aio_engine *engine, struct block **block) MUST_CHECK;

/* Its requests have come to their end. Accepts NULL. */
void vmm_disk_close(struct block *block);

/* The serial number in a spec that vmm_disk_open() has taken; empty if there is none. */
void vmm_disk_serial(const char *spec, char serial[DISK_SERIAL + 1]);

#endif
