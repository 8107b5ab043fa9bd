/*
 * The guest's extended state as a register file: c->xsave after vector_save(), in the standard XSAVE format.
 * Private to the files of the system instructions.
 */
#ifndef LODGE_ENGINE_DBT_SYS_XSTATE_H
#define LODGE_ENGINE_DBT_SYS_XSTATE_H

#include "engine/dbt/state.h"
#include "x86/xsave.h"

/* Offset and size of a state component in c->xsave and in a standard-format area. Size 0: not there. */
struct xstate_component {
    uint32_t offset, size;
    bool aligned; /* in the compacted format */
};
enum { XSTATE_X87, XSTATE_SSE, XSTATE_AVX, XSTATE_OPMASK = 5, XSTATE_ZMM_HI256, XSTATE_HI16_ZMM, XSTATE_COUNT };
struct xstate_layout {
    struct xstate_component component[XSTATE_COUNT];
};
/* From the CPUID table (the host has the same layout); x87 is not in it, its registers are no block. */
void xstate_layout_get(const struct dbt_vcpu *c, struct xstate_layout *layout);
/* XSTATE_BV of the image. */
uint64_t xstate_in_use(const struct dbt_vcpu *c);
/* Put the components into their initial configuration, and give those that are in it explicit contents. */
void xstate_reset(struct dbt_vcpu *c, uint64_t components);
void xstate_materialise(struct dbt_vcpu *c, uint64_t components);
/* Bits that MXCSR may have. */
uint32_t xstate_mxcsr_mask(const struct dbt_vcpu *c);
/* #UD and #NM for the instruction classes. */
void require_xsave(struct dbt_vcpu *c);
void require_x87(struct dbt_vcpu *c);
/* Moves the state to c->xsave, and raises #MF for an unmasked x87 exception that is pending. */
void require_no_x87_pending(struct dbt_vcpu *c);

#endif
