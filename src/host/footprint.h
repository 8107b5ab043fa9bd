/* How much host memory this process uses, and for what. */
#ifndef LODGE_HOST_FOOTPRINT_H
#define LODGE_HOST_FOOTPRINT_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum footprint_part {
    FOOTPRINT_GUEST_RAM,
    FOOTPRINT_CODE_CACHE, /* translated code: memory files named lodge-code... */
    FOOTPRINT_VCPUS,      /* vCPU state with its software TLBs: lodge-vcpu..., or a hint */
    FOOTPRINT_HEAP,
    FOOTPRINT_STACKS,
    FOOTPRINT_LIBRARIES, /* the program itself and its libraries, their data too */
    FOOTPRINT_OTHER,     /* anonymous memory: nearly all of it what the translator knows about its code */
    FOOTPRINT_PARTS,
};

/* "The mapping that holds this address is of this part", for mappings without a name. */
struct footprint_hint {
    const void *address;
    enum footprint_part part;
};

struct footprint {
    uint64_t resident[FOOTPRINT_PARTS]; /* bytes */
};

/* Opens /proc/self/smaps for as long as the process runs, since later it may not. */
void footprint_keep(void);

/* Reads /proc/self/smaps. One thread at a time. STATUS_IO (logged) without it. */
enum status footprint_measure(struct footprint *footprint, const struct footprint_hint *hints,
                              size_t hint_count) MUST_CHECK;

/* Bytes without guest RAM. */
uint64_t footprint_own(const struct footprint *footprint);

/* "code cache" for example. */
const char *footprint_part_name(enum footprint_part part);

#endif
