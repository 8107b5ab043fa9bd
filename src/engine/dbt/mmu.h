/*
 * Guest linear memory: page walks, the software TLBs, and access from helpers.
 *
 * Every function here that can fault raises and does not return (state.h, raise). Callers check and
 * read everything before they commit anything. The vCPU's own thread; general registers only.
 */
#ifndef LODGE_ENGINE_DBT_MMU_H
#define LODGE_ENGINE_DBT_MMU_H

#include "engine/dbt/state.h"

/* Access by linear address at the current privilege. size 1, 2, 4, 8. May cross pages. MMIO works. */
uint64_t mmu_read(struct dbt_vcpu *c, uint64_t linear, unsigned size);
void mmu_write(struct dbt_vcpu *c, uint64_t linear, unsigned size, uint64_t value);

/* The same as an implicit supervisor access (descriptor tables, TSS, stacks of an inner ring): mmu says which rules. */
uint64_t mmu_read_as(struct dbt_vcpu *c, enum mmu_index mmu, uint64_t linear, unsigned size);
void mmu_write_as(struct dbt_vcpu *c, enum mmu_index mmu, uint64_t linear, unsigned size, uint64_t value);

/* Raise the fault that an access of `size` bytes (any size up to 4096) would raise, or return. No data moves. */
void mmu_probe(struct dbt_vcpu *c, enum mmu_index mmu, uint64_t linear, unsigned size, enum mmu_access access);

/* Blocks of any size (XSAVE areas); all pages are probed before the first byte moves. */
void mmu_read_block(struct dbt_vcpu *c, uint64_t linear, void *to, unsigned size);
void mmu_write_block(struct dbt_vcpu *c, uint64_t linear, const void *from, unsigned size);

/*
 * A locked compare-and-exchange on an aligned 4-byte word as supervisor (descriptor accessed and busy bits).
 * True if it was `expected` and is now `desired`.
 */
bool mmu_compare_exchange(struct dbt_vcpu *c, enum mmu_index mmu, uint64_t linear, uint32_t expected, uint32_t desired);

/* What an instruction's memory operand designates: its offset in the segment. RSP, RIP as they are before the instruction. */
uint64_t insn_offset(const struct dbt_vcpu *c, const struct insn *insn);

/*
 * The linear address of segment:offset after the segment's checks (limit, type, null; in 64-bit code
 * canonical form): raises #GP(0) or #SS(0).
 */
uint64_t segment_linear(struct dbt_vcpu *c, enum segment segment, uint64_t offset, unsigned size, enum mmu_access access);

/* segment_linear() of the memory operand. */
uint64_t insn_linear(struct dbt_vcpu *c, const struct insn *insn, unsigned size, enum mmu_access access);

/* Flushes. _local: all but global pages (a CR3 load); _all: everything; _page: what covers one linear address. */
void mmu_flush_local(struct dbt_vcpu *c);
void mmu_flush_all(struct dbt_vcpu *c);
void mmu_flush_page(struct dbt_vcpu *c, uint64_t linear);

/*
 * Walk for a debugger or a report: guest physical address of a linear one, without faults or A/D bits. False: not mapped.
 */
bool mmu_lookup(struct dbt_vcpu *c, uint64_t linear, uint64_t *physical);

#define NO_CODE UINT64_MAX

/* The host address of a linear one, good to the end of its page; NULL when it must be accessed piece by piece. Faults raise. */
uint8_t *mmu_page_to_read(struct dbt_vcpu *c, uint64_t linear);

/* The same. *code is NO_CODE, or the physical address: code_written() must be told of what has been written there. */
uint8_t *mmu_page_to_write(struct dbt_vcpu *c, uint64_t linear, uint64_t *code);

/*
 * The map of guest memory has changed (c->remapped): no TLB entry may be of the old one. In the middle of an access
 * too: code keeps running, what was translated from memory that is hidden now has been forgotten by then.
 */
void mmu_follow_map(struct dbt_vcpu *c);

/* Empty TLBs, at power-on. */
void mmu_reset(struct dbt_vcpu *c);

/* Writes to a page (by its host address), or to all, must ask again. The vCPU is the caller's own, or stopped. */
void mmu_revoke_write(struct dbt_vcpu *c, uint64_t host_page);
void mmu_revoke_all_writes(struct dbt_vcpu *c);

static inline bool canonical(uint64_t linear)
{
    return (uint64_t)((int64_t)(linear << 16) >> 16) == linear;
}

#endif
