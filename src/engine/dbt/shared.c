/*
 * Code that every block needs a little of: the ways into the thunks. A call to it is five bytes where
 * the sequence itself would be twenty-five.
 */
#include "engine/dbt/translate.h"

uint32_t tlb_offset(unsigned mmu, size_t member)
{
    return (uint32_t)(offsetof(struct dbt_vcpu, tlb) + mmu * TLB_ENTRIES * sizeof(struct tlb_entry) + member);
}

uint32_t tlb_tag_offset(unsigned mmu, uint32_t descriptor)
{
    return tlb_offset(mmu,
                      descriptor & ACCESS_WRITE ? offsetof(struct tlb_entry, write) : offsetof(struct tlb_entry, read));
}

uint8_t *emit_tlb_check(struct emitter *e, unsigned mmu, uint32_t descriptor, bool addend)
{
    uint8_t *miss;

    emit_mov_rr(e, HOST_S2, HOST_S1);
    emit_shift_imm(e, true, 5, HOST_S2, 7);
    emit_alu_imm(e, false, 4, HOST_S2, (TLB_ENTRIES - 1) << 5);
    emit_gs_indexed(e, 0x33, HOST_S1, HOST_S2, tlb_tag_offset(mmu, descriptor));
    emit_alu_imm(e, true, 7, HOST_S1, (int32_t)(PAGE_SIZE - (descriptor & ACCESS_SIZE)));
    miss = emit_jump(e, 7);
    if (addend)
        emit_gs_indexed(e, 0x8b, HOST_S2, HOST_S2, tlb_offset(mmu, offsetof(struct tlb_entry, addend)));
    else
        emit_gs_indexed(e, 0x03, HOST_S1, HOST_S2, tlb_offset(mmu, offsetof(struct tlb_entry, host)));
    return miss;
}

static enum thunk thunk_of(enum shared kind)
{
    switch (kind) {
    case SHARED_POST:
        return THUNK_MEMORY_POST;
    case SHARED_CHAIN:
        return THUNK_CHAIN;
    case SHARED_ATTENTION:
        return THUNK_ATTENTION;
    case SHARED_INDIRECT:
        return THUNK_INDIRECT;
    case SHARED_HELPER:
        return THUNK_HELPER;
    case SHARED_HELPER_END:
        return THUNK_HELPER_END;
    case SHARED_RAISE:
        return THUNK_RAISE;
    default:
        return THUNK_MEMORY_PRE;
    }
}

/* What comes before the jump to the thunk. */
static void write_arguments(struct emitter *e, enum shared kind, uint32_t detail)
{
    if (kind <= SHARED_LOOKUP_KERNEL_AC) {
        uint8_t *miss = emit_tlb_check(e, kind - SHARED_LOOKUP_USER, detail, false);

        emit_byte(e, 0xc3);
        emit_patch(e, miss, e->at);
        emit_gs_indexed(e, 0x33, HOST_S1, HOST_S2, tlb_tag_offset(kind - SHARED_LOOKUP_USER, detail));
    } else if (kind <= SHARED_MEMORY_KERNEL_AC) {
        emit_gs_indexed(e, 0x33, HOST_S1, HOST_S2, tlb_tag_offset(kind - SHARED_MEMORY_USER, detail));
    }
    if (kind <= SHARED_MEMORY_PLAIN)
        emit_mov_imm(e, HOST_S2, detail);
}

/* Where it is in the cache, made if new. NULL: no room, emit it in place. */
static const uint8_t *find_piece(struct code_cache *cache, enum shared kind, uint32_t detail)
{
    uint64_t key = ((uint64_t)kind << 32 | detail) + 1;
    struct emitter e = {cache->write + cache->stubs_used, cache->write + STUBS_SIZE, false};
    unsigned i = (unsigned)((key * 0x9e3779b97f4a7c15ull) >> 56);

    _Static_assert(STUBS == 256, "the hash gives eight bits");
    if (detail & ACCESS_MASKED)
        return NULL; /* rare, and of many kinds */
    for (unsigned tries = 0; cache->stubs[i].key; i = (i + 1) & (STUBS - 1)) {
        if (cache->stubs[i].key == key)
            return cache->write + cache->stubs[i].offset;
        if (++tries == STUBS - 1)
            return NULL;
    }
    write_arguments(&e, kind, detail);
    emit_jmp_gs(&e, OFF_THUNK + 8 * (uint32_t)thunk_of(kind));
    if (e.full)
        return NULL;
    cache->stubs[i].key = key;
    cache->stubs[i].offset = cache->stubs_used;
    cache->stubs_used = (uint32_t)align_up((uint64_t)(e.at - cache->write), 16);
    return cache->write + cache->stubs[i].offset;
}

void emit_call_shared(struct translator *t, enum shared kind, uint32_t detail)
{
    const uint8_t *piece = find_piece(t->cache, kind, detail);

    if (!piece && kind <= SHARED_LOOKUP_KERNEL_AC)
        kind = SHARED_MEMORY_PLAIN; /* no room for pieces: without the TLB */
    if (!piece) {
        write_arguments(&t->e, kind, detail);
        emit_call_gs(&t->e, OFF_THUNK + 8 * (uint32_t)thunk_of(kind));
        return;
    }
    emit_patch(&t->e, emit_call(&t->e), piece);
    note_move(t, MOVE_OUTSIDE, 4);
}

void emit_jump_shared(struct translator *t, enum shared kind, uint32_t detail)
{
    const uint8_t *piece = find_piece(t->cache, kind, detail);

    if (piece) {
        emit_jump_to(&t->e, CONDITION_ALWAYS, piece);
        note_move(t, MOVE_OUTSIDE, 4);
        return;
    }
    emit_jmp_gs(&t->e, OFF_THUNK + 8 * (uint32_t)thunk_of(kind));
}
