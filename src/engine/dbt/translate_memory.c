/*
 * Guest memory from translated code: the address, the TLB check, and what happens on a miss.
 *
 *     lea  r14, [guest address]
 *     mov  r11, r14
 *     shr  r11, 7                    ; page number * sizeof(struct tlb_entry), and low bits
 *     and  r11d, (entries - 1) << 5
 *     xor  r14, gs:[r11 + read tag]  ; offset in the page if it matches, else something larger
 *     cmp  r14, 4096 - size          ; also catches an access that crosses into the next page
 *     ja   slow
 *     add  r14, gs:[r11 + host page]
 *     <the instruction, with [r14]>
 *
 * The check overwrites the arithmetic flags. Where they are live they are first put into
 * dbt_vcpu.saved_flags (LAHF, SETO) and stay there until an instruction needs them in RFLAGS.
 */
#include "engine/dbt/translate.h"

/* ---- flags ---- */

/* A register for a moment: S2, unless it is part of the operand's address; then S1 is free. */
static unsigned free_scratch(const struct translator *t)
{
    return t->operand_at.index == HOST_S2 ? HOST_S1 : HOST_S2;
}

void emit_flags_save(struct translator *t)
{
    emit_mov_rr(&t->e, HOST_S2, HOST_RAX);
    emit_byte(&t->e, 0x9f); /* lahf */
    emit_byte(&t->e, 0x0f); /* seto al */
    emit_byte(&t->e, 0x90);
    emit_byte(&t->e, 0xc0);
    emit_gs(&t->e, false, 0x89, HOST_RAX, OFF_SAVED_FLAGS);
    emit_mov_rr(&t->e, HOST_RAX, HOST_S2);
    t->flags = FLAGS_SAVED;
}

void emit_flags_restore(struct translator *t)
{
    unsigned scratch = free_scratch(t);

    emit_mov_rr(&t->e, scratch, HOST_RAX);
    emit_gs(&t->e, false, 0x8b, HOST_RAX, OFF_SAVED_FLAGS);
    emit_byte(&t->e, 0x04); /* add al, 127: OF if al was 1 */
    emit_byte(&t->e, 0x7f);
    emit_byte(&t->e, 0x9e); /* sahf */
    emit_mov_rr(&t->e, HOST_RAX, scratch);
    t->flags = FLAGS_HOST;
}

void emit_flags_need(struct translator *t, uint32_t needed)
{
    if (t->flags == FLAGS_SAVED && needed)
        emit_flags_restore(t);
}

/* ---- registers ---- */

void emit_load_guest(struct translator *t, unsigned to, unsigned guest)
{
    int host = emit_host_of(guest);

    if (host < 0)
        emit_gs(&t->e, true, 0x8b, to, gpr_offset(guest));
    else if ((unsigned)host != to)
        emit_mov_rr(&t->e, to, (unsigned)host);
}

void emit_store_guest(struct translator *t, unsigned guest, unsigned from)
{
    int host = emit_host_of(guest);

    if (host < 0)
        emit_gs(&t->e, true, 0x89, from, gpr_offset(guest));
    else if ((unsigned)host != from)
        emit_mov_rr(&t->e, (unsigned)host, from);
}

/* ---- addresses ---- */

static bool flat_segment(const struct translator *t, unsigned segment)
{
    if (in_64(t))
        return true;
    return (t->mode & MODE_FLAT) && (segment == SEG_DS || segment == SEG_ES || segment == SEG_SS);
}

/* The offset of op's memory operand plus `extra`, and an FS or GS base in 64-bit code, in S1. S2 is overwritten; flags are kept. */
void emit_address(struct translator *t, const struct op *op, int32_t extra)
{
    const struct insn *insn = &op->insn;
    bool wide = insn->address_size == 8;
    int64_t displacement = insn->displacement + extra;
    int base = insn->base;
    int index = insn->index;

    if (base == 16 || (base < 0 && index < 0)) {
        uint64_t address = (uint64_t)displacement + (base == 16 ? op->rip + insn->length : 0);

        if (!wide)
            address = insn->address_size == 4 ? (uint32_t)address : (uint16_t)address;
        if (base == 16)
            emit_mov_rip(t, HOST_S1, address);
        else
            emit_mov_imm(&t->e, HOST_S1, address);
    } else {
        int host_base = base < 0 ? HOST_NONE : emit_host_of((unsigned)base);
        int host_index = index < 0 ? HOST_NONE : emit_host_of((unsigned)index);

        if (base >= 0 && host_base < 0) {
            emit_load_guest(t, HOST_S1, (unsigned)base);
            host_base = HOST_S1;
        }
        if (index >= 0 && host_index < 0) {
            host_index = host_base == HOST_S1 ? HOST_S2 : HOST_S1;
            emit_load_guest(t, (unsigned)host_index, (unsigned)index);
        }
        emit_lea(&t->e, wide, HOST_S1, host_base, host_index, insn->scale, (int32_t)displacement);
        if (insn->address_size == 2)
            emit_rr(&t->e, false, 0x0fb7, HOST_S1, HOST_S1);
    }
    if (in_64(t) && (insn->segment == SEG_FS || insn->segment == SEG_GS)) {
        emit_gs(&t->e, true, 0x8b, HOST_S2, (uint32_t)offsetof(struct dbt_vcpu, segment[insn->segment].base));
        emit_lea(&t->e, true, HOST_S1, HOST_S1, HOST_S2, 1, 0);
    }
}

uint32_t operand_descriptor(const struct translator *t, const struct op *op)
{
    uint32_t descriptor = op->memory_size;

    if (op->reads_memory)
        descriptor |= ACCESS_READ;
    if (op->writes_memory)
        descriptor |= ACCESS_WRITE;
    descriptor |= op->mask;
    if (op->aligned)
        descriptor |= ACCESS_ALIGNED;
    if (op->waits)
        descriptor |= ACCESS_X87;
    if (op->locked)
        descriptor |= ACCESS_LOCK;
    if (op->insn.segment == SEG_SS)
        descriptor |= ACCESS_STACK;
    if (!flat_segment(t, op->insn.segment))
        descriptor |= ACCESS_SEGMENTED | (uint32_t)op->insn.segment << ACCESS_SEGMENT_SHIFT;
    return descriptor;
}

/* ---- the stack ---- */

unsigned stack_size(const struct translator *t)
{
    return in_64(t) ? 8 : t->mode & MODE_STACK32 ? 4 : 2;
}

void emit_stack_address(struct translator *t, int32_t delta)
{
    unsigned size = stack_size(t);

    emit_lea(&t->e, size == 8, HOST_S1, HOST_GUEST_RSP, HOST_NONE, 1, delta);
    if (size == 2)
        emit_rr(&t->e, false, 0x0fb7, HOST_S1, HOST_S1);
}

/* Guest RSP += delta. S2 may be overwritten; flags are kept. */
void emit_stack_adjust(struct translator *t, int32_t delta)
{
    unsigned size = stack_size(t);

    if (size != 2) {
        emit_lea(&t->e, size == 8, HOST_GUEST_RSP, HOST_GUEST_RSP, HOST_NONE, 1, delta);
        return;
    }
    emit_lea(&t->e, false, HOST_S2, HOST_GUEST_RSP, HOST_NONE, 1, delta);
    emit_byte(&t->e, 0x66);
    emit_rr(&t->e, false, 0x89, HOST_S2, HOST_GUEST_RSP);
}

uint32_t stack_descriptor(const struct translator *t, unsigned size, uint32_t kind)
{
    uint32_t descriptor = size | kind | ACCESS_STACK;

    if (kind & ACCESS_WRITE)
        descriptor |= ACCESS_UNFINISHED;
    if (!flat_segment(t, SEG_SS))
        descriptor |= ACCESS_SEGMENTED | (uint32_t)SEG_SS << ACCESS_SEGMENT_SHIFT;
    return descriptor;
}

/* A move of 1, 2, 4 or 8 bytes: opcode is the 32-bit form's (0x8b load, 0x89 store). */
void emit_move_sized(struct translator *t, unsigned opcode, unsigned reg, unsigned base, unsigned size)
{
    if (size == 2)
        emit_byte(&t->e, 0x66);
    if (size == 1 && reg < 8)
        emit_byte(&t->e, 0x40 | (base & 8 ? 1u : 0)); /* SPL..DIL rather than AH..BH */
    if (size == 1 && reg < 8) {
        emit_byte(&t->e, opcode - 1);
        emit_byte(&t->e, (reg & 7) << 3 | (base & 7));
        return;
    }
    emit_rm(&t->e, size == 8, size == 1 ? opcode - 1 : opcode, reg, base, 0);
}

/* ---- the access ---- */

static enum mmu_index current_mmu(const struct translator *t)
{
    return t->mode & MODE_USER ? MMU_USER : t->mode & MODE_AC ? MMU_KERNEL_AC : MMU_KERNEL;
}

void emit_group_check(struct translator *t, const struct op *op, uint32_t descriptor, unsigned group)
{
    struct slow *slow = &t->slow[t->slow_count++];

    *slow = (struct slow){op, NULL, emit_tlb_check(&t->e, current_mmu(t), descriptor, false), NULL, descriptor, t->flags,
                          group};
}

void emit_lookup(struct translator *t, uint32_t descriptor)
{
    emit_call_shared(t, SHARED_LOOKUP_USER + current_mmu(t), descriptor);
}

static void emit_post(struct translator *t, uint32_t descriptor)
{
    if (descriptor & ACCESS_WRITE)
        emit_call_shared(t, SHARED_POST, 0);
}

/*
 * May the instruction keep its base register and displacement, with the TLB's addend as index? That takes the
 * guest address out of the chain from the base register to the data: S1 serves the check alone.
 */
static bool can_be_based(const struct translator *t, const struct op *op)
{
    const struct insn *insn = &op->insn;

    return op->kind == OP_COPY && insn->address_size == 8 && insn->index < 0 && insn->base >= 0 && insn->base != 16 &&
           emit_host_of((unsigned)insn->base) >= 0 && insn->segment != SEG_FS && insn->segment != SEG_GS &&
           !copy_uses_high_byte(op) && in_64(t);
}

/*
 * Access the guest address in S1, then emit body(), which finds the host address in S1. Flags that are
 * live before op are in saved_flags by then.
 */
void emit_access(struct translator *t, const struct op *op, uint32_t descriptor,
                 void (*body)(struct translator *t, const struct op *op))
{
    bool based = can_be_based(t, op);
    struct slow *slow;

    if (t->flags == FLAGS_HOST && op->live_in)
        emit_flags_save(t);
    t->saved_before[op - t->ops] = t->flags == FLAGS_SAVED;
    if ((descriptor & ACCESS_SEGMENTED) || (t->mode & MODE_ALIGN) || t->slow_count == BLOCK_SLOW) {
        emit_call_shared(t, SHARED_MEMORY_PLAIN, descriptor);
        body(t, op);
        emit_post(t, descriptor);
        return;
    }
    slow = &t->slow[t->slow_count++];
    *slow = (struct slow){op, body, emit_tlb_check(&t->e, current_mmu(t), descriptor, based), NULL, descriptor, t->flags, 0};
    if (based)
        t->operand_at = (struct host_address){emit_host_of((unsigned)op->insn.base), HOST_S2, (int32_t)op->insn.displacement};
    body(t, op);
    t->operand_at = (struct host_address){HOST_S1, HOST_NONE, 0};
    slow->resume = t->e.at;
}

void emit_slow_paths(struct translator *t)
{
    unsigned next = 0;

    for (unsigned i = 0; i < t->slow_count; i++) {
        const struct slow *slow = &t->slow[i];
        unsigned index = (unsigned)(slow->op - t->ops);
        uint8_t *start = t->e.at;

        while (next <= index)
            t->map[next++].slow = (uint16_t)(start - (t->cache->write + t->block->code));
        emit_patch(&t->e, slow->hole, start);
        t->flags = slow->flags;
        if (slow->group) {
            emit_group_slow(t, slow);
            next = index + slow->group;
            continue;
        }
        emit_call_shared(t, SHARED_MEMORY_USER + current_mmu(t), slow->descriptor);
        slow->body(t, slow->op);
        emit_post(t, slow->descriptor);
        emit_jump_to(&t->e, 16, slow->resume);
    }
    while (next <= t->count)
        t->map[next++].slow = (uint16_t)(t->e.at - (t->cache->write + t->block->code));
}
