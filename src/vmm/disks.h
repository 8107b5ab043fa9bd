/* The disks of a machine: from what --disk says to a struct block. */
#ifndef LODGE_VMM_DISKS_H
#define LODGE_VMM_DISKS_H

#include "base/status.h"
#include "port/block.h"

struct aio_engine;

enum { DISK_SERIAL = 20 };

struct vmm_disk {
    struct block *block;          /* NULL: none */
    char serial[DISK_SERIAL + 1]; /* empty: none was given */
};

/*
 * FILE[,format=F][,readonly][,discard-changes][,serial=TEXT][,backing=RULE][,cache=MODE], as the manual page explains.
 * Logs its errors. The engine stays longer than the disk.
 */
enum status vmm_disk_open(const char *text, struct aio_engine *engine, struct vmm_disk *disk) MUST_CHECK;

/* Its requests have come to their end. Accepts a zeroed one. */
void vmm_disk_close(struct vmm_disk *disk);

#endif
